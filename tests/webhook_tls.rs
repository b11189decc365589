//! The inbound listener with TLS: certificate, clients, timeouts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;

use crate::support::authority::{Authority, client_config};
use crate::support::client::{Client, NoAnswer, get};
use crate::support::eventually;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::webhook::{EVENT, HOOK, application, configured, genuine};

const DAY: Duration = Duration::from_secs(86_400);
const META: &str = "client.webhooks.fbclientcerts.com";

/// A webhook with a certificate of `authority`, and more lines in `[inbound.tls]`.
fn setup(application: &Upstream, authority: &Authority, more: &str) -> Setup {
    let (certificate, key) = authority.server_pem();
    let forward = format!("forward = \"{}/events\"", application.url());
    let tls = format!("[inbound.tls]\ncert = \"@DIR@/tls.crt\"\nkey = \"@DIR@/tls.key\"\n{more}");
    configured(&forward, &tls)
        .file("tls.crt", certificate)
        .file("tls.key", key)
}

fn send(keyside: &Keyside, config: &Arc<ClientConfig>) -> Result<u16, NoAnswer> {
    let mut client = Client::connect_tls(keyside.inbound(), Arc::clone(config))
        .expect("it accepts a connection");
    client
        .ask(&genuine(EVENT.as_bytes()))
        .map(|answer| answer.status)
}

#[test]
fn events_arrive_over_tls_1_2_and_1_3_and_over_nothing_older() {
    let (application, authority) = (application(), Authority::new());
    let keyside = setup(&application, &authority, "").start();
    let config = client_config(&[&authority.pem()], None);
    assert_eq!(send(&keyside, &config), Ok(200));
    assert!(
        send(&keyside, &client_config(&[&Authority::new().pem()], None)).is_err(),
        "the client checks, too"
    );
    // A ClientHello with TLS 1.1 as the newest version.
    let hello = [
        &[
            0x16, 0x03, 0x01, 0x00, 0x2d, 0x01, 0x00, 0x00, 0x29, 0x03, 0x02,
        ][..],
        &[7; 32],
        &[0x00, 0x00, 0x02, 0xc0, 0x14, 0x01, 0x00],
    ]
    .concat();
    let mut old = TcpStream::connect(keyside.inbound()).unwrap();
    old.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    old.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    old.read_to_end(&mut answer).unwrap();
    assert_eq!(
        answer.first(),
        Some(&0x15),
        "an alert, and the connection is closed: {answer:?}"
    );
}

#[test]
fn a_reload_takes_a_new_certificate_and_refuses_a_wrong_one() {
    let (application, first, second) = (application(), Authority::new(), Authority::new());
    let mut keyside = setup(&application, &first, "").start();
    let (old, new) = (
        client_config(&[&first.pem()], None),
        client_config(&[&second.pem()], None),
    );
    assert_eq!(send(&keyside, &old), Ok(200));
    let (certificate, key) = second.server_pem();
    keyside.dir().write("tls.crt", &certificate);
    let refused = keyside.reload();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused
            .text()
            .contains("the key does not belong to the certificate"),
        "{}",
        refused.text()
    );
    assert_eq!(send(&keyside, &old), Ok(200), "what was live stays live");
    keyside.dir().write("tls.key", &key);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(send(&keyside, &new), Ok(200));
    assert!(send(&keyside, &old).is_err());
    for (file, content, told) in [
        ("tls.crt", "", "the file has no certificate"),
        (
            "tls.crt",
            "-----BEGIN CERTIFICATE-----\nAAA",
            "is it still being written?",
        ),
        (
            "tls.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "the key is encrypted",
        ),
        ("tls.key", "nothing", "the file has no private key"),
    ] {
        keyside.dir().write(file, content);
        let refused = keyside.reload();
        assert!(
            refused.status == 422 && refused.text().contains(told),
            "{told}: {}",
            refused.text()
        );
        keyside.setup().dir().write("tls.crt", &certificate);
        keyside.setup().dir().write("tls.key", &key);
    }
    assert_eq!(send(&keyside, &new), Ok(200));
}

