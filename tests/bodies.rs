//! Bodies: each is read as its `Content-Type` says, or does not leave.

use std::time::Duration;

use crate::support::client::{Answer, FORM_ENDS, MULTIPART, file_form, post, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::{MEDIA, MESSAGES, UPLOADS, eventually, noise};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A POST of bytes with these further header lines.
fn posted(target: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A copy of the request with the body in chunks of a few bytes.
fn in_chunks(target: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for chunk in body.chunks(13) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

fn is_refused(answer: &Answer, status: u16, name: &str) {
    assert_eq!(answer.status, status, "{name}: {}", answer.text());
    answer.must_be_a_refusal(name);
}

/// Waits until no request can be on its way, and checks that none arrived whole.
fn nothing_arrives(upstream: &Upstream, name: &str) {
    std::thread::sleep(Duration::from_millis(15));
    let whole: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.complete)
        .map(|request| String::from_utf8_lossy(&request.raw).into_owned())
        .collect();
    assert!(whole.is_empty(), "{name}: {whole:?}");
}

/// A part of this name, as every HTTP library writes it.
fn part(name: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n--b--\r\n")
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_batch_leaves_in_no_spelling_of_body_or_type() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let batch = r#"{"batch":[{"method":"DELETE","relative_url":"1"}]}"#;
    let form = "batch=%5B%5D&include_headers=true";
    let lone = r#"{"\ud800":1,"batch":[]}"#;
    let multipart = part("batch");
    let typed = |kind: &str| format!("Content-Type: {kind}\r\n");
    for (status, lines, body) in [
        (400, typed(JSON), batch.as_bytes().to_vec()),
        (
            400,
            typed("application/json; charset=utf-8"),
            br#"{"a":1,"BATCH":[]}"#.to_vec(),
        ),
        (400, typed(JSON), br#"{"b\u0061tch":[]}"#.to_vec()),
        (400, typed(JSON), br#"{"batch[]":[]}"#.to_vec()),
        (400, typed(JSON), br#"{"batch\u0000":[]}"#.to_vec()),
        (400, typed(JSON), br#"{"include.headers":1}"#.to_vec()),
        (400, typed(JSON), lone.as_bytes().to_vec()),
        (400, typed(JSON), format!("{batch}x").into_bytes()),
        (400, typed(JSON), format!("{{}}{batch}").into_bytes()),
        (400, typed(JSON), format!("[{batch}]").into_bytes()),
        (400, typed(JSON), format!("\u{feff}{batch}").into_bytes()),
        (
            400,
            typed(JSON),
            format!("\u{feff}\u{feff}{batch}").into_bytes(),
        ),
        (
            400,
            typed(JSON),
            [b"{\"\xff\":1,", &batch.as_bytes()[1..]].concat(),
        ),
        (
            400,
            typed(JSON),
            [b"\xff".as_slice(), batch.as_bytes()].concat(),
        ),
        (400, typed(JSON), utf16(batch)),
        (400, typed(JSON), b"[1,2]".to_vec()),
        (400, typed(JSON), b"\"batch\"".to_vec()),
        (400, typed(JSON), b"null".to_vec()),
        (400, typed(JSON), form.as_bytes().to_vec()),
        (400, typed(FORM), form.as_bytes().to_vec()),
        (400, typed(FORM), batch.as_bytes().to_vec()),
        (400, typed(FORM), format!("\u{feff} {batch}").into_bytes()),
        (400, typed(FORM), b"a=1&b%61tch[0]=1".to_vec()),
        (400, typed(FORM), b"a=\xff&batch=1".to_vec()),
        (
            415,
            typed("application/json; charset=utf-16le"),
            utf16(batch),
        ),
        (
            415,
            typed("application/json, multipart/form-data; boundary=b"),
            batch.as_bytes().to_vec(),
        ),
        (
            415,
            typed("application/json; charset=utf-8; charset=utf-7"),
            batch.as_bytes().to_vec(),
        ),
        (415, typed("text/plain"), form.as_bytes().to_vec()),
        (415, typed("text/json"), batch.as_bytes().to_vec()),
        (
            415,
            typed("application/problem+json"),
            batch.as_bytes().to_vec(),
        ),
        (
            415,
            typed("application/octet-stream"),
            form.as_bytes().to_vec(),
        ),
        (
            415,
            typed("multipart/form-data; boundary=b"),
            multipart.as_bytes().to_vec(),
        ),
        (
            415,
            typed("multipart/mixed; boundary=b"),
            multipart.as_bytes().to_vec(),
        ),
        (415, typed(""), form.as_bytes().to_vec()),
        (415, String::new(), form.as_bytes().to_vec()),
        (415, String::new(), batch.as_bytes().to_vec()),
        (
            400,
            format!("{}Connection: content-type\r\n", typed("image/png")),
            form.as_bytes().to_vec(),
        ),
        (
            400,
            format!("{}Connection: content-type\r\n", typed(FORM)),
            b"a=1".to_vec(),
        ),
        (
            400,
            format!("{}Content-Encoding: gzip\r\n", typed(JSON)),
            batch.as_bytes().to_vec(),
        ),
        (
            400,
            "Content-Type: application/j\u{e9}son\r\n".to_owned(),
            batch.as_bytes().to_vec(),
        ),
    ] {
        let name = format!("{lines:?} {}", body.escape_ascii());
        is_refused(
            &keyside.send(&posted(MESSAGES, &lines, &body)),
            status,
            &name,
        );
        nothing_arrives(&upstream, &name);
    }
}

#[test]
fn valid_bodies_of_the_usual_types_leave_as_they_came() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for (kind, body) in [
        (
            JSON,
            r#"{"to":"1","text":{"body":"batch method ids","batch":1}}"#,
        ),
        (
            "application/json;charset=UTF-8",
            r#" {"a" : "\ud83d\ude00 \ud800" } "#,
        ),
        (
            "Application/JSON; charset=\"utf-8\"",
            r#"{"batches":[],"id":"1","methods":[]}"#,
        ),
        (JSON, "{}"),
        (FORM, "to=1&text=%7B%22batch%22%3A1%7D"),
        (
            "application/x-www-form-urlencoded; charset=ISO-8859-1",
            "a=%E9",
        ),
    ] {
        let request = with_body("POST", MESSAGES, kind, body.as_bytes());
        assert_eq!(keyside.send(&request).status, 200, "{kind} {body}");
        assert_eq!(upstream.last().body, body.as_bytes(), "{kind}");
        assert_eq!(upstream.last().all("content-type"), [kind]);
    }
}

#[test]
fn an_empty_body_needs_no_type() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let chunked = |body: &str| {
        format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n")
            .into_bytes()
    };
    for request in [
        posted(MESSAGES, "", b""),
        posted(MESSAGES, "Content-Type: text/plain\r\n", b""),
        posted(MESSAGES, "Content-Type: application/json\r\n", b""),
        posted(
            UPLOADS,
            "Content-Type: multipart/form-data; boundary=b\r\n",
            b"",
        ),
        chunked(""),
        format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n")
            .into_bytes(),
    ] {
        let answer = keyside.send(&request);
        assert_eq!(
            answer.status,
            200,
            "{}: {}",
            request.escape_ascii(),
            answer.text()
        );
    }
    upstream.forget();
    is_refused(&keyside.send(&chunked("2\r\n{}\r\n")), 415, "in chunks");
    nothing_arrives(&upstream, "in chunks");
}

#[test]
fn an_empty_json_text_is_as_good_as_no_body() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for (body, status) in [
        ("\"\"", 200),
        ("\u{feff} \"\"\n", 200),
        ("\" \"", 400),
        ("null", 400),
        ("\"\",{}", 400),
    ] {
        let answer = keyside.send(&with_body("GET", MEDIA, JSON, body.as_bytes()));
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let plivo = preset(
        &upstream,
        "plivo",
        "auth_id = \"MA01\"\nauth_token = \"file:@DIR@/key\"",
        "\"1555\"",
    );
    let message = with_body("POST", "/v1/Account/MA01/Message/", JSON, b"\"\"");
    assert_eq!(plivo.send(&message).slug(), "sender_not_named");
}

#[test]
fn a_415_names_the_types_that_the_operation_takes() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for (target, types) in [
        (
            MESSAGES,
            "application/json or as application/x-www-form-urlencoded",
        ),
        (UPLOADS, "multipart/form-data or as application/json"),
    ] {
        let answer = keyside.send(&with_body("POST", target, "text/plain", b"{}"));
        is_refused(&answer, 415, target);
        assert_eq!(answer.slug(), "unsupported_media_type");
        assert!(answer.text().contains(types), "{}", answer.text());
    }
}

#[test]
fn an_upload_whose_parts_change_the_request_never_becomes_whole() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let file = String::from_utf8(file_form(b"pixels")).unwrap();
    let (file, _) = file.split_once("\r\n--b--").unwrap();
    let second = |disposition: &str| {
        format!(
            "{file}\r\n--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\nx\r\n--b--\r\n"
        )
    };
    for body in [
        part("batch"),
        part("Method"),
        part("ids[]"),
        part("include.headers"),
        part("access_token"),
        part("appsecret_proof"),
        second("name=\"batch\""),
        second("name=batch"),
        second("filename=\"a\"; name=\"method\""),
        second("name=\"a\"; filename=\"\\\"; name=\"batch\""),
        second("name=\"a\"; name=\"batch\""),
        second("name*=UTF-8''batch"),
        second("name='batch'"),
        second("name=\"a\"").replace(
            "x\r\n--b--",
            "x\n--b\nContent-Disposition: form-data; name=\"batch\"\n\nx\r\n--b--",
        ),
        second("name=\"a\"\nContent-Disposition: form-data; name=\"batch\""),
        second("name=\"a\"\r\n Content-Disposition: form-data; name=\"batch\""),
        format!("x\r\n{}", part("a")),
        format!("{}\r\n{}", part("a"), part("batch")),
        part("a").replace("--b--\r\n", ""),
        part("a").replace("--b--", "--b"),
        "batch=[]".to_owned(),
    ] {
        for request in [
            with_body("POST", UPLOADS, MULTIPART, body.as_bytes()),
            in_chunks(UPLOADS, MULTIPART, body.as_bytes()),
        ] {
            upstream.forget();
            is_refused(&keyside.send(&request), 400, &body);
            nothing_arrives(&upstream, &body);
        }
    }
    for (kind, status) in [
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 415),
        ("multipart/form-data; boundary=a; boundary=b", 400),
        ("multipart/form-data; x-boundary=a; boundary=b", 400),
        ("multipart/form-data; boundary=\"a b\"", 400),
    ] {
        let answer = keyside.send(&with_body("POST", UPLOADS, kind, part("a").as_bytes()));
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
        nothing_arrives(&upstream, kind);
    }
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "and it still works"
    );
}

