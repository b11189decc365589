//! What a configuration means and what is wrong with it, by example.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, ListenAddress, LogFormat, OnFailure, Proof, Reference};
use crate::document::{Document, Fault, Reader, Report};

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
fn what_is_not_written_has_the_default_of_the_contract() {
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
    assert_eq!(acme.proof, Proof::Auto);
    assert_eq!(acme.secrets["token"], [Reference::File("/run/secrets/acme/token".into())]);
    let [route] = config.routes.as_slice() else { unreachable!() };
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
    let pairs = provider.operations.iter().zip(&route.operations);
    pairs.filter(|(_, allowed)| **allowed).map(|(operation, _)| operation.name.as_str()).collect()
}

#[test]
fn everything_that_is_written_is_understood() {
    let config = parse(
        r#"
[outbound]
listen = ["0.0.0.0:80", "[::1]:0", "unix:/run/a.sock"]
allow_remote = true
allowed_hosts = ["Keyside.Local", "10.0.0.1", "[fe80::1]"]
allow_uids = [0, 1000]
drain = "1m"
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
"#,
    );
    assert_eq!(config.outbound.listen.len(), 3);
    assert_eq!(config.outbound.listen[2], ListenAddress::Unix("/run/a.sock".into()));
    assert_eq!(config.outbound.allowed_hosts, ["keyside.local", "10.0.0.1", "[fe80::1]"]);
    assert_eq!(config.outbound.allow_uids, [0, 1000]);
    assert_eq!(config.outbound.drain, Duration::from_secs(60));
    let a = &config.credentials["a"];
    assert_eq!(a.secrets["token"], [Reference::File("/new".into()), Reference::Systemd("old".into())]);
    assert_eq!(
        a.secrets["app_secret"],
        [Reference::Exec { program: PathBuf::from("/bin/pass"), arguments: vec!["show".into(), "my app".into()] }]
    );
    assert_eq!(a.proof, Proof::Classic);
    assert_eq!(config.routes[0].path, "/a/b");
    assert_eq!(config.routes[0].limits.max_queue, 0);
    assert_eq!(allowed(&config, 0), ["media", "calls"]);
    assert_eq!(config.routes[1].path, "/a/b");
    assert_eq!((config.reload.watch, config.reload.refresh), (None, None));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.warnings, []);
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
    assert_eq!(provider.upstream.as_ref().unwrap().to_string(), "http://127.0.0.1:9000");
    assert_eq!(provider.media_upstream.as_ref().unwrap().to_string(), "https://lookaside.fbsbx.com");
    assert_eq!(provider.operation("extra"), Some(provider.operations.len() - 1));
    assert_eq!(provider.operation("messages"), Some(0));
    assert_eq!(allowed(&config, 0), ["messages"]);
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
    for canary in ["0123456789abcdef0123456789abcdef", "EAAGm0PX4ZCpsBACANARYZCZCsecretsecretsecret0123456789"] {
        let text = format!(
            "[credential.{canary}]\nprovider = \"metta\"\n[provider.{canary}]\nextends = \"meta\"\n[[route]]\ncredential = \"acme\"\n"
        );
        let found = faults(&text).join("\n");
        assert!(found.contains("(name not shown)") && !found.contains(canary), "{found}");
        let text = format!("[credential.{canary}]\nprovider = \"meta\"\n[[route]]\ncredential = \"{canary}\"\n");
        let found = faults(&text).join("\n");
        assert!(found.contains("(name not shown)") && !found.contains(canary), "{found}");
    }
}

#[test]
fn a_file_may_come_from_another_system() {
    let text = format!("\u{feff}{}", SMALL.replace('\n', "\r\n"));
    assert_eq!(faults(&text), [""; 0]);
    assert_eq!(faults(&text.replace("provider", "provder")).first().unwrap().split(": ").next(), Some("f:1:1"));
}

