//! Failures of the application, of the process and of the disk: a test for each row of the table of
//! failures.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::support::APP_SECRET;
use crate::support::keyside::{Keyside, free_port};
use crate::support::webhook::{
    HOOK, application, configured, event, genuine, message, signature, spooled, spooled_with,
    status,
};

fn forward(application: &Upstream) -> String {
    format!("forward = \"{}/events\"", application.url())
}

fn ok(_: &crate::support::upstream::Request, wire: &mut Wire) -> After {
    answer(wire, 200, "");
    After::Keep
}

/// Sends events with these messages of one user each; each must be answered 200.
#[track_caller]
fn send(keyside: &Keyside, ids: &[&str]) {
    for id in ids {
        let answer = keyside.event(&genuine(message(id, id).as_bytes()));
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
    }
}

#[test]
fn an_application_that_restarts_gets_what_came_meanwhile() {
    let port = free_port();
    let keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/\"")).start();
    send(&keyside, &["m1", "m2", "m3"]);
    assert!(eventually(SOON, || keyside
        .log()
        .contains("destination is down")));
    let application = Upstream::plain_at(port, ok);
    must_get(&application, &["m1", "m2", "m3"]);
    let attempts: Vec<_> = application
        .requests()
        .iter()
        .map(|request| request.header("keyside-attempt").unwrap())
        .collect();
    assert_eq!(
        attempts,
        ["1", "1", "1"],
        "a refused connection is no attempt"
    );
    let log = keyside.log();
    assert!(log.contains("destination accepts events again"), "{log}");
    assert_eq!(log.matches("destination is down").count(), 1);
    let reason = format!("127.0.0.1:{port} cannot be reached");
    assert!(log.contains(&reason), "{log}");
}

#[test]
fn an_event_past_max_age_becomes_a_dead_letter() {
    let port = free_port();
    let lines = format!("forward = \"http://127.0.0.1:{port}/\"");
    let keyside = spooled_with(&lines, "max_age = \"500ms\"").start();
    send(&keyside, &["old"]);
    std::thread::sleep(Duration::from_millis(700));
    let application = Upstream::plain_at(port, ok);
    let dead = "event becomes a dead letter";
    assert!(eventually(SOON, || keyside.log().contains(dead)));
    send(&keyside, &["new"]);
    must_get(&application, &["new"]);
    assert_eq!(delivered(&application), ["new"]);
}

#[test]
fn an_application_that_did_the_work_and_answered_too_late_gets_the_same_id_again() {
    let late = Upstream::plain(|request, wire| {
        if request.header("keyside-attempt").as_deref() == Some("1") {
            // The answer comes after Keyside has given up: on a busy machine a fixed time might be
            // too short.
            wire.hang();
        }
        answer(wire, 200, "");
        After::Keep
    });
    let lines = format!("{}\ntimeout = \"300ms\"", forward(&late));
    let keyside = spooled(&lines).start();
    send(&keyside, &["m1"]);
    must_arrive(&late, 2);
    let requests = late.requests();
    let id = |at: usize| requests[at].header("keyside-event-id").unwrap();
    assert_eq!(id(0), id(1));
    assert_eq!(requests[1].header("keyside-attempt").unwrap(), "2");
}

#[test]
fn a_poison_event_is_parked_after_three_attempts_and_its_lane_goes_on() {
    let picky = Upstream::plain(|request, wire| {
        let is_poison = request.body.windows(6).any(|six| six == b"poison");
        answer(wire, if is_poison { 400 } else { 200 }, "");
        After::Keep
    });
    let keyside = spooled(&forward(&picky)).start();
    for id in ["poison", "good"] {
        let answer = keyside.event(&genuine(message(id, "1").as_bytes()));
        assert_eq!(answer.status, 200);
    }
    let got = eventually(Duration::from_secs(20), || {
        delivered(&picky).last().is_some_and(|id| id == "good")
    });
    assert!(got, "{:?}", delivered(&picky));
    assert_eq!(delivered(&picky), ["poison", "poison", "poison", "good"]);
    assert!(keyside.log().contains("event is a dead letter"));
}