#[test]
fn a_fault_at_the_end_of_a_large_upload_keeps_it_incomplete() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let mut body = file_form(&noise(3 << 20));
    body.truncate(body.len() - FORM_ENDS.len());
    body.extend_from_slice(
        b"\r\n--b\r\nContent-Disposition: form-data; name=\"batch\"\r\n\r\n[]\r\n--b--\r\n",
    );
    for request in [
        with_body("POST", UPLOADS, MULTIPART, &body),
        with_body("POST", UPLOADS, MULTIPART, &body[..body.len() - 4]),
    ] {
        upstream.forget();
        is_refused(&keyside.send(&request), 400, "a large upload");
        assert!(eventually(Duration::from_secs(2), || upstream.heads() == 1));
        nothing_arrives(&upstream, "a large upload");
    }
}

#[test]
fn uploads_of_common_libraries_leave_byte_for_byte() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    // requests (Python), form-data and undici (Node), curl, Go, .NET; each as the library writes
    // it.
    for (boundary, parameter, body) in [
        (
            "0123456789abcdef0123456789abcdef",
            "boundary=@",
            "--@\r\nContent-Disposition: form-data; name=\"messaging_product\"\r\n\r\nwhatsapp\r\n--@\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\u{1}\r\n\r\n--\r\n--@--\r\n",
        ),
        (
            "--------------------------123456789012345678901234",
            "boundary=@",
            "--@\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".png\"\r\nContent-Type: image/png\r\n\r\nx\r\n--@--\r\n",
        ),
        (
            "----formdata-undici-012345678901",
            "boundary=@",
            "--@\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\nimage/png\r\n--@\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\u{e9}.png\"\r\nContent-Type: image/png\r\n\r\n\r\n--@--\r\n",
        ),
        (
            "------------------------d74496d66958873e",
            "boundary=@",
            "--@\r\nContent-Disposition: form-data; name=\"file\"; filename=\"batch\"\r\nContent-Type: application/octet-stream\r\n\r\nx\r\n--@--\r\n",
        ),
        (
            "b6c4e1f0-0000-4000-8000-000000000001",
            "boundary=\"@\"",
            "--@\r\nContent-Type: image/png\r\nContent-Disposition: form-data; name=file; filename=a.png; filename*=utf-8''a.png\r\n\r\nx\r\n--@--\r\n",
        ),
    ] {
        let kind = format!("multipart/form-data; {}", parameter.replace('@', boundary));
        let body = body.replace('@', boundary);
        for request in [
            with_body("POST", UPLOADS, &kind, body.as_bytes()),
            in_chunks(UPLOADS, &kind, body.as_bytes()),
        ] {
            let answer = keyside.send(&request);
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            assert_eq!(upstream.last().body, body.as_bytes(), "{kind}");
            assert_eq!(upstream.last().all("content-type"), [kind.as_str()]);
        }
    }
}

