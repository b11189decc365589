//! `keyside doctor` goes the whole way and names the broken step, and the probes reach no
//! application.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::authority::{Authority, Certificate};
use crate::support::client::Client;
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::proxy::{Manner, Proxy};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{After, Request, Upstream};
use crate::support::webhook::{
    HOOK, VERIFY_TOKEN, application, beside, event, genuine, message, signature,
};
use crate::support::{APP_SECRET, TOKEN, stretched};

const SENDER: &str = "106540352242922";
const MARK: &str = "0123456789abcdef0123456789abcdef";

/// The report of an examination, with the exit status.
struct Report {
    code: Option<i32>,
    output: String,
    json: Value,
}

impl Report {
    /// Returns the step of a name in the sections of a kind.
    fn step(&self, kind: &str, name: &str) -> &Value {
        let sections = self.json["sections"].as_array().unwrap();
        let steps = sections.iter().filter(|section| section["kind"] == kind);
        let mut steps = steps.flat_map(|section| section["steps"].as_array().unwrap());
        steps
            .find(|step| step["step"] == name)
            .unwrap_or_else(|| panic!("no step {name} of {kind}: {:#}", self.json))
    }

    fn outcome(&self, kind: &str, name: &str) -> &str {
        self.step(kind, name)["outcome"].as_str().unwrap()
    }

    /// Checks for a wrong step, with words in the finding and in the remedy.
    fn must_fail(&self, kind: &str, name: &str, found: &str, mend: &str) {
        let step = self.step(kind, name);
        assert_eq!(step["outcome"], "fail", "{step}");
        assert!(step["found"].as_str().unwrap().contains(found), "{step}");
        assert!(step["mend"].as_str().unwrap().contains(mend), "{step}");
        assert_eq!(self.code, Some(1), "{:#}", self.json);
    }
}

fn examine(setup: &Setup) -> Report {
    let finished = setup.finish("doctor --json");
    let mut values = serde_json::Deserializer::from_str(&finished.output).into_iter();
    let json = values.next().expect("JSON").expect("JSON");
    for secret in [TOKEN, APP_SECRET, VERIFY_TOKEN] {
        assert!(!finished.output.contains(secret), "{}", finished.output);
    }
    Report {
        code: finished.code,
        output: finished.output,
        json,
    }
}

fn dated(body: &str) -> Vec<u8> {
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    answered(&now, body)
}

