//! The `senders` and `channels` of a route hold in whatever container, spelling and place a request
//! names another one.

use std::process::Command;
use std::time::Duration;

use crate::support::client::{Answer, with_body};
use crate::support::keyside::{Keyside, Setup, finish, route};
use crate::support::upstream::Upstream;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const INFOBIP: &str = "base = \"x\"\napi_key = \"file:@DIR@/key\"";
const MESSAGES_API: &str = "/messages-api/1/messages";

fn posted(keyside: &Keyside, path: &str, body: &str) -> Answer {
    let kind = if body.starts_with('{') { JSON } else { FORM };
    keyside.send(&with_body("POST", path, kind, body.as_bytes()))
}

fn asked(keyside: &Keyside, method: &str, target: &str) -> Answer {
    let body = match method {
        "GET" | "DELETE" => "",
        _ => "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    };
    let end = if body.is_empty() { "\r\n" } else { "" };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{body}{end}");
    keyside.send(request.as_bytes())
}

/// A message of Infobip's Messages API with an allowed sender and channel, and these further
/// fields.
fn message(more: &str) -> String {
    format!(
        r#"{{"messages":[{{"sender":"1555","channel":"WHATSAPP","destinations":[{{"to":"1"}}]{more}}}]}}"#
    )
}

#[test]
fn another_container_hides_no_sender_and_no_channel() {
    let upstream = Upstream::ok();
    let keyside = route(&upstream, "infobip", INFOBIP, "senders = [\"1555\"]");
    let template = "/whatsapp/1/message/template";
    for (path, body, status) in [
        (
            template,
            r#"{"messages":[{"from":"1555","to":"1"}]}"#.to_owned(),
            200,
        ),
        (MESSAGES_API, message(""), 200),
        (
            MESSAGES_API,
            message(r#","failover":[{"sender":"1555","channel":"WHATSAPP"}]"#),
            200,
        ),
        (MESSAGES_API, message(r#","failover":null"#), 200),
        // A list of one element may stand without its brackets.
        (
            template,
            r#"{"from":"1555","messages":{"from":"9","to":"1"}}"#.to_owned(),
            403,
        ),
        (
            MESSAGES_API,
            message(r#","failover":{"sender":"9","channel":"WHATSAPP"}"#),
            403,
        ),
        (
            MESSAGES_API,
            message(r#","failover":{"sender":"1555","channel":"SMS"}"#),
            403,
        ),
        (
            MESSAGES_API,
            r#"{"from":"1555","messages":{"sender":"9","channel":"WHATSAPP","destinations":[]}}"#
                .to_owned(),
            403,
        ),
        (
            MESSAGES_API,
            r#"{"from":"1555","messages":{"sender":"1555","channel":"SMS"}}"#.to_owned(),
            403,
        ),
        // An object may be a list to PHP.
        (
            template,
            r#"{"from":"1555","messages":{"0":{"from":"9"}}}"#.to_owned(),
            403,
        ),
        // A list in a list is no message for any reader of the provider.
        (
            template,
            r#"{"from":"1555","messages":[[{"from":"9","to":"1"}]]}"#.to_owned(),
            400,
        ),
        (
            template,
            r#"{"from":"1555","messages":"9"}"#.to_owned(),
            400,
        ),
        (
            template,
            r#"{"from":"1555","messages":[1]}"#.to_owned(),
            400,
        ),
        (
            template,
            r#"{"from":"1555","smsFailover":[{"from":"9"}]}"#.to_owned(),
            400,
        ),
    ] {
        upstream.forget();
        let answer = posted(&keyside, path, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_eq!(upstream.heads(), usize::from(status == 200), "{body}");
    }
}

/// A provider sends a message without a sender from a default of its own.
#[test]
fn every_message_of_a_list_names_a_sender_of_the_route() {
    let upstream = Upstream::ok();
    let template = "/whatsapp/1/message/template";
    let infobip = route(&upstream, "infobip", INFOBIP, "senders = [\"1555\"]");
    for (path, messages, status) in [
        (
            template,
            r#"{"from":"1555","to":"1"},{"from":"1555","to":"2"}"#,
            200,
        ),
        (template, r#"{"from":"1555","to":"1"},{"to":"2"}"#, 403),
        (
            template,
            r#"{"from":"1555","to":"1"},{"from":null,"to":"2"}"#,
            403,
        ),
        (
            template,
            r#"{"from":"1555","to":"1"},{"from":"","to":"2"}"#,
            403,
        ),
        (
            MESSAGES_API,
            r#"{"sender":"1555","channel":"WHATSAPP"},{"channel":"WHATSAPP"}"#,
            403,
        ),
        (
            MESSAGES_API,
            r#"{"sender":"1555","channel":"WHATSAPP","failover":[{"channel":"WHATSAPP"}]}"#,
            403,
        ),
    ] {
        let answer = posted(&infobip, path, &format!(r#"{{"messages":[{messages}]}}"#));
        assert_eq!(answer.status, status, "{path} {messages}");
        if status == 403 {
            assert_eq!(answer.slug(), "sender_not_named", "{path} {messages}");
        }
    }
    let any = route(&upstream, "infobip", INFOBIP, "");
    let answer = posted(&any, template, r#"{"messages":[{"to":"1"},{"to":"2"}]}"#);
    assert_eq!(answer.status, 200, "a route without senders bounds none");
}

#[test]
fn a_channel_of_a_message_that_is_no_list_counts() {
    let upstream = Upstream::ok();
    let clickatell = route(&upstream, "clickatell", "api_key = \"file:@DIR@/key\"", "");
    for (body, status) in [
        (r#"{"messages":[{"channel":"whatsapp","to":"1"}]}"#, 200),
        (r#"{"messages":{"channel":"sms","to":"1"}}"#, 403),
        (r#"{"messages":{"to":"1"}}"#, 403),
        (
            r#"{"messages":[{"channel":"whatsapp","to":"1"},{"to":"1"}]}"#,
            403,
        ),
        (
            r#"{"messages":[{"channel":"whatsapp","to":"1"}],"Messages":{"to":"1"}}"#,
            403,
        ),
    ] {
        let answer = posted(&clickatell, "/v1/message", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
}

#[test]
fn a_nested_name_of_a_form_counts_with_dots_and_with_brackets() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("key", "s3cr3t-k3y-0001")
        .config(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [provider.small]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             inject = [{ header = \"X-Key\", value = \"{key}\" }]\n\
             limits = { sender = [\"/from\", \"/message/sender/id\", \"/failover/*/from\"] }\n\
             [provider.small.secrets]\nkey = { required = true }\n\
             [provider.small.operations.messages]\nkind = \"send\"\ndefault = true\n\
             requests = [{ request = \"POST /send\", limited = true }]\n\
             [credential.acme]\nprovider = \"small\"\ncheck = \"off\"\nkey = \"file:@DIR@/key\"\n\
             [[route]]\ncredential = \"acme\"\nsenders = [\"1555\"]\n",
        )
        .start();
    for (body, status) in [
        ("from=1555&failover%5B0%5D%5Bfrom%5D=1555", 200),
        ("from=1555&failover.0.from=1555&message.sender.id=1555", 200),
        ("from=1555&a.from=9", 200),
        ("from=1555&failover.0.from=9", 403),
        ("from=1555&failover%5B0%5D.from=9", 403),
        ("from=1555&failover.0%5Bfrom%5D=9", 403),
        ("from=1555&message.sender.id=9", 403),
        ("from=1555&message[sender][id]=9", 403),
        ("from=1555&from.0=9", 403),
        (r#"{"message":{"sender":{"id":"1555"}}}"#, 200),
        (r#"{"from":"1555","message":{"sender":{"id":"9"}}}"#, 403),
        (r#"{"from":"1555","message":{"sender":[{"id":"9"}]}}"#, 400),
        (r#"{"from":"1555","message":[{"sender":{"id":"9"}}]}"#, 400),
    ] {
        let answer = posted(&keyside, "/send", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
}

#[test]
fn only_the_exact_parameter_names_the_sender_of_media() {
    let upstream = Upstream::ok();
    let several =
        "path = \"/two\"\nsenders = [\"111\", \"112\"]\noperations = [\"media\", \"media_delete\"]";
    let keyside = Setup::new(&upstream)
        .route("senders = [\"111\"]\noperations = [\"media\", \"media_delete\"]")
        .more(&format!(
            "[[route]]\ncredential = \"acme\"\nname = \"two\"\n{several}"
        ))
        .start();
    for method in ["GET", "DELETE"] {
        for query in [
            "PHONE_NUMBER_ID=111",
            "phone_number_id[]=111",
            "phone.number.id=111",
            "%20phone_number_id=111",
            "phone_number_id%00=111",
            "phone%5Fnumber_id=111",
            "phone_number_id=111&phone_number_id=111",
            "phone_number_id=111&Phone_Number_Id=111",
            "a=1;phone_number_id=111",
            "phone_number_id=111;a=1",
        ] {
            for path in ["", "/two"] {
                let target = format!("{path}/v23.0/555?{query}");
                let answer = asked(&keyside, method, &target);
                // Reading with a foreign parameter is another operation.
                let expected: &[u16] = match method {
                    "GET" => &[400, 403],
                    _ => &[400],
                };
                let text = answer.text();
                assert!(
                    expected.contains(&answer.status),
                    "{method} {target}: {text}"
                );
            }
        }
        // A server may merge query and body.
        for (kind, body) in [
            (JSON, r#"{"phone_number_id":"222"}"#),
            (JSON, r#"{"Phone_Number_Id":"111"}"#),
            (FORM, "phone_number_id[]=222"),
        ] {
            let target = "/v23.0/555?phone_number_id=111";
            let answer = keyside.send(&with_body(method, target, kind, body.as_bytes()));
            assert_eq!(answer.status, 400, "{method} {body}: {}", answer.text());
        }
        for target in [
            "/v23.0/555",
            "/v23.0/555?phone_number_id=111",
            "/two/v23.0/555?phone_number_id=%3112",
        ] {
            let before = upstream.heads();
            assert_eq!(
                asked(&keyside, method, target).status,
                200,
                "{method} {target}"
            );
            assert_eq!(upstream.heads(), before + 1);
        }
    }
}

#[test]
fn the_number_in_a_path_is_a_sender() {
    let telnyx = "api_key = \"file:@DIR@/key\"";
    let key = "api_key = \"file:@DIR@/key\"";
    let bird = "region = \"eu\"\napi_key = \"file:@DIR@/key\"";
    for (preset, credential, operations, own, foreign) in [
        (
            "telnyx",
            telnyx,
            "\"phone_numbers\", \"conversations\"",
            &[
                "GET /v2/whatsapp/phone_numbers/+15550001",
                "DELETE /v2/whatsapp/phone_numbers/%2B15550001",
                "PATCH /v2/whatsapp/phone_numbers/15550001/profile",
                "GET /v2/whatsapp/phone_numbers/+15550001/conversation_window",
            ][..],
            &[
                "GET /v2/whatsapp/phone_numbers/+15559999",
                "DELETE /v2/whatsapp/phone_numbers/+15559999",
                "DELETE /v2/whatsapp/phone_numbers/%2b15559999",
                "PATCH /v2/whatsapp/phone_numbers/+15559999/profile",
                "PATCH /v2/whatsapp/phone_numbers/15559999/profile",
                "GET /v2/whatsapp/phone_numbers/+15559999/conversation_window",
            ][..],
        ),
        (
            "ycloud",
            key,
            "\"phone_numbers\"",
            &[
                "GET /v2/whatsapp/phoneNumbers/1/+15550001",
                "PATCH /v2/whatsapp/phoneNumbers/1/15550001/profile",
            ],
            &[
                "GET /v2/whatsapp/phoneNumbers/1/+15559999",
                "PATCH /v2/whatsapp/phoneNumbers/1/15559999/profile",
            ],
        ),
        (
            "bird-platform",
            bird,
            "\"phone_numbers\"",
            &[
                "GET /v1/whatsapp/numbers/+15550001",
                "PATCH /v1/whatsapp/numbers/15550001/profile",
            ],
            &[
                "GET /v1/whatsapp/numbers/+15559999",
                "PATCH /v1/whatsapp/numbers/15559999/profile",
            ],
        ),
    ] {
        let upstream = Upstream::ok();
        let lines = format!("senders = [\"+15550001\"]\noperations = [{operations}]");
        let keyside = route(&upstream, preset, credential, &lines);
        for (requests, status, slug) in [(own, 200, ""), (foreign, 403, "sender_not_allowed")] {
            for request in requests {
                let (method, target) = request.split_once(' ').unwrap();
                let answer = asked(&keyside, method, target);
                assert_eq!(
                    (answer.status, answer.slug()),
                    (status, slug),
                    "{preset} {request}"
                );
                if status == 200 {
                    assert_eq!(upstream.last().target(), target, "{preset}");
                }
            }
        }
    }
}

#[test]
fn a_sender_in_the_query_of_what_is_read_counts() {
    let upstream = Upstream::ok();
    let account = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
    let lines = "senders = [\"+15550001\"]\noperations = [\"history\", \"status\"]";
    let keyside = route(&upstream, "twilio", account, lines);
    let messages = "/2010-04-01/Accounts/AC1/Messages.json";
    for (target, status, slug) in [
        (format!("{messages}?From=whatsapp%3A%2B15550001"), 200, ""),
        (format!("{messages}?PageSize=20"), 200, ""),
        (
            format!("{messages}?From=whatsapp:%2B15559999"),
            403,
            "sender_not_allowed",
        ),
        (
            format!("{messages}?from=whatsapp:%2B15559999"),
            403,
            "sender_not_allowed",
        ),
        (
            format!("{messages}?From=whatsapp:%2B15550001&From=whatsapp:%2B15559999"),
            403,
            "sender_not_allowed",
        ),
    ] {
        let answer = asked(&keyside, "GET", &target);
        assert_eq!((answer.status, answer.slug()), (status, slug), "{target}");
    }
}

#[test]
fn the_account_in_a_path_leaves_as_the_account_of_the_credential() {
    let upstream = Upstream::ok();
    let account = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
    let lines = "operations = [\"messages\", \"history\", \"message_change\"]";
    let keyside = route(&upstream, "twilio", account, lines);
    for account in ["AC1", "AC2", "AC2%2e", "a;b"] {
        for (method, path) in [
            ("GET", "Messages.json"),
            ("DELETE", "Messages/SM1.json"),
            ("POST", "Messages/SM1/Feedback.json"),
        ] {
            let target = format!("/2010-04-01/Accounts/{account}/{path}");
            let body = with_body(method, &target, FORM, b"");
            keyside.send(&body);
        }
    }
    for seen in upstream.requests() {
        let target = seen.target();
        assert!(target.starts_with("/2010-04-01/Accounts/AC1/"), "{target}");
    }
    assert!(upstream.heads() >= 6);
}

#[test]
fn a_refusal_without_a_sender_names_the_place_of_the_provider() {
    let meta = Upstream::ok();
    let meta = Setup::new(&meta)
        .route("senders = [\"111\", \"112\"]")
        .start();
    let upstream = Upstream::ok();
    let account = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
    let lines = "senders = [\"1555\"]";
    for (keyside, request, place) in [
        (
            meta,
            asked as fn(&Keyside, &str, &str) -> Answer,
            "?phone_number_id=",
        ),
        (
            route(&upstream, "infobip", INFOBIP, lines),
            |keyside: &Keyside, _: &str, _: &str| {
                posted(
                    keyside,
                    MESSAGES_API,
                    r#"{"messages":[{"channel":"WHATSAPP"}]}"#,
                )
            },
            "/from or",
        ),
        (
            route(&upstream, "twilio", account, lines),
            |keyside: &Keyside, _: &str, _: &str| {
                posted(
                    keyside,
                    "/2010-04-01/Accounts/AC1/Messages.json",
                    "To=whatsapp%3A%2B1",
                )
            },
            "at /From",
        ),
    ] {
        let answer = request(&keyside, "GET", "/v23.0/555");
        let text = answer.text();
        assert_eq!(answer.status, 403, "{text}");
        assert!(text.contains(place), "{place}: {text}");
        assert_eq!(
            text.contains("phone_number_id"),
            place.contains("phone_number_id"),
            "{text}"
        );
    }
}

#[test]
fn check_names_the_operations_that_senders_do_not_bound() {
    let upstream = Upstream::ok();
    for (senders, operations, expected) in [
        ("[\"111\"]", "[\"messages\", \"media\"]", None),
        ("[]", "[\"messages\", \"objects\"]", None),
        (
            "[\"111\"]",
            "[\"messages\", \"objects\", \"templates:read\"]",
            Some("bound objects, templates:read: requests of these operations may name no sender"),
        ),
    ] {
        let setup =
            Setup::new(&upstream).route(&format!("senders = {senders}\noperations = {operations}"));
        let done = setup.finish("check");
        assert_eq!(done.code, Some(0), "{}", done.output);
        let note = done
            .output
            .lines()
            .find(|line| line.contains("`senders` does not bound"));
        match expected {
            Some(expected) => assert!(note.unwrap().contains(expected), "{}", done.output),
            None => assert_eq!(note, None),
        }
    }
}

#[test]
fn explain_judges_the_sender_in_a_query_like_the_sidecar() {
    let upstream = Upstream::ok();
    let account = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
    let lines = "senders = [\"+15550001\"]\noperations = [\"history\"]";
    let keyside = route(&upstream, "twilio", account, lines);
    for (number, code) in [("15550001", 0), ("15559999", 1)] {
        let target = format!("/2010-04-01/Accounts/AC1/Messages.json?From=whatsapp:%2B{number}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .args(["explain", "GET", &target, "--config"])
            .arg(keyside.dir().join("proxy.toml"));
        let done = finish(&mut command, Duration::from_secs(10));
        assert_eq!(done.code, Some(code), "{}", done.output);
        assert_eq!(
            done.output.contains("is not allowed on this route"),
            code == 1
        );
    }
}

#[test]
fn a_recipient_has_its_limit_in_whatever_container() {
    let limits =
        "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nmax_wait = \"1ms\"";
    let listed = r#"{"messages":[{"channel":"WHATSAPP","sender":"1555","destinations":[{"to":"15550003"}]}]}"#;
    for again in [
        r#"{"messages":{"channel":"WHATSAPP","sender":"1555","destinations":[{"to":"15550003"}]}}"#,
        r#"{"messages":[{"channel":"WHATSAPP","sender":"1555","destinations":{"to":"15550003"}}]}"#,
        r#"{"messages":{"channel":"WHATSAPP","sender":"1555","destinations":{"to":"15550003"}}}"#,
    ] {
        let upstream = Upstream::ok();
        let keyside = route(&upstream, "infobip", INFOBIP, limits);
        assert_eq!(posted(&keyside, MESSAGES_API, listed).status, 200);
        let answer = posted(&keyside, MESSAGES_API, again);
        assert_eq!(
            (answer.status, answer.slug()),
            (429, "rate_limited"),
            "{again}"
        );
    }
}

const WATI: &str = "tenant = \"1\"\ntoken = \"file:@DIR@/key\"";

/// A file for a session of WATI's, with more parts before the file.
fn session_file(keyside: &Keyside, query: &str, parts: &str) -> Answer {
    let path = format!("/1/api/v1/sendSessionFile/15550001234{query}");
    let body = format!(
        "{parts}--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nhello\r\n--b--\r\n"
    );
    let kind = "multipart/form-data; boundary=b";
    keyside.send(&with_body("POST", &path, kind, body.as_bytes()))
}

#[test]
fn a_file_goes_out_with_the_sender_in_the_query_alone() {
    let upstream = Upstream::ok();
    let several = "senders = [\"1555\", \"1556\"]";
    let keyside = route(&upstream, "wati", WATI, several);
    let part = "--b\r\nContent-Disposition: form-data; name=\"channelPhoneNumber\"\r\n\r\n1999\r\n";
    for (query, parts, status) in [
        ("?channelPhoneNumber=1555", "", 200),
        ("?caption=x&channelPhoneNumber=1556", "", 200),
        ("?channelPhoneNumber=1999", "", 403),
        ("", "", 403),
        ("?channelPhoneNumber=1555", part, 400),
    ] {
        let answer = session_file(&keyside, query, parts);
        assert_eq!(answer.status, status, "{query} {parts}: {}", answer.text());
    }
    let file = "/api/ext/v3/conversations/messages/file";
    let target =
        "--b\r\nContent-Disposition: form-data; name=\"target\"\r\n\r\n1555:1\r\n--b--\r\n";
    let kind = "multipart/form-data; boundary=b";
    let answer = keyside.send(&with_body("POST", file, kind, target.as_bytes()));
    assert_eq!(
        answer.status,
        400,
        "no sender is read there: {}",
        answer.text()
    );
}

#[test]
fn a_sender_before_the_recipient_has_to_be_allowed() {
    let upstream = Upstream::ok();
    let keyside = route(&upstream, "wati", WATI, "senders = [\"1555\", \"Shop\"]");
    let path = "/api/ext/v3/conversations/messages/text";
    for (body, status) in [
        (r#"{"target":"1555:15550001234","text":"x"}"#, 200),
        (r#"{"target":"Shop:15550001234","text":"x"}"#, 200),
        (r#"{"target":"1999:15550001234","text":"x"}"#, 403),
        (r#"{"target":"15550001234","text":"x"}"#, 403),
        (r#"{"target":"Shop:1999:15550001234","text":"x"}"#, 403),
        (r#"{"target":"1999:2","channel":"1555","text":"x"}"#, 403),
        (r#"{"target":"1555:2","Target":"1999:2","text":"x"}"#, 403),
        (r#"{"target":"1555:2","target":["1999:2"],"text":"x"}"#, 403),
    ] {
        let answer = posted(&keyside, path, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let unnamed = posted(&keyside, path, r#"{"target":"15550001234"}"#);
    assert!(
        unnamed.text().contains("SENDER:RECIPIENT"),
        "{}",
        unnamed.text()
    );
    let limits =
        "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nmax_wait = \"1ms\"";
    let limited = route(&upstream, "wati", WATI, limits);
    for (target, status) in [("1555:2", 200), ("1555:2", 429), ("1555:3", 200)] {
        let answer = posted(&limited, path, &format!(r#"{{"target":"{target}"}}"#));
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
}

/// The channel of a path outweighs every field of the body.
#[test]
fn the_path_of_a_message_may_tell_its_channel() {
    let upstream = Upstream::ok();
    let account = "sid = \"HX1\"\napi_key = \"file:@DIR@/key\"";
    let path = "/v2/HX1/whatsapp/1555/messages";
    let text = r#"{"messaging_object":{"messaging_product":"whatsapp","to":"1","type":"text"}}"#;
    for (channels, status) in [("whatsapp", 200), ("sms", 403)] {
        let lines = format!("channels = [\"{channels}\"]");
        let keyside = route(&upstream, "kaleyra", account, &lines);
        let answer = posted(&keyside, path, text);
        assert_eq!(answer.status, status, "{channels}: {}", answer.text());
        // v1 names its channel in the body, and is a text message without one.
        let answer = posted(
            &keyside,
            "/v1/HX1/messages",
            r#"{"to":"1","messaging_product":"whatsapp"}"#,
        );
        let of_text = if channels == "sms" { 200 } else { 403 };
        assert_eq!(answer.status, of_text, "{channels}: {}", answer.text());
    }
    let limits =
        "[route.limits]\nper_recipient = { rate = \"1/h\", burst = 1 }\nmax_wait = \"1ms\"";
    let keyside = route(&upstream, "kaleyra", account, limits);
    let read = r#"{"messaging_object":{"messaging_product":"whatsapp","status":"read","message_id":"wamid.1"}}"#;
    for (body, status) in [(text, 200), (text, 429), (read, 200), (read, 200)] {
        let answer = posted(&keyside, path, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    // "Mark as read" takes no token of the sender, unless some reader finds a recipient beside.
    let limits = "[route.limits]\nper_sender = \"1/m\"\nmax_wait = \"1ms\"";
    let keyside = route(&upstream, "kaleyra", account, limits);
    let both = |beside: &str| {
        format!(r#"{{"messaging_object":{{"status":"read","message_id":"wamid.1"{beside}}}}}"#)
    };
    for (body, status) in [
        (read.to_owned(), 200),
        (read.to_owned(), 200),
        (text.to_owned(), 200),
        (read.to_owned(), 200),
        (both(r#","to":"1""#), 429),
        (both(r#","To":"1""#), 429),
        (both(r#","to":null"#), 429),
        (both(r#"},"Messaging_Object":{"to":"1""#), 429),
    ] {
        let answer = posted(&keyside, path, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let senders = route(&upstream, "kaleyra", account, "senders = [\"1666\"]");
    assert_eq!(posted(&senders, path, text).slug(), "sender_not_allowed");
}

/// A provider whose paths alone tell the channel.
const BY_PATH: &str = r#"
[provider.test.operations.texts]
kind = "send"
requests = [
  { request = "POST /{v}/texts", channel = "sms" },
  { request = "POST /{v}/signs", channel = "whatsapp" },
]
"#;

#[test]
fn the_channel_of_a_path_counts_without_places_of_channels() {
    let upstream = Upstream::ok();
    for (channels, of_text, of_sign) in [
        ("", 403, 200),
        ("channels = [\"sms\"]", 200, 403),
        ("channels = [\"*\"]", 200, 200),
    ] {
        let keyside = Setup::new(&upstream)
            .provider(BY_PATH)
            .route(&format!("operations = [\"texts\"]\n{channels}"))
            .start();
        for (path, status) in [("/v23.0/texts", of_text), ("/v23.0/signs", of_sign)] {
            let answer = posted(&keyside, path, "{}");
            assert_eq!(
                answer.status,
                status,
                "{channels} {path}: {}",
                answer.text()
            );
        }
    }
}

/// A provider that deletes a template by its name in the path.
const BY_NAME: &str = r#"
[provider.test.operations.templates]
kind = "administration"
requests = [
  "GET /{v}/{id}/message_templates",
  { request = "DELETE /{v}/{id}/message_templates", query = ["name"] },
]
[[provider.test.paths]]
method = "DELETE"
from = "/{v}/{id}/message_templates"
query = "name"
to = "/v1/templates/{name}"
[[provider.test.paths]]
from = "/{v}/{id}/message_templates"
to = "/v1/templates"
"#;

#[test]
fn a_parameter_of_the_query_moves_into_the_path() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .provider(BY_NAME)
        .route("operations = [\"templates\"]")
        .start();
    let path = "/v23.0/102290129340398/message_templates";
    for (query, status) in [
        ("?name=order_1", 200),
        ("?name=order_1&access_token=x", 200),
        ("", 400),
        ("?name=", 400),
        ("?name=..", 400),
        ("?name=a%2Fb", 400),
        ("?name=a&name=b", 400),
        ("?name=a&hsm_id=1", 403),
    ] {
        let answer = asked(&keyside, "DELETE", &format!("{path}{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        if status == 200 {
            assert_eq!(upstream.last().target(), "/v1/templates/order_1");
        }
    }
    assert_eq!(
        asked(&keyside, "GET", &format!("{path}?name=order_1")).status,
        200
    );
    assert_eq!(upstream.last().target(), "/v1/templates?name=order_1");
}

#[test]
fn a_device_of_wassenger_is_the_sender_in_path_query_and_body() {
    let upstream = Upstream::ok();
    let token = "token = \"file:@DIR@/key\"";
    let keyside = route(&upstream, "wassenger", token, "senders = [\"60a1\"]");
    let other = (403, "sender_not_allowed");
    for (query, body, seen) in [
        ("", r#"{"device":"60a1","phone":"+1"}"#, (200, "")),
        ("", r#"{"device":"60b2","phone":"+1"}"#, other),
        (
            "",
            r#"{"device":"60a1","Device":"60b2","phone":"+1"}"#,
            other,
        ),
        (
            "",
            r#"{"device":["60a1","60b2"],"phone":"+1"}"#,
            (400, "bad_request"),
        ),
        // The vendor sends a message without a device from a device of its own choice, and the
        // query does not tell it one.
        ("", r#"{"phone":"+1"}"#, (403, "sender_not_named")),
        (
            "?device=60a1",
            r#"{"phone":"+1"}"#,
            (403, "sender_not_named"),
        ),
        ("?device=60b2", r#"{"device":"60a1","phone":"+1"}"#, other),
    ] {
        upstream.forget();
        let answer = posted(&keyside, &format!("/v1/messages{query}"), body);
        assert_eq!(
            (answer.status, answer.slug()),
            seen,
            "{query} {body}: {}",
            answer.text()
        );
        assert_eq!(
            upstream.heads(),
            usize::from(seen.0 == 200),
            "{query} {body}"
        );
    }
    for (target, status) in [
        ("/v1/chat/60a1/files/f1/download", 200),
        ("/v1/chat/60b2/files/f1/download", 403),
        ("/v1/chat/60a1/files/f1/download?device=60b2", 403),
    ] {
        assert_eq!(asked(&keyside, "GET", target).status, status, "{target}");
    }
}

#[test]
fn an_upload_names_no_foreign_sender_in_json_and_in_parts() {
    let upstream = Upstream::ok();
    let token = "token = \"file:@DIR@/key\"";
    let keyside = route(&upstream, "wassenger", token, "senders = [\"60a1\"]");
    let parts = |name: &str, value: &str| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--b\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nx\r\n--b--\r\n"
        )
    };
    let multipart = "multipart/form-data; boundary=b";
    let own = r#"{"url":"https://example.com/a.png","device":"60a1"}"#;
    for (kind, body, status) in [
        (JSON, own.to_owned(), 200),
        (JSON, own.replace("60a1", "60b2"), 403),
        (
            JSON,
            own.replace("\"device\"", "\"Device\"")
                .replace("60a1", "60b2"),
            403,
        ),
        (
            JSON,
            r#"{"url":"https://example.com/a.png"}"#.to_owned(),
            200,
        ),
        (multipart, parts("reference", "x"), 200),
        (multipart, parts("device", "60b2"), 400),
        (multipart, parts("Device", "60b2"), 400),
    ] {
        upstream.forget();
        let answer = keyside.send(&with_body("POST", "/v1/files", kind, body.as_bytes()));
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        if status == 400 {
            assert!(answer.text().contains("leave the part out"), "{body}");
        }
        if status != 200 {
            assert!(
                !upstream
                    .requests()
                    .iter()
                    .any(|seen| seen.raw.ends_with(b"--b--\r\n"))
            );
        }
    }
    let any = route(&upstream, "wassenger", token, "");
    for (kind, body) in [(JSON, own.to_owned()), (multipart, parts("device", "60b2"))] {
        let answer = any.send(&with_body("POST", "/v1/files", kind, body.as_bytes()));
        assert_eq!(
            answer.status, 200,
            "a route without senders bounds none: {body}"
        );
    }
}

/// A text message names its sender in a field of its own, beside the field of WhatsApp's.
#[test]
fn both_senders_in_a_message_of_kaleyra_are_the_routes() {
    let upstream = Upstream::ok();
    let account = "sid = \"HX1\"\napi_key = \"file:@DIR@/key\"";
    let lines = "senders = [\"1555\"]\nchannels = [\"*\"]";
    let keyside = route(&upstream, "kaleyra", account, lines);
    for (body, status) in [
        (
            r#"{"channel":"whatsapp","from":"1555","to":"1","body":"x"}"#,
            200,
        ),
        (
            r#"{"channel":"whatsapp","from":"1999","to":"1","body":"x"}"#,
            403,
        ),
        (r#"{"sender":"1555","to":"1","body":"x"}"#, 200),
        (r#"{"sender":"ACME","to":"1","body":"x"}"#, 403),
        (
            r#"{"from":"1555","sender":"ACME","to":"1","body":"x"}"#,
            403,
        ),
        ("from=1555&sender=ACME&to=1&body=x", 403),
    ] {
        upstream.forget();
        let answer = posted(&keyside, "/v1/HX1/messages", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert_eq!(upstream.heads(), usize::from(status == 200), "{body}");
    }
}

#[test]
fn each_sender_in_a_body_has_its_own_limits_beside_an_account_in_the_path() {
    let upstream = Upstream::ok();
    let limits = "channels = [\"*\"]\n[route.limits]\nper_sender = \"1/m\"\nmax_wait = \"1ms\"";
    for (preset, account, path, message) in [
        (
            "twilio",
            "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"",
            "/2010-04-01/Accounts/AC1/Messages.json",
            "From=whatsapp%3A%2B@SENDER@&To=whatsapp%3A%2B1666&Body=x",
        ),
        (
            "plivo",
            "auth_id = \"MA1\"\nauth_token = \"file:@DIR@/key\"",
            "/v1/Account/MA1/Message/",
            r#"{"src":"@SENDER@","dst":"1666","type":"whatsapp","text":"x"}"#,
        ),
        (
            "kaleyra",
            "sid = \"HX1\"\napi_key = \"file:@DIR@/key\"",
            "/v1/HX1/messages",
            r#"{"channel":"whatsapp","from":"@SENDER@","to":"1666","body":"x"}"#,
        ),
    ] {
        let keyside = route(&upstream, preset, account, limits);
        for (sender, status) in [("15551", 200), ("15551", 429), ("15552", 200)] {
            let body = message.replace("@SENDER@", sender);
            let answer = posted(&keyside, path, &body);
            let text = answer.text();
            assert_eq!(answer.status, status, "{preset} {sender}: {text}");
        }
    }
}

#[test]
fn head_goes_to_the_path_of_get() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"objects\"]")
        .start();
    for method in ["GET", "HEAD"] {
        let target = "/v23.0/102/message_templates/456";
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = keyside.send(request.as_bytes());
        assert_eq!(answer.status, 200, "{method}");
        let seen = upstream.last().target().to_owned();
        assert_eq!(seen.split('?').next(), Some("/v23.0/456"), "{method}");
    }
}
