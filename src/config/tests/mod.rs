//! The meaning and the faults of configurations, by example.

mod accounts;
mod destinations;
mod example;
mod faults;
mod reference;
mod routes;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use super::{Config, ListenAddress, OnFailure, ProofForm, Reference};
use crate::document::Fault;
use crate::log::LogFormat;

/// The smallest useful configuration.
const SMALL: &str = r#"[credential.acme]
provider = "meta"
token = "file:/run/secrets/acme/token"

[[route]]
credential = "acme"
"#;

fn faults(text: &str) -> Vec<String> {
    match Config::parse(text, "f") {
        Ok(_) => Vec::new(),
        Err(faults) => faults.0.iter().map(Fault::to_string).collect(),
    }
}

fn parse(text: &str) -> Config {
    Config::parse(text, "f").unwrap()
}

#[test]
fn a_missing_key_has_the_default_of_the_contract() {
    let config = parse(SMALL);
    let tcp = |text: &str| vec![ListenAddress::Tcp(text.parse().unwrap())];
    assert_eq!(config.outbound.listen, tcp("127.0.0.1:8080"));
    assert_eq!(config.outbound.allowed_hosts, [""; 0]);
    assert_eq!(config.outbound.allow_uids, [0; 0]);
    assert_eq!(config.outbound.drain, Duration::from_secs(25));
    assert_eq!(config.admin.listen, tcp("127.0.0.1:9900"));
    assert_eq!(config.reload.watch, Some(Duration::from_secs(5)));
    assert_eq!(config.reload.refresh, Some(Duration::from_secs(300)));
    assert_eq!(config.log.level, tracing::level_filters::LevelFilter::INFO);
    assert_eq!(config.log.format, LogFormat::Auto);
    let acme = &config.credentials["acme"];
    assert_eq!(acme.provider.name, "meta");
    assert_eq!(acme.max_age, Duration::from_secs(90 * 86_400));
    assert_eq!(acme.proof, ProofForm::Auto);
    assert_eq!(
        *acme.secrets.get("token").unwrap(),
        [Reference::File("/run/secrets/acme/token".into())]
    );
    let [route] = config.routes.as_slice() else {
        unreachable!()
    };
    assert_eq!((route.name.as_str(), route.path.as_str()), ("acme", ""));
    assert_eq!(route.senders, [""; 0]);
    assert_eq!(allowed(&config, 0), ["messages", "media"]);
    assert_eq!(route.limits.rates.per_sender.unwrap().to_string(), "80/s");
    assert_eq!(route.limits.max_wait, Duration::from_secs(2));
    assert_eq!(route.limits.max_queue, 1000);
    assert_eq!(config.warnings, []);
}

fn allowed(config: &Config, route: usize) -> Vec<&str> {
    let route = &config.routes[route];
    let provider = &config.credentials[&route.credential].provider;
    provider
        .operations
        .iter()
        .filter(|operation| route.operations.allows(operation))
        .map(|operation| operation.name.as_str())
        .collect()
}

/// A configuration with a value other than the default for most keys.
const FULL: &str = r#"
[outbound]
listen = ["0.0.0.0:80", "[::1]:0", "unix:/run/a.sock"]
allow_remote = true
allowed_hosts = ["Keyside.Local", "10.0.0.1", "[fe80::1]"]
allow_uids = [0, 1000]
public_origin = "https://wa.example.com"
trusted_proxies = ["10.0.0.0/8"]
drain = "1m"
[outbound.tls]
listen = ["127.0.0.1:443"]
cert = "/alias.pem"
key = "/alias.key"
[credential.a]
provider = "meta"
token = ["file:/new", "systemd:old"]
app_secret = "exec:/bin/pass show \"my app\""
max_age = "30d"
proof = "classic"
[[route]]
credential = "a"
name = "eins"
path = "/a/b/"
senders = ["1", "2"]
operations = ["media", "calls"]
limits = { per_sender = "1/6s", max_wait = "500ms", max_queue = 0 }
[[route]]
credential = "a"
name = "zwei"
path = "/a/b"
senders = ["3"]
[admin]
listen = ["unix:/run/b.sock"]
[reload]
watch = "off"
refresh = "off"
[log]
level = "debug"
format = "json"
"#;

