//! The target of a request: host, method and path, each read in one way alone.

use super::{GET, Row, echo, keyside_and_upstream, row, run};
use crate::support::keyside::Setup;
use crate::support::upstream::Upstream;
use crate::support::{MEDIA, MESSAGES};

#[test]
fn a_host_that_is_not_ours_is_misdirected() {
    let upstream = Upstream::answering(echo);
    let keyside = Setup::new(&upstream)
        .outbound("allowed_hosts = [\"sidecar.internal\"]")
        .start();
    let get = |host: &str| format!("GET {MEDIA} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut rows = vec![
        row("no Host", format!("GET {MEDIA} HTTP/1.1\r\n\r\n")).refused(421),
        row(
            "two Hosts",
            format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n"),
        )
        .refused(421),
        row(
            "the same Host twice",
            format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        )
        .refused(421),
        row(
            "HTTP/1.0 without Host",
            format!("GET {MEDIA} HTTP/1.0\r\n\r\n"),
        )
        .refused(421),
    ];
    for host in [
        "evil.test",
        "evil.test:8080",
        "localhost.evil.test",
        "127.0.0.1.evil.test",
        "notlocalhost",
        "0.0.0.0",
        "169.254.169.254",
        "128.0.0.1",
        "[::]",
        "[fe80::1]",
        "graph.facebook.com.evil.test",
        "lookaside.fbsbx.com.evil.test",
        "sidecar.internal.evil.test",
        "evil-sidecar.internal",
    ] {
        rows.push(row(format!("Host {host:?}"), get(host)).refused(421));
    }
    for host in [
        "",
        "a@b/c",
        "localhost@evil.test",
        "localhost, evil.test",
        "localhost evil.test",
        "localhost:80:80",
        "localhost:x",
        "localhost/x",
        "[::1",
        "evil.test#localhost",
        "evil.test?localhost",
    ] {
        rows.push(row(format!("Host {host:?}"), get(host)).refused(421));
    }
    let theirs = upstream.authority();
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.1.2.3",
        "[::1]",
        "[::1]:8080",
        "sidecar.internal",
        "Sidecar.Internal:80",
        &theirs,
    ] {
        rows.push(row(format!("Host {host:?}"), get(host)).get_arrives());
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn the_caller_cannot_choose_where_a_request_goes() {
    let upstream = Upstream::answering(echo);
    let keyside = Setup::new(&upstream)
        .outbound("allowed_hosts = [\"sidecar.internal\"]")
        .start();
    let port = keyside.outbound().port();
    let line = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let ours = upstream.authority();
    let mut rows = vec![
        row(
            "absolute-form http",
            line("http://evil.example/v23.0/1234567890"),
        )
        .refused(421),
        row(
            "absolute-form https",
            line("https://evil.example:99/v23.0/1234567890"),
        )
        .refused(421),
        row(
            "absolute-form to the upstream's name as a prefix",
            line(&format!("https://{ours}.evil.example/v23.0/1234567890")),
        )
        .refused(421),
        row(
            "absolute-form with user information",
            line(&format!("https://{ours}@evil.example/v23.0/1234567890")),
        )
        .refused(421),
        row(
            "absolute-form with our name as user",
            line("http://localhost@evil.example/v23.0/1234567890"),
        )
        .refused(421),
        row(
            "another scheme",
            line("ftp://evil.example/v23.0/1234567890"),
        )
        .refused(421),
        row(
            "another scheme to the upstream",
            line(&format!("ftp://{ours}/v23.0/1234567890")),
        )
        .refused(421),
        row(
            "another scheme to Keyside",
            line(&format!("ws://localhost:{port}/v23.0/1234567890")),
        )
        .refused(421),
        row(
            "another port of this machine",
            line(&format!("http://localhost:{}/v23.0/1234567890", port + 1)),
        )
        .refused(421),
        row(
            "the implied port of this machine",
            line("http://127.0.0.1/v23.0/1234567890"),
        )
        .refused(421),
        row(
            "Keyside's own name",
            line(&format!("http://localhost:{port}/v23.0/1234567890")),
        )
        .get_arrives(),
        row(
            "Keyside's own address",
            line(&format!("HTTP://127.0.0.1:{port}/v23.0/1234567890")),
        )
        .get_arrives(),
        row(
            "an allowed name",
            line("http://sidecar.internal:8080/v23.0/1234567890"),
        )
        .get_arrives(),
        row(
            "an allowed name as a prefix",
            line("http://sidecar.internal.evil.test/v23.0/1234567890"),
        )
        .refused(421),
        row(
            "the upstream's name at another port",
            line("https://upstream.test:99/v23.0/1234567890"),
        )
        .refused(421),
        row("authority-form", line("evil.example:80")).refused(400),
        row(
            "asterisk OPTIONS",
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .refused(400),
        row("asterisk GET", line("*")).refused(400),
        row(
            "CONNECT",
            "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .refused(405),
        row(
            "CONNECT to a path",
            "CONNECT /v23.0/1234567890 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .refused(405),
        row(
            "absolute-form to the upstream itself",
            format!("GET https://{ours}{MEDIA} HTTP/1.1\r\nHost: {ours}\r\n\r\n"),
        )
        .get_arrives(),
        row(
            "absolute-form to the upstream with a foreign Host",
            format!("GET https://{ours}{MEDIA} HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
        )
        .refused(421),
    ];
    for (name, value) in [
        ("X-Forwarded-Host", "evil.test"),
        ("Forwarded", "host=evil.test"),
        ("X-Original-URL", "/v23.0/oauth"),
        ("X-Rewrite-URL", "/v23.0/oauth"),
        ("Access-Token", "EAAsomebodys"),
        ("X-FB-Access-Token", "EAAsomebodys"),
    ] {
        let arrives = row(name, format!("{GET}{name}: {value}\r\n\r\n")).get_arrives();
        rows.push(arrives.without(&[name]));
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_query_leaves_encoded_that_other_servers_take_as_it_is() {
    let (keyside, upstream) = keyside_and_upstream();
    let post = |query: &str| {
        let line = format!("POST {MESSAGES}?{query} HTTP/1.1\r\nHost: localhost\r\n");
        format!("{line}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}")
    };
    let line = |query: &str| format!("POST {MESSAGES}?{query} HTTP/1.1");
    // An example of Meta's page on analytics.
    let analytics = "fields=conversation_analytics.start(1656661480).conversation_directions([\"business_initiated\"])";
    let mut rows = Vec::new();
    for query in [analytics, "a=<b>", "a=`b`&c=\"", &"\"".repeat(5000)] {
        let encoded = query
            .replace('"', "%22")
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace('`', "%60");
        rows.push(row(query, post(query)).arrives(line(&encoded), "{}"));
    }
    rows.push(
        row("a body behind an end", post(&"\"".repeat(5000)))
            .half_close()
            .arrives(line(&"%22".repeat(5000)), "{}"),
    );
    for query in ["batch=\"1\"", "a=\"#b"] {
        rows.push(row(query, post(query)).refused(400));
    }
    for path in [
        "/v23.0/123<4567890",
        "/v23.0/\"1234567890\"",
        "/v23.0/`1234567890",
    ] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        rows.push(row(path, get).refused(403));
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn methods_outside_the_list_are_not_allowed() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows: Vec<Row> = [
        "TRACE", "TRACK", "get", "Get", "post", "PURGE", "PROPFIND", "LINK", "GETX", "X",
    ]
    .into_iter()
    .map(|method| {
        row(
            method,
            format!("{method} {MEDIA} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
        .refused(405)
    })
    .collect();
    rows.push(
        row(
            "a quote in the method",
            format!("G\"T {MEDIA} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
        .refused(400),
    );
    run(&keyside, &upstream, rows);
}

#[test]
fn a_405_names_the_methods_that_are_allowed() {
    let (keyside, _upstream) = keyside_and_upstream();
    let answer = keyside.send(b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let allow = answer.header("allow").expect("Allow");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        assert!(
            allow.split(',').any(|word| word.trim() == method),
            "{method} in {allow:?}"
        );
    }
    assert!(!allow.contains("TRACE"), "{allow:?}");
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for path in [
        "/v23.0/1234567890#frag",
        "//evil/../a/%2e%2e/b",
        "/whatsapp_business/attachments/..;/x",
        "//v23.0/1234567890",
        "/v23.0//1234567890",
        "/v23.0/1234567890//",
        "/v23.0/./1234567890",
        "/v23.0/x/../1234567890",
        "/v23.0/1234567890/..",
        "/v23.0/1234567890/.",
        "/v23.0/%2e%2e/1234567890",
        "/v23.0/%2E./1234567890",
        "/v23.0/.%2e/1234567890",
        "/%2e/v23.0/1234567890",
        "/v23.0/1234567890%2fmessages",
        "/v23.0/1234567890%2Fmessages",
        "/v23.0/1234567890%5cmessages",
        "/v23.0/1234567890%5Cmessages",
        "/v23.0\\1234567890",
        "/a\\..\\b",
        "/v23.0/1234567890%00",
        "/a%00%0d%0aX:%20y",
        "/v23.0/1234567890%0d%0aX:%20y",
        "/v23.0/1234567890/\u{e9}",
        "/v23.0/12345 67890",
        "/v23.0/1234567890\u{1}",
        "/v23.0/1234567890\u{7f}",
        "/v23.0/1234567890%7f",
        "/v23.0/1234567890%0a",
        "/v23.0/1234567890%",
        "/v23.0/..%3b/1234567890",
        "/v23.0/..%3B/1234567890",
        "/v23.0/.%3bx/1234567890",
        "/v23.0/..%20/1234567890",
        "/v23.0/..%3f/1234567890",
        "/v23.0/..%23/1234567890",
        "/v23.0/%252e%252e/1234567890",
        "/v23.0/1234567890%252fmessages",
        "/v23.0/1234567890%255cmessages",
        "/v23.0/1234567890%2500",
    ] {
        rows.push(
            row(
                path,
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            )
            .refused(400),
        );
    }
    rows.push(
        row(
            "a path in no known encoding",
            b"GET /v23.0/1234567890\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .refused(400),
    );
    run(&keyside, &upstream, rows);
}