#[test]
fn a_refused_address_pauses_the_destination_with_what_to_do() {
    let status = Arc::new(AtomicU16::new(404));
    let now = Arc::clone(&status);
    let application = Upstream::plain(move |_, wire| {
        answer(wire, now.load(Ordering::Relaxed), "");
        After::Keep
    });
    let keyside = spooled(&forward(&application)).start();
    send(&keyside, &["m1"]);
    let paused = "answers with status 404; mend the path in `forward`";
    assert!(eventually(SOON, || keyside.log().contains(paused)));
    send(&keyside, &["m2", "m3"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(application.heads(), 1, "nothing goes out but probes");
}

#[test]
fn retry_after_of_429_and_503_is_followed() {
    let application = Upstream::plain(|request, wire| {
        match request.header("keyside-attempt").as_deref() {
            Some("1") => answer(wire, 429, "Retry-After: 1\r\n"),
            Some("2") => answer(wire, 503, "Retry-After: 1\r\n"),
            _ => answer(wire, 200, ""),
        }
        After::Keep
    });
    let keyside = spooled(&forward(&application)).start();
    let began = Instant::now();
    send(&keyside, &["m1"]);
    must_arrive(&application, 3);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[test]
fn what_was_answered_200_is_delivered_after_a_kill() {
    let port = free_port();
    let mut keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/\"")).start();
    send(&keyside, &["m1", "m2"]);
    keyside.end(Signal::KILL);
    let application = Upstream::plain_at(port, ok);
    keyside.begin();
    must_get(&application, &["m1", "m2"]);
    // The provider has not seen the answer, and sends the event again.
    let again = keyside.event(&genuine(message("m1", "m1").as_bytes()));
    assert_eq!(again.status, 200);
    send(&keyside, &["m3"]);
    must_get(&application, &["m3"]);
    assert_eq!(delivered(&application).len(), 3);
}

#[test]
fn a_kill_between_delivery_and_note_repeats_one_event_with_its_id() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let application = Upstream::plain(move |request, wire| {
        sender.lock().unwrap().send(()).unwrap();
        if request.header("keyside-received").is_some() && wire.number() == 1 {
            // The application has done the work, and its answer never arrives.
            wire.hang();
        }
        answer(wire, 200, "");
        After::Keep
    });
    let mut keyside = spooled(&forward(&application)).start();
    send(&keyside, &["m1"]);
    receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    keyside.end(Signal::KILL);
    keyside.begin();
    must_arrive(&application, 2);
    let requests = application.requests();
    assert_eq!(
        requests[0].header("keyside-event-id"),
        requests[1].header("keyside-event-id")
    );
    assert_eq!(requests[0].body, requests[1].body);
}

#[test]
fn a_full_spool_answers_503_and_takes_events_again_when_there_is_room() {
    let port = free_port();
    let lines = format!("forward = \"http://127.0.0.1:{port}/\"");
    let spool = "max_size = \"4MiB\"\nkeep = \"off\"";
    let keyside = spooled_with(&lines, spool).start();
    let large = |number: usize| {
        let mut body = message(&format!("m{number}"), "1");
        body.push_str(&" ".repeat(1 << 20));
        genuine(body.as_bytes())
    };
    let mut stored = 0;
    let refused = loop {
        let answer = keyside.event(&large(stored));
        if answer.status != 200 {
            break answer;
        }
        stored += 1;
    };
    assert_eq!(
        (stored, refused.status, refused.slug()),
        (3, 503, "spool_full")
    );
    assert!(refused.header("retry-after").is_some());
    assert!(keyside.log().contains("[spool] max_size"));
    let application = Upstream::plain_at(port, ok);
    assert!(eventually(SOON, || application.arrivals() == 3));
    assert!(eventually(SOON, || keyside.event(&large(3)).status == 200));
}

