//! The settings of the way out: the environment, references, exceptions, and what commands say of
//! them.

use super::proxies::named;
use crate::support::keyside::Setup;
use crate::support::proxy::{Manner, Proxy};
use crate::support::upstream::{Upstream, json};
use crate::support::{MESSAGES, TOKEN};

#[test]
fn loopback_named_hosts_and_off_leave_the_proxy_out() {
    let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Opens));
    let localhost = format!("https://localhost:{}", upstream.port());
    for url in [upstream.url(), localhost] {
        let keyside = Setup::at(&url).env("HTTPS_PROXY", &proxy.url("")).start();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{url}");
    }
    let exceptions = [
        ("NO_PROXY", "other.test, .test", ""),
        ("no_proxy", "*", ""),
        ("NO_PROXY", "", "[egress]\nno_proxy = [\"graph.test\"]"),
        ("NO_PROXY", "", "[egress]\nproxy = \"off\""),
    ];
    for (variable, value, lines) in exceptions {
        let keyside = Setup::at(&named(&upstream))
            .env("HTTPS_PROXY", &proxy.url(""))
            .env(variable, value)
            .more(lines)
            .start();
        let answer = keyside.post(MESSAGES, "{}");
        // No resolver but the proxy knows the name.
        assert_eq!(
            (answer.status, answer.slug()),
            (502, "upstream_unreachable")
        );
        assert!(
            answer.text().contains("its name cannot be resolved"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(proxy.heads(), [""; 0]);
}

#[test]
fn a_url_that_cannot_be_read_opens_no_way_past_the_proxy() {
    let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Opens));
    let keyside = Setup::at(&named(&upstream))
        .env("HTTPS_PROXY", &proxy.url(""))
        .more("[egress]\nproxy = \"file:@DIR@/proxy\"")
        .start();
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_unreachable")
    );
    assert!(
        answer
            .text()
            .contains("there is no way out: egress.proxy: `file:"),
        "{}",
        answer.text()
    );
    let problem = &keyside.status()["egress"]["problem"];
    assert!(
        problem.as_str().unwrap().starts_with("egress.proxy"),
        "{problem}"
    );

    keyside.dir().write("proxy", proxy.url(""));
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    // Once read, the URL outlives the file.
    std::fs::remove_file(keyside.dir().join("proxy")).unwrap();
    assert_eq!(keyside.reload().status, 422, "it is news");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(keyside.log().contains("what was read before stays in use"));
}

#[test]
fn a_value_that_is_no_proxy_is_refused_without_being_shown() {
    let upstream = Upstream::ok();
    let checked = |setup: Setup| {
        let checked = setup.finish("check");
        assert_eq!(checked.code, Some(78), "{}", checked.output);
        assert!(!checked.output.contains("hunter2"), "{}", checked.output);
        checked.output
    };
    let socks = "socks5h://user:hunter2@127.0.0.1:1080";
    let of_environment = Setup::new(&upstream).env("HTTPS_PROXY", socks);
    let output = checked(of_environment);
    assert!(
        output.contains("egress.proxy: HTTPS_PROXY: not a proxy"),
        "{output}"
    );
    assert!(output.contains("`proxy = \"off\"`"), "{output}");
    let of_reference = Setup::new(&upstream)
        .env("WAY", socks)
        .more("[egress]\nproxy = \"env:WAY\"");
    let output = checked(of_reference);
    assert!(
        output.contains("egress.proxy: `env:WAY`: not a proxy"),
        "{output}"
    );
    let literal =
        Setup::new(&upstream).more("[egress]\nproxy = \"http://user:hunter2@127.0.0.1:1\"");
    let output = checked(literal);
    assert!(output.contains("egress.proxy: not a choice"), "{output}");
    assert!(output.contains("a URL may hold a password"), "{output}");
}

#[test]
fn check_and_status_say_which_way_out_is_used() {
    let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Opens));
    let keyside = Setup::at(&named(&upstream))
        .env("WAY", &proxy.url("user:hunter2@"))
        .more("[egress]\nproxy = \"env:WAY\"\nno_proxy = [\"vault.corp\"]")
        .start();
    let status = keyside.status();
    assert_eq!(status["egress"]["proxy"], proxy.url(""));
    assert_eq!(status["egress"]["source"], "env:WAY");
    let checked = Setup::at(&named(&upstream))
        .env("HTTPS_PROXY", &proxy.url("user:hunter2@"))
        .finish("check");
    let line = format!("leave through the proxy {} (HTTPS_PROXY)", proxy.url(""));
    assert!(checked.output.contains(&line), "{}", checked.output);
    assert!(!checked.output.contains("hunter2"), "{}", checked.output);
    let straight = Setup::new(&upstream).start();
    assert!(straight.status()["egress"]["proxy"].is_null());
}

#[test]
fn vault_is_asked_through_the_proxy() {
    let vault = Upstream::answering(|request| {
        json(&match request.target().contains("/mounts/") {
            true => r#"{"data":{"path":"kv/","type":"kv","options":{"version":"1"}}}"#.to_owned(),
            false => format!("{{\"data\":{{\"token\":\"{TOKEN}\"}}}}"),
        })
    });
    let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Opens));
    let setup = Setup::at(&named(&upstream)).credential("token = \"vault:kv/acme#token\"");
    let authority = setup.dir().join("ca.pem").display().to_string();
    let keyside = setup
        .env("VAULT_ADDR", &named(&vault))
        .env("VAULT_CACERT", &authority)
        .env("HTTPS_PROXY", &proxy.url(""))
        .start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let place = format!("CONNECT graph.test:{} ", vault.port());
    let heads = proxy.heads();
    assert!(
        heads.iter().any(|head| head.starts_with(&place)),
        "{heads:?}"
    );
}

#[test]
fn the_doctor_goes_the_way_through_the_proxy() {
    let upstream = Upstream::ok();
    let fails = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    for (manner, expected) in [
        (Manner::Opens, "TLS inside the tunnel"),
        (Manner::Answers(fails), "forbids the way to graph.test:"),
    ] {
        let proxy = Proxy::start(manner);
        let seen = Setup::at(&named(&upstream))
            .env("HTTPS_PROXY", &proxy.url("user:hunter2@"))
            .finish("doctor");
        let way = format!("through the proxy {} (HTTPS_PROXY)", proxy.url(""));
        assert!(seen.output.contains(&way), "{}", seen.output);
        assert!(seen.output.contains(expected), "{}", seen.output);
        assert!(!seen.output.contains("hunter2"), "{}", seen.output);
    }
}