#[test]
fn a_provider_says_which_types_its_requests_take() {
    let upstream = Upstream::ok();
    let requests = "[provider.test.operations.messages]\nrequests = [\n\
        \"POST /{v}/{sender}/messages\",\n\
        { request = \"POST /own\", content_types = [\"application/vnd.api+json\", \"multipart/form-data\"] },\n]";
    let keyside = Setup::new(&upstream)
        .provider("content_types = [\"application/json\"]")
        .more(requests)
        .start();
    for (target, kind, body, status) in [
        (MESSAGES, JSON, "{}", 200),
        (MESSAGES, FORM, "a=1", 415),
        ("/own", "application/vnd.api+json", "{}", 200),
        ("/own", "application/vnd.api+json", r#"{"batch":1}"#, 400),
        ("/own", MULTIPART, "--b--", 200),
        ("/own", JSON, "{}", 415),
    ] {
        let answer = keyside.send(&with_body("POST", target, kind, body.as_bytes()));
        assert_eq!(answer.status, status, "{target} {kind}: {}", answer.text());
    }
}

/// Starts Keyside with a route to a preset, for these senders.
fn preset(upstream: &Upstream, name: &str, account: &str, senders: &str) -> Keyside {
    Setup::new(upstream)
        .file("key", "s3cr3t-k3y-0001")
        .config(&format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
             [provider.here]\nextends = \"{name}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"here\"\ncheck = \"off\"\n{account}\n\
             [[route]]\ncredential = \"acme\"\nsenders = [{senders}]\nchannels = [\"*\"]\n"
        ))
        .start()
}

