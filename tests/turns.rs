//! Turns: the order of requests over a limit.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client::{Answer, Client, get, post};
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{Upstream, json};
use crate::support::webhook::{HOOK, application, genuine};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

fn text_to(recipient: &str) -> String {
    format!(
        r#"{{"messaging_product":"whatsapp","to":"{recipient}","type":"text","text":{{"body":"x"}}}}"#
    )
}

/// A message with more lines in its head.
fn message(lines: &str, body: &str) -> Vec<u8> {
    let plain = String::from_utf8(post(MESSAGES, body)).unwrap();
    plain
        .replacen("\r\n", &format!("\r\n{lines}"), 1)
        .into_bytes()
}

fn send(keyside: &Keyside, request: &[u8]) -> Answer {
    Client::connect(keyside.outbound())
        .unwrap()
        .patience(Duration::from_secs(30))
        .ask(request)
        .unwrap()
}

/// Time of a request in the queue, by the answer.
fn queued(answer: &Answer) -> Duration {
    let timing = answer.header("server-timing").unwrap();
    let millis: f64 = timing
        .split("queue;dur=")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    Duration::from_secs_f64(millis / 1000.0)
}

#[test]
fn one_time_passwords_pass_a_flood_of_marketing() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"80/s\"\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"60s\"\nmax_queue = 2000")
        .start();
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..1000 {
            scope.spawn(|| {
                let answer = send(
                    &keyside,
                    &message("Priority: u=6\r\n", &text_to("15550001234")),
                );
                assert_eq!(answer.status, 200, "{}", answer.text());
                sent.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert!(eventually(Duration::from_secs(10), || {
            keyside.status()["routes"][0]["limit"]["waiting"].as_u64() > Some(300)
        }));
        let mut waits: Vec<_> = (0..20)
            .map(|_| {
                thread::sleep(Duration::from_millis(50));
                queued(&send(
                    &keyside,
                    &message("Priority: u=0\r\n", &text_to("15550005678")),
                ))
            })
            .collect();
        waits.sort();
        assert!(
            sent.load(Ordering::Relaxed) < 950,
            "the flood was still there"
        );
        assert!(
            waits[19] < crate::support::stretched(Duration::from_millis(100)),
            "{waits:?}"
        );
    });
    assert_eq!(sent.into_inner(), 1000, "and nothing of it was lost");
}

#[test]
fn a_greedy_application_leaves_a_modest_one_its_half() {
    let upstream = Upstream::ok();
    let limits = "per_sender = \"20/s\"\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"30s\"";
    let keyside = Setup::new(&upstream).limits(limits).start();
    let is_over = AtomicUsize::new(0);
    let served = [AtomicUsize::new(0), AtomicUsize::new(0)];
    // One of them asks forty at a time, the other two.
    thread::scope(|scope| {
        for caller in 0..42_usize {
            let (who, keyside, served, is_over) =
                (usize::from(caller >= 40), &keyside, &served, &is_over);
            scope.spawn(move || {
                let from = Ipv4Addr::new(127, 0, 0, if who == 0 { 2 } else { 3 });
                let mut client = Client::connect_from(from.into(), keyside.outbound()).unwrap();
                while is_over.load(Ordering::Relaxed) == 0 {
                    assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
                    served[who].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(Duration::from_millis(1500));
        served
            .iter()
            .for_each(|count| count.store(0, Ordering::Relaxed));
        thread::sleep(Duration::from_secs(3));
        let [greedy, modest] = [&served[0], &served[1]].map(|count| count.load(Ordering::Relaxed));
        is_over.store(1, Ordering::Relaxed);
        assert!(
            greedy + modest > 50 && modest.abs_diff(greedy) < 15,
            "{greedy} and {modest}"
        );
    });
}

#[test]
fn a_message_never_waits_for_another_recipient() {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &["--pair-limit"]);
    let keyside = Setup::at(&sandbox.url())
        .limits("per_sender = \"100000/s\"\nper_recipient = { rate = \"1/6s\", burst = 45 }\nmax_wait = \"1s\"")
        .start();
    let path = MESSAGES.replace("1234567890", "106540352242922");
    let (mut refused, mut longest) = (0, Duration::ZERO);
    let began = Instant::now();
    let mut client = Client::connect(keyside.outbound()).unwrap();
    // The first message is to the busy recipient. It waits for a connection to the provider, whose
    // count begins late.
    for number in 0..5000 {
        if number % 80 == 0 {
            let answer = send(&keyside, &post(&path, &text_to("+1 (555) 000-9999")));
            if answer.status == 429 {
                assert_eq!(answer.json()["error"]["code"], 131_056, "{}", answer.text());
                assert!(
                    answer
                        .header("retry-after")
                        .unwrap()
                        .parse::<u64>()
                        .unwrap()
                        <= 6
                );
                refused += 1;
            }
        }
        let answer = client
            .ask(&post(&path, &text_to(&format!("4917{number:07}"))))
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        longest = longest.max(queued(&answer));
    }
    assert!(
        longest < crate::support::stretched(Duration::from_millis(20)),
        "{longest:?}"
    );
    // 63 messages meet a burst of 45 and a token every 6 seconds, within `max_wait` of a second.
    let tokens = 45 + (began.elapsed().as_secs() + 1) / 6;
    assert!(
        (63_u64.saturating_sub(tokens)..=18).contains(&(refused as u64)),
        "{refused} of 63 were refused"
    );
    let accepted = sandbox
        .ask("GET", "sends", &Value::Null)
        .as_array()
        .unwrap()
        .len();
    assert_eq!(
        accepted,
        5000 + 63 - refused,
        "the provider never had to refuse"
    );
}

#[test]
fn administration_has_a_limit_of_its_own() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"messages\", \"templates\"]\n")
        .limits("management = \"3/h\"\nmax_wait = \"100ms\"")
        .start();
    let templates = get("/v23.0/102290129340398/message_templates");
    for _ in 0..3 {
        assert_eq!(keyside.send(&templates).status, 200);
    }
    let refused = keyside.send(&templates);
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (429, &Value::from(80_007))
    );
    let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let limit = refused.header("ratelimit").unwrap();
    assert_eq!(limit, format!("\"account\";r=0;t={retry_after}"));
    assert!(refused.header("ratelimit-policy").is_some());
    assert!((1100..=1200).contains(&retry_after), "{retry_after}");
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "messages are not concerned"
    );
    assert_eq!(
        keyside.metric("keyside_limited_total", &["limit=\"account\""]),
        1.0
    );
}

