//! Ends of the process and of its volume, at moments that the other failures leave out.

use std::time::Instant;

use super::*;
use crate::support::client::Client;
use crate::support::keyside::free_port;
use crate::support::stretched;
use crate::support::webhook::{genuine, message, spooled};

fn ok(_: &crate::support::upstream::Request, wire: &mut Wire) -> After {
    answer(wire, 200, "");
    After::Keep
}

#[test]
fn a_kill_before_the_event_is_on_disk_promises_nothing_and_the_repeat_is_taken() {
    let application = Upstream::plain(ok);
    let forward = format!("forward = \"{}/\"", application.url());
    let mut keyside = spooled(&forward).start();
    let request = genuine(message("m1", "1").as_bytes());
    let mut client = Client::connect(keyside.inbound()).unwrap();
    // The last byte never comes, so nothing of the event is on disk.
    client.send(&request[..request.len() - 1]);
    keyside.end(Signal::KILL);
    assert!(client.answer().is_err());
    keyside.begin();
    assert_eq!(application.arrivals(), 0);
    assert_eq!(keyside.event(&request).status, 200);
    must_get(&application, &["m1"]);
}

#[test]
fn a_start_after_a_kill_is_quick_however_much_waits() {
    let port = free_port();
    let mut keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/\"")).start();
    let mut client = Client::connect(keyside.inbound()).unwrap();
    for number in 0..90 {
        let mut body = message(&format!("m{number}"), &number.to_string());
        body.push_str(&" ".repeat(1 << 20));
        assert_eq!(client.ask(&genuine(body.as_bytes())).unwrap().status, 200);
    }
    drop(client);
    keyside.end(Signal::KILL);
    let began = Instant::now();
    keyside.begin();
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(2)), "{took:?}");
    let application = Upstream::plain_at(port, ok);
    let all = eventually(Duration::from_secs(30), || application.arrivals() == 90);
    assert!(all, "{} arrived", application.arrivals());
}

#[test]
fn a_folder_removed_while_it_runs_loses_nothing_that_was_answered() {
    let port = free_port();
    let mut keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/\"")).start();
    let before = genuine(message("before", "1").as_bytes());
    assert_eq!(keyside.event(&before).status, 200);
    std::fs::remove_dir_all(keyside.dir().join("spool")).unwrap();
    let after = genuine(message("after", "2").as_bytes());
    assert_eq!(keyside.event(&after).status, 503);
    let is_told = || keyside.log().contains("was removed or moved");
    assert!(eventually(Duration::from_secs(10), is_told));
    let taken = || keyside.event(&after).status == 200;
    assert!(eventually(Duration::from_secs(10), taken));
    keyside.end(Signal::KILL);
    keyside.begin();
    let application = Upstream::plain_at(port, ok);
    must_get(&application, &["after", "before"]);
}

#[test]
fn a_volume_that_is_gone_takes_along_what_waited_and_new_events_are_taken() {
    let port = free_port();
    let mut keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/\"")).start();
    let lost = genuine(message("lost", "1").as_bytes());
    assert_eq!(keyside.event(&lost).status, 200);
    keyside.end(Signal::TERM);
    std::fs::remove_dir_all(keyside.dir().join("spool")).unwrap();
    keyside.begin();
    let application = Upstream::plain_at(port, ok);
    let new = genuine(message("new", "1").as_bytes());
    assert_eq!(keyside.event(&new).status, 200);
    must_get(&application, &["new"]);
    assert_eq!(delivered(&application), ["new"]);
}
