//! `keyside events`: what waits on disk is listed, shown, replayed, exported and erased; what is
//! wrong is told.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::client::get;
use crate::support::eventually;
use crate::support::keyside::{Directory, Finished, Keyside, finish};
use crate::support::upstream::{After, Upstream};
use crate::support::webhook::{answering, application, configured, genuine, setup};

const PERSON: &str = "4915112345678";
const OTHER: &str = "4915187654321";

/// A spool in the test's folder.
const SPOOL: &str = "[spool]\ndir = \"@DIR@/spool\"\n";

/// A webhook of one destination, `acme`, at `forward`.
fn spooled_at(forward: &str) -> Keyside {
    configured(&format!("forward = \"{forward}\""), SPOOL).start()
}

/// An address without a listener.
const NOWHERE: &str = "http://127.0.0.1:1/events";

fn spooled(application: &Upstream) -> Keyside {
    spooled_at(&format!("{}/events", application.url()))
}

/// A message of a person, with a text.
fn message(id: &str, from: &str, text: &str) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"106540352242922"}},"messages":[{{"from":"{from}","id":"wamid.{id}","timestamp":"1749416383","type":"text","text":{{"body":"{text}"}}}}]}}}}]}}]}}"#
    )
}

/// A server that takes no TLS, and says so in HTTP as usual servers do.
fn without_tls() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    address
}

fn receive(keyside: &Keyside, id: &str, from: &str, text: &str) {
    let answer = keyside.event(&genuine(message(id, from, text).as_bytes()));
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), keyside.log());
}

fn events(keyside: &Keyside, words: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    let admin = keyside.admin().to_string();
    command.arg("events").args(words).args(["--admin", &admin]);
    finish(&mut command, Duration::from_secs(20))
}

fn must(keyside: &Keyside, words: &[&str]) -> String {
    let done = events(keyside, words);
    assert_eq!(done.code, Some(0), "{words:?}: {}", done.output);
    done.output
}

