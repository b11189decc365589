//! Sending: a request leaves as written by the application, plus the credential; an answer comes back as
//! written by the provider, minus the credential.

use std::io::Write;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::client::{
    Answer, FORM_BEGINS, FORM_ENDS, MULTIPART, file_form, get, post, upload, with_body,
};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Request, Upstream, Wire, answer, json};
use crate::support::{APP_SECRET, MEDIA, MESSAGES, TOKEN, contains, hmac_sha256, noise, shown};

const TEXT: &str =
    r#"{"messaging_product":"whatsapp","to":"13437772910","type":"text","text":{"body":"hi"}}"#;

/// The parameters of a target's query, decoded.
fn query(target: &str) -> Vec<(String, String)> {
    let Some((_, query)) = target.split_once('?') else {
        return Vec::new();
    };
    query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text)
                    .decode_utf8_lossy()
                    .into_owned()
            };
            (decode(name), decode(value))
        })
        .collect()
}

fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let values: Vec<_> = query.iter().filter(|(n, _)| n == name).collect();
    assert!(values.len() < 2, "{name} stands {} times", values.len());
    values.first().map(|(_, value)| value.as_str())
}

fn is_denied(answer: &Answer, status: u16, slug: &str) {
    answer.must_be_a_refusal(slug);
    assert_eq!(
        (answer.status, answer.slug()),
        (status, slug),
        "{}",
        answer.text()
    );
}

#[test]
fn a_message_leaves_byte_for_byte_with_the_credential_once() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for body in [
        TEXT,
        "{}",
        " {\n\t\"a\" : 1.0e+2,\r\n \"a\":\"\\u00e9\u{e9}\u{1f600}\\/\", \"n\":123456789012345678901234567890 } ",
    ] {
        upstream.forget();
        assert_eq!(keyside.post(MESSAGES, body).status, 200, "{body}");
        let request = upstream.last();
        assert_eq!(request.line(), format!("POST {MESSAGES} HTTP/1.1"));
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        assert_eq!(request.all("authorization"), [format!("Bearer {TOKEN}")]);
        assert_eq!(request.all("content-type"), ["application/json"]);
        assert_eq!(request.all("host"), [upstream.authority()]);
        assert!(request.complete);
    }
}

#[test]
fn the_same_operation_has_a_path_with_and_without_a_version() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for path in [
        "/1234567890/messages",
        "/v1.0/1234567890/messages",
        "/v26.0/1234567890/messages",
        "/v23.0/1234567890/marketing_messages",
        "/v23.0/1234567890/messages_encrypted",
    ] {
        assert_eq!(keyside.post(path, TEXT).status, 200, "{path}");
        assert_eq!(upstream.last().target(), path);
    }
}

#[test]
fn a_slash_at_the_end_changes_no_operation_and_leaves_as_it_came() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"1234567890\"]\noperations = [\"messages\", \"qr_codes\", \"phone_numbers\"]")
        .start();
    for target in [
        "/v23.0/1234567890/messages/",
        "/1234567890/message_qrdls/",
        "/v23.0/1234567890/message_qrdls/ABC/?x=1",
        "/v23.0/1234567890/",
    ] {
        assert_eq!(keyside.post(target, "{}").status, 200, "{target}");
        assert_eq!(upstream.last().target(), target);
    }
    is_denied(
        &keyside.post("/v23.0/666/messages/", TEXT),
        403,
        "sender_not_allowed",
    );
    is_denied(
        &keyside.post("/v23.0/1234567890/media/", TEXT),
        403,
        "operation_not_allowed",
    );
    is_denied(
        &keyside.post("/v23.0/1234567890/messages//", TEXT),
        400,
        "bad_request",
    );
}

#[test]
fn a_path_and_its_query_leave_byte_for_byte() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"uploads\", \"messages\", \"media\"]")
        .start();
    for target in [
        "/v23.0/upload:ABC==?sig=AR%2Fabc%3D",
        "/v23.0/upload:MTphdHRhY2htZW50OjFiZjM=?sig=ARZ+x~y_z-1.2",
        "/upload:A-_=?sig=a%2fb%20c",
        "/v23.0/1234567890/messages?a=%e9&b=+&c&=d&&e",
    ] {
        let answer = keyside.send(&with_body("POST", target, "application/json", b"{}"));
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(upstream.last().target(), target);
    }
}

