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
    let end = "no file or value of the key is unusable any more";
    assert_eq!(keyside.log().matches(end).count(), 1, "{}", keyside.log());
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

/// The file of authorities of a server beside the provider, as a configuration names the file.
struct ServerCa {
    key: &'static str,
    file: &'static str,
    /// The query for the readiness that tells of the file.
    ready: &'static str,
    waits: &'static str,
}

const SERVER_CAS: [ServerCa; 2] = [
    ServerCa {
        key: "limits.ca",
        file: "limits.pem",
        ready: "route=acme",
        waits: "on_failure decides without a server",
    },
    ServerCa {
        key: "webhook acme: to.ca",
        file: "stream.pem",
        ready: "webhook=acme",
        waits: "its events wait for the file",
    },
];

/// The contents that cannot be used, each with the reason; `None` for a missing file.
const UNUSABLE: [(Option<&str>, &str); 4] = [
    (None, "cannot be read"),
    (Some("/"), "cannot be read"),
    (
        Some("nothing"),
        "no certificate of an authority can be used",
    ),
    (Some("-----BEGIN CERTIFICATE-----\nAAA"), "not valid PEM"),
];

/// A sidecar with a shared server and a stream over TLS, whose authorities are files.
fn with_servers(upstream: &Upstream, events: &Upstream) -> Setup {
    let setup = Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .file("verify_token", VERIFY_TOKEN)
        .file("url", "rediss://127.0.0.1:1")
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"\n",
        )
        .more(&format!(
            "[limits]\nredis = \"file:@DIR@/url\"\nca = \"@DIR@/limits.pem\"\n[spool]\ndir = \"@DIR@/spool\"\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\n\
             [[webhook.to]]\nname = \"app\"\nforward = \"{}/events\"\n\
             [[webhook.to]]\nname = \"crm\"\npublish = \"redis-stream:events\"\nserver = \"file:@DIR@/url\"\nca = \"@DIR@/stream.pem\"\n",
            events.url()
        ));
    for ca in SERVER_CAS {
        setup.dir().write(ca.file, Authority::trusted().pem());
    }
    setup
}

/// Puts a content that cannot be used in the place of a file: a folder for `/`.
fn spoil(path: &std::path::Path, content: Option<&str>) {
    std::fs::remove_file(path).ok();
    match content {
        None => {}
        Some("/") => std::fs::create_dir(path).unwrap(),
        Some(content) => std::fs::write(path, content).unwrap(),
    }
}

fn mend(path: &std::path::Path) {
    std::fs::remove_dir(path).ok();
    std::fs::write(path, Authority::trusted().pem()).unwrap();
}

/// Checks that the sidecar tells of one file, and sends and takes events all the same.
fn must_tell(keyside: &Keyside, upstream: &Upstream, ca: &ServerCa, why: &str) {
    let told = keyside.status()["unusable_files"].clone();
    let case = format!("{} {why}: {told}", ca.key);
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{case}");
    assert_eq!(told[0]["key"], ca.key, "{case}");
    assert!(told[0]["problem"].as_str().unwrap().contains(why), "{case}");
    let ready = readiness(keyside, ca.ready);
    assert!(
        ready.contains(ca.key) && ready.contains(why),
        "{case}: {ready}"
    );
    assert!(is_kept_back(keyside, ca.key), "{case}");
    assert!(keyside.log().contains(why), "{case}");
    assert!(!token_sent(keyside, upstream).is_empty());
    let mut client = Client::connect(keyside.inbound()).unwrap();
    let event = client.ask(&genuine(EVENT.as_bytes())).unwrap();
    assert_eq!(event.status, 200, "{case}: {}", event.text());
}

#[test]
fn a_sidecar_starts_beside_authorities_of_a_server_that_cannot_be_used() {
    let (upstream, events) = (Upstream::ok(), application());
    for ca in SERVER_CAS {
        for (content, reason) in UNUSABLE {
            let setup = with_servers(&upstream, &events);
            let path = setup.dir().join(ca.file);
            spoil(&path, content);
            let check = setup.finish("check");
            assert_eq!(check.code, Some(78), "{}", check.output);
            assert!(check.output.contains(ca.key), "{}", check.output);
            let keyside = setup.start();
            must_tell(&keyside, &upstream, &ca, reason);
            assert!(readiness(&keyside, ca.ready).contains(ca.waits));
            mend(&path);
            assert_eq!(keyside.reload().status, 200);
            assert_eq!(keyside.status()["unusable_files"], serde_json::json!([]));
            assert!(!is_kept_back(&keyside, ca.key));
        }
    }
}

#[test]
fn authorities_of_a_server_that_cannot_be_used_stay_and_a_token_is_published() {
    let (upstream, events) = (Upstream::ok(), application());
    for ca in SERVER_CAS {
        let keyside = with_servers(&upstream, &events).start();
        let path = keyside.dir().join(ca.file);
        let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
        for (number, (content, reason)) in UNUSABLE.into_iter().enumerate() {
            // A file that is changed, and then a file that is newly named.
            for named in [ca.file, "new.pem"] {
                let spoiled = keyside.dir().join(named);
                spoil(&spoiled, content);
                let renamed = config.replace(ca.file, named);
                keyside.dir().write("proxy.toml", renamed);
                let token = format!("{NEW}{number}{}", named.len());
                keyside.dir().write("token", &token);
                let reloaded = keyside.reload();
                assert_eq!(reloaded.status, 200, "{}", reloaded.text());
                assert!(reloaded.text().contains(reason), "{}", reloaded.text());
                assert_eq!(token_sent(&keyside, &upstream), token);
                must_tell(&keyside, &upstream, &ca, reason);
                assert!(readiness(&keyside, ca.ready).contains("what was read before stays"));
                mend(&spoiled);
                keyside.dir().write("proxy.toml", &config);
                mend(&path);
                assert_eq!(keyside.reload().status, 200);
                assert_eq!(keyside.status()["unusable_files"], serde_json::json!([]));
            }
        }
    }
}

#[test]
fn authorities_with_two_uses_are_told_for_both() {
    let (upstream, events) = (Upstream::ok(), application());
    let keyside = with_servers(&upstream, &events).start();
    let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    let shared = config.replace("/stream.pem", "/limits.pem");
    keyside.dir().write("proxy.toml", shared);
    assert_eq!(keyside.reload().status, 200);
    spoil(&keyside.dir().join("limits.pem"), Some("nothing"));
    let reloaded = keyside.reload();
    for ca in SERVER_CAS {
        assert!(reloaded.text().contains(ca.key), "{}", reloaded.text());
        assert!(readiness(&keyside, ca.ready).contains(ca.key));
    }
}
