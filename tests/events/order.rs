//! The order of events: each conversation strictly in order at each destination, whatever the
//! destination does.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::support::client::Client;
use crate::support::keyside::Setup;
use crate::support::upstream::Request;
use crate::support::webhook::{HOOK, genuine, ids, message, spooled, to};

/// The conversations.
const LANES: usize = 200;
/// The events of each conversation.
const EVENTS: usize = 4;

/// A generator of random numbers, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// The answers of a destination to the first attempts of each event, by chance: about a third of
/// the events meet a failure.
struct Moods {
    random: Mutex<Random>,
    left: Mutex<BTreeMap<String, u32>>,
    taken: Mutex<Vec<String>>,
}

impl Moods {
    fn seeded(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)),
            left: Mutex::default(),
            taken: Mutex::default(),
        })
    }

    /// Answers an event: with a failure, or with 200.
    fn answer(&self, request: &Request, wire: &mut Wire) -> After {
        let id = ids(&request.body).remove(0);
        if id.ends_with("poison") {
            answer(wire, 400, "");
            return After::Keep;
        }
        let failures = {
            let mut left = self.left.lock().unwrap();
            let left = left.entry(id.clone()).or_insert(1);
            std::mem::replace(left, 0)
        };
        let mood = self.random.lock().unwrap().below(30);
        match mood {
            // A failed event waits for a second or less, and its conversation with it.
            0..4 if failures > 0 => answer(wire, 500, ""),
            4..6 if failures > 0 => answer(wire, 503, "Retry-After: 1\r\n"),
            6 if failures > 0 => wire.hang(),
            7..10 if failures > 0 => return After::Reset,
            _ => {
                self.taken.lock().unwrap().push(id);
                answer(wire, 200, "");
            }
        }
        After::Keep
    }

    /// Asserts that each conversation came whole and in order. An event may come twice, the second
    /// time at once.
    #[track_caller]
    fn must_be_in_order(&self, destination: &str) {
        let mut lanes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for id in &*self.taken.lock().unwrap() {
            let (lane, number) = id.split_once('.').unwrap();
            lanes
                .entry(lane.to_owned())
                .or_default()
                .push(number.parse().unwrap());
        }
        assert_eq!(lanes.len(), LANES, "{destination}");
        for (lane, mut numbers) in lanes {
            numbers.dedup();
            let expected: Vec<_> = (0..EVENTS).collect();
            assert_eq!(numbers, expected, "{destination}: conversation {lane}");
        }
    }

    fn has_all(&self) -> bool {
        let taken = self.taken.lock().unwrap();
        let mut ids: Vec<_> = taken.iter().collect();
        ids.sort();
        ids.dedup();
        ids.len() == LANES * EVENTS
    }
}

#[test]
fn each_of_200_conversations_is_in_order_at_each_destination_whatever_it_answers() {
    let moods = [Moods::seeded(7), Moods::seeded(11)];
    let [crm, archive] = moods
        .clone()
        .map(|moods| Upstream::plain(move |request, wire| moods.answer(request, wire)));
    let lines = to("crm", &crm, "lanes = 256") + &to("archive", &archive, "lanes = 64");
    let keyside = spooled(&format!("timeout = \"1s\"\n{lines}")).start();
    let mut client = Client::connect(keyside.inbound()).unwrap();
    for number in 0..EVENTS {
        for lane in 0..LANES {
            let mut send = |id: String| {
                let body = message(&id, &lane.to_string());
                assert_eq!(client.ask(&genuine(body.as_bytes())).unwrap().status, 200);
            };
            // A refused event becomes a dead letter, and the conversation goes on.
            if lane % 50 == 0 && number == 1 {
                send(format!("{lane}.poison"));
            }
            send(format!("{lane}.{number}"));
        }
    }
    for (moods, name) in moods.iter().zip(["crm", "archive"]) {
        let all = eventually(Duration::from_secs(60), || moods.has_all());
        assert!(all, "{name}: {} taken", moods.taken.lock().unwrap().len());
        moods.must_be_in_order(name);
    }
}

/// A webhook of Gupshup, whose URL holds the secret in the place of a signature.
fn of_gupshup(application: &Upstream) -> Setup {
    Setup::at("http://127.0.0.1:1").file("token", "the-token-in-the-url-of-the-webhook").config(&format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
         [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
         [credential.acme]\nprovider = \"gupshup\"\nwebhook_token = \"file:@DIR@/token\"\n\
         [[webhook]]\npath = \"{HOOK}/{{token}}\"\ncredential = \"acme\"\nforward = \"{}/app\"\n\
         [spool]\ndir = \"@DIR@/spool\"\n",
        application.url()
    ))
}

#[test]
fn a_stuck_conversation_of_another_provider_holds_up_no_other_one() {
    let application = Upstream::plain(|request, wire| {
        let is_stuck = request.body.windows(5).any(|five| five == b"stuck");
        answer(wire, if is_stuck { 500 } else { 200 }, "");
        After::Keep
    });
    let keyside = of_gupshup(&application).start();
    let send = |person: &str, text: &str| {
        let body = format!(
            r#"{{"app":"Demo","type":"message","payload":{{"id":"{text}","source":"{person}","type":"text","payload":{{"text":"{text}"}},"sender":{{"phone":"{person}"}}}}}}"#
        );
        let head = format!(
            "POST {HOOK}/the-token-in-the-url-of-the-webhook HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = keyside.event(&[head.as_bytes(), body.as_bytes()].concat());
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    send("16505551234", "stuck");
    send("16505551234", "behind");
    send("16505555678", "free");
    let got = |text: &str| {
        let requests = application.requests();
        let body = |request: &Request| String::from_utf8_lossy(&request.body).into_owned();
        requests.iter().any(|request| body(request).contains(text))
    };
    assert!(eventually(SOON, || got("free")), "{}", keyside.log());
    assert!(!got("behind"), "in order behind the stuck one");
}

#[test]
fn an_event_whose_key_is_lost_holds_up_no_other_and_can_be_erased() {
    let port = crate::support::keyside::free_port();
    let lines = format!(
        "forward = \"http://127.0.0.1:{port}/\"\n[state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/key\""
    );
    let mut keyside = spooled(&lines)
        .file("key", "0123456789abcdef0123456789abcdef")
        .start();
    let send = |keyside: &crate::support::keyside::Keyside, id: &str| {
        let answer = keyside.event(&genuine(message(id, id).as_bytes()));
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    };
    send(&keyside, "lost");
    keyside.end(Signal::TERM);
    keyside
        .dir()
        .write("key", "fedcba9876543210fedcba9876543210");
    keyside.begin();
    let application = Upstream::plain_at(port, |_, wire| {
        answer(wire, 200, "");
        After::Keep
    });
    send(&keyside, "new");
    must_get(&application, &["new"]);
    let events = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_keyside"));
        let admin = keyside.admin().to_string();
        command.arg("events").args(words).args(["--admin", &admin]);
        crate::support::keyside::finish(&mut command, Duration::from_secs(20)).output
    };
    let told = events(&["stats"]);
    assert!(
        told.contains("1 event in the spool cannot be read"),
        "{told}"
    );
    let done = events(&["drop", "--unreadable", "--yes"]);
    assert!(done.contains("Erased: 1 event"), "{done}");
    let told = events(&["stats"]);
    assert!(!told.contains("cannot be read"), "{told}");
    assert_eq!(delivered(&application), ["new"]);
}