#[test]
fn a_full_spool_is_told_for_all_webhooks_together() {
    let nowhere = format!("forward = \"http://127.0.0.1:{}/\"", free_port());
    let second = format!(
        "[[webhook]]\npath = \"/second\"\nname = \"second\"\ncredential = \"acme\"\n{nowhere}"
    );
    let spool = "max_size = \"4MiB\"\nkeep = \"off\"";
    let keyside = spooled_with(&format!("{nowhere}\n{second}"), spool).start();
    let began = Instant::now();
    let large = |id: String| message(&id, "1") + &" ".repeat(1 << 20);
    let is_stored = |number| {
        keyside
            .event(&genuine(large(format!("m{number}")).as_bytes()))
            .status
            == 200
    };
    assert!((0..8).any(|number| !is_stored(number)), "{}", keyside.log());
    for number in 0..15 {
        let body = large(format!("n{number}"));
        let first = genuine(body.as_bytes());
        assert_eq!(keyside.event(&first).status, 503);
        let end = first.len() - body.len();
        let head = String::from_utf8(first[..end].to_vec()).unwrap();
        let second = format!("{}{body}", head.replacen(HOOK, "/second", 1));
        assert_eq!(keyside.event(second.as_bytes()).status, 503);
    }
    let log = keyside.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("event not delivered") && line.contains("spool_full"))
        .count();
    // Ten in each minute that began.
    let most = 10 * (1 + usize::try_from(began.elapsed().as_secs() / 60).unwrap());
    assert!((1..=most).contains(&lines), "{lines} lines: {log}");
}

#[test]
fn delivered_events_go_rather_than_that_a_new_one_is_refused() {
    let application = application();
    let keyside = spooled_with(&forward(&application), "max_size = \"4MiB\"").start();
    for number in 0..12 {
        let mut body = message(&format!("m{number}"), "1");
        body.push_str(&" ".repeat(1 << 20));
        assert_eq!(
            keyside.event(&genuine(body.as_bytes())).status,
            200,
            "{number}"
        );
        assert!(eventually(SOON, || application.arrivals() == number + 1));
    }
    let problems = keyside.problems();
    assert!(problems.contains("made room for new events"), "{problems}");
    assert!(!problems.contains("webhooks get 503"), "{problems}");
}

#[test]
fn a_spool_that_cannot_be_opened_stops_the_start_with_what_to_do() {
    let application = application();
    let first = spooled(&forward(&application)).start();
    let dir = first.dir().path().join("spool");
    let dir = dir.display().to_string();
    let other = configured(
        &format!("{}\n[spool]\ndir = \"{dir}\"\n", forward(&application)),
        "",
    );
    let second = other.finish("run");
    assert_eq!(second.code, Some(78), "{}", second.output);
    assert!(
        second
            .output
            .contains("each sidecar needs a `[spool] dir` of its own"),
        "{}",
        second.output
    );
    let file = spooled(&forward(&application)).file("spool", "no folder");
    let refused = file.finish("run");
    assert_eq!(refused.code, Some(78), "{}", refused.output);
    assert!(
        refused.output.contains("cannot be used as `[spool] dir`"),
        "{}",
        refused.output
    );
}

#[test]
fn a_folder_that_keeps_nothing_is_refused_by_check_and_run() {
    let application = application();
    for folder in ["/proc/spool", "/sys/kernel/spool", "/dev/spool"] {
        for command in ["check", "run"] {
            let spool = format!("{}\n[spool]\ndir = \"{folder}\"\n", forward(&application));
            let refused = configured(&spool, "").finish(command);
            assert_eq!(refused.code, Some(78), "{folder}: {}", refused.output);
            let told = format!("`{folder}` cannot be used as `[spool] dir`: the kernel makes up");
            assert!(refused.output.contains(&told), "{}", refused.output);
        }
    }
}

#[test]
fn a_file_in_the_place_of_the_store_that_is_none_is_refused_by_check_and_run() {
    let application = application();
    let setup = spooled(&forward(&application)).file("spool/spool.redb/inside", "");
    for command in ["check", "run"] {
        let refused = setup.finish(command);
        assert_eq!(refused.code, Some(78), "{}", refused.output);
        let told = "spool.redb` is no regular file: move it away";
        assert!(refused.output.contains(told), "{}", refused.output);
    }
}

/// A sidecar that has delivered an event and was stopped, and the file of its spool.
fn stopped_with_a_spool(application: &Upstream) -> (Keyside, PathBuf) {
    let mut keyside = spooled(&forward(application)).start();
    send(&keyside, &["m1"]);
    must_get(application, &["m1"]);
    keyside.end(Signal::TERM);
    let file = keyside.dir().join("spool/spool.redb");
    (keyside, file)
}