fn answered(date: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Answers questions about the token and about a number as Meta does.
fn meta(callback: String) -> impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static {
    move |request| {
        let target = request.target();
        let about = |word: &str| target.contains(word);
        dated(&match () {
            () if about("debug_token") => r#"{"data":{"app_id":"77","type":"SYSTEM_USER","is_valid":true,"expires_at":0,"data_access_expires_at":0,"scopes":["whatsapp_business_management","whatsapp_business_messaging"],"granular_scopes":[{"scope":"whatsapp_business_management","target_ids":["5"]}]}}"#.to_owned(),
            () if about("subscribed_apps") => r#"{"data":[{"whatsapp_business_api_data":{"id":"77","name":"x"}}]}"#.to_owned(),
            () if about("/77/subscriptions") => format!(r#"{{"data":[{{"object":"whatsapp_business_account","callback_url":"{callback}","active":true,"fields":[{{"name":"messages"}}]}}]}}"#),
            () if about("webhook_configuration") => format!(r#"{{"webhook_configuration":{{"application":"{callback}"}},"id":"{SENDER}"}}"#),
            () if about("health_status") => r#"{"health_status":{"can_send_message":"AVAILABLE","entities":[]}}"#.to_owned(),
            () if about("messaging_limit") => r#"{"whatsapp_business_manager_messaging_limit":"TIER_10K"}"#.to_owned(),
            () => format!(r#"{{"id":"{SENDER}","status":"CONNECTED","verified_name":"Shop","quality_rating":"GREEN","name_status":"APPROVED","throughput":{{"level":"STANDARD"}},"platform_type":"CLOUD_API"}}"#),
        })
    }
}

/// A webhook of Meta's with this public URL, and a route whose credential is asked about.
fn stand(upstream: &Upstream, application: &Upstream, public_url: &str) -> Setup {
    beside(upstream, application)
        .check()
        .route(&format!("senders = [\"{SENDER}\"]"))
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\n\
             forward = \"{}/events\"\npublic_url = \"{public_url}\"\n",
            application.url()
        ))
}

/// A running Keyside that is reached through an ingress at `port`.
fn behind(upstream: &Upstream, application: &Upstream, port: u16) -> Keyside {
    stand(
        upstream,
        application,
        &format!("http://127.0.0.1:{port}{HOOK}"),
    )
    .start()
}

/// An ingress that hands requests to Keyside, unless `own` makes an answer.
fn ingress(
    port: u16,
    inbound: SocketAddr,
    own: impl Fn(&Request) -> Option<String> + Send + Sync + 'static,
) -> Upstream {
    Upstream::plain_at(port, move |request, wire| {
        if let Some(answer) = own(request) {
            wire.write(answer.as_bytes());
            return After::Close;
        }
        let mut client = Client::connect(inbound).unwrap();
        let answer = client.ask(&request.raw).unwrap();
        let mut head = format!(
            "HTTP/1.1 {} X\r\nContent-Length: {}\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            if name != "content-length" && name != "transfer-encoding" && name != "connection" {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        wire.write(format!("{head}\r\n").as_bytes());
        wire.write(&answer.body);
        After::Close
    })
}

fn empty(status: &str, line: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 {status}\r\n{line}Content-Length: 0\r\n\r\n"
    ))
}

#[test]
fn a_good_way_is_well_and_the_application_sees_nothing_of_it() {
    let application = application();
    let port = free_port();
    let upstream = Upstream::answering(meta(format!("http://127.0.0.1:{port}{HOOK}")));
    let mut keyside = behind(&upstream, &application, port);
    let _ingress = ingress(port, keyside.inbound(), |_| None);
    let report = examine(keyside.setup());
    assert_eq!(report.code, Some(0), "{:#}", report.json);
    for (kind, step) in [
        ("upstream", "route out"),
        ("upstream", "tcp"),
        ("upstream", "tls"),
        ("upstream", "clock"),
        ("credential", "token"),
        ("credential", "provider's word"),
        ("credential", "106540352242922 number"),
        ("credential", "106540352242922 quality"),
        ("credential", "106540352242922 tier"),
        ("credential", "106540352242922 callback"),
        ("credential", "5 subscribed_apps"),
        ("credential", "app fields"),
        ("webhook", "handshake, wrong token"),
        ("webhook", "handshake"),
        ("webhook", "forged event"),
        ("webhook", "genuine event"),
        ("webhook", "event of 3 MiB"),
        ("sidecar", "running"),
    ] {
        assert_eq!(
            report.outcome(kind, step),
            "ok",
            "{kind} {step}: {:#}",
            report.json
        );
    }
    assert!(application.requests().is_empty(), "a probe is no event");
    let outcome = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        keyside.metric("keyside_webhooks_total", &[&label])
    };
    assert_eq!(outcome("probe"), 2.0);
    assert_eq!(outcome("probe_refused"), 1.0);
    assert_eq!(outcome("forged"), 0.0, "a probe raises no alarm");
    let status = keyside.status();
    assert_eq!(status["webhooks"][0]["last_event_seconds_ago"], Value::Null);
}

