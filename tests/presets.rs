//! Each preset on the wire: what the provider sees of a request, where the key is in it, and what its errors mean.
//!
//! `tests/presets/NAME.txt` has what goes in and what must come out, byte for byte. Every secret in them has CANARY in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::base64;
use crate::support::client::Answer;
use crate::support::key::SigningKey;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Request, Upstream, answer};

/// The sections of a file, each with its title.
struct Golden {
    name: String,
    sections: Vec<(String, String)>,
}

impl Golden {
    fn all() -> Vec<Self> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/presets");
        let mut all: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| Self::read(&entry.unwrap().path())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn read(path: &std::path::Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let section = |section: &str| {
            let (title, text) = section.split_once('\n').unwrap();
            (title.to_owned(), text.trim_end().to_owned())
        };
        let sections = text.split("=== ").skip(1).map(section).collect();
        Self { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), sections }
    }

    fn all_of(&self, title: &str) -> Vec<&str> {
        self.sections.iter().filter(|(own, _)| own == title).map(|(_, text)| text.as_str()).collect()
    }

    fn one(&self, title: &str) -> Option<&str> {
        self.all_of(title).first().copied()
    }

    /// The title that begins with `word`, without it, and the text.
    fn beginning(&self, word: &str) -> (&str, &str) {
        let found = self.sections.iter().find(|(title, _)| title.starts_with(word)).unwrap();
        (found.0[word.len()..].trim(), &found.1)
    }

    /// The tables of a configuration; secrets go into files, everything else stays.
    fn config(&self, setup: &Setup, private_key: &str) -> String {
        let name = &self.name;
        let exchange = match self.one("exchange sees") {
            Some(_) => format!("[provider.{name}-here.access_token]\nupstream = \"@UPSTREAM@\"\n"),
            None => String::new(),
        };
        let mut credential = String::new();
        for line in self.one("credential").unwrap().lines() {
            let (key, value) = line.split_once(" = ").unwrap();
            let value = value.trim_matches('"').replace("@PRIVATE_KEY@", private_key);
            if value.contains("CANARY") || value.contains("PRIVATE KEY") {
                setup.dir().write(&format!("{name}-{key}"), &value);
                credential.push_str(&format!("{key} = \"file:@DIR@/{name}-{key}\"\n"));
            } else {
                credential.push_str(&format!("{line}\n"));
            }
        }
        format!(
            "[provider.{name}-here]\nextends = \"{name}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{exchange}\
             [credential.{name}]\nprovider = \"{name}-here\"\ncheck = \"off\"\n{credential}\
             [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\nlimits = {{ max_wait = \"100ms\" }}\n"
        )
    }
}

/// Text with line feeds as a message on the wire, its length added where it has none.
fn message(text: &str) -> Vec<u8> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let length = match head.contains("content-length: ") {
        true => String::new(),
        false => format!("\r\nContent-Length: {}", body.len()),
    };
    format!("{}{length}\r\n\r\n{body}", head.replace('\n', "\r\n")).into_bytes()
}

/// What an upstream saw, as the files have it.
fn seen(request: &Request, upstream: &Upstream) -> String {
    let text = String::from_utf8(request.raw.clone()).unwrap().replace("\r\n", "\n");
    let text = text.replace(&upstream.authority(), "@HOST@");
    let text = text.replace(concat!("keyside/", env!("CARGO_PKG_VERSION")), "@KEYSIDE@");
    let jwt = text.split_whitespace().find(|word| word.starts_with("eyJ") && word.split('.').count() == 3);
    let jwt = jwt.map(str::to_owned);
    jwt.map_or(text.clone(), |jwt| text.replace(&jwt, "@JWT@")).trim_end().to_owned()
}

