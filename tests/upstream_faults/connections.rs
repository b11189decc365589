//! Connections that die, end early or carry more than an answer.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::support::client::{NoAnswer, get, post, upload};
use crate::support::keyside::Keyside;
use crate::support::upstream::{After, Request, Upstream, Wire, answer, json};
use crate::support::{MEDIA, MESSAGES, contains, eventually, noise, shown};

#[test]
fn a_media_download_that_breaks_off_is_seen_to_break_off() {
    for after in [After::Cut, After::Reset] {
        let upstream = Upstream::scripted(move |_, wire| {
            wire.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 1000000\r\n\r\n",
            );
            wire.write(&noise(300_000));
            thread::sleep(Duration::from_millis(50));
            after
        });
        let keyside = Keyside::start(&upstream);
        let outcome = keyside.ask(&get("/whatsapp_business/attachments/?mid=1"));
        assert!(
            matches!(outcome, Err(NoAnswer::Cut(_))),
            "{after:?}: {:?}",
            outcome.map(|answer| answer.status)
        );
    }
}

#[test]
fn a_short_download_that_breaks_off_at_once_has_its_head_and_its_bytes() {
    let upstream = Upstream::scripted(move |_, wire| {
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nabc");
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    for _ in 0..20 {
        let outcome = keyside.ask(&get("/whatsapp_business/attachments/?mid=1"));
        let Err(NoAnswer::Cut(received)) = outcome else {
            panic!("{:?}", outcome.map(|answer| answer.status));
        };
        assert_eq!(shown(&received), "abc");
    }
}

#[test]
fn a_chunked_download_that_breaks_off_is_seen_to_break_off() {
    for after in [After::Close, After::Cut, After::Reset] {
        let upstream = Upstream::scripted(move |_, wire| {
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n");
            wire.write(
                &[
                    format!("{:x}\r\n", 300_000).into_bytes(),
                    noise(300_000),
                    b"\r\n".to_vec(),
                ]
                .concat(),
            );
            thread::sleep(Duration::from_millis(50));
            after
        });
        let keyside = Keyside::start(&upstream);
        let outcome = keyside.ask(&get("/whatsapp_business/attachments/?mid=1"));
        assert!(
            matches!(outcome, Err(NoAnswer::Cut(_))),
            "{after:?}: {:?}",
            outcome.map(|answer| answer.status)
        );
    }
}

#[test]
fn bytes_after_an_answer_are_never_the_next_answer() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.header("x-extra").is_some() {
            wire.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!",
            );
        } else {
            wire.write(&answer("200 OK", &[], b"ok"));
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let extra = format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Extra: 1\r\n\r\n");
    let mut client = keyside.connect();
    for round in 0..200 {
        for request in [extra.as_bytes(), &get(MEDIA)] {
            let answer = client
                .ask(request)
                .unwrap_or_else(|why| panic!("round {round}: {why:?}"));
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "round {round}"
            );
        }
    }
}