#[test]
fn a_probe_is_answered_with_the_right_signature_alone_and_is_known_by_its_body() {
    let application = application();
    let upstream = Upstream::ok();
    let keyside = beside(&upstream, &application).start();
    let probe =
        format!(r#"{{"keyside_probe":"{MARK}","object":"whatsapp_business_account","entry":[]}}"#);
    let answer = keyside.event(&genuine(probe.as_bytes()));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["keyside_probe"], MARK);
    assert_eq!(answer.json()["webhook"], "acme");
    for line in [
        signature("another secret", probe.as_bytes()),
        "X-Other: 1".to_owned(),
    ] {
        let answer = keyside.event(&event(&[&line], probe.as_bytes()));
        assert_eq!((answer.status, answer.slug()), (401, "not_genuine"));
        assert!(!answer.text().contains(MARK));
    }
    assert!(application.requests().is_empty());
    // No header makes a genuine event a probe, and no field inside an event does.
    let real = message("wamid.1", "4915112345678");
    let with_header = event(
        &[
            &signature(APP_SECRET, real.as_bytes()),
            &format!("Keyside-Probe: {MARK}"),
        ],
        real.as_bytes(),
    );
    assert_eq!(keyside.event(&with_header).status, 200);
    let inside = real.replacen('{', &format!("{{\"keyside_probe\":\"{MARK}\","), 1);
    assert_eq!(keyside.event(&genuine(inside.as_bytes())).status, 200);
    assert_eq!(application.arrivals(), 2, "both are events");
}

#[test]
fn a_bad_certificate_of_a_provider_says_who_signed_it_and_what_to_mend() {
    for (certificate, found, mend) in [
        (Certificate::Expired, "expired", "clock"),
        (Certificate::NotYetValid, "is valid in", "clock"),
        (Certificate::WrongHost, "for other.test", "another server"),
        (
            Certificate::UnknownAuthority,
            "signed by Keyside test CA",
            "ca = ",
        ),
        (Certificate::SelfSigned, "self-signed", "ca = "),
    ] {
        let upstream = Upstream::with_certificate(certificate);
        let report = examine(&Setup::new(&upstream).check());
        report.must_fail("upstream", "tls", found, mend);
        assert_eq!(report.outcome("credential", "provider's word"), "skipped");
    }
}

#[test]
fn through_a_proxy_the_signer_of_a_certificate_is_told() {
    let behind = |upstream: &Upstream, proxy: &Proxy| {
        let setup = Setup::at(&format!("https://graph.test:{}", upstream.port()));
        examine(&setup.env("HTTPS_PROXY", &proxy.url("")))
    };
    let upstream = Upstream::with_certificate(Certificate::UnknownAuthority);
    let report = behind(&upstream, &Proxy::start(Manner::Opens));
    report.must_fail("upstream", "tls", "signed by Keyside test CA", "`ca`");
    let report = behind(&Upstream::ok(), &Proxy::under_tls(Manner::Opens));
    report.must_fail("upstream", "tls", "signed by Keyside test CA", "authority");
    report.must_fail("upstream", "proxy", "has no usable TLS", "authority");
}

#[test]
fn a_spool_that_nobody_can_make_is_a_fault() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream)
        .file("file", "")
        .more("[spool]\ndir = \"@DIR@/file/spool\"");
    examine(&setup).must_fail(
        "configuration",
        "spool",
        "cannot be written",
        "write the folder",
    );
}

#[test]
fn a_provider_that_cannot_be_reached_says_at_which_step() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let speechless = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in plain.incoming() {
            let refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            stream.unwrap().write_all(refusal).unwrap();
        }
    });
    let report = examine(&Setup::at(&speechless).check());
    report.must_fail("upstream", "tls", "does not speak TLS", "port with TLS");
    let report = examine(&Setup::at(&format!("https://127.0.0.1:{}", free_port())).check());
    report.must_fail("upstream", "tcp", "refused", "nothing listens");
    let report = examine(&Setup::at("https://no-such-name.invalid").check());
    report.must_fail("upstream", "dns", "no-such-name.invalid", "resolver");
}

