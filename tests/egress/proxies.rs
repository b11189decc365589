//! Messages through proxies that open tunnels, want credentials, refuse, or hang.

use std::time::{Duration, Instant};

use crate::support::authority::{Authority, Certificate};
use crate::support::client::post;
use crate::support::keyside::{Setup, free_port};
use crate::support::proxy::{Manner, Proxy};
use crate::support::upstream::{Upstream, json};
use crate::support::{MESSAGES, TOKEN, contains, stretched};

/// The URL of an upstream by a name that only a proxy resolves.
pub(super) fn named(upstream: &Upstream) -> String {
    format!("https://graph.test:{}", upstream.port())
}

/// `user:secret word` in the form of RFC 7617.
const CREDENTIALS: &str = "Basic dXNlcjpzZWNyZXQgd29yZA==";

#[test]
fn a_message_goes_through_the_proxy_which_resolves_the_name() {
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Opens));
        let keyside = Setup::at(&named(&upstream))
            .env(variable, &proxy.url(""))
            .start();
        for _ in 0..3 {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        }
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "one tunnel serves many messages: {heads:?}");
        let place = format!("graph.test:{}", upstream.port());
        let expected = format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\nuser-agent: keyside/");
        assert!(heads[0].starts_with(&expected), "{}", heads[0]);
        assert!(!heads[0].contains("authorization") && !heads[0].contains(TOKEN));
        assert_eq!(upstream.last().header("host").as_deref(), Some(&*place));
    }
}

#[test]
fn the_credentials_of_the_proxy_go_to_the_proxy_alone() {
    let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Wants(CREDENTIALS)));
    let keyside = Setup::at(&named(&upstream))
        .file("proxy", proxy.url("user:secret%20word@"))
        .more("[egress]\nproxy = \"file:@DIR@/proxy\"")
        .level("trace")
        .start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(proxy.heads().len(), 1);
    assert!(
        !contains(&upstream.last().head, b"roxy"),
        "{}",
        upstream.last().line()
    );
    let shown = format!("{}{}{}", keyside.log(), keyside.status(), keyside.metrics());
    for secret in ["secret%20word", "secret word", "dXNlcjpz", "user:"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn a_proxy_that_wants_other_credentials_is_named_and_gets_them_by_a_reload() {
    let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Wants(CREDENTIALS)));
    let keyside = Setup::at(&named(&upstream))
        .file("proxy", proxy.url("user:old@"))
        .more("[egress]\nproxy = \"file:@DIR@/proxy\"")
        .start();
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_unreachable")
    );
    let expected = format!("the proxy {} wants other credentials (407)", proxy.url(""));
    assert!(answer.text().contains(&expected), "{}", answer.text());
    keyside
        .dir()
        .write("proxy", proxy.url("user:secret%20word@"));
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    keyside.dir().write("proxy", proxy.url(""));
    assert_eq!(keyside.reload().status, 200);
    let answer = keyside.post(MESSAGES, "{}");
    let expected = format!("the proxy {} wants credentials (407)", proxy.url(""));
    assert!(answer.text().contains(&expected), "{}", answer.text());
}

#[test]
fn a_proxy_that_opens_no_tunnel_is_named_with_the_reason_and_nothing_was_sent() {
    let forbids = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    let fails = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://login\r\nContent-Length: 0\r\n\r\n";
    let more = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    for (manner, reason) in [
        (Manner::Answers(forbids), "forbids the way to graph.test:"),
        (Manner::Answers(fails), "does not reach graph.test:"),
        (Manner::Answers(moved), "opens no way to graph.test:"),
        (
            Manner::Answers("SSH-2.0-x\r\n"),
            "not that of an HTTP proxy",
        ),
        (Manner::Answers(more), "not that of an HTTP proxy"),
        (Manner::Answers(""), "closed the connection"),
        (Manner::Hangs, "did not open the way to graph.test:"),
    ] {
        let (upstream, proxy) = (Upstream::ok(), Proxy::start(manner));
        let keyside = Setup::at(&named(&upstream))
            .env("HTTPS_PROXY", &proxy.url(""))
            .start();
        let began = Instant::now();
        let mut client = keyside.connect().patience(Duration::from_secs(10));
        let answer = client.ask(&post(MESSAGES, "{}")).unwrap();
        assert!(
            began.elapsed() < stretched(Duration::from_secs(5)),
            "{reason}"
        );
        assert_eq!(
            (answer.status, answer.slug()),
            (502, "upstream_unreachable")
        );
        let text = answer.text();
        assert!(
            text.contains(&proxy.url("")) && text.contains(reason),
            "{reason}: {text}"
        );
        assert_ne!(answer.json()["error"]["keyside"]["outcome"], "unknown");
        assert_eq!(upstream.connections(), 0, "{reason}");
    }
}

