//! Unusable files of certificates and authorities: the contents read before stay, and no other
//! change waits.

use std::time::{Duration, SystemTime};

use crate::support::authority::{Authority, client_config};
use crate::support::client::{Client, get};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::webhook::{EVENT, HOOK, VERIFY_TOKEN, application, genuine};
use crate::support::{APP_SECRET, MESSAGES, TOKEN};

const NEW: &str = "EAASECOND";
const DAY: Duration = Duration::from_secs(86_400);
const CLIENT: &str = "client.webhooks.fbclientcerts.com";

/// A route and a webhook, whose listener has a certificate of `authority`; with more lines in
/// `[inbound.tls]`.
fn with_tls(upstream: &Upstream, events: &Upstream, authority: &Authority, more: &str) -> Setup {
    let (certificate, key) = authority.server_pem();
    Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .file("verify_token", VERIFY_TOKEN)
        .file("tls.crt", certificate)
        .file("tls.key", key)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"\n",
        )
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [inbound.tls]\ncert = \"@DIR@/tls.crt\"\nkey = \"@DIR@/tls.key\"\n{more}\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\n",
            events.url()
        ))
}

/// True if an event passes over TLS, to a client that trusts `authority` alone.
fn takes_event(keyside: &Keyside, authority: &Authority, client: Option<&Authority>) -> bool {
    let own = client.map(|issuer| issuer.client_pem(CLIENT));
    let config = client_config(&[&authority.pem()], own.as_ref());
    let mut client = Client::connect_tls(keyside.inbound(), config).unwrap();
    client
        .ask(&genuine(EVENT.as_bytes()))
        .is_ok_and(|answer| answer.status == 200)
}

fn token_sent(keyside: &Keyside, upstream: &Upstream) -> String {
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let header = upstream.last_to(MESSAGES).header("authorization");
    header.unwrap().replace("Bearer ", "")
}

fn is_kept_back(keyside: &Keyside, key: &str) -> bool {
    let label = format!("key=\"{key}\"");
    keyside.metric("keyside_file_kept_back", &[&label]) > 0.5
}