#[test]
fn an_examination_of_what_hangs_ends_in_time() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hanging.local_addr().unwrap().port();
    let application = application();
    let upstream = Upstream::ok();
    let setup = stand(
        &upstream,
        &application,
        &format!("https://127.0.0.1:{port}{HOOK}"),
    )
    .provider(&format!(
        "upstreams = {{ api = \"https://127.0.0.1:{port}\" }}"
    ));
    let began = Instant::now();
    let report = examine(&setup);
    assert!(began.elapsed() < stretched(Duration::from_secs(9)));
    report.must_fail(
        "webhook",
        "tls",
        "handshake is not answered",
        "what listens",
    );
    let silent = |step: &&Value| step["found"].as_str().unwrap().contains("is not answered");
    let sections = report.json["sections"].as_array().unwrap();
    let steps = sections
        .iter()
        .flat_map(|section| section["steps"].as_array().unwrap());
    assert_eq!(steps.filter(silent).count(), 2, "{:#}", report.json);
}

#[test]
fn a_redis_that_hangs_is_one_line_and_the_rest_goes_on() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", hanging.local_addr().unwrap());
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream)
        .file("redis", url)
        .more("[limits]\nredis = \"file:@DIR@/redis\"");
    let began = Instant::now();
    let report = examine(&setup);
    assert!(began.elapsed() < stretched(Duration::from_secs(9)));
    report.must_fail("configuration", "redis", "no connection within", "the URL");
    assert_eq!(report.output.matches("\"redis\"").count(), 1);
    assert_eq!(report.outcome("upstream", "tls"), "ok");
}

/// Two hosts with names, and a line for each.
#[test]
#[ignore = "needs root and a port 53: tests/run servers"]
fn a_resolver_that_hangs_is_one_line_for_each_name_and_the_rest_goes_on() {
    let silent = UdpSocket::bind("127.53.53.53:53").unwrap();
    let (upstream, application) = (Upstream::ok(), application());
    let public_url = format!("https://hooks.example.com{HOOK}");
    let setup = stand(&upstream, &application, &public_url)
        .file(
            "resolv.conf",
            format!("nameserver {}\n", silent.local_addr().unwrap().ip()),
        )
        .provider("upstreams = { api = \"https://graph.example.com\" }");
    let resolv = setup.dir().join("resolv.conf").display().to_string();
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let setup = setup.under(&["unshare", "-m", "sh", "-c", script, &resolv]);
    let began = Instant::now();
    let report = examine(&setup);
    assert!(began.elapsed() < stretched(Duration::from_secs(9)));
    report.must_fail("webhook", "dns", "the resolver does not answer", "port 53");
    let silent_steps = report
        .output
        .matches("the resolver does not answer")
        .count();
    assert_eq!(silent_steps, 2, "{:#}", report.json);
    assert_eq!(report.outcome("upstream", "tls"), "ok");
}

#[test]
fn a_webhook_is_probed_through_the_proxy() {
    let (upstream, application) = (Upstream::ok(), application());
    let proxy = Proxy::start(Manner::Opens);
    let (certificate, key) = Authority::trusted().server_pem_of(&["hooks.test"]);
    let setup = beside(&upstream, &application)
        .file("tls.crt", certificate)
        .file("tls.key", key)
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[inbound.tls]\ncert = \"@DIR@/tls.crt\"\nkey = \"@DIR@/tls.key\"\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\npublic_url = \"https://hooks.test:@INBOUND@{HOOK}\"\n",
            application.url()
        ));
    let authority = setup.dir().join("ca.pem").display().to_string();
    let mut keyside = setup
        .env("SSL_CERT_FILE", &authority)
        .env("HTTPS_PROXY", &proxy.url(""))
        .start();
    let report = examine(keyside.setup());
    let out = report.step("webhook", "route out");
    assert_eq!(out["outcome"], "ok", "{out}");
    assert!(out["found"].as_str().unwrap().contains("HTTPS_PROXY"));
    let tls = report.step("webhook", "tls");
    assert_eq!(tls["outcome"], "warn", "{tls}");
    for step in [
        "handshake",
        "forged event",
        "genuine event",
        "event of 3 MiB",
    ] {
        assert_eq!(
            report.outcome("webhook", step),
            "ok",
            "{step}: {:#}",
            report.json
        );
    }
    let place = format!("CONNECT hooks.test:{} ", keyside.inbound().port());
    let heads = proxy.heads();
    assert!(heads.len() >= 5, "{heads:?}");
    assert!(
        heads.iter().all(|head| head.starts_with(&place)),
        "{heads:?}"
    );
    assert!(application.requests().is_empty(), "a probe is no event");
    drop(keyside);
    let broken = Proxy::start(Manner::Answers(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    ));
    let setup = stand(
        &upstream,
        &application,
        &format!("https://hooks.test:1{HOOK}"),
    );
    let report = examine(&setup.env("HTTPS_PROXY", &broken.url("")));
    let step = "handshake, wrong token";
    report.must_fail("webhook", step, "forbids the way to hooks.test:1", "proxy");
}