#[test]
fn a_proxy_that_cannot_be_reached_is_named() {
    let upstream = Upstream::ok();
    let dead = format!("http://127.0.0.1:{}", free_port());
    for (url, reason) in [
        (dead.as_str(), "cannot be reached"),
        ("http://nowhere.invalid:3128", "cannot be resolved"),
    ] {
        let keyside = Setup::at(&named(&upstream)).env("HTTPS_PROXY", url).start();
        let mut client = keyside.connect().patience(Duration::from_secs(10));
        let answer = client.ask(&post(MESSAGES, "{}")).unwrap();
        assert_eq!(
            (answer.status, answer.slug()),
            (502, "upstream_unreachable")
        );
        let text = answer.text();
        assert!(text.contains(url) && text.contains(reason), "{text}");
    }
}

#[test]
fn the_way_to_a_proxy_may_be_under_tls() {
    let (upstream, proxy) = (Upstream::ok(), Proxy::under_tls(Manner::Wants(CREDENTIALS)));
    let setup =
        || Setup::at(&named(&upstream)).env("HTTPS_PROXY", &proxy.url("user:secret%20word@"));
    let trusting = setup();
    let authorities = trusting.dir().join("ca.pem").display().to_string();
    let keyside = trusting.env("SSL_CERT_FILE", &authorities).start();
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(200_000));
    for body in ["{}", &large] {
        assert_eq!(keyside.post(MESSAGES, body).status, 200);
    }
    assert_eq!(upstream.last().body.len(), large.len());
    assert_eq!(proxy.heads().len(), 1);

    let answer = setup().start().post(MESSAGES, "{}");
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_unreachable")
    );
    let expected = format!("the proxy {} has no usable TLS", proxy.url(""));
    assert!(answer.text().contains(&expected), "{}", answer.text());
    assert_eq!(
        proxy.heads().len(),
        1,
        "no password without a trusted certificate"
    );
}

#[test]
fn a_proxy_that_opens_tls_is_passed_with_its_authority_as_the_ca_of_the_provider() {
    // The far end of the tunnel has the certificate that an inspecting proxy makes: of an authority
    // of its own.
    let inspector = Authority::new();
    let upstream = Upstream::under(inspector.server_config(&["graph.test"]), |_| json("{}"));
    let proxy = Proxy::start(Manner::Opens);
    let keyside = Setup::at(&named(&upstream))
        .env("HTTPS_PROXY", &proxy.url(""))
        .start();
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!((answer.status, answer.slug()), (502, "upstream_tls"));
    let expected = format!("through the proxy {}: if it opens TLS", proxy.url(""));
    assert!(answer.text().contains(&expected), "{}", answer.text());
    assert_eq!(upstream.arrivals(), 0);
    keyside.dir().write("ca.pem", inspector.pem());
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}

#[test]
fn a_wrong_certificate_behind_a_proxy_is_refused() {
    let upstream = Upstream::with_certificate(Certificate::WrongHost);
    let proxy = Proxy::start(Manner::Opens);
    let keyside = Setup::at(&named(&upstream))
        .env("HTTPS_PROXY", &proxy.url(""))
        .start();
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!((answer.status, answer.slug()), (502, "upstream_tls"));
    assert_eq!(upstream.arrivals(), 0);
}