#[test]
fn a_resumable_upload_carries_the_scheme_that_it_needs() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"uploads\"]")
        .start();
    let bytes = noise(100_000);
    let mut request = format!("POST /v23.0/upload:ABC==?sig=AR%2Fabc HTTP/1.1\r\nHost: localhost\r\nfile_offset: 0\r\nAuthorization: OAuth dummy\r\nContent-Length: {}\r\n\r\n", bytes.len()).into_bytes();
    request.extend_from_slice(&bytes);
    assert_eq!(keyside.send(&request).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.all("authorization"), [format!("OAuth {TOKEN}")]);
    assert_eq!(seen.all("file_offset"), ["0"]);
    assert!(seen.body == bytes, "the bytes of the file");
}

#[test]
fn a_call_is_proved_with_the_app_secret_and_the_time() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"")
        .start();
    for (request, kept) in [
        (
            post(&format!("{MESSAGES}?x=1&appsecret_proof=evil"), TEXT),
            "x=1&",
        ),
        (
            get(&format!("{MEDIA}?phone_number_id=5")),
            "phone_number_id=5&",
        ),
        (get(MEDIA), ""),
    ] {
        assert_eq!(keyside.send(&request).status, 200);
        let target = upstream.last().target();
        let (_, raw) = target.split_once('?').expect("a query");
        assert!(
            raw.starts_with(kept),
            "what was there stays there: {target}"
        );
        let query = query(&target);
        let time = value(&query, "appsecret_time").expect("appsecret_time");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(
            time.parse::<u64>()
                .is_ok_and(|time| now.abs_diff(time) <= 60),
            "{time}, now {now}"
        );
        let proof = hmac_sha256(APP_SECRET, format!("{TOKEN}|{time}"));
        assert_eq!(
            value(&query, "appsecret_proof"),
            Some(proof.as_str()),
            "{target}"
        );
        assert_eq!(
            upstream.last().all("authorization"),
            [format!("Bearer {TOKEN}")]
        );
    }
}

#[test]
fn a_classic_proof_is_that_of_the_published_vector() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\"]\nproof = \"classic\"")
        .start();
    assert_eq!(keyside.post(MESSAGES, TEXT).status, 200);
    let query = query(&upstream.last().target());
    assert_eq!(
        value(&query, "appsecret_proof"),
        Some("bad6df0b858104754a0ffde2f0c05fe9731f1a5e141ee1bccf316d05f28d5135")
    );
    assert_eq!(value(&query, "appsecret_time"), None);
}

#[test]
fn no_proof_is_sent_where_it_is_off_or_goes_to_the_media_host() {
    let upstream = Upstream::ok();
    let credential = "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n";
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential(&format!("{credential}proof = \"off\""))
        .start();
    assert_eq!(keyside.post(MESSAGES, TEXT).status, 200);
    assert_eq!(upstream.last().target(), MESSAGES);
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential(credential)
        .start();
    assert_eq!(
        keyside
            .get("/whatsapp_business/attachments/?mid=1&ext=2")
            .status,
        200
    );
    assert_eq!(
        upstream.last().target(),
        "/whatsapp_business/attachments/?mid=1&ext=2"
    );
}

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
    // In a header, in a body of known length, in chunks, and with a cut between two writes at every place of the secret.
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
fn media_come_down_byte_for_byte() {
    let bytes = noise(20 << 20);
    let expected = bytes.clone();
    let media = Upstream::answering(move |_| {
        answer(
            "200 OK",
            &[
                ("Content-Type", "video/mp4"),
                ("Content-Disposition", "inline;filename=whatsapp.mp4"),
                ("Accept-Ranges", "bytes"),
            ],
            &bytes,
        )
    });
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).media(&media).start();
    let answer = keyside.get("/whatsapp_business/attachments/?mid=1&ext=2&hash=x");
    assert_eq!(answer.status, 200);
    assert!(
        answer.body == expected,
        "{} of {} bytes",
        answer.body.len(),
        expected.len()
    );
    assert_eq!(
        (
            answer.header("content-type"),
            answer.header("content-disposition")
        ),
        (Some("video/mp4"), Some("inline;filename=whatsapp.mp4"))
    );
    assert_eq!(
        answer.header("content-length"),
        Some((20 << 20).to_string().as_str())
    );
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn media_bytes_that_look_like_the_secret_are_not_touched() {
    let bytes = format!("binary {TOKEN} binary").into_bytes();
    let expected = bytes.clone();
    let upstream = Upstream::answering(move |_| {
        answer(
            "200 OK",
            &[("Content-Type", "application/octet-stream")],
            &bytes,
        )
    });
    let keyside = Keyside::start(&upstream);
    assert_eq!(
        keyside.get("/whatsapp_business/attachments/?mid=1").body,
        expected
    );
}

