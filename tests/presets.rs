//! Each preset on the wire: the request at the provider, the place of the key, and the meaning of
//! errors.
//!
//! `tests/presets/NAME.txt` has input and expected output, byte for byte. Every secret contains
//! CANARY.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use keyside::provider::{Meaning, RequestPattern};
use serde_json::json;

use crate::support::base64;
use crate::support::client::Answer;
use crate::support::key::SigningKey;
use crate::support::keyside::{Keyside, Setup};
use crate::support::policy::Loaded;
use crate::support::upstream::{Request, Upstream, answer};

/// The sections of a file, each with its title.
#[derive(Clone)]
pub struct Golden {
    /// The name of the preset.
    pub name: String,
    sections: Vec<(String, String)>,
}

impl Golden {
    /// The goldens of all presets, by name.
    pub fn all() -> Vec<Self> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/presets");
        let mut all: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| Self::read(&entry.unwrap().path()))
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let section = |section: &str| {
            let (title, text) = section.split_once('\n').unwrap();
            (title.to_owned(), text.trim_end().to_owned())
        };
        let sections = text.split("=== ").skip(1).map(section).collect();
        Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            sections,
        }
    }

    /// The texts of all sections with a title.
    pub fn all_of(&self, title: &str) -> Vec<&str> {
        self.sections
            .iter()
            .filter(|(own, _)| own == title)
            .map(|(_, text)| text.as_str())
            .collect()
    }

    fn one(&self, title: &str) -> Option<&str> {
        self.all_of(title).first().copied()
    }

    /// The section whose title begins with `word`: the rest of the title, and the text.
    fn beginning(&self, word: &str) -> (&str, &str) {
        let found = self
            .sections
            .iter()
            .find(|(title, _)| title.starts_with(word))
            .unwrap();
        (found.0[word.len()..].trim(), &found.1)
    }

    /// The tables of a configuration, with these lines in the route. Secrets go into files, all
    /// other values stay.
    pub fn config(
        &self,
        setup: &Setup,
        private_key: &str,
        further: &Further,
        route: &str,
    ) -> String {
        let name = &self.name;
        let hosts: Vec<_> = hosts_of(name)
            .into_iter()
            .map(|host| format!("{host} = \"{}\"", further[&host].url()))
            .collect();
        let hosts = format!("upstreams = {{ {} }}\n", hosts.join(", "));
        let exchange = match self.one("exchange sees") {
            Some(_) => format!("[provider.{name}-here.access_token]\nupstream = \"@UPSTREAM@\"\n"),
            None => String::new(),
        };
        let mut credential = String::new();
        for line in self.one("credential").unwrap().lines() {
            let (key, value) = line.split_once(" = ").unwrap();
            let value = value
                .trim_matches('"')
                .replace("@PRIVATE_KEY@", private_key);
            if value.contains("CANARY") || value.contains("PRIVATE KEY") {
                setup.dir().write(&format!("{name}-{key}"), &value);
                credential.push_str(&format!("{key} = \"file:@DIR@/{name}-{key}\"\n"));
            } else {
                credential.push_str(&format!("{line}\n"));
            }
        }
        format!(
            "[provider.{name}-here]\nextends = \"{name}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{hosts}{exchange}\
             [credential.{name}]\nprovider = \"{name}-here\"\ncheck = \"off\"\nhold = \"off\"\n{credential}\
             [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\noperations = [\"*\"]\n{route}"
        )
    }
}

/// The line of a route with the provider's own limits and a short wait.
const SHORT_WAIT: &str = "limits = { max_wait = \"100ms\" }\n";

/// A text with line feeds as a message on the wire. A missing Content-Length is added.
fn message(text: &str) -> Vec<u8> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let body = match head.contains("multipart/") {
        true => body.replace('\n', "\r\n"),
        false => body.to_owned(),
    };
    let length = match head.contains("content-length: ") {
        true => String::new(),
        false => format!("\r\nContent-Length: {}", body.len()),
    };
    format!("{}{length}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes()
}

/// The names of the further hosts that requests of a preset go to.
fn hosts_of(name: &str) -> BTreeSet<String> {
    let provider = keyside::provider::presets::provider(name).unwrap();
    let requests = provider
        .operations
        .iter()
        .flat_map(|operation| &operation.requests);
    requests
        .filter_map(|request| request.upstream.clone())
        .collect()
}