#[test]
fn a_damaged_file_is_set_aside_and_told_and_events_go_on() {
    let application = application();
    let (mut keyside, file) = stopped_with_a_spool(&application);
    std::fs::write(&file, vec![b'x'; 64 * 1024]).unwrap();
    keyside.begin();
    let log = keyside.log();
    let told = "the spool's file is damaged: it is set aside";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    send(&keyside, &["m2"]);
    must_get(&application, &["m2"]);
}

#[test]
fn a_file_of_a_newer_version_stays_as_it_is_and_the_start_is_refused() {
    let application = application();
    let (mut keyside, file) = stopped_with_a_spool(&application);
    let before = std::fs::read(&file).unwrap();
    let mut newer = before.clone();
    // The places of the form in the two heads of a file of redb.
    (newer[64], newer[192]) = (4, 4);
    std::fs::write(&file, &newer).unwrap();
    for command in ["check", "run"] {
        let refused = keyside.setup().finish(command);
        assert_eq!(refused.code, Some(78), "{command}: {}", refused.output);
        let says = "a newer version of Keyside wrote the file";
        assert!(refused.output.contains(says), "{}", refused.output);
        assert_eq!(std::fs::read(&file).unwrap(), newer, "{command}");
    }
    std::fs::write(&file, &before).unwrap();
    keyside.begin();
    send(&keyside, &["m1", "m2"]);
    must_get(&application, &["m1", "m2"]);
    assert_eq!(delivered(&application), ["m1", "m2"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_a_fault_of_the_check_as_of_the_start() {
    let application = application();
    for (dir, code) in [
        ("@DIR@/spool", 0),
        ("@DIR@/not/yet/there", 0),
        ("@DIR@/token", 78),
        ("@DIR@/token/spool", 78),
        ("/dev/null/spool", 78),
    ] {
        let lines = format!("{}\n[spool]\ndir = \"{dir}\"\n", forward(&application));
        let setup = configured(&lines, "");
        let checked = setup.finish("check");
        assert_eq!(checked.code, Some(code), "{dir}: {}", checked.output);
        let is_told = checked.output.contains("spool.dir: ");
        assert_eq!(is_told, code != 0, "{dir}: {}", checked.output);
        assert!(!setup.dir().join("spool").exists(), "made");
        if code != 0 {
            let run = setup.finish("run");
            assert_eq!(run.code, Some(code), "{dir}: {}", run.output);
        }
    }
}

#[test]
fn the_file_is_for_the_user_alone_and_sealed_with_the_key_of_the_state() {
    let port = free_port();
    let lines = format!("forward = \"http://127.0.0.1:{port}/\"");
    let more = "[state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/key\"\n";
    let key = "0123456789abcdef0123456789abcdef";
    let setup = spooled_with(&lines, more).file("key", key);
    let mut keyside = setup.start();
    send(&keyside, &["wamid.SEALED"]);
    let file = keyside.dir().join("spool/spool.redb");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    keyside.end(Signal::TERM);
    let bytes = std::fs::read(&file).unwrap();
    assert!(!crate::support::contains(&bytes, b"wamid.SEALED"));
    // Without its key no event is written in clear, and none is lost.
    std::fs::remove_file(keyside.dir().join("key")).unwrap();
    keyside.begin();
    let refused = keyside.event(&genuine(message("m2", "1").as_bytes()));
    assert_eq!((refused.status, refused.slug()), (503, "spool_unavailable"));
    let application = Upstream::plain_at(port, ok);
    keyside.dir().write("key", key);
    assert_eq!(keyside.reload().status, 200);
    must_get(&application, &["wamid.SEALED"]);
    send(&keyside, &["m2"]);
}

#[test]
fn a_stop_finishes_what_is_under_way_and_gives_back_the_rest() {
    let application = Upstream::plain(|_, wire| {
        wire.wait(Duration::from_millis(300));
        answer(wire, 200, "");
        After::Keep
    });
    let mut keyside = spooled(&forward(&application)).start();
    for number in 0..5 {
        let body = message(&format!("m{number}"), "1");
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    }
    must_arrive(&application, 1);
    keyside.end(Signal::TERM);
    let before = application.arrivals();
    assert!(before < 5, "one at a time: {before}");
    keyside.begin();
    assert!(eventually(SOON, || application.arrivals() == 5));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(delivered(&application), ["m0", "m1", "m2", "m3", "m4"]);
}

#[test]
fn the_handshake_and_a_reply_need_no_spool() {
    let application = Upstream::plain(|_, wire| {
        wire.write(b"HTTP/1.1 202 X\r\nContent-Length: 5\r\n\r\nreply");
        After::Keep
    });
    let keyside = spooled(&format!("{}\nreply = true", forward(&application))).start();
    let answer = keyside.event(&genuine(b"{}"));
    assert_eq!((answer.status, answer.text().as_str()), (202, "reply"));
    let challenge = format!(
        "{}?hub.mode=subscribe&hub.challenge=1&hub.verify_token={}",
        HOOK,
        crate::support::webhook::VERIFY_TOKEN
    );
    assert_eq!(keyside.event(&get(&challenge)).text(), "1");
}

#[test]
fn concurrent_repeats_are_stored_once() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let request = genuine(status("s1", "read", "1").as_bytes());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(keyside.event(&request).status, 200));
        }
    });
    send(&keyside, &["last"]);
    must_get(&application, &["s1", "last"]);
    assert_eq!(application.arrivals(), 2);
}

