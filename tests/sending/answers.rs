//! Answers: links lead back through Keyside, secrets are out, and the rest stays as written.

use std::thread;
use std::time::Duration;

use super::TEXT;
use crate::support::client::get;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::{APP_SECRET, MEDIA, MESSAGES, TOKEN, contains};

#[test]
fn the_link_in_a_media_answer_leads_back_through_keyside() {
    let media = Upstream::answering(|_| answer("200 OK", &[("Content-Type", "image/png")], b"PNG"));
    let link = format!(
        "{}/whatsapp_business/attachments/?mid=1761991787669262&ext=1728904986&hash=ATta-x%2Fy",
        media.url()
    );
    let told = format!(
        r#"{{"url":"{}","mime_type":"image\/png","sha256":"ab","file_size":182859,"id":"1761991787669262","messaging_product":"whatsapp"}}"#,
        link.replace('/', "\\/")
    );
    let upstream = Upstream::answering(move |_| json(&told));
    for prefix in ["", "/acme"] {
        let setup = Setup::new(&upstream).media(&media);
        let keyside = if prefix.is_empty() {
            setup.start()
        } else {
            setup.route("path = \"/acme\"").start()
        };
        let host = format!("localhost:{}", keyside.outbound().port());
        let answer = keyside.send(
            format!("GET {prefix}/v23.0/1761991787669262 HTTP/1.1\r\nHost: {host}\r\n\r\n")
                .as_bytes(),
        );
        let body = answer.json();
        assert_eq!(
            body["url"],
            format!(
                "http://{host}{prefix}/whatsapp_business/attachments/?mid=1761991787669262&ext=1728904986&hash=ATta-x%2Fy"
            )
        );
        assert_eq!(
            (&body["file_size"], &body["mime_type"]),
            (&182_859.into(), &"image/png".into())
        );
        let path = body["url"]
            .as_str()
            .unwrap()
            .strip_prefix(&format!("http://{host}"))
            .unwrap()
            .to_owned();
        assert_eq!(keyside.get(&path).text(), "PNG");
        let seen = media.last();
        assert_eq!(
            seen.target(),
            "/whatsapp_business/attachments/?mid=1761991787669262&ext=1728904986&hash=ATta-x%2Fy"
        );
        assert_eq!(seen.all("authorization"), [format!("Bearer {TOKEN}")]);
        assert_eq!(seen.all("host"), [media.authority()]);
    }
}

