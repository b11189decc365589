//! The meaning and the faults of providers in TOML, by example.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::read;
use crate::document::{Document, Fault, FaultReport, Reader};
use crate::provider::definition::{HealthCheck, Provider};
use crate::provider::inject::Inject;
use crate::provider::limits::ProviderLimits;
use crate::provider::origin::Ca;

/// A small complete provider.
const SMALL: &str = r#"
upstream = "https://example.com"
inject = [{ header = "X-Key", value = "{key}" }]
[secrets.key]
required = true
[operations.messages]
kind = "send"
requests = ["POST /messages"]
"#;

/// Reads a provider, and fills the parameters `a` and `b` with `x` and `y`.
fn read_text(text: &str) -> (Option<Arc<Provider>>, Vec<String>) {
    let report = FaultReport::default();
    let document = Document::parse(text, "f", &report).unwrap();
    let values = BTreeMap::from([
        ("a".to_owned(), "x".to_owned()),
        ("b".to_owned(), "y".to_owned()),
    ]);
    let provider =
        read("mine", Reader::new(&document, &report)).map(|outline| outline.fill(&values).0);
    let (faults, _) = report.into_parts();
    (provider, faults.iter().map(Fault::to_string).collect())
}

#[test]
fn every_place_of_injection_is_stripped() {
    let text = SMALL.replace(
        "inject = [",
        r#"inject = [{ query = "k", value = "{key}" }, { form = "f", value = "{key}" }, { appsecret_proof = "key", key = "key" }, "#,
    );
    let (provider, faults) = read_text(&text);
    assert_eq!(faults, [""; 0]);
    let strip = &provider.unwrap().strip;
    assert_eq!(strip.headers, ["x-key"]);
    let common = ["access_token", "appsecret_proof", "appsecret_time"];
    assert_eq!(strip.query, [&common[..], &["k"]].concat());
    assert_eq!(strip.form, [&common[..], &["f"]].concat());
}

#[test]
fn values_of_an_account_replace_the_parameters() {
    let text = SMALL
        .replace("https://example.com", "https://{a}.example.com:8443")
        .replace(
            "inject = [",
            r#"inject = [{ header = "Authorization", value = "Basic {b:key}" }, "#,
        )
        .replace(
            "[secrets",
            "health = \"GET /{b}\"\n[parameters.a]\nform = \"label\"\n[parameters.b]\n[secrets",
        )
        .replace("\"POST /messages\"", "\"POST /{b}/{sender}/messages\"");
    let (provider, faults) = read_text(&text);
    assert_eq!(faults, [""; 0]);
    let provider = provider.unwrap();
    assert_eq!(
        provider.upstream.as_ref().unwrap().to_string(),
        "https://x.example.com:8443"
    );
    let [Inject::Header { value, .. }, _] = provider.inject.as_slice() else {
        unreachable!()
    };
    assert_eq!(value.to_string(), "Basic {y:key}");
    assert!(
        matches!(&provider.health, Some(HealthCheck::Get(path)) if path.text().as_deref() == Some("/y"))
    );
    let [map] = provider.paths.as_slice() else {
        unreachable!()
    };
    let path = "/anything/123/messages";
    assert!(map.from.matches(path).is_some());
    assert_eq!(
        (
            map.to.to_string().as_str(),
            map.from.variable(path, "sender")
        ),
        ("/y/{sender}/messages", Some("123"))
    );
}

#[test]
fn a_missing_value_leaves_no_upstream_but_events_can_be_checked() {
    let report = FaultReport::default();
    let text = SMALL.replace("https://example.com", "https://{a}")
        + "[parameters.a]\nform = \"host\"\n[parameters.b]\n";
    let document = Document::parse(&text, "f", &report).unwrap();
    let outline = read("mine", Reader::new(&document, &report)).unwrap();
    let (provider, missing) = outline.fill(&BTreeMap::new());
    assert_eq!(
        (provider.upstream.is_none(), missing),
        (true, vec!["a".to_owned(), "b".to_owned()])
    );
    let values = BTreeMap::from([
        ("a".to_owned(), "api.example.com".to_owned()),
        ("b".to_owned(), "1".to_owned()),
    ]);
    let (provider, missing) = outline.fill(&values);
    assert_eq!(
        provider.upstream.as_ref().unwrap().to_string(),
        "https://api.example.com"
    );
    assert_eq!(missing, [""; 0]);
}

