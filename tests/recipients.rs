//! Messages to several recipients, from several senders, and messages that a provider counts apart.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::{Answer, with_body};
use crate::support::key::SigningKey;
use crate::support::keyside::{Keyside, route, route_setup};
use crate::support::redis::Redis;
use crate::support::stretched;
use crate::support::upstream::Upstream;

const PLIVO: &str = "auth_id = \"MA1\"\nauth_token = \"file:@DIR@/key\"";
const PLIVO_MESSAGES: &str = "/v1/Account/MA1/Message/";
const JSON: &str = "application/json";

/// A preset, the lines of a credential, the path of messages, and a message to three recipients and
/// to one of them.
const LISTS: [(&str, &str, &str, &str, &str); 6] = [
    (
        "plivo",
        PLIVO,
        PLIVO_MESSAGES,
        r#"{"type":"whatsapp","src":"1555","dst":"15550001<+1 555 0002<15550003"}"#,
        r#"{"type":"whatsapp","src":"1555","dst":"15550002"}"#,
    ),
    (
        "plivo",
        PLIVO,
        PLIVO_MESSAGES,
        r#"{"type":"whatsapp","src":"1555","dst":["15550001","15550002<15550003"]}"#,
        r#"{"type":"whatsapp","src":"1555","dst":["15550003"]}"#,
    ),
    (
        "plivo",
        PLIVO,
        PLIVO_MESSAGES,
        "type=whatsapp&src=1555&dst=15550001%3C15550002%3C15550003",
        "type=whatsapp&src=1555&dst=15550001",
    ),
    (
        "infobip",
        "base = \"x\"\napi_key = \"file:@DIR@/key\"",
        "/messages-api/1/messages",
        r#"{"messages":[{"channel":"WHATSAPP","sender":"1555","destinations":[{"to":"15550001"},{"to":"15550002"}]},{"channel":"WHATSAPP","sender":"1555","destinations":[{"to":"15550003"}]}]}"#,
        r#"{"messages":[{"channel":"WHATSAPP","sender":"1555","destinations":[{"to":"15550003"}]}]}"#,
    ),
    (
        "clickatell",
        "api_key = \"file:@DIR@/key\"",
        "/v1/message",
        r#"{"messages":[{"channel":"whatsapp","from":"1555","to":["15550001","15550002"]},{"channel":"whatsapp","from":"1555","to":["15550003"]}]}"#,
        r#"{"messages":[{"channel":"whatsapp","from":"1555","to":["15550003"]}]}"#,
    ),
    (
        "cm",
        "product_token = \"file:@DIR@/key\"",
        "/v1.0/message",
        r#"{"messages":{"msg":[{"allowedChannels":["WhatsApp"],"from":"1555","to":[{"number":"15550001"},{"number":"15550002"},{"number":"15550003"}]}]}}"#,
        r#"{"messages":{"msg":[{"allowedChannels":["WhatsApp"],"from":"1555","to":[{"number":"15550002"}]}]}}"#,
    ),
];

fn send(keyside: &Keyside, path: &str, body: &str) -> Answer {
    let kind = match body.starts_with('{') {
        true => JSON,
        false => "application/x-www-form-urlencoded",
    };
    keyside.send(&with_body("POST", path, kind, body.as_bytes()))
}

#[test]
fn each_recipient_of_a_message_has_a_limit_of_its_own() {
    let limits = "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nper_account = \"1000/s\"\nmax_wait = \"1ms\"";
    for (preset, credential, path, several, one) in LISTS {
        let upstream = Upstream::ok();
        let keyside = route(&upstream, preset, credential, limits);
        assert_eq!(send(&keyside, path, several).status, 200, "{preset}");
        let again = send(&keyside, path, one);
        assert_eq!((again.status, again.slug()), (429, "rate_limited"), "{one}");
        let other = one.replace("1555000", "1555009");
        assert_eq!(send(&keyside, path, &other).status, 200, "{other}");
        // A list with a recipient over the limit takes no tokens of the rest.
        let mixed = several.replacen("15550001", "15550077", 1);
        assert_eq!(send(&keyside, path, &mixed).status, 429, "{mixed}");
        let spared = one
            .replace("15550001", "15550077")
            .replace("15550002", "15550077")
            .replace("15550003", "15550077");
        assert_eq!(send(&keyside, path, &spared).status, 200, "{spared}");
        assert_eq!(upstream.heads(), 3, "{preset}");
    }
}