#[test]
fn a_clock_that_is_apart_is_told() {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(4000));
    let upstream = Upstream::answering(move |_| answered(&date, "{}"));
    let report = examine(&Setup::new(&upstream));
    report.must_fail("upstream", "clock", "s behind", "NTP");
}

#[test]
fn a_refused_token_is_told_with_the_reason() {
    let upstream = Upstream::answering(|_| {
        dated(
            r#"{"data":{"app_id":"77","error":{"code":190,"message":"x","subcode":463},"is_valid":false,"scopes":[]}}"#,
        )
    });
    let report = examine(&Setup::new(&upstream).check());
    report.must_fail(
        "credential",
        "provider's word",
        "it has expired",
        "put a good token",
    );
}

#[test]
fn an_ingress_that_is_in_the_way_says_how() {
    let upstream = Upstream::ok();
    let application = application();
    let port = free_port();
    let mut keyside = behind(&upstream, &application, port);
    type Own = fn(&Request) -> Option<String>;
    let table: [(Own, &str, &str, &str); 5] = [
        (
            |_| empty("301 Moved", "Location: https://login.test/?next=x\r\n"),
            "handshake, wrong token",
            "redirected with 301 to https://login.test/",
            "follow no redirect",
        ),
        (
            |_| empty("404 Not Found", ""),
            "handshake, wrong token",
            "not from Keyside",
            "inbound listener",
        ),
        (
            |_| empty("502 Bad Gateway", ""),
            "handshake, wrong token",
            "does not reach it",
            "keyside run",
        ),
        (
            |request| {
                (request.body.len() > 1 << 20)
                    .then(|| empty("413 Too Large", ""))
                    .flatten()
            },
            "event of 3 MiB",
            "413, and not from Keyside",
            "client_max_body_size",
        ),
        (
            |_| empty("200 OK", ""),
            "forged event",
            "a forged event is accepted",
            "lead to Keyside",
        ),
    ];
    for (own, step, found, mend) in table {
        let _ingress = ingress(port, keyside.inbound(), own);
        let report = examine(keyside.setup());
        report.must_fail("webhook", step, found, mend);
        if step == "forged event" {
            assert_eq!(report.outcome("webhook", "genuine event"), "skipped");
        }
    }
    assert!(application.requests().is_empty());
}

#[test]
fn a_sidecar_with_another_secret_than_the_configuration_is_told() {
    let upstream = Upstream::ok();
    let application = application();
    let port = free_port();
    let mut keyside = behind(&upstream, &application, port);
    let _ingress = ingress(port, keyside.inbound(), |_| None);
    keyside
        .dir()
        .write("app_secret", "0123456789abcdef0123456789abcdef");
    let report = examine(keyside.setup());
    report.must_fail(
        "webhook",
        "genuine event",
        "401 `not_genuine`",
        "keyside reload",
    );
    assert_eq!(report.outcome("sidecar", "secrets"), "warn");
}