#[test]
fn a_sender_for_the_case_of_failure_must_be_allowed_as_well() {
    let upstream = Upstream::ok();
    let twilio = preset(
        &upstream,
        "twilio",
        "account_sid = \"AC01\"\nauth_token = \"file:@DIR@/key\"",
        "\"+1555\"",
    );
    let target = "/2010-04-01/Accounts/AC01/Messages.json";
    for (body, status) in [
        ("From=whatsapp%3A%2B1555&To=1", 200),
        ("From=whatsapp%3A%2B1555&To=1&FallbackFrom=%2B1555", 200),
        ("From=whatsapp%3A%2B1555&To=1&FallbackFrom=%2B1556", 403),
        ("From=whatsapp%3A%2B1555&MessagingServiceSid=MG1", 403),
    ] {
        let answer = twilio.send(&with_body("POST", target, FORM, body.as_bytes()));
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    let infobip = preset(
        &upstream,
        "infobip",
        "base = \"x\"\napi_key = \"file:@DIR@/key\"",
        "\"1555\"",
    );
    for (body, status) in [
        (
            r#"{"messages":[{"from":"1555","smsFailover":{"from":"1555"}}]}"#,
            200,
        ),
        (
            r#"{"messages":[{"from":"1555","smsFailover":{"from":"1556"}}]}"#,
            403,
        ),
        (r#"{"from":"1555","smsFailover":{"from":"1556"}}"#, 403),
    ] {
        let answer = infobip.post("/whatsapp/1/message/template", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
}

/// A route with senders, and every operation for reading media.
fn reading_route(upstream: &Upstream, senders: &str) -> Keyside {
    let operations = "operations = [\"messages\", \"media\", \"media_delete\", \"templates\"]";
    Setup::new(upstream)
        .route(&format!("senders = {senders}\n{operations}"))
        .start()
}

fn asked(keyside: &Keyside, method: &str, target: &str) -> Answer {
    keyside.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

#[test]
fn a_route_with_senders_reads_only_the_media_of_its_senders() {
    let upstream = Upstream::ok();
    let keyside = reading_route(&upstream, "[\"111\", \"112\"]");
    for method in ["GET", "DELETE"] {
        for (target, status, slug) in [
            ("/v23.0/55", 403, "sender_not_named"),
            ("/55", 403, "sender_not_named"),
            ("/v23.0/55?phone_number_id=222", 403, "sender_not_allowed"),
            ("/v23.0/55?phone_number_id=", 403, "sender_not_allowed"),
            ("/v23.0/222", 403, "sender_not_named"),
            ("/v23.0/55?phone_number_id=111", 200, ""),
            ("/v23.0/111", 200, ""),
        ] {
            let answer = asked(&keyside, method, target);
            assert_eq!(
                (answer.status, answer.slug()),
                (status, slug),
                "{method} {target}"
            );
            if slug == "sender_not_named" {
                let details = answer.json()["error"]["error_data"]["details"].to_string();
                assert!(details.contains("?phone_number_id="), "{details}");
                assert!(
                    details.contains("give each sender a [[route]]"),
                    "{details}"
                );
            }
        }
    }
    for target in [
        "/v23.0/55/message_templates",
        "/whatsapp_business/attachments/?mid=1",
    ] {
        assert_eq!(asked(&keyside, "GET", target).status, 200);
    }
    assert_eq!(keyside.send(&post("/v23.0/111/messages", "{}")).status, 200);
}

#[test]
fn a_route_with_one_sender_adds_the_sender_to_what_is_read_or_deleted_by_id() {
    let upstream = Upstream::ok();
    let keyside = reading_route(&upstream, "[\"111\"]");
    for (target, sent) in [
        ("/v23.0/55", "/v23.0/55?phone_number_id=111"),
        ("/55?access_token=x", "/55?phone_number_id=111"),
        (
            "/v23.0/55?phone_number_id=111",
            "/v23.0/55?phone_number_id=111",
        ),
        ("/v23.0/111", "/v23.0/111"),
        (
            "/whatsapp_business/attachments/?mid=1",
            "/whatsapp_business/attachments/?mid=1",
        ),
        ("/v23.0/55/message_templates", "/v23.0/55/message_templates"),
    ] {
        assert_eq!(asked(&keyside, "GET", target).status, 200, "{target}");
        assert_eq!(upstream.last().target(), sent, "{target}");
    }
    for method in ["GET", "DELETE"] {
        let answer = asked(&keyside, method, "/v23.0/55?phone_number_id=222");
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "sender_not_allowed"),
            "{method}"
        );
    }
    // An id does not tell media from a flow: Meta judges both by the sender.
    assert_eq!(asked(&keyside, "DELETE", "/v23.0/55").status, 200);
    assert_eq!(upstream.last().target(), "/v23.0/55?phone_number_id=111");
}

#[test]
fn with_a_route_for_each_sender_media_is_read_by_an_sdk_that_names_no_sender() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("path = \"/support\"\nsenders = [\"111\"]")
        .more("[[route]]\ncredential = \"acme\"\nname = \"orders\"\npath = \"/orders\"\nsenders = [\"112\"]")
        .start();
    for (path, sender) in [("support", "111"), ("orders", "112")] {
        let answer = asked(&keyside, "GET", &format!("/{path}/v23.0/55"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let sent = format!("/v23.0/55?phone_number_id={sender}");
        assert_eq!(upstream.last().target(), sent, "{path}");
    }
}

#[test]
fn the_fields_of_a_body_fit_one_of_the_allowed_operations_whole() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"106\"]\noperations = [\"templates\", \"flows\"]")
        .start();
    for (body, status) in [
        (r#"{"category":"UTILITY"}"#, 200),
        (r#"{"name":"orders"}"#, 200),
        (r#"{"name":"orders","components":[]}"#, 403),
        (r#"{"pin":"123456"}"#, 403),
    ] {
        let answer = keyside.post("/v23.0/777", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    for operation in ["templates", "flows"] {
        let labels = [&*format!("operation=\"{operation}\""), "outcome=\"ok\""];
        let counted = keyside.metric("keyside_requests_total", &labels);
        assert_eq!(
            counted, 1.0,
            "counted as the operation that decided: {operation}"
        );
    }
}

#[test]
fn a_compressed_body_is_refused_however_its_header_is_written() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for header in [
        "Content-Encoding: gzip",
        "Content_Encoding: gzip",
        "content_encoding: br",
    ] {
        let lines = format!("Content-Type: {JSON}\r\n{header}\r\n");
        let answer = keyside.send(&posted(MESSAGES, &lines, b"{}"));
        is_refused(&answer, 400, header);
        let lines = format!("Content-Type: {MULTIPART}\r\n{header}\r\n");
        let answer = keyside.send(&posted(UPLOADS, &lines, &file_form(b"x")));
        is_refused(&answer, 400, header);
    }
    for header in [
        "Content_Encoding: identity",
        "Content-Encoding: identity\r\nContent-Encoding: gzip",
        "Content-Encoding: identity, gzip",
    ] {
        let lines = format!("Content-Type: {JSON}\r\n{header}\r\n");
        is_refused(&keyside.send(&posted(MESSAGES, &lines, b"{}")), 400, header);
    }
    nothing_arrives(&upstream, "compressed");
    // No coding at all.
    let lines = format!("Content-Type: {JSON}\r\nContent-Encoding: Identity\r\n");
    assert_eq!(keyside.send(&posted(MESSAGES, &lines, b"{}")).status, 200);
}

#[test]
fn a_name_behind_a_byte_order_mark_is_refused_in_form_and_query() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for body in [
        "\u{feff}batch=1",
        "\u{feff}to=1",
        "%EF%BB%BFbatch=1",
        "%ef%bb%bfmethod=delete",
        "to=1&%EF%BB%BFbatch=1",
        "to=1;\u{feff}batch=1",
        "to=1&+%ef%bb%bfbatch=1",
    ] {
        let answer = keyside.send(&with_body("POST", MESSAGES, FORM, body.as_bytes()));
        is_refused(&answer, 400, body);
        if body.is_ascii() {
            let answer = keyside.send(&with_body(
                "POST",
                &format!("{MESSAGES}?{body}"),
                JSON,
                b"{}",
            ));
            is_refused(&answer, 400, body);
        }
    }
    nothing_arrives(&upstream, "a byte order mark");
    let text = "to=1&body=%EF%BB%BFHello";
    assert_eq!(
        keyside
            .send(&with_body("POST", MESSAGES, FORM, text.as_bytes()))
            .status,
        200
    );
}