#[test]
fn a_semicolon_in_a_form_counts_no_recipient_twice() {
    let upstream = Upstream::ok();
    let account = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
    let limits =
        "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nmax_wait = \"1ms\"";
    let keyside = route(&upstream, "twilio", account, limits);
    let path = "/2010-04-01/Accounts/AC1/Messages.json";
    for status in [200, 429] {
        let body = "From=whatsapp%3A%2B1666&To=whatsapp%3A%2B1555&Body=a; b";
        let answer = send(&keyside, path, body);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[test]
fn more_than_ten_thousand_recipients_are_refused() {
    let upstream = Upstream::ok();
    let keyside = route(&upstream, "plivo", PLIVO, "");
    for (count, status) in [(10_000, 200), (10_001, 400)] {
        let numbers = vec!["1"; count].join("<");
        let body = format!(r#"{{"type":"whatsapp","src":"1555","dst":"{numbers}"}}"#);
        let answer = send(&keyside, PLIVO_MESSAGES, &body);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[test]
fn a_message_to_three_recipients_is_three_messages_of_its_sender_and_account() {
    for limit in ["per_sender", "per_account"] {
        let limits = format!("[route.limits]\n{limit} = \"4/h\"\nmax_wait = \"1ms\"");
        for (preset, credential, path, several, one) in LISTS {
            let upstream = Upstream::ok();
            let keyside = route(&upstream, preset, credential, &limits);
            for (body, status) in [(several, 200), (one, 200), (one, 429)] {
                let answer = send(&keyside, path, body);
                assert_eq!(answer.status, status, "{limit} {preset} {body}");
            }
        }
    }
}

/// The seconds of `Retry-After` after a message to 3,000 recipients, at 100 a second.
fn retry_after_3000_recipients(lines: &str, environment: &[(&'static str, String)]) -> u64 {
    let upstream = Upstream::ok();
    let keyside = route_setup(&upstream, "plivo", PLIVO, lines)
        .envs(environment)
        .start();
    let numbers: Vec<_> = (0..3000).map(|number| format!("1555{number:04}")).collect();
    let message = |to: &str| format!(r#"{{"type":"whatsapp","src":"1555","dst":"{to}"}}"#);
    let sent = send(&keyside, PLIVO_MESSAGES, &message(&numbers.join("<")));
    assert_eq!(sent.status, 200, "{}", sent.text());
    let mut waits = Vec::new();
    // The shared server hears of the debt a moment later.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        let refused = send(&keyside, PLIVO_MESSAGES, &message("15559999"));
        let header = refused.header("retry-after");
        waits.extend(header.and_then(|text| text.parse::<u64>().ok()));
    }
    waits.into_iter().max().unwrap_or_default()
}

#[test]
fn every_recipient_of_a_message_is_paid_for() {
    for limit in ["per_sender", "per_account"] {
        let lines = format!("[route.limits]\n{limit} = \"100/s\"\nmax_wait = \"1ms\"");
        let wait = retry_after_3000_recipients(&lines, &[]);
        assert!((20..=30).contains(&wait), "{limit}: {wait} s");
    }
}

#[test]
#[ignore = "needs redis-server: tests/run servers"]
fn every_recipient_of_a_message_is_paid_for_in_a_shared_server() {
    let redis = Redis::start();
    let environment = [("KEYSIDE_REDIS_URL", redis.url())];
    let lines = "[route.limits]\nper_sender = \"100/s\"\nmax_wait = \"1ms\"\n\
                 [limits]\nredis = \"env:KEYSIDE_REDIS_URL\"\n";
    let wait = retry_after_3000_recipients(lines, &environment);
    assert!((20..=30).contains(&wait), "{wait} s");
}

/// The URL of a relay to the server, which holds back what the server says for 20 ms.
fn far_away(redis: &Redis) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = listener.local_addr().unwrap().port().to_string();
    let port = redis.port();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut said, mut told) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut &near, &mut &far));
            std::thread::spawn(move || {
                let mut bytes = [0; 65536];
                while let Ok(count @ 1..) = said.read(&mut bytes) {
                    std::thread::sleep(Duration::from_millis(20));
                    if told.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    redis.url().replace(&port.to_string(), &relay)
}

/// Each turn of a shared pair takes a reply of the server.
#[test]
#[ignore = "needs redis-server: tests/run servers"]
fn the_recipients_of_a_message_are_asked_for_together() {
    let redis = Redis::start();
    let upstream = Upstream::ok();
    let lines = "[route.limits]\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"2s\"\n\
                 [limits]\nredis = \"env:KEYSIDE_REDIS_URL\"\n";
    let keyside = route_setup(&upstream, "plivo", PLIVO, lines)
        .env("KEYSIDE_REDIS_URL", &far_away(&redis))
        .start();
    let numbers: Vec<_> = (0..300).map(|number| format!("1555{number:04}")).collect();
    let body = format!(
        r#"{{"type":"whatsapp","src":"1555","dst":"{}"}}"#,
        numbers.join("<")
    );
    let began = Instant::now();
    let sent = send(&keyside, PLIVO_MESSAGES, &body);
    let took = began.elapsed();
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert!(took < stretched(Duration::from_secs(1)), "{took:?}");
}

#[test]
fn each_of_several_senders_in_one_field_has_to_be_allowed() {
    let upstream = Upstream::ok();
    let keyside = route(&upstream, "plivo", PLIVO, "senders = [\"1555\", \"1556\"]");
    for (src, status) in [
        ("1555", 200),
        ("+1555<1556", 200),
        ("1555<1557", 403),
        ("1557", 403),
        ("<", 403),
        ("1555,1556", 403),
    ] {
        let body = format!(r#"{{"type":"whatsapp","src":"{src}","dst":"2"}}"#);
        let answer = send(&keyside, PLIVO_MESSAGES, &body);
        assert_eq!(answer.status, status, "{src}: {}", answer.text());
    }
    // Where no list is documented, a list is no sender of the route.
    let keyside = route(
        &upstream,
        "zenvia",
        "token = \"file:@DIR@/key\"",
        "senders = [\"1555\", \"1556\"]",
    );
    for (from, status) in [("1555", 200), ("1555<1556", 403), ("1555,1556", 403)] {
        let body = format!(r#"{{"from":"{from}","to":"2","contents":[]}}"#);
        let answer = send(&keyside, "/v2/channels/whatsapp/messages", &body);
        assert_eq!(answer.status, status, "{from}: {}", answer.text());
    }
}

/// The number of the sender stands in the path alone.
#[test]
fn an_upload_under_another_number_of_the_account_is_refused() {
    let upstream = Upstream::ok();
    let api_key = "api_key = \"file:@DIR@/key\"";
    let keyside = route(&upstream, "ycloud", api_key, "senders = [\"+15550001\"]");
    let form = "multipart/form-data; boundary=b";
    for (number, status) in [
        ("15550001", 200),
        ("+15550001", 200),
        ("%2B15550001", 200),
        ("+15550002", 403),
        ("%2B15550002", 403),
        ("+15550001;a", 403),
        (";+15550001", 400),
    ] {
        let path = format!("/v2/whatsapp/media/{number}/upload");
        let part = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n";
        let answer = keyside.send(&with_body("POST", &path, form, part));
        assert_eq!(answer.status, status, "{number}: {}", answer.text());
    }
}

#[test]
fn a_throttle_of_a_recipient_pauses_the_recipients_of_the_message_and_nobody_else() {
    let upstream = Upstream::answering(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        match body.contains("15550001") {
            true => crate::support::upstream::answer("429 Too Many Requests", &[], b"{}"),
            false => crate::support::upstream::json("{}"),
        }
    });
    let lines = "[route.limits]\nmax_wait = \"1ms\"\n[provider.here.errors]\n\
        throttled = [{ status = [429], limit = \"recipient\", pause = \"60s\" }]";
    let keyside = route(&upstream, "plivo", PLIVO, lines);
    for (dst, status, slug) in [
        ("15550001<15550002", 429, ""),
        ("15550002", 429, "rate_limited"),
        ("15550003", 200, ""),
    ] {
        let body = format!(r#"{{"type":"whatsapp","src":"1555","dst":"{dst}"}}"#);
        let answer = send(&keyside, PLIVO_MESSAGES, &body);
        assert_eq!((answer.status, answer.slug()), (status, slug), "{dst}");
    }
}

#[test]
fn messages_that_a_provider_counts_apart_leave_the_common_rate_alone() {
    let upstream = Upstream::ok();
    let limits = "[route.limits]\nper_sender = \"1/h\"\napart = \"2/h\"\nmax_wait = \"1ms\"";
    let ycloud = route(&upstream, "ycloud", "api_key = \"file:@DIR@/key\"", limits);
    let queue = "/v2/whatsapp/messages";
    let direct = "/v2/whatsapp/messages/sendDirectly";
    for (path, to, status) in [
        (queue, 1, 200),
        (queue, 2, 200),
        (queue, 3, 429),
        (direct, 4, 200),
        (direct, 5, 429),
    ] {
        let body = format!(r#"{{"from":"1555","to":"{to}","type":"text"}}"#);
        let answer = send(&ycloud, path, &body);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let wati = route(
        &upstream,
        "wati",
        "tenant = \"1\"\ntoken = \"file:@DIR@/key\"",
        "[route.limits]\nper_account = \"1/h\"\nmax_wait = \"1ms\"",
    );
    let session = "/api/ext/v3/conversations/messages/text";
    let template = "/api/ext/v3/messageTemplates/send";
    for (path, status) in [
        (session, 200),
        (session, 200),
        (template, 200),
        (template, 429),
        (session, 200),
    ] {
        let answer = send(&wati, path, r#"{"target":"2"}"#);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}

#[test]
fn a_rate_of_the_users_own_holds_for_messages_that_are_counted_apart() {
    let upstream = Upstream::ok();
    let limits = "[route.limits]\nper_sender = \"1/h\"\nmax_wait = \"1ms\"";
    let keyside = route(&upstream, "ycloud", "api_key = \"file:@DIR@/key\"", limits);
    for status in [200, 429] {
        let body = r#"{"from":"1555","to":"1","type":"text"}"#;
        let answer = send(&keyside, "/v2/whatsapp/messages", body);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[test]
fn the_documented_rates_of_ycloud_and_wati_are_the_defaults() {
    let upstream = Upstream::ok();
    let rate = |preset: &str, credential: &str, path: &str, body: &str| {
        let keyside = route(&upstream, preset, credential, "");
        let answer = send(&keyside, path, body);
        let policy = answer.header("ratelimit-policy").unwrap_or_default();
        policy.to_owned()
    };
    let ycloud = "api_key = \"file:@DIR@/key\"";
    let body = r#"{"from":"1555","to":"2","type":"text"}"#;
    assert!(rate("ycloud", ycloud, "/v2/whatsapp/messages", body).contains("q=200;w=1"));
    let direct = rate("ycloud", ycloud, "/v2/whatsapp/messages/sendDirectly", body);
    assert!(direct.contains("q=80;w=1"), "{direct}");
    let wati = "tenant = \"1\"\ntoken = \"file:@DIR@/key\"";
    let template = rate("wati", wati, "/api/ext/v3/messageTemplates/send", "{}");
    assert!(template.contains("q=30;w=10"), "{template}");
    let session = rate(
        "wati",
        wati,
        "/api/ext/v3/conversations/messages/text",
        "{}",
    );
    assert_eq!(session, "");
}

#[test]
fn a_recipient_in_the_path_or_in_the_query_has_a_limit_of_its_own() {
    let upstream = Upstream::ok();
    let wati = "tenant = \"1\"\ntoken = \"file:@DIR@/key\"";
    let limits =
        "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nmax_wait = \"1ms\"";
    let keyside = route(&upstream, "wati", wati, limits);
    let session = |number: &str| format!("/1/api/v1/sendSessionMessage/{number}?messageText=x");
    let template = |number: &str| format!("/1/api/v1/sendTemplateMessage?whatsappNumber={number}");
    let buttons = |query: &str| format!("/1/api/v1/sendInteractiveButtonsMessage?{query}");
    let newer = |number: &str| format!("/api/v2/sendTemplateMessage?whatsappNumber={number}");
    for (path, status) in [
        (session("15550001"), 200),
        (session("15550001"), 429),
        (session("%2B15550001"), 429),
        (session("15550002"), 200),
        (template("15550003"), 200),
        (template("+1555-0003"), 429),
        (template("15550001"), 429),
        (template("15550004"), 200),
        (buttons("whatsappNumber=15550005"), 200),
        (buttons("whatsappNumber=15550005"), 429),
        (buttons("target=15550005"), 429),
        (newer("15550006"), 200),
        (newer("15550006"), 429),
    ] {
        let answer = send(&keyside, &path, "{}");
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
}

#[test]
fn the_sender_in_the_query_of_a_session_message_is_a_sender_of_the_route() {
    let upstream = Upstream::ok();
    let wati = "tenant = \"1\"\ntoken = \"file:@DIR@/key\"";
    let keyside = route(
        &upstream,
        "wati",
        wati,
        "senders = [\"1555\"]\n[route.limits]\nmax_wait = \"1ms\"",
    );
    let session = |more: &str| format!("/1/api/v1/sendSessionMessage/15550001?messageText=x{more}");
    let list =
        |more: &str| format!("/api/v1/sendInteractiveListMessage?whatsappNumber=15550001{more}");
    for (path, status, slug) in [
        (session("&channelPhoneNumber=1555"), 200, ""),
        (
            session("&channelPhoneNumber=1666"),
            403,
            "sender_not_allowed",
        ),
        (session(""), 403, "sender_not_named"),
        (list("&channelPhoneNumber=1555"), 200, ""),
        (list("&channelPhoneNumber=1666"), 403, "sender_not_allowed"),
        (list(""), 403, "sender_not_named"),
    ] {
        let answer = send(&keyside, &path, "{}");
        assert_eq!(
            (answer.status, answer.slug()),
            (status, slug),
            "{path}: {}",
            answer.text()
        );
    }
    for version in ["v1", "v2"] {
        let template = format!("/1/api/{version}/sendTemplateMessage?whatsappNumber=15550001");
        for (body, status) in [
            (r#"{"channelNumber":"1555"}"#, 200),
            (r#"{"channel_number":"1666"}"#, 403),
            ("{}", 403),
        ] {
            let answer = send(&keyside, &template, body);
            assert_eq!(answer.status, status, "{version} {body}: {}", answer.text());
        }
    }
}

#[test]
fn a_channel_of_respond_io_is_the_sender_and_a_contact_the_recipient() {
    let upstream = Upstream::ok();
    let lines = "senders = [\"12\"]\n[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\n\
                 max_wait = \"1ms\"";
    let keyside = route(&upstream, "respond-io", "token = \"file:@DIR@/key\"", lines);
    for (contact, channel, status) in [
        ("id:1", "12", 200),
        ("id:1", "12", 429),
        ("phone:+15550001234", "\"12\"", 200),
        ("id:2", "13", 403),
        ("id:2", "null", 403),
    ] {
        let body = format!("{{\"channelId\":{channel},\"message\":{{}}}}");
        let answer = send(&keyside, &format!("/v2/contact/{contact}/message"), &body);
        assert_eq!(
            answer.status,
            status,
            "{contact} {channel}: {}",
            answer.text()
        );
    }
}

#[test]
fn an_alternative_of_a_message_counts_for_nobody() {
    let upstream = Upstream::ok();
    let key = SigningKey::new();
    let vonage = "application_id = \"1\"\nprivate_key = \"file:@DIR@/private\"";
    let limits = "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nper_account = \"3/h\"\nmax_wait = \"1ms\"";
    let keyside = route_setup(&upstream, "vonage", vonage, limits)
        .file("private", key.pem())
        .start();
    let whatsapp = |to: &str| {
        format!(
            r#""from":"1555","to":"{to}","channel":"whatsapp","message_type":"text","text":"x""#
        )
    };
    let one = |to: &str| format!("{{{}}}", whatsapp(to));
    let with_failover = format!(
        r#"{{{},"failover":[{{{}}}]}}"#,
        whatsapp("15550001"),
        whatsapp("15550002")
    );
    // The second message goes out only after a failure of the first, and in the first's place: a
    // single message, to a single recipient.
    for (body, status) in [
        (with_failover.clone(), 200),
        (one("15550002"), 200),
        (with_failover, 429),
        (one("15550003"), 200),
        (one("15550004"), 429),
    ] {
        let answer = send(&keyside, "/v1/messages", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
}