#[test]
fn a_backlog_of_a_long_outage_is_drained_in_order_after_restarts_of_both() {
    let port = free_port();
    let mut keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/\"")).start();
    let mut client = crate::support::client::Client::connect(keyside.inbound()).unwrap();
    for number in 0..300 {
        let body = message(
            &format!("{}.{}", number % 10, number / 10),
            &(number % 10).to_string(),
        );
        assert_eq!(client.ask(&genuine(body.as_bytes())).unwrap().status, 200);
    }
    drop(client);
    keyside.end(Signal::TERM);
    keyside.begin();
    let application = Upstream::plain_at(port, ok);
    assert!(eventually(Duration::from_secs(20), || application
        .arrivals()
        == 300));
    let order = delivered(&application);
    for user in 0..10 {
        let of_user = order
            .iter()
            .filter_map(|id| id.strip_prefix(&format!("{user}.")));
        let expected: Vec<_> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!(of_user.collect::<Vec<_>>(), expected, "user {user}");
    }
}

#[test]
fn events_of_a_wrong_secret_are_refused_and_pass_once_the_secret_is_right() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let body = message("m1", "1");
    let signature = signature("new_app_secret", body.as_bytes());
    let request = event(&[&signature], body.as_bytes());
    assert_eq!(keyside.event(&request).status, 401);
    keyside.dir().write("app_secret", "new_app_secret");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.event(&request).status, 200);
    must_get(&application, &["m1"]);
}

#[test]
fn an_event_over_max_body_is_refused_and_told() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let large = vec![b' '; (4 << 20) + 1];
    let mut client = crate::support::client::Client::connect(keyside.inbound()).unwrap();
    client.send(&genuine(&large));
    assert_eq!(client.answer().unwrap().status, 413);
    drop(client);
    assert!(
        keyside.log().contains("body_too_large"),
        "{}",
        keyside.log()
    );
}

#[test]
fn a_proxy_that_writes_events_anew_is_told_from_a_wrong_secret() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let sent = message("m1", "1").replace("\"m1\"", "\"caf\\u00e9\\/1\"");
    let signature = signature(APP_SECRET, sent.as_bytes());
    let value: serde_json::Value = serde_json::from_str(&sent).unwrap();
    assert!(value.to_string().contains("café/1"), "{value}");
    let anew = sent.replace("\\u00e9\\/", "é/").replace("\":", "\": ");
    assert_ne!(anew, sent);
    let cause = "something before this listener reads the event and writes it anew";
    for (signature, told) in [
        (self::signature("another secret", sent.as_bytes()), 0),
        (signature.clone(), 1),
    ] {
        let answer = keyside.event(&event(&[&signature], anew.as_bytes()));
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(!answer.text().contains(cause), "{}", answer.text());
        let log = keyside.log();
        assert_eq!(log.matches(cause).count(), told, "{log}");
    }
    let untouched = keyside.event(&event(&[&signature], sent.as_bytes()));
    assert_eq!(untouched.status, 200, "{}", untouched.text());
    must_arrive(&application, 1);
}