#[test]
fn paging_leads_back_through_keyside_and_carries_no_token() {
    let upstream = Upstream::scripted(|request, wire| {
        let host = request.header("host").unwrap();
        let page = |cursor: &str| {
            format!("https://{host}/v23.0/99/message_templates?access_token={TOKEN}&limit=25&{cursor}=QVFI%3D")
                .replace('/', "\\/")
        };
        wire.write(&json(&format!(r#"{{"data":[{{"name":"a"}}],"paging":{{"cursors":{{"before":"x","after":"y"}},"next":"{}","previous":"{}"}}}}"#, page("after"), page("before"))));
        After::Keep
    });
    for prefix in ["", "/tenant/acme"] {
        let route = if prefix.is_empty() {
            String::new()
        } else {
            format!("path = \"{prefix}\"\n")
        };
        let keyside = Setup::new(&upstream)
            .route(&format!("{route}operations = [\"templates\"]"))
            .start();
        let host = format!("127.0.0.1:{}", keyside.outbound().port());
        let answer = keyside.send(
            format!(
                "GET {prefix}/v23.0/99/message_templates?limit=25 HTTP/1.1\r\nHost: {host}\r\n\r\n"
            )
            .as_bytes(),
        );
        assert!(
            !contains(&answer.body, b"access_token") && !contains(&answer.body, TOKEN.as_bytes()),
            "{}",
            answer.text()
        );
        let body = answer.json();
        assert_eq!(
            body["paging"]["next"],
            format!("http://{host}{prefix}/v23.0/99/message_templates?limit=25&after=QVFI%3D")
        );
        assert_eq!(
            body["paging"]["previous"],
            format!("http://{host}{prefix}/v23.0/99/message_templates?limit=25&before=QVFI%3D")
        );
        assert_eq!(body["data"][0]["name"], "a");
        let next = body["paging"]["next"]
            .as_str()
            .unwrap()
            .strip_prefix(&format!("http://{host}"))
            .unwrap()
            .to_owned();
        assert_eq!(keyside.get(&next).status, 200);
        assert_eq!(
            upstream.last().target(),
            "/v23.0/99/message_templates?limit=25&after=QVFI%3D"
        );
    }
}

#[test]
fn paging_of_an_edge_among_the_fields_leads_back_through_keyside() {
    let upstream = Upstream::scripted(|request, wire| {
        let host = request.header("host").unwrap();
        wire.write(&json(&format!(
            r#"{{"id":"99","message_templates":{{"data":[],"paging":{{"next":"https://{host}/v23.0/99/message_templates?after=x"}}}}}}"#
        )));
        After::Keep
    });
    let keyside = Setup::new(&upstream)
        .route("operations = [\"*\"]\n")
        .start();
    let answer = keyside.get("/v23.0/99?fields=message_templates");
    assert_eq!(
        answer.json()["message_templates"]["paging"]["next"],
        "http://localhost/v23.0/99/message_templates?after=x"
    );
}

#[test]
fn an_access_token_in_any_url_of_an_answer_is_removed() {
    let upstream = Upstream::answering(|_| {
        json(
            r#"{"data":[{"link":"https:\/\/x.example\/a?access_token=OTHERTOKEN&b=1"},{"link":"https://x.example/a?b=1&access_token=OTHERTOKEN"},{"link":"https://x.example/a?access_token=OTHERTOKEN#f"}]}"#,
        )
    });
    let keyside = Keyside::start(&upstream);
    let answer = keyside.get(MEDIA);
    assert!(!contains(&answer.body, b"OTHERTOKEN"), "{}", answer.text());
    let body = answer.json();
    for item in body["data"].as_array().unwrap() {
        let link = item["link"].as_str().unwrap();
        assert!(link.starts_with("https://x.example/a"), "{link}");
    }
    assert!(
        body["data"][0]["link"].as_str().unwrap().contains("b=1"),
        "{body}"
    );
}

#[test]
fn a_secret_that_the_provider_echoes_is_redacted() {
    // In a header, in a body of known length, in chunks, and with a cut between two writes at every
    // place of the secret.
    let upstream = Upstream::scripted(|request, wire| {
        let body = format!(
            r#"{{"error":{{"message":"token {TOKEN} with {APP_SECRET}","echo":"{TOKEN}{TOKEN}","code":190}}}}"#
        );
        let cut: Option<usize> = request.header("x-cut").and_then(|cut| cut.parse().ok());
        let Some(cut) = cut else {
            wire.write(&answer(
                "401 Unauthorized",
                &[
                    ("Content-Type", "application/json"),
                    ("WWW-Authenticate", &format!("OAuth \"{TOKEN}\"")),
                    ("X-Echo", TOKEN),
                ],
                body.as_bytes(),
            ));
            return After::Keep;
        };
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in [&body[..cut], &body[cut..]] {
            wire.write(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
            thread::sleep(Duration::from_millis(3));
        }
        wire.write(b"0\r\n\r\n");
        After::Keep
    });
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"")
        .start();
    let whole = keyside.get(MEDIA);
    assert_eq!(whole.status, 401);
    for (name, value) in &whole.headers {
        assert!(!value.contains(TOKEN), "{name}: {value}");
    }
    let clean = r#"{"error":{"message":"token [redacted] with [redacted]","echo":"[redacted][redacted]","code":190}}"#;
    assert_eq!(whole.text(), clean);
    for cut in 20..70 {
        let answer = keyside.send(
            format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Cut: {cut}\r\n\r\n").as_bytes(),
        );
        assert_eq!(answer.text(), clean, "cut at {cut}: {answer:?}");
    }
}

#[test]
fn an_answer_in_several_chunks_that_come_at_once_is_whole() {
    for (kind, path) in [
        ("application/json", MEDIA),
        ("image/png", "/whatsapp_business/attachments/?mid=1"),
    ] {
        for count in [1, 2, 3, 10] {
            let upstream = Upstream::scripted(move |_, wire| {
                let chunks: String = (0..count)
                    .map(|number| format!("4\r\n\"{number}\",\r\n"))
                    .collect();
                wire.write(
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
                    )
                    .as_bytes(),
                );
                After::Keep
            });
            let keyside = Keyside::start(&upstream);
            let expected: String = (0..count).map(|number| format!("\"{number}\",")).collect();
            assert_eq!(
                keyside.get(path).text(),
                expected,
                "{count} chunks of {kind}"
            );
        }
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    let upstream = Upstream::scripted(|request, wire| {
        let mut bytes = answer("200 OK", &[("Content-Type", "image/png")], b"12345");
        if request.method() == "HEAD" {
            bytes.truncate(bytes.len() - 5);
        }
        wire.write(&bytes);
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    let head = client
        .ask(b"HEAD /whatsapp_business/attachments/?mid=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5"))
    );
    assert_eq!(
        client
            .ask(&get("/whatsapp_business/attachments/?mid=1"))
            .unwrap()
            .text(),
        "12345",
        "the connection is in step"
    );
}

#[test]
fn what_the_provider_says_about_itself_arrives() {
    let headers = [
        ("Content-Type", "application/json; charset=UTF-8"),
        (
            "X-Business-Use-Case-Usage",
            r#"{"114":[{"type":"whatsapp","call_count":1}]}"#,
        ),
        ("X-App-Usage", r#"{"call_count":0}"#),
        ("Retry-After", "3"),
        (
            "WWW-Authenticate",
            "OAuth \"Facebook Platform\" \"invalid_request\"",
        ),
        ("X-Fb-Trace-Id", "A"),
        ("Facebook-Api-Version", "v23.0"),
        ("ETag", "\"x\""),
        ("Cache-Control", "no-store"),
    ];
    let upstream =
        Upstream::answering(move |_| answer("418 I'm a teapot", &headers, b"{\"a\" : 1}\n"));
    let keyside = Keyside::start(&upstream);
    let answer = keyside.post(MESSAGES, TEXT);
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (418, "{\"a\" : 1}\n")
    );
    for (name, value) in headers {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.slug(), "");
}

#[test]
fn an_answer_tells_where_the_time_went() {
    let upstream = Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_millis(60));
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let answer = keyside.post(MESSAGES, TEXT);
    let timing = answer.header("server-timing").expect("Server-Timing");
    let dur = |name: &str| -> f64 {
        let part = timing
            .split(',')
            .map(str::trim)
            .find(|part| part.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in {timing}"));
        part.split("dur=")
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{timing}"))
    };
    assert!(dur("queue") < 1000.0, "{timing}");
    assert!((50.0..5000.0).contains(&dur("upstream")), "{timing}");
}

#[test]
fn a_limited_operation_tells_what_is_left() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"80/s\"")
        .start();
    let answer = keyside.post(MESSAGES, TEXT);
    assert!(
        answer
            .header("ratelimit")
            .is_some_and(|value| value.contains("r=")),
        "{:?}",
        answer.headers
    );
    assert!(
        answer
            .header("ratelimit-policy")
            .is_some_and(|value| value.contains("q=")),
        "{:?}",
        answer.headers
    );
}
