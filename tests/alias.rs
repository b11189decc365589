//! Alias mode: TLS under the providers' own names, and links in answers behind somebody else's TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ClientConfig;

use crate::support::authority::{Authority, client_config};
use crate::support::client::{Answer, Client, NoAnswer};
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, eventually};

/// A Keyside with plain HTTP, and with TLS at `port` under a certificate of `authority` for
/// `localhost`.
fn with_tls(setup: Setup, port: u16, authority: &Authority) -> Setup {
    let (certificate, key) = authority.server_pem();
    setup
        .more(&format!(
            "[outbound.tls]\nlisten = [\"127.0.0.1:{port}\"]\ncert = \"@DIR@/alias.pem\"\nkey = \"@DIR@/alias.key\""
        ))
        .file("alias.pem", certificate)
        .file("alias.key", key)
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Asks over TLS, with a server name and a `Host`.
fn ask(
    port: u16,
    config: &Arc<ClientConfig>,
    name: &str,
    request: &str,
) -> Result<Answer, NoAnswer> {
    let client = Client::connect_tls_to(name, at(port), Arc::clone(config));
    client
        .expect("it accepts a connection")
        .ask(request.as_bytes())
}

fn get(host: &str, target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")
}

/// An upstream that answers with a link to media at `url`.
fn linking(url: impl Fn(&str) -> String + Send + Sync + 'static) -> Upstream {
    Upstream::answering(move |request| {
        let own = request.header("host").unwrap_or_default();
        json(&serde_json::json!({ "url": url(&own), "id": "1" }).to_string())
    })
}

fn media_of(own: &str) -> String {
    format!("https://{own}/whatsapp_business/attachments/?mid=1")
}

#[test]
fn plain_and_tls_listen_side_by_side_and_links_keep_the_scheme() {
    let (upstream, authority, port) = (linking(media_of), Authority::new(), free_port());
    let keyside = with_tls(Setup::new(&upstream), port, &authority).start();
    let config = client_config(&[&authority.pem()], None);
    let host = format!("localhost:{port}");
    let answer = ask(port, &config, "localhost", &get(&host, MEDIA, "")).unwrap();
    assert_eq!(
        answer.json()["url"],
        format!("https://{host}/whatsapp_business/attachments/?mid=1")
    );
    let sent = upstream.last();
    assert_eq!(sent.all("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(keyside.get(MEDIA).status, 200);
    let plain = Client::connect(at(port))
        .unwrap()
        .ask(get(&host, MEDIA, "").as_bytes());
    assert!(
        plain.is_err(),
        "no plain HTTP where TLS is spoken: {plain:?}"
    );
}

#[test]
fn tls_without_addresses_of_its_own_takes_the_addresses_of_the_listener() {
    let (upstream, authority) = (Upstream::ok(), Authority::new());
    let (certificate, key) = authority.server_pem();
    let keyside = Setup::new(&upstream)
        .more("[outbound.tls]\ncert = \"@DIR@/alias.pem\"\nkey = \"@DIR@/alias.key\"")
        .file("alias.pem", certificate)
        .file("alias.key", key)
        .start();
    let port = keyside.outbound().port();
    let config = client_config(&[&authority.pem()], None);
    let answer = ask(port, &config, "localhost", &get("localhost", MEDIA, ""));
    assert_eq!(answer.unwrap().status, 200);
    assert!(keyside.ask(get("localhost", MEDIA, "").as_bytes()).is_err());
}

#[test]
fn only_http_1_1_is_agreed_on() {
    let (upstream, authority, port) = (Upstream::ok(), Authority::new(), free_port());
    let _keyside = with_tls(Setup::new(&upstream), port, &authority).start();
    let offer = |protocols: &[&str]| {
        let mut config = ClientConfig::clone(&client_config(&[&authority.pem()], None));
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    for (protocols, passes) in [
        (&["h2", "http/1.1"][..], true),
        (&["http/1.1"], true),
        (&[], true),
        (&["h2"], false),
    ] {
        let answer = ask(
            port,
            &offer(protocols),
            "localhost",
            &get("localhost", MEDIA, ""),
        );
        assert_eq!(answer.is_ok(), passes, "{protocols:?}");
    }
}

#[test]
fn a_foreign_host_and_a_host_other_than_the_server_name_are_refused() {
    let (upstream, authority, port) = (Upstream::ok(), Authority::new(), free_port());
    let setup = with_tls(Setup::new(&upstream), port, &authority);
    let _keyside = setup.outbound("allowed_hosts = [\"sidecar.test\"]").start();
    let config = client_config(&[&authority.pem()], None);
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("evil.test", 421),
        ("api.twilio.com", 421),
        // Names of Keyside, but not the one of the handshake.
        ("127.0.0.1", 421),
        ("sidecar.test", 421),
    ] {
        let answer = ask(port, &config, "localhost", &get(host, MEDIA, "")).unwrap();
        assert_eq!(answer.status, status, "{host}");
        assert!(status == 200 || answer.slug() == "wrong_host", "{host}");
    }
    let wrong_name = ask(port, &config, "evil.test", &get("localhost", MEDIA, ""));
    assert!(wrong_name.is_err(), "the client refuses the certificate");
}

#[test]
fn new_certificates_cost_no_request() {
    let (upstream, authority, port) = (Upstream::ok(), Authority::new(), free_port());
    let keyside = with_tls(Setup::new(&upstream), port, &authority)
        .watch("100ms")
        .start();
    let config = client_config(&[&authority.pem()], None);
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // A connection for each request: every one of them shakes hands.
                while !over.load(Ordering::Relaxed) {
                    let answer = ask(port, &config, "localhost", &get("localhost", MEDIA, ""));
                    assert_eq!(answer.unwrap().status, 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            let before = keyside.reloads();
            let (certificate, key) = authority.server_pem();
            keyside.dir().write("alias.key", key);
            keyside.dir().write("alias.pem", certificate);
            assert!(eventually(Duration::from_secs(5), || keyside.reloads() > before));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(sent.load(Ordering::Relaxed) > 20);
}

#[test]
fn a_key_of_another_certificate_is_refused_and_what_was_live_stays() {
    let (upstream, authority, port) = (Upstream::ok(), Authority::new(), free_port());
    let keyside = with_tls(Setup::new(&upstream), port, &authority).start();
    keyside.dir().write("alias.key", authority.server_pem().1);
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    let text = refused.text();
    assert!(
        text.contains("outbound.tls: ") && text.contains("does not belong"),
        "{text}"
    );
    let config = client_config(&[&authority.pem()], None);
    let answer = ask(port, &config, "localhost", &get("localhost", MEDIA, ""));
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn an_upstream_that_leads_back_to_keyside_is_told_by_check_at_the_start_and_to_the_caller() {
    let (authority, port) = (Authority::new(), free_port());
    let setup = with_tls(
        Setup::at(&format!("https://localhost:{port}")),
        port,
        &authority,
    );
    let told = format!("localhost resolves to 127.0.0.1:{port}, which is Keyside itself");
    let told =
        |text: &str| text.contains(&told) || text.contains(&told.replace("127.0.0.1", "[::1]"));
    let checked = setup.finish("check");
    assert_eq!(checked.code, Some(78), "{}", checked.output);
    assert!(told(&checked.output), "{}", checked.output);
    let keyside = setup.start();
    assert!(eventually(Duration::from_secs(5), || told(&keyside.log())));
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(
        answer.text().contains("Keyside itself"),
        "{}",
        answer.text()
    );
}

#[test]
fn behind_somebody_elses_tls_links_lead_to_the_name_in_front() {
    let upstream = linking(media_of);
    let url = |keyside: &Keyside, host: &str, more: &str| {
        let answer = keyside.send(get(host, MEDIA, more).as_bytes());
        answer.json()["url"].as_str().unwrap().to_owned()
    };
    const END: &str = "/whatsapp_business/attachments/?mid=1";
    let keyside = Setup::new(&upstream).start();
    let proto = "X-Forwarded-Proto: https\r\n";
    let both = format!("{proto}X-Forwarded-Host: wa.example.com\r\n");
    assert_eq!(
        url(&keyside, "localhost", ""),
        format!("http://localhost{END}")
    );
    assert_eq!(
        url(&keyside, "localhost", proto),
        format!("https://localhost{END}")
    );
    assert_eq!(
        url(&keyside, "localhost", &both),
        format!("https://wa.example.com{END}")
    );
    // The name of the provider: the link stays as it is.
    let own = upstream.authority();
    assert_eq!(url(&keyside, &own, proto), media_of(&own));
    let forwarded = format!("X-Forwarded-Host: {own}\r\n");
    assert_eq!(url(&keyside, "localhost", &forwarded), media_of(&own));
    assert!(
        upstream.last().all("x-forwarded-host").is_empty(),
        "the provider learns nothing of the proxy"
    );
    let public = Setup::new(&upstream)
        .outbound("public_origin = \"https://wa.example.com:8443\"")
        .start();
    assert_eq!(
        url(&public, "localhost", proto),
        format!("https://wa.example.com:8443{END}")
    );
    assert_eq!(url(&public, &own, ""), media_of(&own));
}

#[test]
fn a_redirect_of_the_provider_stays_in_its_own_name() {
    let upstream = Upstream::answering(|request| {
        let own = request.header("host").unwrap_or_default();
        answer("302 Found", &[("Location", &media_of(&own))], b"")
    });
    let keyside = Setup::new(&upstream).start();
    let location = |host: &str| {
        let answer = keyside.send(get(host, MEDIA, "").as_bytes());
        answer.header("location").unwrap().to_owned()
    };
    let own = upstream.authority();
    assert_eq!(location(&own), media_of(&own));
    assert!(location("localhost").starts_with("http://localhost/whatsapp_business/"));
}

#[test]
fn a_certificate_near_its_end_and_an_open_key_are_warned_about() {
    let (upstream, authority, port) = (Upstream::ok(), Authority::new(), free_port());
    let setup = with_tls(Setup::new(&upstream), port, &authority);
    let (certificate, key) = authority.server_pem_for(Duration::from_secs(4 * 86_400 + 3600));
    let setup = setup.file("alias.pem", certificate).file("alias.key", key);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(setup.dir().join("alias.key"), mode).unwrap();
    let checked = setup.finish("check").output;
    for told in [
        "outbound.tls: ",
        "alias.pem: the certificate ends in 4 days: renew it",
        "alias.key: every user of this machine can read it",
    ] {
        assert!(checked.contains(told), "{told}: {checked}");
    }
    let keyside = setup.start();
    let certificate = &keyside.status()["certificates"][0];
    assert_eq!(certificate["state"], "ending", "{certificate}");
    assert_eq!(certificate["listener"], "outbound.tls");
    let admin = keyside.admin().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["status", "--check", "--admin", &admin]);
    let status = command.output().unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(
        !status.status.success() && text.contains("ends in 4 days"),
        "{text}"
    );
}

/// Three providers, with two accounts at the first, all at `/`, under names without an address.
const SHARED: &str = r#"
[provider.one]
extends = "meta"
upstream = "https://graph.test"
media_upstream = "https://media.test"
[provider.two]
extends = "twilio"
upstream = "https://api.two.test"
[provider.three]
extends = "360dialog"
upstream = "https://waba.three.test"
[credential.graph]
provider = "three"
check = "off"
api_key = "file:@DIR@/auth"
[credential.meta]
provider = "one"
check = "off"
token = "file:@DIR@/token"
[credential.first]
provider = "two"
check = "off"
account_sid = "AC11111111111111111111111111111111"
auth_token = "file:@DIR@/auth"
[credential.second]
provider = "two"
check = "off"
account_sid = "AC22222222222222222222222222222222"
auth_token = "file:@DIR@/auth"
[[route]]
credential = "meta"
[[route]]
credential = "graph"
[[route]]
credential = "first"
[[route]]
credential = "second"
[outbound]
listen = ["127.0.0.1:@PORT@"]
[admin]
listen = ["127.0.0.1:@ADMIN@"]
[log]
level = "debug"
"#;

#[test]
fn host_and_account_choose_among_routes_with_one_path() {
    let setup = Setup::at("https://unused.test").config(SHARED);
    setup
        .dir()
        .write("auth", "0123456789abcdef0123456789abcdef");
    let keyside = setup.start();
    let form = |account: char| {
        let sid = account.to_string().repeat(32);
        format!("/2010-04-01/Accounts/AC{sid}/Messages.json")
    };
    let send = |host: &str, target: &str, kind: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        keyside.send(request.as_bytes())
    };
    let (form_kind, json_kind) = ("application/x-www-form-urlencoded", "application/json");
    let message = "From=whatsapp%3A%2B15550001111&To=whatsapp%3A%2B15550001234&Body=a";
    // No name can be resolved: 502 tells that the request was allowed and that a route was chosen.
    for (host, target, kind, body, slug) in [
        ("graph.test", MESSAGES, json_kind, "{}", "upstream"),
        ("waba.three.test", MESSAGES, json_kind, "{}", "upstream"),
        // The two routes know the path, and `localhost` names neither.
        ("localhost", MESSAGES, json_kind, "{}", "sender_not_named"),
        ("localhost", &form('2'), form_kind, message, "upstream"),
        ("api.two.test", &form('1'), form_kind, message, "upstream"),
        ("api.two.test", &form('2'), form_kind, message, "upstream"),
        (
            "api.two.test",
            MESSAGES,
            json_kind,
            "{}",
            "operation_not_allowed",
        ),
        (
            "graph.test",
            &form('1'),
            form_kind,
            message,
            "operation_not_allowed",
        ),
        (
            "api.two.test",
            &form('3'),
            form_kind,
            message,
            "sender_not_named",
        ),
        ("other.test", MESSAGES, json_kind, "{}", "wrong_host"),
    ] {
        let answer = send(host, target, kind, body);
        let found = answer.header("keyside-error").unwrap_or_default();
        assert!(
            found.starts_with(slug),
            "{host} {target}: {found} {}",
            answer.text()
        );
    }
    let foreign = send("api.two.test", &form('3'), form_kind, message);
    let told = "AC333333333333333333333333333333 in the path is that of no route here";
    assert!(foreign.text().contains(told), "{}", foreign.text());
    let log = keyside.log();
    for route in ["meta", "graph", "first", "second"] {
        assert!(
            log.contains(&format!("route=\"{route}\""))
                || log.contains(&format!("\"route\":\"{route}\"")),
            "{route}: {log}"
        );
    }
}

/// Asks over plain HTTP with a `Host`, as a terminator of TLS hands a request on.
fn sent_to(keyside: &Keyside, host: &str, method: &str, target: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    keyside.send(request.as_bytes())
}

/// Sinch, under unresolved names.
const SINCH: &str = r#"
[provider.here]
extends = "sinch"
upstream = "https://us.conversation.test"
upstreams = { template = "https://us.template.test" }
[provider.here.access_token]
upstream = "https://auth.sinch.test"
[credential.here]
provider = "here"
check = "off"
region = "us"
project_id = "p1"
key_id = "k1"
key_secret = "file:@DIR@/auth"
[[route]]
credential = "here"
operations = ["messages", "templates"]
[outbound]
listen = ["127.0.0.1:@PORT@"]
[admin]
listen = ["127.0.0.1:@ADMIN@"]
[log]
level = "debug"
"#;

#[test]
fn an_sdk_that_asks_another_host_for_a_token_runs_unchanged() {
    let keyside = Setup::at("https://unused.test")
        .file("auth", "0123456789abcdef0123456789abcdef")
        .config(SINCH)
        .start();
    let token = sent_to(&keyside, "auth.sinch.test", "POST", "/oauth2/token", "{}");
    assert_eq!(token.status, 200, "{}", token.text());
    assert_eq!(token.json()["access_token"], "keyside");
    // No name can be resolved, that of the issuer neither: 503 tells that the request was allowed.
    for (host, method, target, status) in [
        (
            "us.conversation.test",
            "POST",
            "/v1/projects/p1/messages:send",
            503,
        ),
        ("us.template.test", "GET", "/v2/projects/p1/templates", 503),
        (
            "auth.sinch.test",
            "POST",
            "/v1/projects/p1/messages:send",
            421,
        ),
        (
            "us.sinch.test",
            "POST",
            "/v1/projects/p1/messages:send",
            421,
        ),
    ] {
        let body = r#"{"app_id":"a","recipient":{"identified_by":{"channel_identities":[{"channel":"WHATSAPP","identity":"1"}]}}}"#;
        let body = if method == "GET" { "" } else { body };
        let answer = sent_to(&keyside, host, method, target, body);
        assert_eq!(answer.status, status, "{host} {target}: {}", answer.text());
    }
    let made = keyside.dir().join("ca");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.arg("ca").arg(&made).arg("--config");
    let said = command
        .arg(keyside.dir().join("proxy.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for host in [
        "auth.sinch.test",
        "us.conversation.test",
        "us.template.test",
    ] {
        assert!(said.contains(host), "{host}: {said}");
    }
}

/// Two accounts of Meta's on a common host and path, each with a number and a WhatsApp Business
/// Account.
const TWO_ACCOUNTS: &str = r#"
[provider.here]
extends = "meta"
upstream = "https://graph.test"
media_upstream = "https://media.test"
[credential.first]
provider = "here"
check = "off"
token = "file:@DIR@/token"
[credential.second]
provider = "here"
check = "off"
token = "file:@DIR@/token"
[[route]]
credential = "first"
senders = ["1111111111", "1010101010"]
operations = ["messages", "media", "templates"]
[[route]]
credential = "second"
senders = ["2222222222", "2020202020"]
operations = ["messages", "media", "templates"]
[outbound]
listen = ["127.0.0.1:@PORT@"]
[admin]
listen = ["127.0.0.1:@ADMIN@"]
[log]
level = "debug"
"#;

#[test]
fn the_sender_or_the_account_in_the_path_chooses_among_accounts_of_meta_on_one_host() {
    let keyside = Setup::at("https://unused.test")
        .config(TWO_ACCOUNTS)
        .start();
    for (method, target, expected) in [
        ("POST", "/v23.0/1111111111/messages", Some("first")),
        ("POST", "/v23.0/2222222222/messages", Some("second")),
        ("GET", "/v23.0/1010101010/message_templates", Some("first")),
        ("GET", "/v23.0/2020202020/message_templates", Some("second")),
        (
            "GET",
            "/v23.0/77?phone_number_id=2222222222",
            Some("second"),
        ),
        ("GET", "/v23.0/3030303030/message_templates", None),
        ("GET", "/v23.0/77", None),
    ] {
        let body = if method == "GET" { "" } else { r#"{"to":"1"}"# };
        let answer = sent_to(&keyside, "graph.test", method, target, body);
        let found = answer.json()["error"]["keyside"]["route"].clone();
        match expected {
            // No name can be resolved: 502 tells that the request was allowed.
            Some(route) => {
                assert_eq!((answer.status, found), (502, route.into()), "{target}");
            }
            None => assert_eq!(answer.slug(), "sender_not_named", "{target}"),
        }
    }
}
