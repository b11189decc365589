//! Requests that are sent without waiting for the answer before, in one packet or cut anywhere.

use std::time::Duration;

use super::{echo, keyside_and_upstream};
use crate::support::MESSAGES;
use crate::support::client::{get, post, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;

/// A target that leaves encoded: the bytes of the line have to be seen, wherever they come.
const QUOTED: &str = "/v23.0/1234567890/message_templates?name=\"a\"&b=<c>`d";
const ENCODED: &str = "/v23.0/1234567890/message_templates?name=%22a%22&b=%3Cc%3E%60d";

fn keyside_with_templates(upstream: &Upstream) -> Keyside {
    Setup::new(upstream)
        .route("operations = [\"messages\", \"media\", \"templates\"]")
        .start()
}

/// The targets that the answers to these pieces name, one for each request.
fn asked(keyside: &Keyside, pieces: &[&[u8]], requests: usize) -> Vec<String> {
    let mut client = keyside.connect();
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            // Long enough for the piece before to be read by itself, on most runs.
            std::thread::sleep(Duration::from_millis(1));
        }
        client.send(piece);
    }
    let next = |_| match client.answer() {
        Ok(answer) if answer.status == 200 => answer.json()["asked"].as_str().unwrap().to_owned(),
        other => format!("{other:?}"),
    };
    (0..requests).map(next).collect()
}

#[test]
fn a_request_behind_another_in_one_packet_is_read_as_if_it_came_alone() {
    let upstream = Upstream::answering(echo);
    let keyside = keyside_with_templates(&upstream);
    let form = with_body(
        "POST",
        MESSAGES,
        "application/x-www-form-urlencoded",
        b"to=1",
    );
    let chunked = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    let short = get("/v23.0/1234567890");
    for first in [
        get("/v23.0/1234567890"),
        post(MESSAGES, "{}"),
        post(MESSAGES, "{\"text\":\" HTTP/1.1\"}"),
        post(
            MESSAGES,
            &format!("{{\"text\":\"{}\"}}", "a".repeat(20_000)),
        ),
        form,
    ] {
        let target = String::from_utf8_lossy(&first)
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned();
        let all = [&first, get(QUOTED).as_slice(), &first, &get(QUOTED)].concat();
        assert_eq!(
            asked(&keyside, &[&all], 4),
            [&target, ENCODED, &target, ENCODED]
        );
    }
    let all = [chunked.as_bytes(), &short].concat();
    assert_eq!(asked(&keyside, &[&all], 2), [MESSAGES, "/v23.0/1234567890"]);
}

#[test]
fn two_requests_cut_at_any_byte_are_both_read() {
    let upstream = Upstream::answering(echo);
    let keyside = keyside_with_templates(&upstream);
    let both = [post(MESSAGES, "{\"to\":\"1\"}"), get(QUOTED)].concat();
    for at in 1..both.len() {
        let (first, second) = both.split_at(at);
        let named = asked(&keyside, &[first, second], 2);
        assert_eq!(named, [MESSAGES, ENCODED], "cut at {at}");
    }
    let bodies: Vec<_> = upstream
        .requests()
        .iter()
        .map(|one| one.body.len())
        .collect();
    assert_eq!(bodies, [10, 0].repeat(both.len() - 1));
}

#[test]
fn a_fragment_is_refused_behind_another_request_as_well() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut client = keyside.connect();
    client.send(&[post(MESSAGES, "{}"), get("/v23.0/1234567890#a")].concat());
    assert_eq!(client.answer().unwrap().status, 200);
    let refused = client.answer().unwrap();
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_request_that_waits_behind_a_slow_answer_is_not_lost() {
    let upstream = Upstream::answering(|request| {
        if request.target() == MESSAGES {
            std::thread::sleep(Duration::from_millis(300));
        }
        echo(request)
    });
    let keyside = keyside_with_templates(&upstream);
    let mut client = keyside.connect();
    client.send(&post(MESSAGES, "{}"));
    std::thread::sleep(Duration::from_millis(50));
    client.send(&get(QUOTED));
    client.half_close();
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().json()["asked"], ENCODED);
}