/// The upstreams of further hosts, by name.
pub type Further = BTreeMap<String, Upstream>;

/// A request at the upstream, in the form of the files. `host` is the word for the name of the
/// upstream.
fn seen(request: &Request, upstream: &Upstream, host: &str) -> String {
    let text = String::from_utf8(request.raw.clone())
        .unwrap()
        .replace("\r\n", "\n");
    let text = text.replace(&upstream.authority(), &format!("@{host}@"));
    let text = text.replace(concat!("keyside/", env!("CARGO_PKG_VERSION")), "@KEYSIDE@");
    let jwt = text
        .split_whitespace()
        .find(|word| word.starts_with("eyJ") && word.split('.').count() == 3);
    let jwt = jwt.map(str::to_owned);
    jwt.map_or(text.clone(), |jwt| text.replace(&jwt, "@JWT@"))
        .trim_end()
        .to_owned()
}

/// An upstream with prepared answers and access tokens.
pub struct Provider {
    /// The upstream of most requests.
    pub upstream: Upstream,
    /// The upstreams of further hosts.
    pub further: Further,
    /// The answer to a message; `None` to repeat the request.
    told: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Provider {
    /// The upstream of these presets.
    pub fn new(goldens: &[Golden]) -> Self {
        let told: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let said = Arc::clone(&told);
        let exchanges: BTreeMap<String, Vec<u8>> = goldens
            .iter()
            .filter_map(|golden| {
                let line = golden.one("exchange sees")?.lines().next()?.to_owned();
                Some((line, message(golden.one("exchange answers")?)))
            })
            .collect();
        let exchanges = Arc::new(exchanges);
        let upstream = || {
            let (exchanges, said) = (Arc::clone(&exchanges), Arc::clone(&said));
            Upstream::answering(move |request| {
                if let Some(answer) = exchanges.get(&request.line()) {
                    return answer.clone();
                }
                let said = said.lock().unwrap().clone();
                said.unwrap_or_else(|| {
                    answer("200 OK", &[("Content-Type", "text/plain")], &request.raw)
                })
            })
        };
        let hosts = goldens.iter().flat_map(|golden| hosts_of(&golden.name));
        Self {
            further: hosts.map(|host| (host, upstream())).collect(),
            upstream: upstream(),
            told,
        }
    }

    /// The upstream of a request in a file, and the word for its host.
    fn of<'e>(&self, expected: &'e str) -> (&Upstream, &'e str) {
        let host = expected
            .lines()
            .find_map(|line| line.strip_prefix("host: @"));
        let host = host.and_then(|host| host.strip_suffix('@')).unwrap();
        (self.further.get(host).unwrap_or(&self.upstream), host)
    }

    fn say(&self, answer: &str) {
        *self.told.lock().unwrap() = Some(message(answer));
    }

    /// True for the request for an access token.
    pub fn is_exchange(request: &Request) -> bool {
        request.line().contains("/oauth2/") || request.line().contains("/login/")
    }

    /// The number of messages received, without exchanges.
    fn messages(&self) -> usize {
        self.upstream
            .requests()
            .iter()
            .filter(|request| !Self::is_exchange(request))
            .count()
    }
}

fn send(keyside: &Keyside, golden: &Golden, request: &str) -> Answer {
    let here = request.replacen(" /", &format!(" /{}/", golden.name), 1);
    keyside.send(&message(&here))
}

/// Every form of a key in a golden.
fn keys(golden: &Golden) -> Vec<String> {
    let words = golden
        .sections
        .iter()
        .flat_map(|(_, text)| text.split(|c: char| c.is_whitespace() || "\"=&".contains(c)));
    let is_key = |word: &&str| word.contains("CANARY");
    let mut keys: Vec<_> = words.filter(is_key).map(str::to_owned).collect();
    let basic = golden.sections.iter().flat_map(|(title, text)| {
        let is_ours = title.ends_with("sees");
        text.lines()
            .filter(move |_| is_ours)
            .filter_map(|line| line.strip_prefix("authorization: Basic "))
    });
    keys.extend(basic.map(str::to_owned));
    keys
}