fn readiness(keyside: &Keyside, query: &str) -> String {
    let answer = keyside.ask_admin(&get(&format!("/readyz?{query}")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[test]
fn a_certificate_that_does_not_fit_stays_as_it_was_and_a_token_is_published() {
    let (upstream, events) = (Upstream::ok(), application());
    let (authority, other) = (Authority::new(), Authority::new());
    let keyside = with_tls(&upstream, &events, &authority, "").start();
    assert!(!is_kept_back(&keyside, "inbound.tls"));
    let (certificate, key) = other.server_pem();
    keyside.dir().write("tls.key", &key);
    keyside.dir().write("token", NEW);
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let reason = "the key does not belong to the certificate";
    assert!(reloaded.text().contains(reason), "{}", reloaded.text());
    assert_eq!(token_sent(&keyside, &upstream), NEW);
    assert!(takes_event(&keyside, &authority, None));
    assert!(is_kept_back(&keyside, "inbound.tls"));
    let file = &keyside.status()["unusable_files"][0];
    assert_eq!(file["key"], "inbound.tls");
    assert!(file["problem"].as_str().unwrap().contains(reason), "{file}");
    for query in ["webhook=acme", "all"] {
        let ready = readiness(&keyside, query);
        assert!(ready.contains("webhook acme: inbound.tls: ") && ready.contains(reason));
    }
    assert!(!readiness(&keyside, "route=acme").contains("inbound.tls"));
    assert!(keyside.log().contains(reason), "{}", keyside.log());
    keyside.dir().write("tls.crt", &certificate);
    assert_eq!(keyside.reload().status, 200);
    assert!(takes_event(&keyside, &other, None));
    assert!(!is_kept_back(&keyside, "inbound.tls"));
    assert_eq!(
        keyside.status()["unusable_files"].as_array().unwrap().len(),
        0
    );
}

#[test]
fn a_certificate_out_of_its_time_stays_away_while_the_one_in_use_is_good() {
    let (upstream, events) = (Upstream::ok(), application());
    let (authority, other) = (Authority::new(), Authority::new());
    let keyside = with_tls(&upstream, &events, &authority, "").start();
    let now = SystemTime::now();
    let put = |(certificate, key): (String, String)| {
        keyside.dir().write("tls.crt", certificate);
        keyside.dir().write("tls.key", key);
    };
    for (begin, end, reason) in [
        (now - 9 * DAY, now - DAY, "the certificate has expired"),
        (now + DAY, now + 9 * DAY, "the certificate is not valid yet"),
    ] {
        put(other.server_pem_within(begin, end));
        let token = format!("{NEW}{}", reason.len());
        keyside.dir().write("token", &token);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
        assert_eq!(token_sent(&keyside, &upstream), token);
        assert!(takes_event(&keyside, &authority, None), "{reason}");
        assert!(is_kept_back(&keyside, "inbound.tls"), "{reason}");
        let ready = readiness(&keyside, "webhook=acme");
        for told in [reloaded.text(), ready, keyside.log(), keyside.problems()] {
            assert!(told.contains(reason), "{reason}: {told}");
        }
    }
    put(other.server_pem_within(now - DAY, now + DAY));
    assert_eq!(keyside.reload().status, 200);
    assert!(takes_event(&keyside, &other, None));
    assert!(!is_kept_back(&keyside, "inbound.tls"));
}

#[test]
fn files_of_a_listener_that_a_configuration_newly_names_keep_the_certificate_in_use() {
    let (upstream, events, authority) = (Upstream::ok(), application(), Authority::new());
    let keyside = with_tls(&upstream, &events, &authority, "").start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    keyside
        .dir()
        .write("proxy.toml", config.replace("/tls.key", "/new.key"));
    for (number, (key, reason)) in [
        (Some(Authority::new().server_pem().1), "does not belong to"),
        (Some("nonsense".to_owned()), "no private key"),
        (None, "there is no such file"),
    ]
    .into_iter()
    .enumerate()
    {
        match key {
            Some(key) => drop(keyside.dir().write("new.key", key)),
            None => std::fs::remove_file(keyside.dir().join("new.key")).unwrap(),
        }
        let token = format!("{NEW}{number}");
        keyside.dir().write("token", &token);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
        assert!(reloaded.text().contains(reason), "{}", reloaded.text());
        assert_eq!(token_sent(&keyside, &upstream), token);
        assert!(takes_event(&keyside, &authority, None), "{reason}");
        assert!(is_kept_back(&keyside, "inbound.tls"), "{reason}");
    }
}

#[test]
fn authorities_of_clients_that_cannot_be_used_stay_beside_a_new_certificate() {
    let (upstream, events) = (Upstream::ok(), application());
    let (first, second) = (Authority::new(), Authority::new());
    let more = "client_ca = \"@DIR@/clients.pem\"";
    let keyside = with_tls(&upstream, &events, &first, more)
        .file("clients.pem", first.pem())
        .start();
    let (certificate, key) = second.server_pem();
    keyside.dir().write("tls.crt", certificate);
    keyside.dir().write("tls.key", key);
    keyside
        .dir()
        .write("clients.pem", "-----BEGIN CERTIFICATE-----\nAAA");
    let reloaded = keyside.reload();
    let text = reloaded.text();
    assert!(
        text.contains("clients.pem: the file is not valid PEM"),
        "{text}"
    );
    assert!(takes_event(&keyside, &second, Some(&first)));
    assert!(
        !takes_event(&keyside, &second, None),
        "a client must show its certificate"
    );
    assert!(!takes_event(&keyside, &second, Some(&second)));
}

#[test]
fn authorities_of_a_provider_that_cannot_be_used_stay_and_a_token_is_published() {
    let upstream = Upstream::ok();
    for (content, reason) in [
        ("nothing", "no certificate of an authority can be used"),
        ("-----BEGIN CERTIFICATE-----\nAAA", "not valid PEM"),
    ] {
        let keyside = Keyside::start(&upstream);
        keyside.dir().write("ca.pem", content);
        keyside.dir().write("token", NEW);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
        assert!(reloaded.text().contains(reason), "{}", reloaded.text());
        assert_eq!(token_sent(&keyside, &upstream), NEW);
        assert!(is_kept_back(&keyside, "provider.test.ca"));
        let ready = readiness(&keyside, "route=acme");
        assert!(ready.contains("route acme: provider.test.ca: "), "{ready}");
    }
}

#[test]
fn a_refused_configuration_holds_up_no_certificate() {
    let (upstream, events) = (Upstream::ok(), application());
    let (first, second) = (Authority::new(), Authority::new());
    let keyside = with_tls(&upstream, &events, &first, "").start();
    let (certificate, key) = second.server_pem();
    keyside.dir().write("tls.crt", certificate);
    keyside.dir().write("tls.key", key);
    keyside.dir().write("proxy.toml", "nonsense");
    let refused = keyside.reload();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(takes_event(&keyside, &second, None), "{}", keyside.log());
}

/// A second provider at the same upstream, whose file of authorities is another.
const OTHER_PROVIDER: &str = "[provider.own]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/own.pem\"\n\
     [credential.own]\nprovider = \"own\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n\
     [[route]]\ncredential = \"own\"\npath = \"/own\"\n";

#[test]
fn unusable_authorities_that_are_newly_named_hold_up_the_routes_of_their_provider_alone() {
    let upstream = Upstream::ok();
    for content in [None, Some("nothing")] {
        let keyside = Keyside::start(&upstream);
        let dir = keyside.dir();
        let path = dir.join("proxy.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let more = OTHER_PROVIDER
            .replace("@UPSTREAM@", &upstream.url())
            .replace("@DIR@", &dir.path().display().to_string());
        dir.write("proxy.toml", format!("{config}\n{more}"));
        if let Some(content) = content {
            dir.write("own.pem", content);
        }
        dir.write("token", NEW);
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
        assert!(
            reloaded.text().contains("provider.own.ca: "),
            "{}",
            reloaded.text()
        );
        assert_eq!(token_sent(&keyside, &upstream), NEW);
        let refused = keyside.post(&format!("/own{MESSAGES}"), "{}");
        assert_eq!(
            (refused.status, refused.slug()),
            (502, "upstream_unreachable")
        );
        let ready = keyside.ask_admin(&get("/readyz?route=own"));
        assert_eq!(ready.status, 503, "{}", ready.text());
        assert!(
            ready.text().contains("provider.own.ca: "),
            "{}",
            ready.text()
        );
        assert!(!readiness(&keyside, "route=acme").contains("own.pem"));
        assert!(
            keyside.problems().contains("own.pem"),
            "{}",
            keyside.problems()
        );
        dir.write("own.pem", std::fs::read(dir.join("ca.pem")).unwrap());
        assert_eq!(keyside.reload().status, 200);
        let sent = keyside.post(&format!("/own{MESSAGES}"), "{}");
        assert_eq!(sent.status, 200, "{}", sent.text());
        assert_eq!(readiness(&keyside, "route=own"), "ready\n");
    }
}

#[test]
fn a_sidecar_starts_beside_authorities_that_cannot_be_used() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).more(OTHER_PROVIDER);
    let check = setup.finish("check");
    assert_eq!(check.code, Some(78), "{}", check.output);
    assert!(
        check.output.contains("provider.own.ca: "),
        "{}",
        check.output
    );
    let keyside = setup.start();
    assert_eq!(token_sent(&keyside, &upstream), TOKEN);
    let refused = keyside.post(&format!("/own{MESSAGES}"), "{}");
    assert_eq!(
        (refused.status, refused.slug()),
        (502, "upstream_unreachable")
    );
}

#[test]
fn unusable_authorities_of_known_hosts_leave_those_of_before_in_use() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace("/ca.pem", "/other.pem");
    keyside.dir().write("proxy.toml", config);
    keyside.dir().write("other.pem", "nothing");
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert!(
        reloaded.text().contains("provider.test.ca"),
        "{}",
        reloaded.text()
    );
    // The authorities of before stay in use for the same hosts, also in later reloads.
    assert_eq!(token_sent(&keyside, &upstream), TOKEN);
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(token_sent(&keyside, &upstream), NEW);
    assert!(readiness(&keyside, "route=acme").contains("other.pem"));
}

#[test]
fn a_certificate_that_does_not_fit_keeps_a_sidecar_from_starting() {
    let (upstream, events, authority) = (Upstream::ok(), application(), Authority::new());
    let setup = with_tls(&upstream, &events, &authority, "");
    setup
        .dir()
        .write("tls.key", Authority::new().server_pem().1);
    let ended = setup.finish("run");
    assert_eq!(ended.code, Some(78), "{}", ended.output);
    assert!(ended.output.contains("inbound.tls: "), "{}", ended.output);
}