#[test]
fn an_error_of_the_media_host_is_no_media() {
    let upstream = Upstream::answering(move |_| {
        answer(
            "403 Forbidden",
            &[("Content-Type", "text/html")],
            format!("<p>Bearer {TOKEN}</p>").as_bytes(),
        )
    });
    let keyside = Keyside::start(&upstream);
    let answer = keyside.get("/whatsapp_business/attachments/?mid=1");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (403, "<p>Bearer [redacted]</p>")
    );
}

#[test]
fn only_media_is_asked_for_in_parts() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for (path, parts) in [(MEDIA, 0), ("/whatsapp_business/attachments/?mid=1", 1)] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        keyside.send(request.as_bytes());
        assert_eq!(upstream.last().all("range").len(), parts, "{path}");
        assert!(upstream.last().all("accept-encoding").is_empty(), "{path}");
    }
}

#[test]
fn the_bytes_of_a_resumable_upload_pass_whatever_their_type_says() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"uploads\"]")
        .start();
    let bytes = noise(2 << 20);
    for kind in [
        "application/x-www-form-urlencoded",
        "application/json",
        "video/mp4",
    ] {
        let answer = keyside.send(&with_body("POST", "/v23.0/upload:MTphdHRh==", kind, &bytes));
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert!(upstream.last().body == bytes, "{kind}");
        assert_eq!(
            upstream.last().header("authorization"),
            Some(format!("OAuth {TOKEN}"))
        );
    }
}