fn start(goldens: &[Golden], provider: &Provider, key: &SigningKey) -> Keyside {
    let setup = Setup::new(&provider.upstream);
    let mut config =
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
        [reload]\nwatch = \"off\"\n[log]\nlevel = \"trace\"\n"
            .to_owned();
    for golden in goldens {
        config.push_str(&golden.config(&setup, &key.pem(), &provider.further, SHORT_WAIT));
    }
    setup.config(&config).start()
}

#[test]
fn every_preset_that_takes_requests_has_a_golden() {
    let goldens: Vec<_> = Golden::all()
        .into_iter()
        .map(|golden| golden.name)
        .collect();
    let takers = keyside::provider::presets::names();
    let takers = takers.filter(|name| {
        keyside::provider::presets::outline(name)
            .unwrap()
            .takes_requests()
    });
    let mut takers: Vec<_> = takers.collect();
    takers.sort_unstable();
    assert_eq!(goldens, takers);
}

/// The requests of `meta` have a table of their own.
#[test]
fn every_request_of_a_preset_has_a_golden() {
    let mut missing = Vec::new();
    for golden in Golden::all().iter().filter(|golden| golden.name != "meta") {
        let lines: Vec<_> = golden
            .all_of("application sends")
            .into_iter()
            .filter_map(|text| text.lines().next()?.rsplit_once(' '))
            .filter_map(|(line, _)| line.split_once(' '))
            .collect();
        let provider = keyside::provider::presets::provider(&golden.name).unwrap();
        let requests = provider
            .operations
            .iter()
            .flat_map(|operation| &operation.requests);
        for request in requests {
            let has = |method: &str| {
                lines.iter().any(|(own, target)| {
                    let path = target.split('?').next().unwrap_or_default();
                    *own == method && request.path.matches(path).is_some()
                })
            };
            // Where an application may GET, it may ask with HEAD.
            let methods = request.methods.iter().filter(|method| *method != "HEAD");
            let lacks = methods.filter(|method| !has(method.as_str()));
            missing
                .extend(lacks.map(|method| format!("{}: {method} {}", golden.name, request.path)));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn a_request_has_the_key_in_the_providers_place_and_nowhere_else() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    for golden in &goldens {
        let pairs: Vec<_> = golden
            .all_of("application sends")
            .into_iter()
            .zip(golden.all_of("provider sees"))
            .collect();
        assert!(!pairs.is_empty(), "{}", golden.name);
        provider.upstream.forget();
        for (request, expected) in pairs {
            let answer = send(&keyside, golden, request);
            assert_eq!(answer.status, 200, "{}: {}", golden.name, answer.text());
            let (upstream, host) = provider.of(expected);
            assert_eq!(
                seen(&upstream.last(), upstream, host),
                expected,
                "{}",
                golden.name
            );
            // The answer repeats the whole request.
            for key in keys(golden) {
                assert!(
                    !answer.text().contains(&key),
                    "{}: {}",
                    golden.name,
                    answer.text()
                );
            }
            assert!(
                answer.text().contains("[redacted]"),
                "{}: {}",
                golden.name,
                answer.text()
            );
            if expected.contains("@JWT@") {
                let request = upstream.last();
                let jwt = request.header("authorization").unwrap();
                let claims = key.claims(jwt.strip_prefix("Bearer ").unwrap());
                assert_eq!(
                    claims["application_id"],
                    "0d2c1b3a-0000-4000-8000-000000000001"
                );
                let times = ["iat", "exp"].map(|name| claims[name].as_u64().unwrap());
                assert_eq!(times[1] - times[0], 900);
                assert!(claims["jti"].as_str().unwrap().len() >= 32);
                assert!(!answer.text().contains("eyJ"), "{}", answer.text());
            }
        }
        let exchange = provider
            .upstream
            .requests()
            .into_iter()
            .find(Provider::is_exchange);
        let exchange = exchange.map(|request| seen(&request, &provider.upstream, "HOST"));
        assert_eq!(
            exchange.as_deref(),
            golden.one("exchange sees"),
            "{}",
            golden.name
        );
        let basic = base64(b"nobody");
        let all: Vec<u8> = provider
            .upstream
            .requests()
            .into_iter()
            .flat_map(|request| request.raw)
            .collect();
        let all = String::from_utf8(all).unwrap();
        assert!(
            !all.contains("nobody") && !all.contains(basic.trim_end_matches('=')),
            "{}: {all}",
            golden.name
        );
    }
    let said = format!("{}{}{}", keyside.log(), keyside.metrics(), keyside.status());
    for key in goldens.iter().flat_map(keys) {
        assert!(!said.contains(&key), "{key} was told");
    }
    assert!(!said.contains("eyJ"));
}

/// The body of an answer to a key without permission. Most providers tell it by the status alone.
fn forbidden_body(preset: &str) -> &'static str {
    match preset {
        "meta" | "360dialog" => r#"{"error":{"code":10}}"#,
        "ycloud" => r#"{"error":{"code":"FORBIDDEN"}}"#,
        "bird-platform" => r#"{"type":"permission_error"}"#,
        _ => "{}",
    }
}

#[test]
fn an_error_has_the_meaning_of_the_preset() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    for golden in &goldens {
        let name = &golden.name;
        let class = |class: &str| {
            let labels = [format!("route=\"{name}\""), format!("class=\"{class}\"")];
            keyside.metric("keyside_upstream_errors_total", &[&labels[0], &labels[1]])
        };
        let request = golden.one("application sends").unwrap();
        let (_, refusal) = golden.beginning("refused");
        provider.say(refusal);
        provider.upstream.forget();
        let answer = send(&keyside, golden, request);
        let status = |text: &str| text.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
        assert_eq!(
            (answer.status, answer.slug()),
            (status(refusal), ""),
            "{name}: as it came"
        );
        assert!(class("refused") >= 1.0, "{name}");
        // With a new access token the request goes out once more.
        let expected = if golden.one("exchange sees").is_some() || name == "vonage" {
            2
        } else {
            1
        };
        assert_eq!(provider.messages(), expected, "{name}");
        for refusal in golden.all_of("refused").iter().skip(1) {
            let before = class("refused");
            provider.say(refusal);
            assert_eq!(send(&keyside, golden, request).status, 401, "{name}");
            assert!(class("refused") > before, "{name}: {refusal}");
        }
        provider.say(&format!(
            "HTTP/1.1 403 Forbidden\nContent-Type: application/json\n\n{}",
            forbidden_body(name)
        ));
        let answer = send(&keyside, golden, request);
        assert_eq!((answer.status, answer.slug()), (403, ""), "{name}");
        // Haptik's 403 is about a user who is not registered.
        let is_forbidden = if name == "haptik" { 0.0 } else { 1.0 };
        assert_eq!(class("forbidden"), is_forbidden, "{name}");
        let (limit, throttle) = golden.beginning("throttled");
        provider.say(throttle);
        let answer = send(&keyside, golden, request);
        assert_eq!(
            (answer.status, answer.slug()),
            (status(throttle), ""),
            "{name}: as it came"
        );
        assert_eq!(class("throttled"), 1.0, "{name}");
        let labels = [format!("route=\"{name}\""), format!("limit=\"{limit}\"")];
        assert_eq!(
            keyside.metric("keyside_throttled_total", &[&labels[0], &labels[1]]),
            1.0,
            "{name}"
        );
        provider.say("HTTP/1.1 503 Service Unavailable\nContent-Type: text/plain\n\nlater");
        if limit == "sender" {
            continue;
        }
        let answer = send(&keyside, golden, request);
        assert_eq!(
            (answer.status, answer.slug()),
            (429, "rate_limited"),
            "{name}: the account is at rest"
        );
    }
    let alarms = keyside
        .log()
        .lines()
        .filter(|line| line.contains("refuses the credential"))
        .count();
    assert_eq!(alarms, goldens.len(), "one alarm for each");
}