#[test]
fn an_expired_certificate_makes_webhooks_unready_and_refused_handshakes_are_told() {
    let (application, authority) = (application(), Authority::new());
    let now = SystemTime::now();
    let (certificate, key) = authority.server_pem_within(now - 9 * DAY, now - DAY);
    let keyside = setup(&application, &authority, "")
        .file("tls.crt", certificate)
        .file("tls.key", key)
        .start();
    let labels = ["listener=\"inbound\"", "reason=\"tls\""];
    let refused = || keyside.metric("keyside_connections_refused_total", &labels);
    for (query, status) in [("", 200), ("?all", 503), ("?webhook=acme", 503)] {
        let answer = keyside.ask_admin(&get(&format!("/readyz{query}")));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        let text = answer.text();
        assert!(
            text.contains("the certificate has expired"),
            "{query}: {text}"
        );
    }
    drop(TcpStream::connect(keyside.inbound()).unwrap());
    let config = client_config(&[&authority.pem()], None);
    for _ in 0..2 {
        assert!(send(&keyside, &config).is_err());
    }
    assert!(eventually(Duration::from_secs(5), || refused() >= 2.0));
    assert!(refused() < 2.5, "a look at the port is no handshake");
    let log = keyside.log();
    assert_eq!(
        log.matches("a handshake of TLS was refused").count(),
        1,
        "{log}"
    );
}

#[test]
fn only_clients_with_the_authority_and_the_name_may_connect() {
    let (application, authority, other) = (application(), Authority::new(), Authority::new());
    let more = format!("client_ca = \"@DIR@/clients.pem\"\nclient_name = \"{META}\"");
    let keyside = setup(&application, &authority, &more)
        .file("clients.pem", authority.pem())
        .start();
    let with = |certificate: Option<(String, String)>| {
        client_config(&[&authority.pem()], certificate.as_ref())
    };
    assert_eq!(
        send(&keyside, &with(Some(authority.client_pem(META)))),
        Ok(200)
    );
    for (name, certificate) in [
        ("none", None),
        (
            "another name",
            Some(authority.client_pem("client.example.com")),
        ),
        ("another authority", Some(other.client_pem(META))),
    ] {
        assert!(send(&keyside, &with(certificate)).is_err(), "{name}");
    }
    assert_eq!(application.arrivals(), 1);
}

#[test]
fn a_reload_replaces_the_authorities_of_client_certificates() {
    let (application, authority, next) = (application(), Authority::new(), Authority::new());
    let keyside = setup(
        &application,
        &authority,
        "client_ca = \"@DIR@/clients.pem\"",
    )
    .file("clients.pem", authority.pem())
    .start();
    let of =
        |issuer: &Authority| client_config(&[&authority.pem()], Some(&issuer.client_pem(META)));
    assert!(send(&keyside, &of(&next)).is_err());
    keyside
        .dir()
        .write("clients.pem", format!("{}{}", authority.pem(), next.pem()));
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(send(&keyside, &of(&next)), Ok(200));
    assert_eq!(
        send(&keyside, &of(&authority)),
        Ok(200),
        "both, while the provider changes from one to the other"
    );
}

#[test]
fn no_handshake_fails_while_the_certificate_is_replaced() {
    let (application, authority) = (application(), Authority::new());
    let keyside = setup(&application, &authority, "").start();
    let config = client_config(&[&authority.pem()], None);
    let stop = AtomicBool::new(false);
    let (tried, failed) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut results = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        results.push(send(&keyside, &config));
                    }
                    results
                })
            })
            .collect();
        for _ in 0..20 {
            let (certificate, key) = authority.server_pem();
            keyside.dir().write("tls.crt", &certificate);
            keyside.dir().write("tls.key", &key);
            assert_eq!(keyside.reload().status, 200);
        }
        stop.store(true, Ordering::Relaxed);
        let results: Vec<_> = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect();
        (
            results.len(),
            results
                .into_iter()
                .filter(|result| *result != Ok(200))
                .count(),
        )
    });
    assert!(tried > 20, "{tried}");
    assert_eq!(failed, 0, "of {tried}");
}

#[test]
fn silent_connections_are_closed_after_five_and_ten_seconds() {
    let (application, authority) = (application(), Authority::new());
    let tls = setup(&application, &authority, "").start();
    let plain = configured(&format!("forward = \"{}/\"", application.url()), "").start();
    let began = Instant::now();
    let mut silent = Client::connect(tls.inbound()).unwrap();
    let mut half = Client::connect(plain.inbound()).unwrap();
    half.send(format!("POST {HOOK} HTTP/1.1\r\nHost: h\r\n").as_bytes());
    assert!(
        half.end(Duration::from_secs(8)).is_some(),
        "a head must arrive within five seconds"
    );
    assert!(
        silent.end(Duration::from_secs(12)).is_some(),
        "a TLS handshake must end within ten seconds"
    );
    assert!(began.elapsed() < crate::support::stretched(Duration::from_secs(13)));
}

#[test]
fn tls_on_a_plain_port_is_answered_with_advice() {
    let keyside = configured("forward = \"http://127.0.0.1:1/\"", "").start();
    let mut client = Client::connect(keyside.inbound()).unwrap();
    let answer = client
        .ask(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0, b'\n'])
        .unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("[inbound.tls]"), "{}", answer.text());
}