#[test]
fn tls_without_addresses_of_its_own_applies_to_the_tcp_addresses_of_the_listener() {
    let files = "cert = \"/a\"\nkey = \"/b\"";
    for (table, plain, with_tls) in [
        (format!("[outbound.tls]\n{files}"), 0, "127.0.0.1:8080"),
        (
            format!("[outbound]\nlisten = [\"[::1]:443\", \"unix:/a\"]\n[outbound.tls]\n{files}"),
            1,
            "[::1]:443",
        ),
        (
            format!("[outbound.tls]\nlisten = [\"127.0.0.1:443\"]\n{files}"),
            1,
            "127.0.0.1:443",
        ),
    ] {
        let outbound = parse(&format!("{SMALL}{table}")).outbound;
        let tls: Vec<_> = outbound.tls.iter().flat_map(|tls| &tls.listen).collect();
        assert_eq!(outbound.listen.len(), plain, "{table}");
        assert_eq!(tls, [&ListenAddress::Tcp(with_tls.parse().unwrap())]);
    }
}

#[test]
fn every_written_key_takes_effect() {
    let config = parse(FULL);
    assert_eq!(config.outbound.listen.len(), 3);
    assert_eq!(
        config.outbound.listen[2],
        ListenAddress::Unix("/run/a.sock".into())
    );
    assert_eq!(
        config.outbound.allowed_hosts,
        ["keyside.local", "10.0.0.1", "[fe80::1]"]
    );
    assert_eq!(config.outbound.allow_uids, [0, 1000]);
    assert_eq!(
        config.outbound.public_origin.as_deref(),
        Some("https://wa.example.com")
    );
    assert_eq!(config.outbound.trusted_proxies.len(), 1);
    let tls = config.outbound.tls.as_ref().unwrap();
    assert_eq!(tls.cert.to_str(), Some("/alias.pem"));
    assert_eq!(config.outbound.tcp_addresses().count(), 3);
    assert_eq!(config.outbound.drain, Duration::from_secs(60));
    let a = &config.credentials["a"];
    assert_eq!(
        *a.secrets.get("token").unwrap(),
        [
            Reference::File("/new".into()),
            Reference::Systemd("old".into())
        ]
    );
    assert_eq!(
        *a.secrets.get("app_secret").unwrap(),
        [Reference::Exec {
            program: PathBuf::from("/bin/pass"),
            arguments: vec!["show".into(), "my app".into()]
        }]
    );
    assert_eq!(a.proof, ProofForm::Classic);
    assert_eq!(config.routes[0].path, "/a/b");
    assert_eq!(config.routes[0].limits.max_queue, 0);
    assert_eq!(allowed(&config, 0), ["media", "calls"]);
    assert_eq!(config.routes[1].path, "/a/b");
    assert_eq!((config.reload.watch, config.reload.refresh), (None, None));
    assert_eq!(config.log.format, LogFormat::Json);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    let of_users = "f:6:14: outbound.allow_uids: any user can send over TCP";
    assert!(
        matches!(&warnings[..], [one] if one.starts_with(of_users)),
        "{warnings:?}"
    );
}

#[test]
fn a_place_makes_a_token_of_a_program_renewable() {
    for (place, expected) in [
        ("\"\"", None),
        ("\"exec:/bin/put acme\"", Some("exec:/bin/put")),
        ("\"k8s:shop/acme#token\"", Some("k8s:shop/acme#token")),
    ] {
        let renew = if expected.is_some() { "14d" } else { "off" };
        let config = parse(&format!(
            "[credential.a]\nprovider = \"meta\"\ntoken = \"exec:/bin/get\"\napp_secret = \"file:/s\"\n\
             place = {place}\nrenew = \"{renew}\"\n[[route]]\ncredential = \"a\""
        ));
        let found = config.credentials["a"].place.as_ref();
        assert_eq!(found.map(ToString::to_string).as_deref(), expected);
    }
}

#[test]
fn a_preset_can_be_changed_in_parts() {
    let config = parse(&format!(
        r#"{}
[provider.meta]
extends = "meta"
upstream = "http://127.0.0.1:9000"
[provider.meta.operations.media]
default = false
[provider.meta.operations.extra]
kind = "send"
requests = ["POST /extra"]
"#,
        SMALL
    ));
    let provider = &config.credentials["acme"].provider;
    assert_eq!(provider.name, "meta");
    assert_eq!(
        provider.upstream.as_ref().unwrap().to_string(),
        "http://127.0.0.1:9000"
    );
    assert_eq!(
        provider.media_upstream.as_ref().unwrap().to_string(),
        "https://lookaside.fbsbx.com"
    );
    assert_eq!(
        provider.operation("extra"),
        Some(provider.operations.len() - 1)
    );
    assert_eq!(provider.operation("messages"), Some(0));
    assert_eq!(allowed(&config, 0), ["messages"]);
}