#[test]
fn a_route_for_whatsapp_sends_in_no_other_channel() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    let mut checked = Vec::new();
    for (name, from, to, channel) in CHANNELS {
        let golden = goldens.iter().find(|golden| golden.name == *name).unwrap();
        let requests = golden.all_of("application sends");
        let request = requests.iter().find(|text| text.contains(from)).unwrap();
        assert_eq!(send(&keyside, golden, request).status, 200, "{name}");
        provider.upstream.forget();
        let answer = send(&keyside, golden, &request.replacen(from, to, 1));
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "operation_not_allowed"),
            "{name} {to}"
        );
        let text = answer.text();
        assert!(
            text.contains(&format!("`{channel}`")) && text.contains("`channels`"),
            "{name}: {text}"
        );
        assert_eq!(provider.messages(), 0, "{name}");
        checked.push(*name);
    }
    for golden in &goldens {
        let preset = keyside::provider::presets::provider(&golden.name).unwrap();
        assert_eq!(
            preset.channels.is_some(),
            checked.contains(&&*golden.name),
            "{}",
            golden.name
        );
    }
}

/// A preset, a text in a message of the preset, the text instead, and the channel in the changed
/// message.
const CHANNELS: &[(&str, &str, &str, &str)] = &[
    ("twilio", "To=whatsapp%3A%2B", "To=%2B", "sms"),
    ("twilio", "From=whatsapp%3A%2B", "From=%2B", "sms"),
    ("twilio", "From=whatsapp", "from=messenger", "messenger"),
    (
        "twilio",
        "&Body=",
        "&FallbackFrom=%2B15550009999&Body=",
        "sms",
    ),
    (
        "twilio",
        "Messages.json",
        "Messages.json?To=%2B15550001234",
        "sms",
    ),
    (
        "twilio",
        r#"{"channel":"whatsapp""#,
        r#"{"channel":"RCS""#,
        "rcs",
    ),
    (
        "vonage",
        r#""channel":"whatsapp""#,
        r#""channel":"sms""#,
        "sms",
    ),
    (
        "vonage",
        r#""channel""#,
        r#""failover":[{"channel":"SMS"}],"channel""#,
        "sms",
    ),
    (
        "infobip",
        r#""from""#,
        r#""smsFailover":{"from":"Acme"},"from""#,
        "sms",
    ),
    (
        "infobip",
        r#""from""#,
        r#""smsFailover":{"text":"Hello"},"from""#,
        "sms",
    ),
    (
        "infobip",
        r#""messages":[{"#,
        r#""messages":[{"smsFailover":{"text":"Hello"},"#,
        "sms",
    ),
    ("infobip", "WHATSAPP", "VIBER_BM", "viber_bm"),
    // Events that are no messages, such as the sign of typing.
    (
        "infobip",
        r#""TYPING_STARTED","channel":"WHATSAPP""#,
        r#""TYPING_STARTED","channel":"SMS""#,
        "sms",
    ),
    (
        "sinch",
        r#""event":{"app_event""#,
        r#""channel_priority_order":["INSTAGRAM"],"event":{"app_event""#,
        "instagram",
    ),
    ("plivo", r#""type":"whatsapp","#, "", "sms"),
    ("plivo", r#""type":"whatsapp""#, r#""type":"mms""#, "mms"),
    (
        "sinch",
        r#""app_id""#,
        r#""channel_priority_order":["WHATSAPP","SMS"],"app_id""#,
        "sms",
    ),
    (
        "sinch",
        r#""app_id""#,
        r#""channelPriorityOrder":["RCS"],"app_id""#,
        "rcs",
    ),
    ("cm", r#","allowedChannels":["WhatsApp"]"#, "", "sms"),
    ("cm", r#"["WhatsApp"]"#, r#"["WhatsApp","Viber"]"#, "viber"),
    (
        "cm",
        r#""msg":["#,
        r#""msg":[{"from":"Acme","to":[{"number":"1"}]},"#,
        "sms",
    ),
    ("clickatell", r#""channel":"whatsapp","#, "", "sms"),
    (
        "clickatell",
        r#""messages":["#,
        r#""messages":[{"to":"1"},"#,
        "sms",
    ),
    ("gupshup", "channel=whatsapp", "channel=sms", "sms"),
    ("kaleyra", "&channel=WhatsApp", "", "sms"),
    ("kaleyra", r#""channel":"whatsapp","#, "", "sms"),
];

#[test]
fn a_route_may_name_channels() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let setup = Setup::new(&provider.upstream);
    let golden = goldens
        .iter()
        .find(|golden| golden.name == "plivo")
        .unwrap();
    let mut config =
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n"
            .to_owned();
    config.push_str(&golden.config(&setup, &key.pem(), &provider.further, SHORT_WAIT));
    let whatsapp = golden.one("application sends").unwrap();
    for (channels, sms) in [
        (r#"["sms", "WhatsApp"]"#, 200),
        (r#"["*"]"#, 200),
        (r#"["whatsapp"]"#, 403),
    ] {
        let route = format!("[[route]]\nchannels = {channels}\n");
        let setup = Setup::new(&provider.upstream);
        golden.config(&setup, &key.pem(), &provider.further, SHORT_WAIT);
        let keyside = setup.config(&config.replace("[[route]]\n", &route)).start();
        assert_eq!(send(&keyside, golden, whatsapp).status, 200, "{channels}");
        let text = whatsapp.replace(r#""type":"whatsapp""#, r#""type":"sms""#);
        assert_eq!(send(&keyside, golden, &text).status, sms, "{channels}");
    }
}

#[test]
fn an_sdk_that_asks_for_a_token_gets_a_placeholder() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    for (name, path, place) in [
        ("sinch", "/oauth2/token", "/access_token"),
        ("infobip", "/auth/1/oauth2/token", "/access_token"),
        ("route-mobile", "/auth/v1/login/", "/JWTAUTH"),
    ] {
        let golden = goldens.iter().find(|golden| golden.name == name).unwrap();
        let asked = format!(
            "POST {path} HTTP/1.1\nHost: localhost\nAuthorization: Basic bm9ib2R5Om5vYm9keQ==\n\
             Content-Type: application/x-www-form-urlencoded\n\ngrant_type=client_credentials"
        );
        let answer = send(&keyside, golden, &asked);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let token = answer.json().pointer(place).unwrap().clone();
        assert_eq!(token, "keyside", "{name}");
        assert!(!answer.text().contains("CANARY"), "{name}");
        // The placeholder serves for a message.
        let request = golden.one("application sends").unwrap();
        assert_eq!(send(&keyside, golden, request).status, 200, "{name}");
    }
    let asked = provider.upstream.requests();
    let asked = asked
        .iter()
        .filter(|request| Provider::is_exchange(request));
    // Keyside's own exchanges: of Sinch and of Route Mobile.
    assert_eq!(asked.count(), 2);
}

#[test]
fn a_request_about_a_sender_is_for_a_sender_of_the_route() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    for (name, own, part) in [
        ("sinch", "APP1", "events:send"),
        ("infobip", "15550001111", "messages-api/1/events"),
        // The path names the sender by a name of the provider's own.
        ("sinch", "APP1", "consents/OPT_IN_ALL"),
        ("wassenger", "60a1", "/download"),
        ("respond-io", "12", "space/channel"),
    ] {
        let golden = goldens.iter().find(|golden| golden.name == name).unwrap();
        let setup = Setup::new(&provider.upstream);
        let config = golden.config(&setup, &key.pem(), &provider.further, SHORT_WAIT);
        let route = format!("[[route]]\nsenders = [\"{own}\"]\n");
        let listen = "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n";
        let config = format!("{listen}{}", config.replace("[[route]]\n", &route));
        let keyside = setup.config(&config).start();
        let requests = golden.all_of("application sends");
        let request = requests.iter().find(|text| text.contains(part)).unwrap();
        assert_eq!(send(&keyside, golden, request).status, 200, "{name}");
        let answer = send(&keyside, golden, &request.replace(own, "15559999999"));
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "sender_not_allowed"),
            "{name}"
        );
    }
}

/// Adds a route for each operation of a preset, below the path of the operation's name.
fn routes_by_operation(golden: &Golden, config: &str) -> String {
    let preset = keyside::provider::presets::provider(&golden.name).unwrap();
    let (account, _) = config.split_once("[[route]]").unwrap();
    let routes = preset.operations.iter().map(|operation| {
        let (name, operation) = (&golden.name, &operation.name);
        format!(
            "[[route]]\ncredential = \"{name}\"\nname = \"{name}-{operation}\"\npath = \"/{name}/{operation}\"\n\
             operations = [\"{operation}\"]\n"
        )
    });
    format!("{account}{}", routes.collect::<String>())
}

/// `meta` has a table of its own, in `tests/meta.rs`.
#[test]
fn every_request_of_each_preset_belongs_to_its_operation() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    for golden in goldens.iter().filter(|golden| golden.name != "meta") {
        let setup = Setup::new(&provider.upstream);
        let config = golden.config(&setup, &key.pem(), &provider.further, "");
        let routes = routes_by_operation(golden, &config);
        let listen = "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n";
        let setup = setup.config(&format!("{listen}{routes}"));
        let loaded = Loaded::of(setup.write_config());
        let preset = keyside::provider::presets::provider(&golden.name).unwrap();
        for operation in &preset.operations {
            for request in &operation.requests {
                let [method, target] = example(golden, request);
                let target = format!("/{}/{}{target}", golden.name, operation.name);
                assert_eq!(
                    loaded.operation_of(method, &target),
                    operation.name,
                    "{method} {target}"
                );
            }
        }
    }
}

/// The method and the target of a request in a golden that fits a request of the preset.
fn example<'g>(golden: &'g Golden, request: &RequestPattern) -> [&'g str; 2] {
    let mut targets = golden
        .all_of("application sends")
        .into_iter()
        .filter_map(|text| text.lines().next())
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(method, rest)| Some([method, rest.split(' ').next()?]));
    let fits = |[method, target]: &[&str; 2]| {
        let path = target.split('?').next().unwrap_or_default();
        request.methods.iter().any(|own| own == method) && request.path.matches(path).is_some()
    };
    targets.find(fits).unwrap()
}

#[test]
fn a_credential_in_query_or_form_goes_to_no_provider() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    let common = ["access_token", "appsecret_proof", "appsecret_time"];
    for golden in &goldens {
        let name = golden.name.as_str();
        let own: &[&str] = match name {
            "wassenger" => &["token"],
            "vonage" => &["api_key", "api_secret"],
            "messagebird" => &["access_key"],
            "clickatell" => &["apiKey"],
            "gupshup" => &["apikey"],
            "kaleyra" => &["api-key", "api_key"],
            _ => &[],
        };
        let pairs: Vec<_> = common
            .iter()
            .chain(own)
            .map(|parameter| format!("{parameter}=nobody"))
            .collect();
        let pairs = pairs.join("&");
        let request = golden.one("application sends").unwrap();
        let sign = match request.lines().next().unwrap().contains('?') {
            true => '&',
            false => '?',
        };
        let mut asked = request.replacen(" HTTP/1.1", &format!("{sign}{pairs} HTTP/1.1"), 1);
        if request.contains("x-www-form-urlencoded") {
            asked = format!("{asked}&{pairs}");
        }
        let answer = send(&keyside, golden, &asked);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let expected = golden.one("provider sees").unwrap();
        let (upstream, host) = provider.of(expected);
        assert_eq!(seen(&upstream.last(), upstream, host), expected, "{name}");
    }
}

/// Haptik takes what a user wrote to a bot, and sends to nobody.
#[test]
fn a_message_of_every_preset_names_its_recipient() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let setup = Setup::new(&provider.upstream);
    let mut config =
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n"
            .to_owned();
    for golden in &goldens {
        config.push_str(&golden.config(&setup, &key.pem(), &provider.further, SHORT_WAIT));
    }
    let rate = r#"limits = { max_wait = "1ms", per_recipient = { rate = "1/100s", burst = 1 } }"#;
    let config = config.replace(r#"limits = { max_wait = "100ms" }"#, rate);
    let keyside = setup.config(&config).start();
    for golden in goldens.iter().filter(|golden| golden.name != "haptik") {
        let message = golden.one("application sends").unwrap();
        assert_eq!(
            send(&keyside, golden, message).status,
            200,
            "{}",
            golden.name
        );
        let again = send(&keyside, golden, message);
        assert_eq!(
            (again.status, again.slug()),
            (429, "rate_limited"),
            "{}",
            golden.name
        );
    }
}

#[test]
fn a_code_of_meta_behind_another_provider_keeps_its_meaning() {
    let ycloud =
        |code: u32| json!({"error": {"code": "X", "whatsappApiError": {"code": code.to_string()}}});
    let meta = |code: u32| json!({"error": {"code": code}});
    for (name, status, body, expected) in [
        ("360dialog", 400, meta(130_429), "throttled sender"),
        ("360dialog", 400, meta(131_056), "throttled recipient"),
        ("360dialog", 400, meta(80_007), "throttled account"),
        ("360dialog", 403, meta(131_031), "policy"),
        ("360dialog", 400, meta(134_011), "policy"),
        ("360dialog", 400, meta(131_208), "throttled operation"),
        ("360dialog", 400, meta(131_047), "none"),
        (
            "360dialog",
            401,
            json!({"error": {"message": "Invalid API key"}}),
            "refused",
        ),
        (
            "360dialog",
            400,
            json!({"error": {"message": "You have exceeded the endpoint rate limit."}}),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!({"meta": {"httpCode": 400, "success": false, "developerMessage":
                "You have exceeded the limit of 1 request every 5 seconds. Try again later."}}),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!({"meta": {"http_code": 400, "success": false, "developer_message":
                "You have exceeded the endpoint rate limit."}}),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!({"message": "You have exceeded the endpoint rate limit."}),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!({"error": "You have exceeded the endpoint rate limit."}),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!({"detail": "You have exceeded the endpoint rate limit."}),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!("You have exceeded the endpoint rate limit."),
            "throttled account",
        ),
        (
            "360dialog",
            400,
            json!({"meta": {"developerMessage": "Could not send message due to lack of payment."}}),
            "policy",
        ),
        (
            "360dialog",
            403,
            json!({"meta": {"developerMessage": "Your WhatsApp for Business API has been disabled."}}),
            "policy",
        ),
        ("ycloud", 429, ycloud(131_056), "throttled recipient"),
        ("ycloud", 429, ycloud(130_429), "throttled sender"),
        ("ycloud", 400, ycloud(131_031), "policy"),
        (
            "ycloud",
            429,
            json!({"error": {"code": "TOO_MANY_REQUESTS"}}),
            "throttled sender",
        ),
        (
            "ycloud",
            401,
            json!({"error": {"code": "UNAUTHORIZED"}}),
            "refused",
        ),
        ("kaleyra", 401, json!({"code": "RBC001"}), "refused"),
        ("kaleyra", 401, json!({"code": "401"}), "refused"),
        ("kaleyra", 401, json!({"code": 401}), "refused"),
        ("kaleyra", 401, json!({"code": "", "error": {}}), "refused"),
        ("kaleyra", 401, json!({"code": "E110"}), "policy"),
    ] {
        let preset = keyside::provider::presets::provider(name).unwrap();
        let meaning = preset.errors.meaning(status, None, &body);
        let found = match meaning {
            Meaning::Throttled(throttle) => format!("throttled {}", throttle.scope.as_str()),
            other => other.class().unwrap_or("none").to_owned(),
        };
        assert_eq!(found, expected, "{name} {status} {body}");
    }
}

#[test]
fn a_refusal_of_keysides_own_has_the_form_that_the_providers_sdks_read() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    for golden in &goldens {
        let name = &golden.name;
        let request = golden.one("application sends").unwrap();
        let typed = request
            .lines()
            .find(|line| line.starts_with("Content-Type: "))
            .unwrap();
        let request = request.replacen(typed, "Content-Type: text/csv", 1);
        let answer = send(&keyside, golden, &request);
        let slug = "unsupported_media_type";
        assert_eq!((answer.status, answer.slug()), (415, slug), "{name}");
        let facts = json!({ "slug": slug, "route": name });
        let expected = match golden.one("keyside refuses") {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => json!({ "error": {
                "message": MESSAGE,
                "type": "KeysideError",
                "code": 100,
                "error_data": { "details": answer.json()["error"]["error_data"]["details"] },
                "keyside": facts,
            }}),
        };
        assert_eq!(answer.json(), expected, "{name}");
    }
}

#[test]
fn a_refusal_without_a_route_has_the_form_that_all_providers_have_in_common() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    for (names, form) in [
        (&["messagebird"][..], "/errors/0/description"),
        (&["messagebird", "twilio"], "/error/message"),
        (&["messagebird", "wati"], "/error/message"),
    ] {
        let some: Vec<_> = goldens
            .iter()
            .filter(|golden| names.contains(&golden.name.as_str()))
            .cloned()
            .collect();
        let keyside = start(&some, &provider, &key);
        let answer = keyside.post("/no/such/route", "{}");
        assert_eq!((answer.status, answer.slug()), (404, "no_route"));
        assert!(answer.json().pointer(form).is_some(), "{}", answer.text());
    }
}

/// The message of the refusal of a body of a wrong type.
const MESSAGE: &str = "the operation takes no body of this Content-Type";