/// The events of a list, as JSON.
fn listed(keyside: &Keyside, words: &[&str]) -> Vec<Value> {
    let lines = must(keyside, &[&["list", "--json"], words].concat());
    // Standard error is in the text as well.
    let events = lines.lines().filter(|line| line.starts_with('{'));
    events
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn id_of(event: &Value) -> &str {
    event["id"].as_str().unwrap()
}

fn wait_for(keyside: &Keyside, state: &str, count: usize) {
    let list = || listed(keyside, &["--state", state]).len();
    let is_so = eventually(Duration::from_secs(10), || list() == count);
    assert!(is_so, "{} {state}, not {count}\n{}", list(), keyside.log());
}

#[test]
fn events_are_listed_with_their_state_and_numbers_are_masked() {
    let keyside = spooled_at(NOWHERE);
    receive(&keyside, "a", PERSON, "first");
    receive(&keyside, "b", OTHER, "second");
    let table = must(&keyside, &["list"]);
    assert!(table.contains("acme waiting"), "{table}");
    assert!(table.contains("***********78"), "{table}");
    assert!(!table.contains(PERSON), "{table}");
    assert!(must(&keyside, &["list", "--show-numbers"]).contains(PERSON));
    for (words, count) in [
        (&["--state", "waiting"][..], 2),
        (&["--state", "dead"], 0),
        (&["--webhook", "acme", "--to", "acme"], 2),
        (&["--match", "second"], 1),
        (&["--since", "1h"], 2),
        (&["--until", "1h"], 0),
        (&["--since", "2020-01-01T00:00:00Z"], 2),
        (&["--limit", "1"], 1),
        (&["--from", "1"], 1),
    ] {
        assert_eq!(listed(&keyside, words).len(), count, "{words:?}");
    }
    let more = must(&keyside, &["list", "--limit", "1"]);
    assert!(more.contains("add `--from 1`"), "{more}");
}

#[test]
fn an_event_is_shown_as_a_whole_and_an_unknown_id_says_where_to_look() {
    let keyside = spooled_at(NOWHERE);
    receive(&keyside, "a", PERSON, "hello");
    let id = id_of(&listed(&keyside, &[])[0]).to_owned();
    let shown = must(&keyside, &["show", &id]);
    for part in [
        PERSON,
        "hello",
        "x-hub-signature-256: sha256=",
        "acme waiting",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let unknown = events(&keyside, &["show", &"0".repeat(32)]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.output.contains("keyside events list"),
        "{}",
        unknown.output
    );
    let token = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1v";
    let stray = events(&keyside, &["show", token]);
    assert_eq!(stray.code, Some(2));
    assert!(!stray.output.contains(token), "{}", stray.output);
    assert!(
        stray.output.contains("32 hexadecimal digits"),
        "{}",
        stray.output
    );
}

#[test]
fn a_dead_letter_is_replayed_and_a_dry_run_changes_nothing() {
    let poison = Upstream::plain(|request, wire| {
        let is_poison = String::from_utf8_lossy(&request.body).contains("poison");
        let status = if is_poison { 422 } else { 200 };
        wire.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
        After::Keep
    });
    let keyside = spooled(&poison);
    receive(&keyside, "a", PERSON, "fine");
    receive(&keyside, "b", OTHER, "poison");
    wait_for(&keyside, "delivered", 1);
    wait_for(&keyside, "dead", 1);
    let dead = listed(&keyside, &["--state", "dead"]).remove(0);
    assert_eq!(dead["at"][0]["why"], "refused: status 422");
    let status = keyside.problems();
    assert!(status.contains("1 dead letter"), "{status}");
    let dry = must(&keyside, &["replay", "--since", "1h", "--dry-run"]);
    assert!(dry.contains("2 events would be delivered"), "{dry}");
    assert_eq!(listed(&keyside, &["--state", "dead"]).len(), 1);
    let by_id = must(&keyside, &["replay", id_of(&dead)]);
    assert!(by_id.contains("1 delivery of 1 found"), "{by_id}");
    let nothing = events(&keyside, &["replay", "--until", "1h"]);
    assert!(
        nothing.output.contains("nothing to replay"),
        "{}",
        nothing.output
    );
    let unknown = "0".repeat(32);
    let partly = events(&keyside, &["replay", id_of(&dead), &unknown, "--dry-run"]);
    assert_eq!(partly.code, Some(1), "{}", partly.output);
    assert!(
        partly.output.contains("no event has 1 of the ids named"),
        "{}",
        partly.output
    );
    for words in [
        &["show", "zz"][..],
        &["replay", "zz"],
        &["drop", "zz", "--yes"],
    ] {
        let stray = events(&keyside, words);
        assert_eq!(stray.code, Some(2), "{words:?}: {}", stray.output);
        assert!(
            stray.output.contains("32 hexadecimal digits"),
            "{}",
            stray.output
        );
    }
    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_keyside"));
    nowhere.args(["events", "stats", "--admin", "garbage"]);
    let nowhere = finish(&mut nowhere, Duration::from_secs(20));
    assert_eq!(nowhere.code, Some(2), "{}", nowhere.output);
    let all = events(&keyside, &["replay"]);
    assert_eq!(all.code, Some(2));
    assert!(all.output.contains("--since"), "{}", all.output);
    // A variable of a script that is not set.
    for option in ["--match", "--to", "--webhook", "--since", "--user"] {
        let empty = events(&keyside, &["replay", "--state", "dead", option, ""]);
        assert_eq!(empty.code, Some(2), "{option}: {}", empty.output);
        let name = option.trim_start_matches('-');
        let order = format!(
            "POST /events/replay?state=dead&{name}= HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(keyside.ask_admin(order.as_bytes()).status, 400, "{option}");
    }
}

#[test]
fn a_replay_keeps_its_pace() {
    let application = application();
    let keyside = spooled(&application);
    for number in 0..20 {
        receive(&keyside, &number.to_string(), PERSON, "again");
    }
    wait_for(&keyside, "delivered", 20);
    let began = std::time::Instant::now();
    let before = application.arrivals();
    must(&keyside, &["replay", "--since", "1h", "--rate", "10/s"]);
    assert!(
        began.elapsed() >= Duration::from_millis(1700),
        "{:?}",
        began.elapsed()
    );
    let is_there = eventually(Duration::from_secs(10), || {
        application.arrivals() == before + 20
    });
    assert!(is_there, "{}", application.arrivals() - before);
}

#[test]
fn an_export_makes_each_request_again_byte_for_byte() {
    let keyside = spooled_at(NOWHERE);
    let bodies = [
        message("a", PERSON, "caf\\u00e9 \\/"),
        message("b", OTHER, "ü \\n"),
    ];
    for body in &bodies {
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    }
    // A body that is no text.
    let binary = b"\x00\xff\x01";
    assert_eq!(keyside.event(&genuine(binary)).status, 200);
    let lines = must(&keyside, &["export"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["request"]["body"], bodies[0].as_str());
    assert_eq!(lines[1]["request"]["body"], bodies[1].as_str());
    assert_eq!(lines[2]["request"]["body_base64"], "AP8B");
    assert_eq!(lines[0]["request"]["method"], "POST");
    let headers = lines[0]["request"]["headers"].as_array().unwrap();
    let is_signed = headers
        .iter()
        .any(|header| header["name"] == "x-hub-signature-256");
    assert!(is_signed, "{headers:?}");
}

#[test]
fn the_events_of_a_person_are_erased_and_the_audit_file_says_by_whom() {
    let audited = format!("{SPOOL}[audit]\nfile = \"@DIR@/audit.jsonl\"\n");
    let keyside = configured(&format!("forward = \"{NOWHERE}\""), &audited).start();
    receive(&keyside, "a", PERSON, "one");
    receive(&keyside, "b", OTHER, "two");
    receive(&keyside, "c", PERSON, "three");
    for nobody in ["", "+", " "] {
        let refused = events(&keyside, &["drop", "--user", nobody, "--yes"]);
        assert_eq!(refused.code, Some(2), "{nobody:?} {}", refused.output);
        let query = nobody.replace('+', "%2B").replace(' ', "%20");
        let order = format!(
            "POST /events/drop?user={query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            keyside.ask_admin(order.as_bytes()).status,
            400,
            "{nobody:?}"
        );
    }
    // Only a person at a terminal is asked.
    let erased = must(&keyside, &["drop", "--user", "+49 151 1234-5678"]);
    assert!(erased.contains("2 events, 2 items"), "{erased}");
    let left = listed(&keyside, &["--show-numbers"]);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["users"][0], OTHER);
    let by_id = must(&keyside, &["drop", id_of(&left[0]), "--yes"]);
    assert!(by_id.contains("1 event, 1 item"), "{by_id}");
    let again = events(&keyside, &["drop", id_of(&left[0]), "--yes"]);
    assert_eq!(again.code, Some(1));
    let file = keyside.dir().join("audit.jsonl");
    let audit = || std::fs::read_to_string(&file).unwrap();
    assert!(eventually(Duration::from_secs(5), || audit()
        .matches("events_dropped")
        .count()
        == 3));
    let line = audit()
        .lines()
        .find(|line| line.contains("events_dropped"))
        .map(str::to_owned);
    let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
    assert_eq!(
        (&line["events"], &line["items"], &line["user"]),
        (&2.into(), &2.into(), &"***********78".into())
    );
    assert!(
        line["client"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{line}"
    );
    assert!(!audit().contains(PERSON) && !keyside.log().contains(PERSON));
    // An erased event that comes again is new, because its key was erased too.
    receive(&keyside, "a", PERSON, "one");
    assert_eq!(listed(&keyside, &[]).len(), 1);
}

#[test]
fn an_erasure_that_cannot_read_every_event_says_so_and_fails() {
    let sealed = format!(
        "{SPOOL}[audit]\nfile = \"@DIR@/audit.jsonl\"\n[state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/key\"\n"
    );
    let keyside = configured(&format!("forward = \"{NOWHERE}\""), &sealed)
        .file("key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .start();
    receive(&keyside, "a", PERSON, "one");
    let other = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    keyside.dir().write("key", other);
    assert_eq!(keyside.reload().status, 200);
    receive(&keyside, "b", OTHER, "two");
    let erased = events(&keyside, &["drop", "--user", PERSON, "--yes"]);
    assert_eq!(erased.code, Some(1), "{}", erased.output);
    for words in [
        "Erased: 0 events",
        "1 event cannot be read",
        "any of them may be the person's",
        "number 0, arrived 20",
        "`keyside events drop --unreadable`",
    ] {
        assert!(erased.output.contains(words), "{}", erased.output);
    }
    let audit = std::fs::read_to_string(keyside.dir().join("audit.jsonl")).unwrap();
    assert!(audit.contains("\"unreadable\":1"), "{audit}");
    // An id that is found is erased, whatever else cannot be read.
    let list = events(&keyside, &["list", "--json"]);
    let line = list.output.lines().find(|line| line.starts_with('{'));
    let event: Value = serde_json::from_str(line.unwrap()).unwrap();
    must(&keyside, &["drop", id_of(&event), "--yes"]);
    let unknown = events(&keyside, &["drop", &"0".repeat(32), "--yes"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.output.contains("cannot be read"),
        "{}",
        unknown.output
    );
}

#[test]
fn a_destination_in_trouble_is_told_with_what_to_do() {
    let wrong_path = answering(404);
    for (forward, words) in [
        (
            NOWHERE.to_owned(),
            "s: 127.0.0.1:1 cannot be reached: Connection refused (os error 111); start the application, or mend",
        ),
        (
            format!("{}/gone", wrong_path.url()),
            "answers with status 404; mend the path in `forward`",
        ),
        (
            format!("https://{}/", without_tls()),
            "or write http:// in `forward` if it speaks no TLS",
        ),
        (
            "unix:/nowhere/app.sock:/".to_owned(),
            "s: unix:/nowhere/app.sock cannot be reached: No such file",
        ),
    ] {
        let keyside = spooled_at(&forward);
        receive(&keyside, "a", PERSON, "one");
        let problems = || keyside.problems();
        assert!(
            eventually(Duration::from_secs(10), || problems().contains(words)),
            "{}",
            problems()
        );
        assert!(
            problems().contains("webhook acme, destination acme: "),
            "{}",
            problems()
        );
        let ready = keyside.ask_admin(&get("/readyz?webhook=acme"));
        assert_eq!(ready.status, 200, "events are taken: {}", ready.text());
        assert!(ready.text().contains(words), "{}", ready.text());
        assert!(must(&keyside, &["stats"]).contains("Wrong, and what to do:"));
        let labels = ["webhook=\"acme\"", "to=\"acme\""];
        assert!(keyside.metric("keyside_spool_destination_up", &labels) < 0.5);
        let waiting = keyside.metric(
            "keyside_spool_events",
            &["to=\"acme\"", "state=\"waiting\""],
        );
        assert!((waiting - 1.0).abs() < 0.1);
        assert!(keyside.metric("keyside_spool_oldest_seconds", &labels) > 0.0);
        assert!(keyside.metric("keyside_spool_bytes", &[]) > 0.0);
    }
}

#[test]
fn a_spool_that_is_full_is_told_and_so_is_its_end() {
    let small = format!("max_body = \"4KiB\"\n{SPOOL}max_size = \"8KiB\"\n");
    let keyside = configured(&format!("forward = \"{NOWHERE}\""), &small).start();
    let mut refused = false;
    for number in 0..30 {
        let body = message(&number.to_string(), PERSON, "fill");
        refused |= keyside.event(&genuine(body.as_bytes())).status == 503;
    }
    assert!(refused);
    let problems = keyside.problems();
    assert!(problems.contains("`[spool] max_size`"), "{problems}");
    let told =
        || keyside.log().contains("spool: ") && keyside.log().contains("% of `[spool] max_size`");
    assert!(
        eventually(Duration::from_secs(15), told),
        "{}",
        keyside.log()
    );
    must(&keyside, &["drop", "--user", PERSON, "--yes"]);
    let is_over = || keyside.log().contains("spool: this is over");
    assert!(
        eventually(Duration::from_secs(15), is_over),
        "{}",
        keyside.log()
    );
    assert!(!keyside.problems().contains("max_size"));
}

#[test]
fn a_spool_in_memory_is_an_alarm() {
    let memory = Directory::within(Path::new("/dev/shm"));
    let spool = format!("[spool]\ndir = \"{}\"\n", memory.join("spool").display());
    let keyside = configured(&format!("forward = \"{NOWHERE}\""), &spool).start();
    let problems = keyside.problems();
    assert!(problems.contains("lies in memory (tmpfs)"), "{problems}");
    assert!(keyside.metric("keyside_spool_durable", &[]) < 0.5);
}

#[test]
fn a_damaged_file_is_an_alarm_until_it_is_moved_away() {
    let mut keyside = spooled_at(NOWHERE);
    receive(&keyside, "a", PERSON, "one");
    keyside.end(rustix::process::Signal::KILL);
    keyside.dir().write("spool/spool.redb", [0xA5; 100_000]);
    keyside.begin();
    let problems = keyside.problems();
    assert!(
        problems.contains("a damaged file was set aside as"),
        "{problems}"
    );
    for entry in std::fs::read_dir(keyside.dir().join("spool")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("damaged") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(!keyside.problems().contains("damaged"));
}

#[test]
fn without_a_spool_or_a_sidecar_the_message_says_what_to_do() {
    let application = application();
    let keyside = setup(&application).start();
    let done = events(&keyside, &["list"]);
    assert_eq!(done.code, Some(1));
    assert!(done.output.contains("add `[spool]`"), "{}", done.output);
    for words in [&["list"][..], &["replay", "--since", "1h"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command.arg("events").args(words);
        command.args(["--admin", "127.0.0.1:1"]);
        let done = finish(&mut command, Duration::from_secs(10));
        assert_eq!(done.code, Some(1));
        assert!(
            done.output.contains("no sidecar answers") && !done.output.contains("nothing to"),
            "{}",
            done.output
        );
    }
}

#[test]
fn a_span_of_time_that_ends_before_it_begins_is_wrong_usage() {
    let keyside = spooled_at(NOWHERE);
    for command in ["list", "export", "replay"] {
        let done = events(&keyside, &[command, "--since", "2h", "--until", "3h"]);
        assert_eq!(done.code, Some(2), "{command}: {}", done.output);
        assert!(
            done.output.contains("--until is not after --since"),
            "{command}: {}",
            done.output
        );
    }
}

#[test]
fn a_browser_cannot_order_and_a_get_changes_nothing() {
    let keyside = spooled_at(NOWHERE);
    receive(&keyside, "a", PERSON, "one");
    let order = |method: &str, path: &str, more: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{more}\r\n"
        );
        keyside.ask_admin(request.as_bytes()).status
    };
    let erase = format!("/events/drop?user={PERSON}");
    assert_eq!(order("POST", &erase, "Origin: http://localhost\r\n"), 403);
    assert_eq!(order("POST", &erase, "Sec-Fetch-Site: same-site\r\n"), 403);
    assert_eq!(order("GET", &erase, ""), 405);
    assert_eq!(order("GET", "/events/replay?since=0", ""), 405);
    assert_eq!(order("POST", "/events", ""), 405);
    assert_eq!(order("GET", "/events?tokne=1", ""), 400);
    assert_eq!(order("POST", "/events/drop", ""), 400);
    assert_eq!(order("POST", "/events/replay", ""), 400);
    assert_eq!(order("GET", "/events?to=none", ""), 404);
    assert_eq!(listed(&keyside, &[]).len(), 1);
}

#[test]
fn a_replay_to_a_destination_that_is_gone_says_what_to_do() {
    let refusing = answering(422);
    let keyside = spooled(&refusing);
    receive(&keyside, "a", PERSON, "one");
    wait_for(&keyside, "dead", 1);
    let path = keyside.dir().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = format!("forward = \"{}/events\"", refusing.url());
    let other = format!(
        "[[webhook.to]]\nname = \"other\"\nforward = \"{}/\"\n",
        refusing.url()
    );
    std::fs::write(&path, text.replace(&line, &other)).unwrap();
    assert_eq!(keyside.reload().status, 200);
    let problems = keyside.problems();
    assert!(
        problems.contains("configure the destination again"),
        "{problems}"
    );
    let replay = events(&keyside, &["replay", "--state", "dead"]);
    assert_eq!(replay.code, Some(1), "{}", replay.output);
    assert!(
        replay.output.contains("not configured any more"),
        "{}",
        replay.output
    );
}