#[test]
fn a_certificate_that_this_machine_alone_trusts_is_told() {
    let upstream = Upstream::ok();
    let application = application();
    let (certificate, key) = Authority::trusted().server_pem();
    let setup = beside(&upstream, &application)
        .file("tls.crt", certificate)
        .file("tls.key", key)
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[inbound.tls]\ncert = \"@DIR@/tls.crt\"\nkey = \"@DIR@/tls.key\"\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/events\"\npublic_url = \"https://127.0.0.1:@INBOUND@{HOOK}\"\n",
            application.url()
        ));
    let authority = setup.dir().join("ca.pem").display().to_string();
    let mut keyside = setup.env("SSL_CERT_FILE", &authority).start();
    let report = examine(keyside.setup());
    let step = report.step("webhook", "tls");
    assert_eq!(step["outcome"], "warn", "{step}");
    assert!(
        step["mend"].as_str().unwrap().contains("public authority"),
        "{step}"
    );
    assert_eq!(report.outcome("webhook", "event of 3 MiB"), "ok");
    assert_eq!(report.code, Some(0), "{:#}", report.json);
}

/// Runs an examination against a sandbox that tells a bad state, without a running sidecar.
fn of_sandbox(options: &[&str]) -> Report {
    let setup = Setup::at("http://127.0.0.1:1");
    let port = free_port();
    let callback = format!("https://127.0.0.1:{port}{HOOK}");
    let options = [&["--sender", SENDER], options].concat();
    let sandbox = Sandbox::start(setup.dir(), &options);
    let configuration = sandbox.configuration();
    let setup = setup.config(&format!(
        "[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n{}\npublic_url = \"{callback}\"\n",
        configuration
            .trim_end()
            .replace("[[route]]", &format!("[[route]]\nsenders = [\"{SENDER}\"]"))
    ));
    examine(&setup)
}

#[test]
fn the_state_of_numbers_and_the_way_of_events_come_from_the_provider() {
    let good = of_sandbox(&[]);
    for step in ["number", "quality", "tier", "throughput", "health"] {
        let step = format!("{SENDER} {step}");
        assert_eq!(good.outcome("credential", &step), "ok", "{:#}", good.json);
    }
    assert_eq!(good.outcome("sidecar", "running"), "skipped");
    let bad = of_sandbox(&[
        "--quality",
        "RED",
        "--number-status",
        "BANNED",
        "--tier",
        "TIER_NEW",
        "--health",
        "BLOCKED",
        "--unsubscribed",
        "--account-callback",
        "https://account.test/x",
        "--number-callback",
        "https://number.test/x?token=hidden",
    ]);
    let number = |step: &str| format!("{SENDER} {step}");
    bad.must_fail("credential", &number("quality"), "RED", "block and report");
    bad.must_fail("credential", &number("number"), "BANNED", "review");
    bad.must_fail(
        "credential",
        &number("health"),
        "payment method",
        "add a new payment method",
    );
    bad.must_fail(
        "credential",
        &number("callback"),
        "https://number.test/x of the number, over https://account.test/x of the account",
        "clear it there",
    );
    assert_eq!(bad.outcome("credential", &number("tier")), "warn");
    assert!(!bad.output.contains("hidden"), "{}", bad.output);
    let subscribed = bad.json.to_string();
    assert!(
        subscribed.contains("is not among the 0 subscribed apps"),
        "{subscribed}"
    );
}

#[test]
fn a_bad_configuration_and_a_missing_secret_are_78() {
    let upstream = Upstream::ok();
    let report = examine(&Setup::new(&upstream).credential("tokn = \"file:@DIR@/token\""));
    assert_eq!(report.code, Some(78));
    assert!(report.output.contains("tokn"), "{}", report.output);
    let report = examine(&Setup::new(&upstream).credential("token = \"file:@DIR@/gone\""));
    assert_eq!(report.code, Some(78));
    let step = report.step("credential", "token");
    assert!(step["found"].as_str().unwrap().contains("gone"), "{step}");
    assert_eq!(report.outcome("credential", "provider's word"), "skipped");
}

