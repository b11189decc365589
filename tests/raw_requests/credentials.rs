//! The application's own credentials, and names that change a request: neither leaves.

use super::{EVIL, GET, POST, keyside_and_upstream, row, run};
use crate::support::{MEDIA, MESSAGES, contains};

#[test]
fn the_callers_own_credential_never_leaves() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for name in [
        "Authorization",
        "authorization",
        "AUTHORIZATION",
        "Proxy-Authorization",
        "Cookie",
        "D360-API-KEY",
        "X-API-Key",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "Via",
        "traceparent",
        "tracestate",
        "baggage",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "D360_API_KEY",
        "X_API-Key",
        "X_Forwarded_For",
        "X_HTTP_Method_Override",
    ] {
        let target = row(name, format!("{GET}{name}: {EVIL}\r\n\r\n")).get_arrives();
        rows.push(if name.eq_ignore_ascii_case("authorization") {
            target
        } else {
            target.without(&[name])
        });
    }
    rows.push(
        row(
            "Authorization twice",
            format!("{GET}Authorization: Bearer {EVIL}\r\nAuthorization: Basic {EVIL}\r\n\r\n"),
        )
        .get_arrives(),
    );
    rows.push(row("a verb override of a POST", format!("{POST}X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\nContent-Length: 2\r\n\r\n{{}}"))
        .post_arrives().without(&["x-http-method-override", "x-http-method", "x-method-override"]));
    rows.push(
        row(
            "headers that mean nothing here pass",
            format!("{GET}User-Agent: Me/1\r\nAccept: */*\r\nX-Mine: yes\r\n\r\n"),
        )
        .get_arrives()
        .with("user-agent", "Me/1")
        .with("accept", "*/*")
        .with("x-mine", "yes"),
    );
    rows.push(
        row(
            "an underscore alone does no harm",
            format!("{GET}file_offset: 0\r\n\r\n"),
        )
        .get_arrives()
        .with("file_offset", "0"),
    );
    run(&keyside, &upstream, rows);
}