#[test]
fn a_missing_key_has_its_default() {
    let (provider, faults) = read_text(SMALL);
    assert_eq!(faults, [""; 0]);
    let provider = provider.unwrap();
    assert_eq!(provider.title, "mine");
    assert_eq!(provider.ca, Ca::Bundled);
    assert_eq!(provider.limits, ProviderLimits::default());
    assert!(!provider.graph_answers);
    assert!(provider.media_upstream.is_none());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_faults_of_a_provider_have_their_place() {
    for (from, to, expected) in [
        (
            "upstream = \"https://example.com\"",
            "upstream = \"http://example.com\"",
            "f:2:12: upstream: without TLS, expected https:// (http:// only for an upstream on loopback)",
        ),
        (
            "https://example.com",
            "https://example.com/v1",
            "f:2:12: upstream: not an upstream, expected https://HOST or https://HOST:PORT",
        ),
        (
            "upstream = \"https://example.com\"",
            "ca = \"x\"",
            "f:1:1: upstream: missing, expected where requests go, such as \"https://HOST\"",
        ),
        (
            "\ninject",
            "\nca = \"x.pem\"\ninject",
            "f:3:6: ca: unknown, expected \"bundled\", \"system\" or the absolute path of a PEM file",
        ),
        (
            "{key}",
            "EAACANARY",
            "f:3:39: inject.value: no secret in the value, expected the name of a secret in braces; the secret itself never stands here",
        ),
        (
            "{key}",
            "{kee}",
            "f:3:39: inject.value: an unknown name in braces, the secrets are `key`",
        ),
        (
            "{key}",
            "{key",
            "f:3:39: inject.value: not a variable, expected lower-case letters, digits and _ between the braces",
        ),
        (
            "required = true",
            "required = false",
            "f:3:39: inject.value: `key` is optional, expected `required = true` for a secret that requests carry",
        ),
        (
            "X-Key",
            "X Key",
            "f:3:22: inject.header: not the name of a header",
        ),
        (
            "X-Key",
            "Host",
            "f:3:22: inject.header: a header of the connection, expected one that carries a credential",
        ),
        (
            "header =",
            "query = \"a\", header =",
            "f:3:11: inject: expected exactly one of `header`, `query`, `form`, `json`, `appsecret_proof`",
        ),
        (
            "header = \"X-Key\"",
            "json = \"a\"",
            "f:3:20: inject.json: not a JSON pointer, expected one such as \"/apiKey\"",
        ),
        (
            "secrets.key",
            "secrets.provider",
            "f:4:10: secrets.provider: not a name for a secret, expected lower-case letters, digits and _, and none of the credential's other keys",
        ),
        (
            "required = true",
            "form = \"tokn\"",
            "f:5:8: secrets.key.form: unknown word, expected one of `text`, `meta-token`, `app-secret`, `private-key`",
        ),
        (
            "kind = \"send\"",
            "kind = \"sned\"",
            "f:7:8: operations.messages.kind: unknown word, did you mean `send`? expected one of `send`, `receive`, `administration`",
        ),
        (
            "kind = \"send\"",
            "kind = \"administration\"\ndefault = true",
            "f:8:11: operations.messages.default: a route must name an operation of administration or with the application's own credential, expected false",
        ),
        (
            "kind = \"send\"",
            "knid = \"send\"",
            "f:7:1: operations.messages.knid: unknown key, did you mean `kind`? expected one of `kind`, `default`, `credential`, `scopes`, `requests`",
        ),
        (
            "\"POST /messages\"",
            "\"FETCH /messages\"",
            "f:8:13: operations.messages.requests: no method, expected GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS before the path",
        ),
        (
            "\"POST /messages\"",
            "",
            "f:6:1: operations.messages: no requests, expected at least one",
        ),
        (
            "\"POST /messages\"",
            "{ request = \"POST /a\", media = true }",
            "f:8:44: operations.messages.requests.media: there is no `media_upstream` to go to, expected one in the provider",
        ),
        (
            "\"POST /messages\"",
            "{ request = \"POST /a\", upstream = \"api\" }",
            "f:8:47: operations.messages.requests.upstream: unknown, expected one of the names in [upstreams], of which there are none",
        ),
        (
            "\"POST /messages\"",
            "{ request = \"POST /a\", channel = \"\" }",
            "f:8:46: operations.messages.requests.channel: not the name of a channel, expected one such as \"whatsapp\" or \"sms\"",
        ),
        (
            "\"POST /messages\"",
            "{ request = \"POST /a\", senders = [\"from\"] }",
            "f:8:47: operations.messages.requests.senders: not a JSON pointer, expected one such as \"/apiKey\"",
        ),
        (
            "\"POST /messages\"",
            "{ request = \"POST /a\", body = [\"from\"], senders = [\"/from\"] }",
            "f:8:63: operations.messages.requests.senders: `senders` beside `body`, expected one of the two",
        ),
        (
            "\"POST /messages\"",
            "{ request = \"GET POST /a\", senders = [\"/from\"] }",
            "f:8:50: operations.messages.requests.senders: GET has no body that names a sender, expected a request of POST, PUT or PATCH alone",
        ),
        (
            "\n[secrets",
            "\n[upstreams]\napi = \"http://api.example.com\"\n[secrets",
            "f:5:7: upstreams.api: without TLS, expected https:// (http:// only for an upstream on loopback)",
        ),
        (
            "\n[secrets",
            "\n[forms]\ngroup = \"abc\"\n[secrets",
            "f:5:9: forms.group: not a form, expected the text at the beginning of each value and `{...}` for the rest, such as \"abc{...}\", or \"{sender}\"",
        ),
        (
            "\n[secrets",
            "\n[limits]\nseparators = \"+\"\n[secrets",
            "f:5:14: limits.separators: no separators, expected the characters between several numbers, such as \"<\" or \",;\"",
        ),
        (
            "\n[secrets",
            "\nreceipts = [\"seen\"]\n[secrets",
            "f:4:13: receipts: unknown word, expected one of `read`, `typing`",
        ),
        (
            "\n[secrets",
            "\nreceived_media = \"fetch\"\n[secrets",
            "f:4:18: received_media: unknown word, did you mean `fetched`? expected one of `fetched`, `linked`, `named`",
        ),
        (
            "\n[secrets",
            "\n[forms]\nsender = \"abc{...}\"\n[secrets",
            "f:5:1: forms.sender: not a name for a form, expected lower-case letters, digits and _, and no name with a meaning in paths",
        ),
        (
            "\n[secrets",
            "\npaths = [{ from = \"/{v}/a\", to = \"/a/{v}\" }]\n[secrets",
            "f:4:34: paths.to: `{v}` may be empty, expected it as the first segment, or a fixed version",
        ),
        (
            "\n[secrets",
            "\npaths = [{ from = \"/{key}\", to = \"/{key}\" }]\n[secrets",
            "f:4:34: paths.to: a variable of `from` has the name of a secret or parameter, expected another",
        ),
        (
            "https://example.com",
            "https://{a}.example.com",
            "f:2:12: upstream: an unknown name in braces, expected parameters with form = \"label\" or form = \"host\"",
        ),
        (
            "\n[secrets",
            "\n[parameters.key]\n[secrets",
            "f:4:13: parameters.key: not a name for a parameter, expected lower-case letters, digits and _, and none of the secrets or the credential's other keys",
        ),
        (
            "\n[secrets",
            "\n[parameters.a]\ndefault = \"a/b\"\n[secrets",
            "f:5:11: parameters.a.default: not a value, expected letters, digits and -._~, written here itself and no reference",
        ),
        (
            "\n[secrets",
            "\n[access_token]\nkind = \"jwt\"\nkey = \"key\"\n[secrets",
            "f:6:7: access_token.key: not a private key, expected a secret with form = \"private-key\" and required = true",
        ),
        (
            "\n[secrets",
            "\n[access_token]\nkind = \"exchange\"\nrequest = \"POST /a/{b}\"\ninject = []\n[secrets",
            "f:6:11: access_token.request: not a POST of one path, expected such as \"POST /oauth2/token\"",
        ),
        (
            "\n[secrets",
            "\n[access_token]\nkind = \"exchange\"\nrequest = \"POST /a\"\nlifetime = \"2d\"\ninject = [{ form = \"a\", value = \"{access_token}\" }]\n[secrets",
            "f:7:12: access_token.lifetime: out of range, expected a time between \"10s\" and \"1d\"",
        ),
        (
            "required = true",
            "required = true\nform = \"private-key\"",
            "f:3:39: inject.value: `key` is a private key, which signs and is never sent, expected another secret",
        ),
        (
            "{key}",
            "{key:nobody}",
            "f:3:39: inject.value: an unknown name in braces, the secrets are `key`",
        ),
        (
            "\"POST /messages\"",
            "\"POST /{key}/{...}\"",
            "f:8:13: operations.messages.requests: `{v}` or `{...}` beside a secret or parameter, expected segments with names",
        ),
        (
            "\n[secrets",
            "\nhealth = \"GET messages/\"\n[secrets",
            "f:4:10: health: no question, expected \"graph\", \"none\" or \"GET /path\": not a path, expected it to begin with a slash",
        ),
        (
            "\n[secrets",
            "\nhealth = \"GET /{key}\"\n[secrets",
            "f:4:10: health: `key` is not a parameter, expected the name of a parameter",
        ),
        (
            "\n[secrets",
            "\nrotation.live_secrets = 0\n[secrets",
            "f:4:25: rotation.live_secrets: zero, expected how many secrets may be alive at once",
        ),
        (
            "\n[secrets",
            "\nerrors.throttled = [{ limit = \"sender\", pause = \"1s\" }]\n[secrets",
            "f:4:21: errors.throttled: neither `codes` nor `status` nor `words`, expected at least one, such as codes = [130429]",
        ),
        (
            "\n[secrets",
            "\npaths = [{ from = \"/a\", to = \"{key}\" }]\n[secrets",
            "f:4:30: paths.to: not a path, expected it to begin with a slash",
        ),
    ] {
        let text = SMALL.replacen(from, to, 1);
        assert_ne!(text, SMALL, "{from}");
        let (_, faults) = read_text(&text);
        assert!(
            faults.iter().any(|fault| fault == expected),
            "{expected}\n{faults:#?}"
        );
        assert!(!faults.join("").contains("CANARY"));
    }
}