/// An upstream that says what it is told to, and gives access tokens.
struct Provider {
    upstream: Upstream,
    /// Nothing: it says what it saw.
    told: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Provider {
    fn new(goldens: &[Golden]) -> Self {
        let told: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let said = Arc::clone(&told);
        let exchanges: BTreeMap<String, Vec<u8>> = goldens
            .iter()
            .filter_map(|golden| {
                let line = golden.one("exchange sees")?.lines().next()?.to_owned();
                Some((line, message(golden.one("exchange answers")?)))
            })
            .collect();
        let upstream = Upstream::answering(move |request| {
            if let Some(answer) = exchanges.get(&request.line()) {
                return answer.clone();
            }
            let said = said.lock().unwrap().clone();
            said.unwrap_or_else(|| answer("200 OK", &[("Content-Type", "text/plain")], &request.raw))
        });
        Self { upstream, told }
    }

    fn say(&self, answer: &str) {
        *self.told.lock().unwrap() = Some(message(answer));
    }

    fn is_exchange(request: &Request) -> bool {
        request.line().contains("/oauth2/") || request.line().contains("/login/")
    }

    /// How many messages it saw, exchanges apart.
    fn messages(&self) -> usize {
        self.upstream.requests().iter().filter(|request| !Self::is_exchange(request)).count()
    }
}

fn send(keyside: &Keyside, golden: &Golden, request: &str) -> Answer {
    let here = request.replacen("POST /", &format!("POST /{}/", golden.name), 1);
    keyside.send(&message(&here))
}

/// Every text in which a golden has a key.
fn keys(golden: &Golden) -> Vec<String> {
    let words =
        golden.sections.iter().flat_map(|(_, text)| text.split(|c: char| c.is_whitespace() || "\"=&".contains(c)));
    let is_key = |word: &&str| word.contains("CANARY");
    let mut keys: Vec<_> = words.filter(is_key).map(str::to_owned).collect();
    let basic = golden.sections.iter().flat_map(|(title, text)| {
        let is_ours = title.ends_with("sees");
        text.lines().filter(move |_| is_ours).filter_map(|line| line.strip_prefix("authorization: Basic "))
    });
    keys.extend(basic.map(str::to_owned));
    keys
}

fn start(goldens: &[Golden], provider: &Provider, key: &SigningKey) -> Keyside {
    let setup = Setup::new(&provider.upstream);
    let mut config = "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
        [reload]\nwatch = \"off\"\n[log]\nlevel = \"trace\"\n"
        .to_owned();
    for golden in goldens {
        config.push_str(&golden.config(&setup, &key.pem()));
    }
    setup.config(&config).start()
}

#[test]
fn every_preset_that_takes_requests_has_a_golden() {
    let goldens: Vec<_> = Golden::all().into_iter().map(|golden| golden.name).collect();
    let takers = keyside::provider::PRESETS.iter().map(|(name, _)| *name);
    let takers = takers.filter(|name| keyside::provider::Outline::preset(name).unwrap().takes_requests());
    let mut takers: Vec<_> = takers.collect();
    takers.sort_unstable();
    assert_eq!(goldens, takers);
}

#[test]
fn a_request_has_the_key_where_the_provider_looks_for_it_and_nowhere_else() {
    let (goldens, key) = (Golden::all(), SigningKey::new());
    let provider = Provider::new(&goldens);
    let keyside = start(&goldens, &provider, &key);
    for golden in &goldens {
        let pairs: Vec<_> =
            golden.all_of("application sends").into_iter().zip(golden.all_of("provider sees")).collect();
        assert!(!pairs.is_empty(), "{}", golden.name);
        provider.upstream.forget();
        for (request, expected) in pairs {
            let answer = send(&keyside, golden, request);
            assert_eq!(answer.status, 200, "{}: {}", golden.name, answer.text());
            let request = provider.upstream.last();
            assert_eq!(seen(&request, &provider.upstream), expected, "{}", golden.name);
            // The provider has said all that it saw.
            for key in keys(golden) {
                assert!(!answer.text().contains(&key), "{}: {}", golden.name, answer.text());
            }
            assert!(answer.text().contains("[redacted]"), "{}: {}", golden.name, answer.text());
            if expected.contains("@JWT@") {
                let jwt = request.header("authorization").unwrap();
                let claims = key.claims(jwt.strip_prefix("Bearer ").unwrap());
                assert_eq!(claims["application_id"], "0d2c1b3a-0000-4000-8000-000000000001");
                let times = ["iat", "exp"].map(|name| claims[name].as_u64().unwrap());
                assert_eq!(times[1] - times[0], 900);
                assert!(claims["jti"].as_str().unwrap().len() >= 32);
                assert!(!answer.text().contains("eyJ"), "{}", answer.text());
            }
        }
        let exchange = provider.upstream.requests().into_iter().find(Provider::is_exchange);
        let exchange = exchange.map(|request| seen(&request, &provider.upstream));
        assert_eq!(exchange.as_deref(), golden.one("exchange sees"), "{}", golden.name);
        let basic = base64(b"nobody");
        let all: Vec<u8> = provider.upstream.requests().into_iter().flat_map(|request| request.raw).collect();
        let all = String::from_utf8(all).unwrap();
        assert!(!all.contains("nobody") && !all.contains(basic.trim_end_matches('=')), "{}: {all}", golden.name);
    }
    let said = format!("{}{}{}", keyside.log(), keyside.metrics(), keyside.status());
    for key in goldens.iter().flat_map(keys) {
        assert!(!said.contains(&key), "{key} was told");
    }
    assert!(!said.contains("eyJ"));
}

#[test]
fn an_error_means_what_the_provider_says() {
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
        assert_eq!((answer.status, answer.slug()), (status(refusal), ""), "{name}: as it came");
        assert!(class("refused") >= 1.0, "{name}");
        // With a new access token the request goes out once more.
        let expected = if golden.one("exchange sees").is_some() || name == "vonage" { 2 } else { 1 };
        assert_eq!(provider.messages(), expected, "{name}");
        let (limit, throttle) = golden.beginning("throttled");
        provider.say(throttle);
        let answer = send(&keyside, golden, request);
        assert_eq!((answer.status, answer.slug()), (status(throttle), ""), "{name}: as it came");
        assert_eq!(class("throttled"), 1.0, "{name}");
        let labels = [format!("route=\"{name}\""), format!("limit=\"{limit}\"")];
        assert_eq!(keyside.metric("keyside_throttled_total", &[&labels[0], &labels[1]]), 1.0, "{name}");
        provider.say("HTTP/1.1 503 Service Unavailable\nContent-Type: text/plain\n\nlater");
        if limit == "sender" {
            continue;
        }
        let answer = send(&keyside, golden, request);
        assert_eq!((answer.status, answer.slug()), (429, "rate_limited"), "{name}: the account is at rest");
    }
    let alarms = keyside.log().lines().filter(|line| line.contains("refuses the credential")).count();
    assert_eq!(alarms, goldens.len(), "one alarm for each");
}