#[test]
fn every_kind_of_signature_can_be_probed() {
    let base = "public_url = \"http://127.0.0.1:@INBOUND@/hook\"\npath = \"/hook\"";
    let path_token =
        "public_url = \"http://127.0.0.1:@INBOUND@/hook/{token}\"\npath = \"/hook/{token}\"";
    for (preset, lines, webhook, genuine) in [
        (
            "standard-webhooks",
            "secret = \"file:@DIR@/whsec\"",
            base,
            "ok",
        ),
        (
            "twilio",
            "account_sid = \"AC0123456789abcdef0123456789abcdef\"\nauth_token = \"file:@DIR@/key\"",
            base,
            "ok",
        ),
        (
            "vonage",
            "signature_secret = \"file:@DIR@/key\"",
            base,
            "ok",
        ),
        ("sinch", "webhook_secret = \"file:@DIR@/key\"", base, "ok"),
        (
            "infobip",
            "callback_login = \"file:@DIR@/login\"",
            base,
            "ok",
        ),
        (
            "360dialog",
            "webhook_token = \"file:@DIR@/key\"",
            base,
            "ok",
        ),
        ("gupshup", "webhook_token = \"file:@DIR@/key\"", base, "ok"),
        (
            "gupshup",
            "webhook_token = \"file:@DIR@/key\"",
            path_token,
            "ok",
        ),
        (
            "telnyx",
            "public_key = \"file:@DIR@/public\"",
            base,
            "skipped",
        ),
    ] {
        let application = application();
        let setup = Setup::at("http://127.0.0.1:1")
            .file("key", "CANARY0123456789CANARY0123456789")
            .file("login", "user:CANARY0123456789")
            .file("whsec", "whsec_Q0FOQVJZMDEyMzQ1Njc4OUNBTkFSWTAxMjM0NTY3ODk=")
            .file("public", "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
            .config(&format!(
                "[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n\
                 [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[credential.here]\nprovider = \"{preset}\"\n{lines}\n\
                 [[webhook]]\ncredential = \"here\"\nforward = \"{}/events\"\n{webhook}\n",
                application.url()
            ));
        let mut keyside = setup.start();
        let report = examine(keyside.setup());
        assert!(!report.output.contains("CANARY"), "{preset}");
        assert_eq!(
            report.outcome("webhook", "forged event"),
            "ok",
            "{preset}: {:#}",
            report.json
        );
        assert_eq!(
            report.outcome("webhook", "genuine event"),
            genuine,
            "{preset}: {:#}",
            report.json
        );
        assert!(application.requests().is_empty(), "{preset}");
    }
}

#[test]
fn a_provider_that_cannot_be_asked_and_a_webhook_without_a_public_url_are_skipped() {
    let upstream = Upstream::ok();
    let application = application();
    let setup = Setup::new(&upstream).file("key", "CANARY0123456789CANARY0123456789").config(&format!(
        "[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
         [provider.here]\nextends = \"chat-api\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         [credential.here]\nprovider = \"here\"\ninstance = \"1\"\ntoken = \"file:@DIR@/key\"\n[[route]]\ncredential = \"here\"\n\
         [credential.hooks]\nprovider = \"standard-webhooks\"\nsecret = \"file:@DIR@/key\"\n\
         [[webhook]]\npath = \"/hook\"\ncredential = \"hooks\"\nforward = \"{}/events\"\n",
        application.url()
    ));
    let report = examine(&setup);
    let step = report.step("credential", "provider's word");
    assert!(
        step["found"].as_str().unwrap().contains("cannot be asked"),
        "{step}"
    );
    assert_eq!(report.outcome("webhook", "public URL"), "skipped");
    assert_eq!(report.code, Some(0), "{:#}", report.json);
}

#[test]
fn people_read_a_line_for_each_step_and_a_last_line() {
    let upstream = Upstream::with_certificate(Certificate::Expired);
    let finished = Setup::new(&upstream).check().finish("doctor");
    assert_eq!(finished.code, Some(1));
    let lines: Vec<_> = finished.output.lines().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("  fail    tls: the certificate")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("          -> ")),
        "{lines:?}"
    );
    assert!(finished.output.contains("1 step wrong"), "{lines:?}");
    assert!(
        !finished.output.contains('\u{1b}'),
        "no colour but on a terminal"
    );
}
