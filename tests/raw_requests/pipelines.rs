//! Requests that are sent without waiting for the answer before, in one packet or cut anywhere.

use std::time::Duration;

use super::keyside_and_upstream;
use crate::support::MESSAGES;
use crate::support::client::{get, post};
use crate::support::keyside::Keyside;

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
fn two_requests_cut_at_any_byte_are_both_read() {
    let (keyside, upstream) = keyside_and_upstream();
    let both = [post(MESSAGES, "{\"to\":\"1\"}"), get("/v23.0/1234567890")].concat();
    for at in 1..both.len() {
        let (first, second) = both.split_at(at);
        let named = asked(&keyside, &[first, second], 2);
        assert_eq!(named, [MESSAGES, "/v23.0/1234567890"], "cut at {at}");
    }
    let bodies: Vec<_> = upstream
        .requests()
        .iter()
        .map(|one| one.body.len())
        .collect();
    assert_eq!(bodies, [10, 0].repeat(both.len() - 1));
}

#[test]
fn a_request_behind_a_chunked_body_in_one_packet_is_read() {
    let (keyside, _upstream) = keyside_and_upstream();
    let chunked = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    let all = [chunked.as_bytes(), &get("/v23.0/1234567890")].concat();
    assert_eq!(asked(&keyside, &[&all], 2), [MESSAGES, "/v23.0/1234567890"]);
}

#[test]
fn quotes_in_the_targets_of_requests_in_one_packet_are_encoded() {
    let (keyside, _upstream) = keyside_and_upstream();
    let target = "/whatsapp_business/attachments/?mid=\"1\"";
    let encoded = "/whatsapp_business/attachments/?mid=%221%22";
    let all = [
        get(target),
        get(target),
        get("/v23.0/1234567890"),
        get(target),
    ]
    .concat();
    let named = asked(&keyside, &[&all], 4);
    assert_eq!(named, [encoded, encoded, "/v23.0/1234567890", encoded]);
    // The end of a body is known to the parser of requests alone: a request behind a body passes as
    // it is.
    let posted = [post(MESSAGES, "{\"to\":\"1\"}"), get("/v23.0/1234567890")].concat();
    assert_eq!(
        asked(&keyside, &[&posted], 2),
        [MESSAGES, "/v23.0/1234567890"]
    );
}