#[test]
fn a_credential_in_the_query_never_leaves() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for query in [
        "access_token=§",
        "%61ccess_token=§",
        "access%5ftoken=§",
        "%61%63%63%65%73%73%5F%74%6F%6B%65%6E=§",
        "access_token=§&access_token=§",
        "appsecret_proof=§",
        "appsecret_time=§",
        "appsecret%5Fproof=§",
        "access_token=§&appsecret_proof=§&appsecret_time=§",
    ] {
        let query = query.replace('§', EVIL);
        rows.push(
            row(
                &query,
                format!("GET {MEDIA}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            )
            .get_arrives(),
        );
        let kept = format!(
            "POST {MESSAGES}?a=1&{query}&b=%20x+y HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        rows.push(
            row(format!("{query} among others"), kept)
                .arrives(format!("POST {MESSAGES}?a=1&b=%20x+y HTTP/1.1"), "{}"),
        );
    }
    run(&keyside, &upstream, rows);
    upstream.forget();
    // Spellings that a server might read as a name of the list: taken out as well.
    let mut leaked = Vec::new();
    for query in [
        "ACCESS_TOKEN=§",
        "Access_Token=§",
        "access_token[]=§",
        "access_token%5B%5D=§",
        "access_token[0]=§",
        "+access_token=§",
        "phone_number_id=1;access_token=§",
        "access_token%00=§",
        "?access_token=§",
        "access.token=§",
        "access%20token=§",
        "access[token=§",
    ] {
        let query = query.replace('§', EVIL);
        for request in [
            format!("GET {MEDIA}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            format!(
                "POST {MESSAGES}?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
        ] {
            let answer = keyside.send(request.as_bytes());
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            let seen = upstream.requests();
            if seen
                .iter()
                .any(|request| contains(&request.raw, EVIL.as_bytes()))
            {
                leaked.push(query.clone());
            }
            upstream.forget();
        }
    }
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[test]
fn query_parameters_that_change_what_a_request_does_are_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for query in [
        "method=delete",
        "METHOD=delete",
        "Method=delete",
        "%6dethod=delete",
        "m%65thod=delete",
        "%4D%45thod=delete",
        "batch=[]",
        "BATCH=[]",
        "b%61tch=%5B%5D",
        "ids=1,2",
        "IDS=1",
        "%69ds=1",
        "include_headers=true",
        "include%5fheaders=true",
        "include.headers=true",
        "a=1;method=delete",
        "method%00=delete",
        "Include_Headers=1",
        "phone_number_id=1&ids=2",
        "method",
        "ids",
        "ids=",
        "method=GET&method=DELETE",
    ] {
        rows.push(
            row(
                format!("GET ?{query}"),
                format!("GET {MEDIA}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            )
            .refused(400),
        );
        rows.push(row(format!("POST ?{query}"), format!("POST {MESSAGES}?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400));
    }
    for query in ["a=\u{e9}", "phone_number_id=1&\u{e9}"] {
        rows.push(
            row(
                format!("GET ?{query}"),
                format!("GET {MEDIA}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            )
            .refused(400),
        );
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_batch_at_the_root_is_no_operation() {
    let (keyside, upstream) = keyside_and_upstream();
    let form = "batch=[]&include_headers=true";
    let mut rows = Vec::new();
    for path in [
        "/",
        "/v23.0",
        "/v23.0/",
        "/me",
        "/v23.0/me/messages",
        "/1234567890/accounts",
        "/debug_token",
        "/oauth/access_token",
        "/v23.0/oauth/access_token",
    ] {
        rows.push(row(path, format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}", form.len())).refused(403));
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_credential_in_a_form_never_leaves() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for (sent, left) in [
        ("access_token=§&x=1", "x=1"),
        ("x=1&access_token=§", "x=1"),
        ("x=1&access_token=§&y=%20+2", "x=1&y=%20+2"),
        ("%61ccess_token=§&x=1", "x=1"),
        ("appsecret_proof=§&x=1", "x=1"),
        ("x=1&access_token=§&access_token=§", "x=1"),
        ("access_token=§", ""),
        ("x=1", "x=1"),
    ] {
        let form = sent.replace('§', EVIL);
        for kind in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-URLencoded; charset=utf-8",
        ] {
            let request = format!(
                "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            );
            rows.push(
                row(format!("{sent} as {kind}"), request)
                    .arrives(format!("POST {MESSAGES} HTTP/1.1"), left),
            );
        }
        let request = format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{form}\r\n0\r\n\r\n",
            form.len()
        );
        rows.push(
            row(format!("{sent} in a chunk"), request)
                .arrives(format!("POST {MESSAGES} HTTP/1.1"), left),
        );
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_credential_in_a_json_object_never_leaves_and_the_rest_stays() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for (sent, left) in [
        (r#"{"access_token":"§","a": 1.0 }"#, r#"{"a":1.0}"#),
        (r#"{"a":1,"access\u005ftoken":"§"}"#, r#"{"a":1}"#),
        (
            r#"{"Access_Token":"§","a":"\u00e9\/","access_token":"§"}"#,
            r#"{"a":"\u00e9\/"}"#,
        ),
        (r#"{"appsecret_proof":"§"}"#, "{}"),
        ("\u{feff}{\"access_token\":\"§\"}", "{}"),
        ("\u{feff}{\"a\": 1}", "\u{feff}{\"a\": 1}"),
        (
            r#" {"text": {"access_token":"theirs"} }"#,
            r#" {"text": {"access_token":"theirs"} }"#,
        ),
    ] {
        let json = sent.replace('§', EVIL);
        let request = format!("{POST}Content-Length: {}\r\n\r\n{json}", json.len());
        rows.push(row(sent, request).arrives(format!("POST {MESSAGES} HTTP/1.1"), left));
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_body_cannot_change_what_a_request_does() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for (kind, body) in [
        ("application/x-www-form-urlencoded", "method=delete"),
        ("application/x-www-form-urlencoded", "a=1&%6dethod=delete"),
        (
            "application/x-www-form-urlencoded",
            "batch=[]&include_headers=true",
        ),
        ("application/json", r#"{"method":"delete"}"#),
        ("application/json", r#"{"a":1,"m\u0065thod":"delete"}"#),
    ] {
        let length = body.len();
        let request = format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        rows.push(row(format!("{body} as {kind}"), request).refused(400));
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_body_that_could_be_read_in_two_ways_is_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let form = "access_token=evil";
    let mut rows = Vec::new();
    for types in [
        "Content-Type: image/png\r\nContent-Type: application/x-www-form-urlencoded",
        "Content-Type: image/png\r\nContent_Type: application/x-www-form-urlencoded",
        "Content_Type: application/x-www-form-urlencoded",
    ] {
        let length = form.len();
        let request = format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\n{types}\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        rows.push(row(types, request).refused(400));
    }
    let compressed =
        format!("{POST}Content-Encoding: deflate\r\nContent-Length: 4\r\n\r\nx\u{1}ab");
    rows.push(row("one that cannot be looked through", compressed).refused(400));
    run(&keyside, &upstream, rows);
}