#[test]
fn bytes_that_come_late_after_an_answer_are_never_the_next_answer() {
    let upstream = Upstream::scripted(|request, wire| {
        wire.write(&answer("200 OK", &[], b"ok"));
        if request.header("x-extra").is_some() {
            thread::sleep(Duration::from_millis(100));
            wire.write(&answer("200 OK", &[], b"EVIL!"));
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    for wait in [150, 200, 300] {
        let answer = keyside.send(
            format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Extra: 1\r\n\r\n").as_bytes(),
        );
        assert_eq!(answer.text(), "ok");
        thread::sleep(Duration::from_millis(wait));
        let answer = keyside.get(MEDIA);
        assert!(
            !contains(&answer.body, b"EVIL"),
            "after {wait} ms: {answer:?}"
        );
    }
}

#[test]
fn a_post_on_a_connection_that_dies_under_it_is_sent_once() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.method() == "POST" {
            return if request.header("x-reset").is_some() {
                After::Reset
            } else {
                After::Cut
            };
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    let mut reused = 0;
    for round in 0..200 {
        upstream.forget();
        assert_eq!(client.ask(&get(MEDIA)).unwrap().status, 200);
        let reset = if round % 2 == 0 { "X-Reset: 1\r\n" } else { "" };
        let answer = client
            .ask(format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{reset}Content-Length: 9\r\n\r\n{{\"n\":{round:3}}}").as_bytes())
            .unwrap_or_else(|why| panic!("round {round}: {why:?}"));
        assert_eq!(answer.status, 502, "round {round}: {answer:?}");
        assert_eq!(
            answer.json()["error"]["keyside"]["outcome"],
            "unknown",
            "round {round}"
        );
        let posts: Vec<Request> = upstream
            .requests()
            .into_iter()
            .filter(|request| request.method() == "POST")
            .collect();
        assert_eq!(posts.len(), 1, "round {round}");
        reused += usize::from(posts[0].turn > 1);
    }
    assert!(
        reused > 100,
        "only {reused} of 200 met a pooled connection: the test tests nothing"
    );
}

#[test]
fn a_post_that_races_with_the_end_of_an_idle_connection_is_sent_at_most_once() {
    let upstream = Upstream::scripted(|request, wire| {
        wire.write(&json("{}"));
        // The connection ends at once, or just as the next request leaves.
        if request.method() == "GET" {
            thread::sleep(Duration::from_micros(
                request
                    .header("x-wait")
                    .and_then(|wait| wait.parse().ok())
                    .unwrap_or(0),
            ));
            return if request.header("x-reset").is_some() {
                After::Reset
            } else {
                After::Cut
            };
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    for round in 0..200_u64 {
        upstream.forget();
        let reset = if round % 2 == 0 { "X-Reset: 1\r\n" } else { "" };
        let warm = format!(
            "GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Wait: {}\r\n{reset}\r\n",
            round * 10
        );
        assert_eq!(
            client.ask(warm.as_bytes()).unwrap().status,
            200,
            "round {round}"
        );
        let answer = client
            .ask(&post(MESSAGES, "{}"))
            .unwrap_or_else(|why| panic!("round {round}: {why:?}"));
        let posts = upstream
            .requests()
            .iter()
            .filter(|request| request.method() == "POST")
            .count();
        match answer.status {
            200 => assert_eq!(posts, 1, "round {round}"),
            502 => assert!(posts <= 1, "round {round}: sent {posts} times"),
            _ => panic!("round {round}: {answer:?}"),
        }
    }
}

#[test]
fn a_connection_that_ended_while_idle_is_replaced_without_a_word() {
    let upstream = Upstream::scripted(|_, wire| {
        wire.write(&json("{}"));
        thread::sleep(Duration::from_millis(30));
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    for round in 0..10 {
        upstream.forget();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "round {round}");
        assert_eq!(upstream.heads(), 1, "round {round}");
        thread::sleep(Duration::from_millis(80));
    }
}

#[test]
fn an_early_answer_to_an_upload_is_delivered() {
    let upstream = Upstream::raw(|wire: &mut Wire| {
        if wire.head().is_none() {
            return After::Close;
        }
        wire.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"too\":\"big\"}");
        wire.drain(Duration::from_secs(3));
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    let upload = upload(&noise(20 << 20));
    let mut writer = client.writer();
    let sending = thread::spawn(move || {
        let _ = writer.write_all(&upload);
    });
    let answer = client.answer();
    drop(client);
    let _ = sending.join();
    let answer = answer.unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (413, r#"{"too":"big"}"#)
    );
    assert_eq!(answer.slug(), "", "it is the provider's answer, not ours");
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_caller_that_sends_all_of_an_upload_before_it_reads_gets_the_early_answer() {
    let upstream = Upstream::raw(|wire: &mut Wire| {
        if wire.head().is_none() {
            return After::Close;
        }
        wire.write(&answer(
            "401 Unauthorized",
            &[("Content-Type", "application/json")],
            b"{}",
        ));
        wire.drain(Duration::from_secs(3));
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    for round in 0..5 {
        let mut client = keyside.connect();
        let upload = upload(&noise(20 << 20));
        assert!(client.send(&upload), "round {round}: cut off while it sent");
        assert_eq!(
            client.answer().map(|answer| answer.status).ok(),
            Some(401),
            "round {round}"
        );
    }
}

#[test]
fn a_send_goes_on_to_its_end_when_the_caller_hangs_up() {
    let upstream = Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_millis(300));
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let before = keyside.descriptors();
    for round in 1..=20 {
        let mut client = keyside.connect();
        client.send(&post(MESSAGES, "{}"));
        assert!(upstream.wait_for(round, Duration::from_secs(2)));
        drop(client);
    }
    let calm = eventually(Duration::from_secs(5), || {
        keyside.descriptors() <= before + 40 && keyside.ask(&get(MEDIA)).is_ok()
    });
    assert!(
        calm,
        "{} descriptors, {before} before",
        keyside.descriptors()
    );
    let posts: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.method() == "POST")
        .collect();
    assert_eq!(posts.len(), 20);
    assert!(
        posts.iter().all(|request| request.complete),
        "{}",
        shown(&posts[0].raw)
    );
}