#[test]
fn a_media_upload_streams_byte_for_byte() {
    let upstream = Upstream::answering(|_| json(r#"{"id":"1"}"#));
    let keyside = Keyside::start(&upstream);
    let (body, kind) = (file_form(&noise(20 << 20)), MULTIPART);
    assert_eq!(
        keyside
            .send(&with_body("POST", "/v23.0/1234567890/media", kind, &body))
            .text(),
        r#"{"id":"1"}"#
    );
    let seen = upstream.last();
    assert!(
        seen.body == body,
        "{} of {} bytes",
        seen.body.len(),
        body.len()
    );
    assert_eq!(seen.all("content-type"), [kind]);

    let mut chunked = format!("POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for part in body.chunks(70_001) {
        write!(chunked, "{:x}\r\n", part.len()).unwrap();
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    upstream.forget();
    assert_eq!(keyside.send(&chunked).status, 200);
    assert!(upstream.last().body == body, "in chunks");
}

#[test]
fn the_end_of_an_upload_reaches_an_upstream_that_reads_late() {
    let upstream = Upstream::raw(|wire: &mut Wire| {
        while wire.request().is_some() {
            wire.write(&json(r#"{"id":"1"}"#));
            thread::sleep(Duration::from_millis(50));
        }
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    keyside.send(&post(MESSAGES, TEXT));
    // Bodies of many sizes: for some size the socket is full just after TLS has taken the last bytes.
    for step in 0..80 {
        let body = noise((1 << 20) + step * 40_000);
        assert_eq!(
            keyside.send(&upload(&body)).status,
            200,
            "{} bytes",
            body.len()
        );
    }
}

#[test]
fn an_upload_begins_before_it_has_arrived_whole() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    client.send(b"POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4000000\r\n\r\n");
    client.send(FORM_BEGINS);
    client.send(&noise(3_000_000));
    assert!(
        upstream.wait_for(1, Duration::from_secs(3)),
        "it waits for the last byte"
    );
    client.send(&noise(1_000_000 - FORM_BEGINS.len() - FORM_ENDS.len()));
    client.send(FORM_ENDS);
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(upstream.last().body.len(), 4_000_000);
}

#[test]
fn a_json_body_may_have_one_mebibyte_and_no_more() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    let chunked = |body: &str| {
        format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let (fits, too_big) = (body(1 << 20), body((1 << 20) + 1));
    for (name, request) in [
        ("length", post(MESSAGES, &fits)),
        ("chunked", chunked(&fits).into_bytes()),
    ] {
        upstream.forget();
        assert_eq!(keyside.send(&request).status, 200, "{name}");
        assert_eq!(upstream.last().body, fits.as_bytes(), "{name}");
    }
    for (name, request) in [
        ("length", post(MESSAGES, &too_big)),
        ("chunked", chunked(&too_big).into_bytes()),
    ] {
        upstream.forget();
        is_denied(&keyside.send(&request), 413, "body_too_large");
        assert_eq!(upstream.arrivals(), 0, "{name}");
    }
    let form = with_body(
        "POST",
        MESSAGES,
        "application/x-www-form-urlencoded",
        format!("a={}", "x".repeat(1 << 20)).as_bytes(),
    );
    is_denied(&keyside.send(&form), 413, "body_too_large");
}

#[test]
fn a_crowd_of_small_bodies_without_a_length_is_not_too_much() {
    let upstream = Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_millis(500));
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let request = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    let mut clients: Vec<_> = (0..100).map(|_| keyside.connect()).collect();
    assert!(
        clients
            .iter_mut()
            .all(|client| client.send(request.as_bytes()))
    );
    let statuses: Vec<_> = clients
        .iter_mut()
        .map(|client| client.answer().unwrap().status)
        .collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[test]
fn media_beyond_the_bound_are_refused_by_their_length() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let answer = keyside.send(b"POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 130000000\r\n\r\n");
    is_denied(&answer, 413, "body_too_large");
    assert_eq!(upstream.arrivals(), 0);
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

#[test]
fn an_operation_that_the_route_does_not_have_is_named_and_refused() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for (method, path, named) in [
        ("DELETE", MEDIA, "media_delete"),
        ("POST", "/v23.0/99/message_templates", "templates"),
        ("GET", "/v23.0/99/message_templates", "templates"),
        ("GET", "/v23.0/99/phone_numbers", "phone_numbers"),
        ("POST", "/v23.0/1234567890/register", "registration"),
        ("POST", "/v23.0/99/subscribed_apps", "account"),
        ("POST", "/v23.0/99/uploads", "uploads"),
        ("POST", "/v23.0/99/flows", "flows"),
        ("POST", "/v23.0/1234567890/block_users", "block_users"),
        (
            "GET",
            "/v23.0/1234567890/whatsapp_business_profile",
            "profile",
        ),
        ("GET", "/v23.0/99/subscriptions", "subscriptions"),
        ("GET", "/v23.0/debug_token?input_token=x", "oauth"),
        ("GET", "/oauth/access_token", "oauth"),
        ("GET", "/v23.0/1234567890?fields=throughput", "objects"),
        ("POST", MEDIA, "phone_numbers"),
        ("POST", MEDIA, "templates"),
        ("GET", "/v23.0/me", "objects"),
        (
            "GET",
            "/v23.0/1234567890/unheard_of",
            "requests = [\\\"GET /{v}/{id}/unheard_of\\\"]",
        ),
        ("PUT", MESSAGES, ""),
        ("GET", "/whatsapp_business/other/", ""),
        ("GET", "/v23.0/abc/messages", ""),
        ("POST", "/v23.0/v23.0/1234567890/messages", ""),
        ("POST", "/v23.0/1234567890/Messages", ""),
    ] {
        let answer = keyside.send(&with_body(method, path, "application/json", b"{}"));
        is_denied(&answer, 403, "operation_not_allowed");
        assert!(
            answer.text().contains(named),
            "{method} {path}: {named} is not named in {}",
            answer.text()
        );
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn an_operation_that_the_route_names_is_allowed() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"templates\", \"media_delete\"]")
        .start();
    assert_eq!(
        keyside
            .send(&with_body("DELETE", MEDIA, "application/json", b"{}"))
            .status,
        200
    );
    assert_eq!(
        keyside
            .get("/v23.0/99/message_templates?limit=3&fields=name")
            .status,
        200
    );
    is_denied(&keyside.post(MESSAGES, TEXT), 403, "operation_not_allowed");
}

#[test]
fn a_star_allows_all_operations_that_there_are() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).route("operations = [\"*\"]").start();
    for path in [
        MESSAGES,
        "/v23.0/99/message_templates",
        "/v23.0/1234567890/register",
    ] {
        assert_eq!(keyside.post(path, TEXT).status, 200, "{path}");
    }
    is_denied(
        &keyside.post("/v23.0/99/unheard_of", TEXT),
        403,
        "operation_not_allowed",
    );
}

#[test]
fn an_operation_with_the_callers_credential_keeps_it_and_gets_no_other() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"oauth\", \"subscriptions\"]")
        .start();
    let target = "/v23.0/debug_token?input_token=abc&access_token=APP|SECRET";
    assert_eq!(keyside.get(&target.replace('|', "%7C")).status, 200);
    let seen = upstream.last();
    assert_eq!(
        value(&query(&seen.target()), "access_token"),
        Some("APP|SECRET")
    );
    assert!(
        !contains(&seen.raw, TOKEN.as_bytes()),
        "{}",
        shown(&seen.raw)
    );
    let answer = keyside
        .send(b"GET /v23.0/99/subscriptions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer callers-own\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().all("authorization"), ["Bearer callers-own"]);
}

#[test]
fn a_sender_outside_the_list_is_named_and_refused() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"1234567890\"]")
        .start();
    assert_eq!(keyside.post(MESSAGES, TEXT).status, 200);
    for path in [
        "/v23.0/666/messages",
        "/666/messages",
        "/v23.0/12345678901/messages",
        "/v23.0/666/media",
    ] {
        let answer = keyside.post(path, TEXT);
        is_denied(&answer, 403, "sender_not_allowed");
    }
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_sender_in_the_query_counts_however_it_is_written() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"1234567890\"]\noperations = [\"media\", \"media_delete\", \"phone_numbers\"]")
        .start();
    for query in [
        "phone_number_id=1234567890",
        "phone%5Fnumber_id=123456789%30",
        "",
    ] {
        assert_eq!(
            keyside.get(&format!("{MEDIA}?{query}")).status,
            200,
            "{query}"
        );
    }
    upstream.forget();
    for query in [
        "phone_number_id=666",
        "phone%5Fnumber_id=666",
        "phone_number_id=1234567890&phone_number_id=666",
        "phone_number_id=1234567890;phone_number_id=666",
        "phone_number_id",
    ] {
        for method in ["GET", "DELETE"] {
            let request = format!("{method} /v23.0/55?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            is_denied(&keyside.send(request.as_bytes()), 403, "sender_not_allowed");
        }
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_path_without_a_route_is_not_found() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).route("path = \"/acme\"").start();
    for path in [
        MESSAGES,
        "/acmes/v23.0/1234567890/messages",
        "/ACME/v23.0/1234567890/messages",
        "/",
    ] {
        is_denied(&keyside.post(path, TEXT), 404, "no_route");
    }
    assert_eq!(keyside.post(&format!("/acme{MESSAGES}"), TEXT).status, 200);
    assert_eq!(
        upstream.last().target(),
        MESSAGES,
        "the prefix is taken off"
    );
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn the_longest_prefix_and_then_the_sender_choose_the_route() {
    let upstream = Upstream::ok();
    let route = |name: &str, credential: &str, path: &str, senders: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\ncredential = \"{credential}\"\npath = \"{path}\"\nsenders = {senders}\n"
        )
    };
    let credential = |name: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/{name}\"\n"
        )
    };
    let config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{}{}{}{}{}{}{}",
        credential("root"),
        credential("one"),
        credential("two"),
        route("root", "root", "/", "[]"),
        route("deep", "one", "/a/b", "[]"),
        route("first", "one", "/a", "[\"111\"]"),
        route("second", "two", "/a", "[\"222\"]"),
    );
    let keyside = Setup::new(&upstream)
        .file("root", "EAAROOT")
        .file("one", "EAAONE")
        .file("two", "EAATWO")
        .config(&config)
        .start();
    for (path, token, left) in [
        ("/v23.0/111/messages", "EAAROOT", "/v23.0/111/messages"),
        ("/a/b/v23.0/222/messages", "EAAONE", "/v23.0/222/messages"),
        ("/a/v23.0/111/messages", "EAAONE", "/v23.0/111/messages"),
        ("/a/v23.0/222/messages", "EAATWO", "/v23.0/222/messages"),
    ] {
        let answer = keyside.post(path, TEXT);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = upstream.last();
        assert_eq!(
            (seen.target().as_str(), seen.all("authorization")),
            (left, vec![format!("Bearer {token}")]),
            "{path}"
        );
    }
    is_denied(
        &keyside.post("/a/v23.0/333/messages", TEXT),
        403,
        "sender_not_allowed",
    );
}