#[test]
fn an_application_that_hangs_up_leaves_the_queue() {
    leaves_the_queue(&post(MESSAGES, "{}"));
}

#[test]
fn an_application_that_hangs_up_leaves_the_queue_with_all_its_pipelined_messages() {
    leaves_the_queue(&post(MESSAGES, "{}").repeat(3));
}

fn leaves_the_queue(requests: &[u8]) {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"1/2s\"\nmax_wait = \"30s\"\nmax_queue = 5")
        .start();
    let waiting = || {
        keyside.status()["routes"][0]["limit"]["waiting"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let gone: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Client::connect(keyside.outbound()).unwrap();
            assert!(client.send(requests));
            client
        })
        .collect();
    assert!(eventually(Duration::from_secs(1), || waiting() == 5));
    let began = Instant::now();
    drop(gone);
    assert!(
        eventually(Duration::from_secs(1), || waiting() == 0),
        "{} wait",
        waiting()
    );
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(
        began.elapsed() < crate::support::stretched(Duration::from_millis(2200)),
        "nobody stands before it"
    );
    assert_eq!(upstream.arrivals(), 2);
}

#[test]
fn an_application_that_shuts_down_its_side_still_gets_its_answer() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_millis(300));
        json("{}")
    });
    let keyside = Keyside::start(&upstream);
    let mut client = Client::connect(keyside.outbound()).unwrap();
    assert!(client.send(&post(MESSAGES, "{}")));
    assert!(eventually(Duration::from_secs(1), || upstream.arrivals() == 1));
    client.half_close();
    assert_eq!(client.answer().unwrap().status, 200);
}

/// A peer of HTTP/1.0 cannot be asked whether it is there: a proxy that closes for a client that is
/// gone looks alike.
#[test]
fn no_message_of_an_http_1_0_caller_that_closed_goes_out_later() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"1/2s\"")
        .start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let request = String::from_utf8(post(MESSAGES, "{}")).unwrap();
    let request = request.replace("HTTP/1.1", "HTTP/1.0");
    for half in [true, false] {
        let mut client = Client::connect(keyside.outbound()).unwrap();
        assert!(client.send(request.as_bytes()));
        if half {
            client.half_close();
            assert!(client.answer().is_err());
        }
    }
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(upstream.arrivals(), 1);
}

#[test]
fn messages_that_come_in_count_like_those_that_go_out() {
    let (upstream, application) = (Upstream::ok(), application());
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .limits("per_sender = \"10/s\"\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"5s\"")
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\n",
            application.url()
        ))
        .start();
    let event = |number: &str, count: usize| {
        let message = |at| format!(r#"{{"from":"15550001234","id":"wamid.{number}.{at}"}}"#);
        let messages: Vec<_> = (0..count).map(message).collect();
        let messages = messages.join(",");
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"1","phone_number_id":"{number}"}},"messages":[{messages}]}}}}]}}]}}"#
        )
    };
    assert_eq!(
        keyside
            .event(&genuine(event("9876543210", 50).as_bytes()))
            .status,
        200
    );
    assert!(
        queued(&keyside.post(MESSAGES, "{}")).is_zero(),
        "that was another number"
    );
    // Nine are left in the burst of ten, and eleven take the next 1.1 seconds.
    assert_eq!(
        keyside
            .event(&genuine(event("1234567890", 20).as_bytes()))
            .status,
        200
    );
    let waited = queued(&keyside.post(MESSAGES, "{}"));
    assert!(
        waited.as_millis() >= 900
            && waited < crate::support::stretched(Duration::from_millis(1500)),
        "{waited:?}"
    );
}