#[test]
fn a_preset_moved_elsewhere_leaves_no_further_host_behind() {
    let further = |own: &str| {
        let text = format!(
            "{SMALL}[credential.t]\nprovider = \"p\"\naccount_sid = \"AC1\"\nauth_token = \"file:/t\"\n\
             [provider.p]\nextends = \"twilio\"\n{own}"
        );
        let config = parse(&text);
        let upstreams = &config.credentials["t"].provider.upstreams;
        let origins = upstreams.iter().map(|named| named.origin.to_string());
        origins.collect::<Vec<_>>()
    };
    let messaging = "https://messaging.twilio.com";
    let content = "https://content.twilio.com";
    let dublin = "https://api.dublin.ie1.twilio.com";
    assert_eq!(further(""), [messaging, content]);
    let moved = format!("upstream = \"{dublin}\"\n");
    assert_eq!(further(&moved), [dublin, dublin]);
    let named = format!("{moved}upstreams = {{ content = \"https://c.test\" }}\n");
    assert_eq!(further(&named), [dublin, "https://c.test"]);
}

#[test]
fn one_provider_serves_many_credentials() {
    for provider in ["p", "meta"] {
        let text = format!(
            "{SMALL}[provider.p]\nextends = \"meta\"\n\
             [credential.b]\nprovider = \"{provider}\"\n[credential.c]\nprovider = \"{provider}\"\n"
        );
        let config = parse(&text);
        let provider = |name: &str| &config.credentials[name].provider;
        assert!(std::sync::Arc::ptr_eq(provider("b"), provider("c")));
    }
}

#[test]
fn a_secret_in_the_place_of_a_name_is_not_offered_as_a_name() {
    for canary in [
        "0123456789abcdef0123456789abcdef",
        "EAAGm0PX4ZCpsBACANARYZCZCsecretsecretsecret0123456789",
    ] {
        let text = format!(
            "[credential.{canary}]\nprovider = \"metta\"\n[provider.{canary}]\nextends = \"meta\"\n[[route]]\ncredential = \"acme\"\n"
        );
        let found = faults(&text).join("\n");
        assert!(
            found.contains("(name not shown)") && !found.contains(canary),
            "{found}"
        );
        let text = format!(
            "[credential.{canary}]\nprovider = \"meta\"\n[[route]]\ncredential = \"{canary}\"\n"
        );
        let found = faults(&text).join("\n");
        assert!(
            found.contains("(name not shown)") && !found.contains(canary),
            "{found}"
        );
    }
}

#[test]
fn a_file_may_come_from_another_system() {
    let text = format!("\u{feff}{}", SMALL.replace('\n', "\r\n"));
    assert_eq!(faults(&text), [""; 0]);
    assert_eq!(
        faults(&text.replace("provider", "provder"))
            .first()
            .unwrap()
            .split(": ")
            .next(),
        Some("f:1:1")
    );
}

#[test]
fn shared_limits_have_a_server_and_defaults() {
    let limits = |lines: &str| format!("{SMALL}\n[limits]\n{lines}\n");
    let config = Config::parse(&limits("redis = \"env:R\""), "f").unwrap();
    let shared = config.limits.unwrap();
    assert_eq!(shared.redis, Reference::Env("R".to_owned()));
    assert_eq!(
        (shared.on_failure, shared.replicas.get(), shared.ca),
        (OnFailure::Local, 1, None)
    );
    for (lines, expected) in [
        (
            "replicas = 2",
            "limits.redis: missing, expected a reference",
        ),
        (
            "redis = \"redis://:CANARY@h\"",
            "limits.redis: not a reference",
        ),
        (
            "redis = \"env:R\"\nreplicas = 0",
            "limits.replicas: not a count",
        ),
        (
            "redis = \"env:R\"\non_failure = \"closd\"",
            "did you mean `closed`?",
        ),
        (
            "redis = \"env:R\"\nca = \"bundled\"",
            "limits.ca: not an absolute path, expected one with / at its beginning and none at its end",
        ),
        (
            "redis = \"env:R\"\nreplica = 2",
            "limits.replica: unknown key, did you mean `replicas`?",
        ),
    ] {
        let faults = faults(&limits(lines)).join("\n");
        assert!(
            faults.contains(expected) && !faults.contains("CANARY"),
            "{lines}: {faults}"
        );
    }
}