/// A configuration with a credential of `provider`.
fn other_provider(provider: &str, secrets: &str) -> String {
    format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n{provider}\n\
         [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\n{secrets}\n[[route]]\ncredential = \"acme\"\n"
    )
}

#[test]
fn for_360dialog_the_key_is_a_header_and_the_paths_are_theirs() {
    let upstream = Upstream::ok();
    let config = other_provider(
        "[provider.test]\nextends = \"360dialog\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n",
        "api_key = \"file:@DIR@/key\"",
    );
    let keyside = Setup::new(&upstream)
        .file("key", "d360-key")
        .config(&config)
        .start();
    for (request, line) in [
        (post(MESSAGES, TEXT), "POST /messages HTTP/1.1"),
        (post("/messages", TEXT), "POST /messages HTTP/1.1"),
        (
            post("/1234567890/messages", TEXT),
            "POST /messages HTTP/1.1",
        ),
        (
            with_body(
                "POST",
                "/v23.0/1234567890/media",
                "multipart/form-data; boundary=b",
                b"--b--",
            ),
            "POST /media HTTP/1.1",
        ),
        (get("/v23.0/555"), "GET /555 HTTP/1.1"),
        (
            get("/whatsapp_business/attachments/?mid=1&ext=2"),
            "GET /whatsapp_business/attachments/?mid=1&ext=2 HTTP/1.1",
        ),
    ] {
        let answer = keyside.send(&request);
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        let seen = upstream.last();
        assert_eq!(seen.line(), line);
        assert_eq!(seen.all("d360-api-key"), ["d360-key"], "{line}");
        assert!(seen.all("authorization").is_empty(), "{line}");
    }
    keyside.send(format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nD360-API-KEY: mine\r\nAuthorization: Bearer mine\r\nX-API-Key: mine\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
    let seen = upstream.last();
    assert_eq!(seen.all("d360-api-key"), ["d360-key"]);
    assert!(!contains(&seen.raw, b"mine"), "{}", shown(&seen.raw));
}

#[test]
fn for_chat_api_the_key_is_in_the_query_and_the_account_in_the_path() {
    let upstream = Upstream::ok();
    let config = other_provider(
        "[provider.test]\nextends = \"chat-api\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n",
        "token = \"file:@DIR@/key\"\ninstance = \"4711\"",
    );
    let keyside = Setup::new(&upstream)
        .file("key", "a+b/c=&d e".replace(' ', ""))
        .config(&config)
        .start();
    for (path, left) in [
        ("/sendMessage", "/instance4711/sendMessage"),
        (
            "/instance1/sendMessage?x=1&token=mine",
            "/instance4711/sendMessage",
        ),
        ("/message", "/instance4711/message"),
    ] {
        let answer = keyside.post(path, r#"{"phone":"1","body":"x"}"#);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let target = upstream.last().target();
        assert_eq!(target.split('?').next(), Some(left), "{path}");
        assert_eq!(
            value(&query(&target), "token"),
            Some("a+b/c=&de"),
            "{target}"
        );
        assert!(upstream.last().all("authorization").is_empty());
    }
}

#[test]
fn a_provider_of_ones_own_injects_wherever_it_says() {
    let upstream = Upstream::ok();
    let provider = "[provider.test]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
        inject = [{ header = \"X-Key\", value = \"Key {key}\" }, { query = \"auth\", value = \"{key}\" }, { json = \"/auth/apiKey\", value = \"{key}\" }, { form = \"apikey\", value = \"{key}\" }]\n\
        [provider.test.secrets.key]\nrequired = true\n\
        [provider.test.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /send\"]\n";
    let keyside = Setup::new(&upstream)
        .file("key", "s3cr3t-k3y")
        .config(&other_provider(provider, "key = \"file:@DIR@/key\""))
        .start();

    let both = |request: &Request| {
        assert_eq!(request.all("x-key"), ["Key s3cr3t-k3y"]);
        assert_eq!(value(&query(&request.target()), "auth"), Some("s3cr3t-k3y"));
        assert!(!contains(&request.raw, b"mine"), "{}", shown(&request.raw));
    };
    for body in [
        r#"{"to":"1"}"#,
        r#"{"to":"1","auth":{"apiKey":"mine"}}"#,
        r#"{"auth":{"apiKey":"mine","x":2},"to":"1"}"#,
    ] {
        let answer = keyside.send(&with_body(
            "POST",
            "/send?auth=mine&b=1",
            "application/json",
            body.as_bytes(),
        ));
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let seen = upstream.last();
        both(&seen);
        let json: serde_json::Value = serde_json::from_slice(&seen.body)
            .unwrap_or_else(|error| panic!("{error}: {}", shown(&seen.body)));
        assert_eq!(
            (&json["auth"]["apiKey"], &json["to"]),
            (&"s3cr3t-k3y".into(), &"1".into()),
            "{body}"
        );
    }
    let answer = keyside.send(&with_body(
        "POST",
        "/send",
        "application/x-www-form-urlencoded",
        b"to=1&apikey=mine&text=a%20b",
    ));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.last();
    both(&seen);
    let form = query(&format!("?{}", String::from_utf8_lossy(&seen.body)));
    assert_eq!(
        (
            value(&form, "apikey"),
            value(&form, "to"),
            value(&form, "text")
        ),
        (Some("s3cr3t-k3y"), Some("1"), Some("a b"))
    );
}

#[test]
fn a_request_that_cannot_carry_the_credential_does_not_leave() {
    let upstream = Upstream::ok();
    let provider = "[provider.test]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\ninject = [{ json = \"/apiKey\", value = \"{key}\" }]\n\
        [provider.test.secrets.key]\nrequired = true\n\
        [provider.test.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /send\"]\n";
    let keyside = Setup::new(&upstream)
        .file("key", "s3cr3t-k3y")
        .config(&other_provider(provider, "key = \"file:@DIR@/key\""))
        .start();
    for (kind, body, status) in [
        ("application/json", "[1]", 400),
        ("application/json", "{broken", 400),
        ("application/json", "", 400),
        ("text/plain", "hello", 415),
        ("multipart/form-data; boundary=b", "--b--", 415),
    ] {
        let answer = keyside.send(&with_body("POST", "/send", kind, body.as_bytes()));
        assert_eq!(answer.status, status, "{kind} {body:?}: {answer:?}");
        answer.must_be_a_refusal(body);
    }
    assert_eq!(upstream.arrivals(), 0);
}

#[test]
fn a_head_request_passes_where_a_get_does_and_has_no_body() {
    let upstream = Upstream::answering(|request| {
        let body = if request.method() == "HEAD" { "" } else { "{}" };
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{body}"
        )
        .into_bytes()
    });
    let keyside = Setup::new(&upstream)
        .route("operations = [\"messages\", \"media\", \"templates\"]")
        .start();
    let mut client = keyside.connect();
    for target in [
        MEDIA,
        "/v23.0/55?phone_number_id=1",
        "/v23.0/9/message_templates",
        "/whatsapp_business/attachments/?mid=1",
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = client.answer_without_body().unwrap();
        assert_eq!((answer.status, answer.slug()), (200, ""), "{target}");
        let seen = upstream.last();
        assert_eq!(
            (seen.method().as_str(), seen.target().as_str()),
            ("HEAD", target)
        );
        assert_eq!(seen.all("authorization"), [format!("Bearer {TOKEN}")]);
    }
    for target in [MESSAGES, "/v23.0/55?fields=name", "/v23.0/1/phone_numbers"] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = client.answer_without_body().unwrap();
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "operation_not_allowed"),
            "{target}"
        );
    }
    // The connection is in step: no byte of a body was left behind.
    client.send(&get(MEDIA));
    assert_eq!(client.answer().unwrap().text(), "{}");
}