#[test]
fn warnings_are_told_with_their_place() {
    let text = SMALL.replace("file:/run/secrets/acme/token", "env:ACME_TOKEN") + "operations = [\"*\"]\n";
    let config = parse(&text);
    let warnings: Vec<String> = config.warnings.iter().map(Fault::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:3:9: credential.acme.token: an environment can be read by every process of the same user, \
             and its value cannot be replaced while running; prefer file: or systemd:",
            "f:7:15: route.operations: allows everything that the provider defines, administration too; \
             prefer naming operations",
        ]
    );
    assert_eq!(config.routes[0].operations.iter().filter(|a| !**a).count(), 0);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_fault_is_named_with_its_place_and_what_is_expected() {
    // Each is the small configuration, line 1 to 6, and what is added from line 7 on.
    for (added, expected) in [
        (
            "[outbond]",
            "f:7:2: outbond: unknown key, did you mean `outbound`? expected one of `outbound`, `inbound`, `admin`, `limits`, `reload`, `log`, `audit`, `provider`, `credential`, `route`, `webhook`",
        ),
        (
            "[inbond]",
            "f:7:2: inbond: unknown key, did you mean `inbound`? expected one of `outbound`, `inbound`, `admin`, `limits`, `reload`, `log`, `audit`, `provider`, `credential`, `route`, `webhook`",
        ),
        (
            "[outbound]\nlistne = []",
            "f:8:1: outbound.listne: unknown key, did you mean `listen`? expected one of `allow_remote`, `listen`, `allowed_hosts`, `allow_uids`, `drain`",
        ),
        ("[outbound]\nlisten = \"127.0.0.1:1\"", "f:8:10: outbound.listen: wrong type, expected an array"),
        ("[outbound]\nlisten = []", "f:8:10: outbound.listen: empty, expected at least one address"),
        ("[outbound]\nlisten = [1]", "f:8:11: outbound.listen: wrong type, expected a string"),
        (
            "[outbound]\nlisten = [\"localhost:8080\"]",
            "f:8:11: outbound.listen: not an address, expected IP:PORT such as \"127.0.0.1:8080\" or \"unix:/run/keyside/send.sock\"",
        ),
        (
            "[outbound]\nlisten = [\"unix:send.sock\"]",
            "f:8:11: outbound.listen: not a socket, expected unix: and an absolute path of at most 107 bytes",
        ),
        (
            "[outbound]\nlisten = [\"0.0.0.0:8080\"]",
            "f:8:11: outbound.listen: not on loopback, so other machines could use the credential: expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
        ),
        (
            "[admin]\nlisten = [\"[::]:9900\"]",
            "f:8:11: admin.listen: not on loopback, so other machines could use the credential: expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
        ),
        (
            "[outbound]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            "f:8:26: outbound.listen: the same address as at f:8:11, expected another",
        ),
        (
            "[outbound]\nlisten = [\"127.0.0.1:9\"]\n[admin]\nlisten = [\"127.0.0.1:9\"]",
            "f:10:11: admin.listen: the same address as at f:8:11, expected another",
        ),
        (
            "[admin]\nlisten = [\"127.0.0.1:8080\"]",
            "f:8:11: admin.listen: the same address as at the default of outbound.listen, expected another",
        ),
        (
            "[outbound]\nlisten = [\"127.0.0.1:9900\"]",
            "f:1:1: admin.listen: its default is taken at f:8:11, expected another address",
        ),
        ("[outbound]\nallow_remote = \"yes\"", "f:8:16: outbound.allow_remote: wrong type, expected true or false"),
        (
            "[outbound]\nallowed_hosts = [\"a:80\"]",
            "f:8:18: outbound.allowed_hosts: not a host name, expected one without scheme, port and path",
        ),
        (
            "[outbound]\nallow_uids = [-1]",
            "f:8:15: outbound.allow_uids: out of range, expected a smaller number that is not negative",
        ),
        ("[outbound]\ndrain = 25", "f:8:9: outbound.drain: wrong type, expected a string"),
        (
            "[outbound]\ndrain = \"25\"",
            "f:8:9: outbound.drain: not a duration, expected a whole number with ms, s, m, h or d, such as \"25s\"",
        ),
        ("[outbound]\ndrain = \"0s\"", "f:8:9: outbound.drain: zero, expected more than that"),
        (
            "[outbound.tls]\ncert = \"/a\"",
            "f:7:11: outbound.tls: unknown key, expected one of `allow_remote`, `listen`, `allowed_hosts`, `allow_uids`, `drain`",
        ),
        (
            "[reload]\nwatch = \"of\"",
            "f:8:9: reload.watch: not a duration, expected a whole number with ms, s, m, h or d, such as \"25s\"",
        ),
        (
            "[log]\nlevel = \"inf\"",
            "f:8:9: log.level: unknown word, did you mean `info`? expected one of `off`, `error`, `warn`, `info`, `debug`, `trace`",
        ),
        ("[log]\nformat = \"xml\"", "f:8:10: log.format: unknown word, expected one of `auto`, `text`, `json`"),
        (
            "[credential.b]",
            "f:7:1: credential.b.provider: missing, expected the API that the secrets are for, such as \"meta\"",
        ),
        (
            "[credential.b]\nprovider = \"mate\"",
            "f:8:12: credential.b.provider: unknown provider, did you mean `meta`? expected one of `meta`, `360dialog`, `infobip`, `twilio`, `vonage`, `bird`, `messagebird`, `sinch`, `ycloud`, `telnyx`, `wati`, `zenvia`, `cm`, `plivo`, `gupshup`, `wassenger`, `clickatell`, `haptik`, `interakt`, `aisensy`, `kaleyra`, `respond-io`, `route-mobile`, `chat-api`, `standard-webhooks`, `generic`",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\napi_key = \"file:/a\"",
            "f:9:1: credential.b.api_key: unknown key, expected one of `provider`, `max_age`, `overlap`, `proof`, `check`, `renew`, `token`, `app_secret`, `verify_token`",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = \"EAACANARY\"",
            "f:9:9: credential.b.token: not a reference, expected where the secret lives (env:NAME, file:/path, systemd:NAME, exec:/program, vault:MOUNT/PATH#FIELD, aws-sm:NAME, gcp-sm:projects/P/secrets/S or azure-kv:VAULT/NAME); the secret itself never stands in a configuration",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = \"vault:CANARY\"",
            "f:9:9: credential.b.token: not a reference, expected vault:MOUNT/PATH#FIELD as the vault command takes them, such as vault:kv/whatsapp/acme#token",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = [\"file:/a\", \"file:b\"]",
            "f:9:21: credential.b.token: not a reference, expected file: and an absolute path, such as file:/run/secrets/token",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = []",
            "f:9:9: credential.b.token: empty, expected at least one reference",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\ntoken = 5",
            "f:9:9: credential.b.token: wrong type, expected a string or an array of strings",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nproof = \"classic\"",
            "f:9:9: credential.b.proof: there is no `app_secret` to sign with, expected one in this credential",
        ),
        (
            "[credential.b]\nprovider = \"360dialog\"\nrenew = \"14d\"",
            "f:9:9: credential.b.renew: only tokens of Meta's can be exchanged, expected \"off\"",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ntoken = \"file:/t\"",
            "f:9:9: credential.b.renew: there is no `app_secret`, without which Meta exchanges no token, expected one in this credential",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ntoken = \"aws-sm:t\"\napp_secret = \"file:/s\"",
            "f:9:9: credential.b.renew: the token comes from aws-sm:t, expected a file or Vault, which can be written",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nrenew = \"14d\"\ncheck = \"off\"\ntoken = \"file:/t\"\napp_secret = \"file:/s\"",
            "f:9:9: credential.b.renew: with check = \"off\" nothing tells when a token ends, expected check = \"auto\"",
        ),
        (
            "[credential.b]\nprovider = \"360dialog\"\nproof = \"classic\"",
            "f:9:9: credential.b.proof: the provider has no appsecret_proof, expected \"auto\" or \"off\"",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\nmax_age = \"0d\"",
            "f:9:11: credential.b.max_age: zero, expected more than that",
        ),
        (
            "[credential.\"b c\"]",
            "f:7:13: credential.(name not shown): not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -",
        ),
        (
            "[credential.b]\nprovider = \"meta\"\n[[route]]\ncredential = \"b\"",
            "f:7:1: credential.b.token: missing, expected a reference such as \"file:/run/secrets/b/token\": a route uses this credential",
        ),
        ("[[route]]", "f:7:1: route.credential: missing, expected the NAME of a [credential.NAME]"),
        ("[[route]]\ncredential = \"acne\"", "f:8:14: route.credential: no such credential, expected `acme`"),
        (
            "[[route]]\ncredential = \"acme\"\npath = \"/b\"",
            "f:7:1: route: the same name as the route at f:5:1, expected another `name`",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"acme\"\npath = \"/b\"",
            "f:9:8: route.name: the same name as the route at f:5:1, expected another `name`",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"a b\"\npath = \"/b\"",
            "f:9:8: route.name: not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -",
        ),
        (
            "[[route]]\ncredential = \"acme\"\nname = \"b\"",
            "f:7:1: route: the same path as the route at f:5:1, expected another `path`, or `senders` in both that have none in common",
        ),
        (
            "senders = [\"1\"]\n[[route]]\ncredential = \"acme\"\nname = \"b\"\npath = \"/\"\nsenders = [\"2\", \"1\"]",
            "f:11:8: route.path: the same path as the route at f:5:1, expected another `path`, or `senders` in both that have none in common",
        ),
        ("path = \"acme\"", "f:7:8: route.path: not a path, expected it to begin with a slash"),
        (
            "path = \"/a/../b\"",
            "f:7:8: route.path: not a path that a request could have, expected segments of visible ASCII, none of them empty or dots, without percent or query",
        ),
        (
            "path = \"/a%2f\"",
            "f:7:8: route.path: not a path that a request could have, expected segments of visible ASCII, none of them empty or dots, without percent or query",
        ),
        (
            "path = \"//\"",
            "f:7:8: route.path: not a path that a request could have, expected segments of visible ASCII, none of them empty or dots, without percent or query",
        ),
        ("senders = [\"+491234\"]", "f:7:12: route.senders: not a sender, expected the digits of a phone number id"),
        ("senders = [106540352242922]", "f:7:12: route.senders: wrong type, expected a string"),
        ("operations = []", "f:7:14: route.operations: empty, expected at least one operation"),
        (
            "operations = [\"mesages\"]",
            "f:7:15: route.operations: unknown operation, did you mean `messages`? expected one of `messages`, `media`, `media_delete`, `calls`, `groups`, `block_users`, `templates`, `flows`, `qr_codes`, `profile`, `uploads`, `phone_numbers`, `account`, `registration`, `subscriptions`, `oauth`",
        ),
        (
            "[route.limits]\nper_recipient = \"1/6s\"",
            "f:8:17: route.limits.per_recipient: wrong type, expected a table",
        ),
        (
            "[route.limits]\nper_recipient = { rate = \"1/6s\", burst = 0 }",
            "f:8:42: route.limits.per_recipient.burst: no count, expected how many may come at once, such as 45",
        ),
        (
            "[route.limits]\nper_recipient = { burst = 5 }",
            "f:8:17: route.limits.per_recipient.rate: missing, expected how many come in how much time, such as \"1/6s\"",
        ),
        (
            "[route.limits]\nper_number = \"1/6s\"",
            "f:8:1: route.limits.per_number: unknown key, did you mean `per_sender`? expected one of `retry`, `per_sender`, `per_account`, `management`, `per_recipient`, `max_wait`, `max_queue`",
        ),
        (
            "[route.limits]\nper_sender = \"80\"",
            "f:8:14: route.limits.per_sender: not a rate, expected events per time, such as \"80/s\" or \"1/6s\"",
        ),
        (
            "[route.limits]\nmax_queue = -5",
            "f:8:13: route.limits.max_queue: out of range, expected a smaller number that is not negative",
        ),
        (
            "[provider.x]\nextends = \"mata\"",
            "f:8:11: provider.x.extends: unknown preset, did you mean `meta`? expected one of `meta`, `360dialog`, `infobip`, `twilio`, `vonage`, `bird`, `messagebird`, `sinch`, `ycloud`, `telnyx`, `wati`, `zenvia`, `cm`, `plivo`, `gupshup`, `wassenger`, `clickatell`, `haptik`, `interakt`, `aisensy`, `kaleyra`, `respond-io`, `route-mobile`, `chat-api`, `standard-webhooks`, `generic`",
        ),
        (
            "[provider.meta]\nmedia_upstream = \"https://a\"",
            "f:7:1: provider.meta: neither complete nor an extension, expected extends = \"meta\" to change the preset",
        ),
        (
            "[provider.x]\nextends = \"meta\"\nupstream = \"https://user:CANARY@a\"",
            "f:9:12: provider.x.upstream: not an upstream, expected https://HOST or https://HOST:PORT",
        ),
        ("[provider.x]\nextends = \"meta\"\n[provider.x.secrets.token]\nrequired = false", "presets/meta.toml:"),
        ("[provider.x]", "f:7:1: provider.x.upstream: missing, expected where requests go, such as \"https://HOST\""),
    ] {
        let found = faults(&format!("{SMALL}{added}\n"));
        assert!(
            found.iter().any(|f| f == expected || expected.ends_with(".toml:") && f.starts_with(expected)),
            "{expected}\n{found:#?}"
        );
        assert!(!found.join("").contains("CANARY"), "{found:#?}");
    }
}

#[test]
fn all_faults_are_told_and_not_only_the_first() {
    let found =
        faults("[outbound]\nlisten = 1\ndrain = \"x\"\nfoo = 1\n[credential.a]\nprovider = \"x\"\n[log]\nlevel = 1\n");
    let places: Vec<&str> = found.iter().map(|f| f.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["f:1:1", "f:2:10", "f:3:9", "f:4:1", "f:6:12", "f:8:9"]);
}

#[test]
fn a_route_and_nothing_else_is_asked_of_an_empty_file() {
    assert_eq!(faults(""), ["f:1:1: route: missing, expected at least one [[route]] or [[webhook]]"]);
    assert_eq!(faults("[route]\n"), ["f:1:1: route: expected one or more [[route]]"]);
}

#[test]
fn shared_limits_have_a_server_and_defaults() {
    let limits = |lines: &str| format!("{SMALL}\n[limits]\n{lines}\n");
    let config = Config::parse(&limits("redis = \"env:R\""), "f").unwrap();
    let shared = config.limits.unwrap();
    assert_eq!(shared.redis, Reference::Env("R".to_owned()));
    assert_eq!((shared.on_failure, shared.replicas.get(), shared.ca), (OnFailure::Local, 1, None));
    for (lines, expected) in [
        ("replicas = 2", "limits.redis: missing, expected a reference"),
        ("redis = \"redis://:CANARY@h\"", "limits.redis: not a reference"),
        ("redis = \"env:R\"\nreplicas = 0", "limits.replicas: no count"),
        ("redis = \"env:R\"\non_failure = \"closd\"", "did you mean `closed`?"),
        ("redis = \"env:R\"\nca = \"bundled\"", "limits.ca: not a file, expected an absolute path"),
        ("redis = \"env:R\"\nreplica = 2", "limits.replica: unknown key, did you mean `replicas`?"),
    ] {
        let faults = faults(&limits(lines)).join("\n");
        assert!(faults.contains(expected) && !faults.contains("CANARY"), "{lines}: {faults}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let faults = Config::load(Path::new("/nonexistent/proxy.toml")).unwrap_err();
    assert_eq!(faults.to_string(), "/nonexistent/proxy.toml: cannot be read: entity not found");
}

/// The example, and the example with every key of it in use.
fn examples() -> [String; 2] {
    let text = include_str!("../../proxy.toml.example");
    let used = text.lines().map(|line| match line.strip_prefix('#') {
        // `#key` and `#  { continued }` are keys, `# Prose` is not.
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  {") => rest,
        _ => line,
    });
    [text.to_owned(), used.collect::<Vec<_>>().join("\n")]
}

#[test]
fn the_example_parses_as_it_is_and_with_every_key_in_use() {
    for text in examples() {
        match Config::parse(&text, "proxy.toml.example") {
            Ok(config) => assert_eq!(config.warnings, []),
            Err(faults) => unreachable!("{faults}"),
        }
    }
}

#[test]
fn the_provider_that_the_readme_writes_is_a_good_one() {
    let readme = include_str!("../../README.md");
    let guide = readme.split("```toml\n").find(|block| block.starts_with("[provider.mine]")).unwrap();
    let guide = guide.split("```").next().unwrap();
    let account = "[credential.m]\nprovider = \"mine\"\nregion = \"eu\"\naccount = \"1\"\nkey = \"file:/k\"\n";
    let config = parse(&format!("{guide}\n{account}[[route]]\ncredential = \"m\"\nsenders = [\"+1555\"]\n"));
    assert_eq!(config.credentials["m"].provider.upstream.as_ref().unwrap().host, "eu.api.vendor.example");
}

#[test]
fn the_configuration_of_the_deployment_parses_and_shares_its_limits_among_all_pods() {
    let yaml = include_str!("../../deploy/kubernetes.yaml");
    let (_, text) = yaml.split_once("proxy.toml: |\n").unwrap();
    let lines = text.lines().take_while(|line| *line != "---").map(|line| line.trim_start());
    let config = parse(&lines.collect::<Vec<_>>().join("\n"));
    assert_eq!((config.routes.len(), config.webhooks.len()), (1, 1));
    let replicas = config.limits.unwrap().replicas;
    assert!(yaml.contains(&format!("\n  replicas: {replicas}\n")), "as many pods as share the limits");
}

#[test]
fn the_example_shows_every_key_that_is_read() {
    let [_, text] = examples();
    let report = Report::default();
    let document = Document::parse(&text, "f", &report).unwrap();
    super::file::read(&document, &report);
    let asked: BTreeSet<String> = report
        .asked()
        .into_iter()
        // The parts of operations, injection, paths and verification are shown by the presets, and so are the preset's own secrets.
        .filter(|key| !["inject.", "paths.", "operations.", "webhook.verify."].iter().any(|part| key.contains(part)))
        .filter(|key| !key.contains("secrets.verify_token") && !key.contains("secrets.app_secret"))
        .collect();
    let mut missing = Vec::new();
    for key in &asked {
        if !stands_in(&document, key) {
            missing.push(key);
        }
    }
    assert!(asked.len() > 40, "{asked:?}");
    assert_eq!(missing, Vec::<&String>::new());
}

fn stands_in(document: &Document, path: &str) -> bool {
    let report = Report::default();
    let mut readers = vec![Reader::new(document, &report)];
    let mut keys = path.split('.').peekable();
    while let Some(key) = keys.next() {
        if keys.peek().is_none() {
            return readers.iter().any(|reader| reader.has(key));
        }
        let fields = readers.iter_mut().filter_map(|reader| reader.field(key));
        readers = fields
            .flat_map(|field| match field.is_table() {
                true => field.table().into_iter().collect(),
                false => field.tables(),
            })
            .collect();
    }
    false
}

/// A token as Meta makes them, an app secret, and one that could be a name.
const CANARIES: [&str; 3] =
    ["EAAGm0PX4ZCpsBACANARYZCZCsecretsecretsecret0123456789", "0123456789abcdef0123456789abcdef", "CANARY with spaces"];

#[test]
fn no_value_is_ever_repeated_wherever_it_stands() {
    let [_, text] = examples();
    let lines: Vec<&str> = text.lines().collect();
    let mut tried = 0;
    for canary in CANARIES {
        for (index, line) in lines.iter().enumerate() {
            let Some((key, _)) = line.split_once('=') else {
                continue;
            };
            if line.starts_with('#') {
                continue;
            }
            let key = key.trim();
            for replacement in [
                format!("{key} = \"{canary}\""),
                format!("{key} = [\"{canary}\"]"),
                format!("{key} = [[\"{canary}\"]]"),
                format!("{key} = {{ {key} = \"{canary}\" }}"),
                format!("{key} = {{ \"{canary}\" = 1 }}"),
                format!("{key} = {canary}"),
                format!("{key} = \"{canary}"),
                format!("{key} = '{canary}"),
                format!("{key} \"{canary}\""),
                format!("{canary} = 1"),
                format!("\"{canary}\" = 1"),
                format!("\"{canary}\" = \"{canary}\""),
                format!("{key}x = \"{canary}\""),
                format!("{key} = \"env:{canary}\""),
                format!("{key} = \"vault:{canary}\""),
                format!("{key} = \"https://{canary}@example.com\""),
                format!("{key} = \"Bearer {canary} {{token\""),
                format!("[{canary}]"),
                format!("[[\"{canary}\"]]"),
                format!("[credential.\"{canary}\"]"),
                format!("[provider.\"{canary}\"]"),
                canary.to_owned(),
            ] {
                let mut lines = lines.clone();
                lines[index] = &replacement;
                tried += 1;
                if let Err(faults) = Config::parse(&lines.join("\n"), "f") {
                    let shown = format!("{faults} {faults:?} {faults:#?}");
                    assert!(!shown.contains(canary), "{replacement}\n{faults}");
                    assert!(!shown.contains("CANARY"), "{replacement}\n{faults}");
                }
            }
        }
    }
    assert!(tried > 2000, "{tried}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics_the_reader(text in "(?s).{0,200}") {
        let _result = Config::parse(&text, "f");
    }

    #[test]
    fn no_damage_to_the_example_panics_the_reader(from in 0usize..6000, length in 0usize..80, by in "[\\[\\]{}=.,\"'#\\n a0é{}/:-]{0,6}") {
        let [_, text] = examples();
        let mut damaged: Vec<char> = text.chars().collect();
        let from = from.min(damaged.len());
        let to = (from + length).min(damaged.len());
        damaged.splice(from..to, by.chars());
        let text: String = damaged.into_iter().collect();
        let _result = Config::parse(&text, "f");
    }
}

/// A webhook of Meta's that is complete.
const WEBHOOK: &str = r#"[credential.acme]
provider = "meta"
app_secret = "file:/run/secrets/acme/app_secret"
verify_token = "file:/run/secrets/acme/verify_token"

[[webhook]]
path = "/webhooks/whatsapp"
credential = "acme"
forward = "http://127.0.0.1:3000/webhooks/whatsapp"
"#;

#[test]
fn a_webhook_has_the_defaults_of_the_contract() {
    let config = parse(WEBHOOK);
    let [webhook] = config.webhooks.as_slice() else { unreachable!() };
    assert_eq!((webhook.name.as_str(), webhook.path.to_string().as_str()), ("acme", "/webhooks/whatsapp"));
    assert_eq!(webhook.forward.to_string(), "http://127.0.0.1:3000/webhooks/whatsapp");
    assert_eq!((webhook.timeout, webhook.reply), (Duration::from_secs(10), false));
    assert_eq!(webhook.public_url, None);
    assert_eq!(config.inbound.listen, [ListenAddress::Tcp("127.0.0.1:8081".parse().unwrap())]);
    assert_eq!((config.inbound.max_body, config.inbound.max_in_flight), (4 << 20, 64 << 20));
    assert_eq!(config.inbound.tls, None);
    assert_eq!(parse(SMALL).inbound.listen, [], "nothing listens for nobody");
    assert_eq!(config.warnings, []);
}

#[test]
fn a_webhook_goes_to_a_port_or_a_socket() {
    for (written, meant) in [
        ("http://localhost:3000", "http://localhost:3000/"),
        ("http://app:3000/a?b=c", "http://app:3000/a?b=c"),
        ("https://app.internal/hook", "https://app.internal/hook"),
        ("http://[::1]:3000/x", "http://[::1]:3000/x"),
        ("unix:/run/app.sock", "unix:/run/app.sock:/"),
        ("unix:/run/app.sock:/hook", "unix:/run/app.sock:/hook"),
    ] {
        let config = parse(&WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", written));
        assert_eq!(config.webhooks[0].forward.to_string(), meant);
    }
    for wrong in
        ["127.0.0.1:3000", "ftp://x/", "http://", "http://u:p@app/", "http://app/#x", "unix:app.sock", "http://app:0/"]
    {
        let faults = faults(&WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", wrong));
        assert!(
            faults.len() == 1 && faults[0].starts_with("f:9:11: webhook.forward: not where"),
            "{wrong}: {faults:?}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_webhook_is_said_where_it_stands() {
    let with = |from: &str, to: &str| faults(&WEBHOOK.replacen(from, to, 1));
    let table = [
        (
            with("path = \"/webhooks/whatsapp\"\n", ""),
            "f:6:1: webhook.path: missing, expected where the provider sends its events, such as \"/webhooks/whatsapp\"",
        ),
        (
            with("\"/webhooks/whatsapp\"", "\"webhooks\""),
            "f:7:8: webhook.path: not a path that a provider could ask for, expected a slash and segments of visible ASCII, without percent or query; the last may be {token}",
        ),
        (
            with("\"/webhooks/whatsapp\"", "\"/webhooks/{token}\""),
            "f:6:1: webhook.path: it ends in {token}, and its provider has no token there, expected a plain path",
        ),
        (
            with("credential = \"acme\"", "credential = \"acne\""),
            "f:8:14: webhook.credential: no such credential, expected `acme`",
        ),
        (
            with("app_secret = \"file:/run/secrets/acme/app_secret\"\n", ""),
            "f:1:1: credential.acme: no secret to check events with, expected `app_secret`: a webhook uses this credential",
        ),
        (with("forward =", "foward ="), "f:9:1: webhook.foward: unknown key, did you mean `forward`?"),
        (
            with("provider = \"meta\"", "provider = \"chat-api\""),
            "f:6:1: webhook.credential: its provider sends no webhooks that Keyside can check, expected another",
        ),
    ];
    for (faults, expected) in table {
        assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{faults:#?}");
    }
    let twice = format!("{WEBHOOK}{}", WEBHOOK.split_once("\n\n").unwrap().1);
    assert_eq!(
        faults(&twice),
        [
            "f:10:1: webhook: the same name as the webhook at f:6:1, expected another `name`",
            "f:11:8: webhook.path: the same path as the webhook at f:6:1, expected another",
        ]
    );
}

#[test]
fn a_provider_that_signs_its_url_needs_it() {
    let twilio = "[credential.t]\nprovider = \"twilio\"\nauth_token = \"file:/t\"\n\n[[webhook]]\npath = \"/t\"\ncredential = \"t\"\nforward = \"http://localhost:3000/\"\n";
    assert_eq!(
        faults(twilio),
        ["f:5:1: webhook.public_url: missing, expected the whole URL that the provider was given, since it signs it"]
    );
    let whole = format!("{twilio}public_url = \"https://hooks.example.com/t\"\n");
    assert_eq!(faults(&whole), [""; 0], "events need no account");
}

#[test]
fn a_route_needs_all_of_the_account() {
    let route = |provider: &str, credential: &str, route: &str| {
        let text =
            format!("[credential.t]\nprovider = \"{provider}\"\n{credential}\n[[route]]\ncredential = \"t\"\n{route}");
        faults(&text)
    };
    let token = "auth_token = \"file:/t\"";
    for (found, expected) in [
        (
            route("standard-webhooks", "secret = \"file:/t\"", ""),
            "f:4:1: route: the provider of its credential only sends events, expected one that takes requests",
        ),
        (
            route("twilio", token, ""),
            "f:1:1: credential.t.account_sid: missing, expected a value of the account, written here itself: a route uses this credential",
        ),
        (
            route("twilio", &format!("account_sid = \"file:/sid\"\n{token}"), ""),
            "f:3:15: credential.t.account_sid: not a value, expected letters, digits and -._~, written here itself and no reference",
        ),
        (
            route("sinch", "region = \"eu.evil\"\nproject_id = \"p\"\nkey_id = \"k\"\nkey_secret = \"file:/t\"", ""),
            "f:3:10: credential.t.region: not a part of a host name, expected letters, digits and hyphens, such as \"eu\"",
        ),
        (
            route("wassenger", "token = \"file:/t\"", "senders = [\"1\"]"),
            "f:6:11: route.senders: the provider's requests name no sender, expected []",
        ),
        (
            route("vonage", "application_id = \"a\"\nprivate_key = \"file:/t\"", "senders = [\"a b\"]"),
            "f:7:12: route.senders: not a sender, expected a number such as \"+15550001234\", or the provider's own name of one",
        ),
    ] {
        assert!(found.iter().any(|fault| fault == expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn an_upstream_has_the_values_of_its_account() {
    let text = "[credential.i]\nprovider = \"infobip\"\nbase = \"y3vn4g\"\napi_key = \"file:/k\"\n\
        [credential.s]\nprovider = \"sinch\"\nregion = \"eu\"\nproject_id = \"p\"\nkey_id = \"k\"\nkey_secret = \"file:/k\"\n\
        [credential.w]\nprovider = \"wati\"\ntenant = \"1\"\ntoken = \"file:/k\"\n\
        [[route]]\ncredential = \"i\"\npath = \"/i\"\nsenders = [\"+441134960000\", \"Acme\"]\n\
        [[route]]\ncredential = \"s\"\npath = \"/s\"\n[[route]]\ncredential = \"w\"\npath = \"/w\"\n";
    let config = parse(text);
    let upstream = |name: &str| config.credentials[name].provider.upstream.as_ref().unwrap().to_string();
    assert_eq!(upstream("i"), "https://y3vn4g.api.infobip.com");
    assert_eq!(upstream("s"), "https://eu.conversation.api.sinch.com");
    assert_eq!(upstream("w"), "https://live-mt-server.wati.io");
    let exchange = config.credentials["s"].provider.exchange().unwrap();
    assert_eq!(exchange.upstream.as_ref().unwrap().to_string(), "https://auth.sinch.com");
    assert_eq!(config.routes[0].senders, ["441134960000", "Acme"]);
}

#[test]
fn routes_whose_senders_stand_in_bodies_need_paths_of_their_own() {
    let text = "[credential.t]\nprovider = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"file:/t\"\n\
        [[route]]\ncredential = \"t\"\nsenders = [\"+1\"]\n[[route]]\ncredential = \"t\"\nname = \"u\"\nsenders = [\"+2\"]\n";
    let found = faults(text);
    assert!(found.iter().any(|fault| fault.contains("the same path as the route at f:5:1")), "{found:#?}");
}

#[test]
fn a_name_for_clients_wants_an_authority_and_room_wants_a_body() {
    let tls = "[inbound]\nmax_in_flight = \"1MiB\"\n[inbound.tls]\ncert = \"/c\"\nclient_name = \"a.b\"\n";
    assert_eq!(
        faults(&format!("{WEBHOOK}{tls}")),
        [
            "f:10:1: inbound: `max_in_flight` is less than `max_body`, expected room for one body at least",
            "f:12:1: inbound.tls.key: missing, expected the file with the certificate's private key, in PEM",
            "f:14:15: inbound.tls.client_name: there is no `client_ca` that could vouch for a client of this name, expected one",
        ]
    );
}
