//! Requests to every shipped preset, made from those of its golden: with forged credentials in all
//! places of a credential, and with foreign senders in all places of a sender.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyside::provider::presets::provider;
use keyside::provider::{ChannelForm, Inject, Provider as Preset};
use serde_json::Value;

use super::corpus::{Corpus, FORM, JSON, Sent, seed};
use super::{Reader, is_allowed, pass, told};
use crate::presets::{Golden, Provider};
use crate::support::contains;
use crate::support::key::SigningKey;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Request;

/// A forged credential in a header. No such value leaves in any header.
const FORGED_HEADER: &str = "forged-header";
/// A forged credential in a query or a body. No parser finds the value in a place of a credential.
const FORGED: &str = "forged-parameter";
/// Generated requests for each preset.
const REQUESTS: usize = 400;
/// Rates beyond all that a test sends.
const ALL_AT_ONCE: &str = "limits = { per_sender = \"100000/s\", per_recipient = { rate = \"100000/s\" }, management = \"100000/s\" }\n";

/// A place in a body, as the keys of a JSON pointer.
type Place = Vec<String>;

/// A preset under test.
struct Shipped {
    golden: Golden,
    preset: Arc<Preset>,
}

/// A POST of a golden with a body.
struct Sample {
    target: String,
    body: Body,
}

/// The body of a sample.
enum Body {
    Json(Value),
    Form(Vec<(String, String)>),
}

impl Shipped {
    fn all() -> Vec<Self> {
        let shipped = |golden: Golden| {
            let preset = provider(&golden.name).unwrap();
            Self { golden, preset }
        };
        Golden::all().into_iter().map(shipped).collect()
    }

    /// The samples with a body of a kind that parsers read.
    fn samples(&self) -> Vec<Sample> {
        let sends = self.golden.all_of("application sends").into_iter();
        sends
            .filter_map(|text| sample(text, &self.golden.name))
            .collect()
    }

    /// The names of parameters that hold a credential.
    fn parameters(&self) -> BTreeSet<&'static str> {
        let strip = &self.preset.strip;
        let names = strip.query.iter().chain(&strip.form);
        let leaked = names.map(|name| &*name.clone().leak());
        leaked.collect()
    }

    /// The samples of messages. Other requests name no sender at the places of messages.
    fn messages(&self) -> Vec<Sample> {
        let operations = self.preset.operations.iter();
        let requests = operations.flat_map(|operation| &operation.requests);
        let messages: Vec<_> = requests.filter(|request| request.limited).collect();
        let prefix = format!("/{}", self.golden.name);
        let mut samples = self.samples();
        samples.retain(|sample| {
            let path = sample.target.strip_prefix(&prefix).unwrap_or_default();
            messages
                .iter()
                .any(|message| message.path.matches(path).is_some())
        });
        samples
    }

    /// The senders in the form of the provider.
    fn sender(&self) -> Leaf {
        let channels = self.preset.channels.as_ref();
        match channels.map(|channels| channels.form) {
            Some(ChannelForm::Address) => Corpus::address,
            _ => Corpus::sender,
        }
    }

    /// The places of credentials in JSON.
    fn fields(&self) -> Vec<Place> {
        let fields = self.preset.inject.iter().filter_map(|inject| match inject {
            Inject::JsonField { pointer, .. } => Some(pointer.clone()),
            _ => None,
        });
        fields.collect()
    }
}

/// The sample in a section of a golden, at the route of the preset.
fn sample(text: &str, name: &str) -> Option<Sample> {
    let (head, body) = text.split_once("\n\n")?;
    let target = head.strip_prefix("POST ")?.split(' ').next()?;
    let target = target.split('?').next()?;
    let body = match head {
        _ if head.contains(FORM) => {
            let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
            let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Body::Form(owned.collect())
        }
        _ if head.contains("json") => Body::Json(serde_json::from_str(body).ok()?),
        _ => return None,
    };
    let target = format!("/{name}{target}");
    Some(Sample { target, body })
}

impl Body {
    fn has(&self, places: &[Place]) -> bool {
        let has = |place: &Place| match self {
            Self::Json(value) => is_in(value, place),
            Self::Form(pairs) => pairs.iter().any(|(name, _)| *place == [name.as_str()]),
        };
        places.iter().any(has)
    }
}

fn is_in(value: &Value, place: &[impl AsRef<str>]) -> bool {
    match (place.split_first(), value) {
        (None, _) => true,
        (Some((_, rest)), Value::Array(all)) => all.iter().any(|one| is_in(one, rest)),
        (Some((first, rest)), Value::Object(all)) => {
            let inner = all.get(first.as_ref());
            inner.is_some_and(|inner| is_in(inner, rest))
        }
        _ => false,
    }
}

/// A maker of the values at the places of a generated body: senders or credentials.
type Leaf = fn(&mut Corpus) -> String;

/// JSON with a value in another spelling, with these leaves at the places that it has and at
/// others.
fn written(corpus: &mut Corpus, value: &Value, places: &[&[String]], leaf: Leaf) -> String {
    if places.iter().any(|place| place.is_empty()) {
        return leaf(corpus);
    }
    if places.is_empty() {
        return value.to_string();
    }
    let inside = |key: &str| {
        let here = places.iter().filter(|place| place[0] == key);
        here.map(|place| &place[1..]).collect::<Vec<_>>()
    };
    match value {
        Value::Object(all) => {
            let mut fields = Vec::new();
            for (name, value) in all {
                let inner = inside(name);
                let text = written(corpus, value, &inner, leaf);
                if inner.is_empty() {
                    fields.push(format!("{}:{text}", Value::from(name.as_str())));
                    continue;
                }
                fields.push(format!("{}:{text}", corpus.written(name)));
                if corpus.one_in(6) {
                    let again = written(corpus, value, &inner, leaf);
                    let place = corpus.below(fields.len() + 1);
                    fields.insert(place, format!("{}:{again}", corpus.written(name)));
                }
            }
            let has_one = places.iter().any(|place| all.contains_key(&place[0]));
            let other = places[corpus.below(places.len())];
            if other[0] != "*" && corpus.one_in(4) == has_one {
                let object = built(corpus, other, leaf);
                let field = object
                    .strip_prefix('{')
                    .and_then(|rest| rest.strip_suffix('}'));
                fields.extend(field.map(str::to_owned));
            }
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(all) => {
            let inner = inside("*");
            let elements = all.iter().map(|one| written(corpus, one, &inner, leaf));
            let elements: Vec<_> = elements.collect();
            if inner.is_empty() {
                return format!("[{}]", elements.join(","));
            }
            super::vendors::in_container(corpus, elements)
        }
        plain => plain.to_string(),
    }
}

/// An object that has a leaf at a place, and nothing else.
fn built(corpus: &mut Corpus, place: &[String], leaf: Leaf) -> String {
    match place.split_first() {
        None => leaf(corpus),
        Some((first, rest)) if first == "*" => format!("[{}]", built(corpus, rest, leaf)),
        Some((first, rest)) => {
            let name = corpus.written(first);
            format!("{{{name}:{}}}", built(corpus, rest, leaf))
        }
    }
}

/// A request made from a sample, with leaves at the places of the body, and for a form in further
/// pairs.
fn request(corpus: &mut Corpus, sample: &Sample, places: &[Place], leaf: Leaf) -> Sent {
    let (kind, body) = match &sample.body {
        Body::Json(value) => {
            let borrowed: Vec<_> = places.iter().map(Vec::as_slice).collect();
            let text = match borrowed.is_empty() {
                true => value.to_string(),
                false => written(corpus, value, &borrowed, leaf),
            };
            (JSON, text)
        }
        Body::Form(pairs) => {
            let mut all: Vec<_> = pairs
                .iter()
                .map(|(name, value)| {
                    let is_place = places.iter().any(|place| **place == [name.as_str()]);
                    let value = match is_place {
                        true => unquoted(corpus, leaf),
                        false => value.clone(),
                    };
                    format!("{name}={value}")
                })
                .collect();
            for _ in 0..corpus.below(3) {
                let pair = hidden_pair(corpus, leaf);
                let place = corpus.below(all.len() + 1);
                all.insert(place, pair);
            }
            (FORM, all.join("&"))
        }
    };
    let mut target = sample.target.clone();
    if corpus.one_in(4) {
        target = format!("{target}?{}", hidden_pair(corpus, leaf));
    }
    corpus.sent(target, kind.to_owned(), body.into_bytes())
}

/// A pair of a query or form with a hidden name.
fn hidden_pair(corpus: &mut Corpus, leaf: Leaf) -> String {
    let name = corpus.disguised();
    let value = unquoted(corpus, leaf);
    format!("{}={value}", corpus.encoded(&name))
}

/// A leaf without quotes, encoded for a form.
fn unquoted(corpus: &mut Corpus, leaf: Leaf) -> String {
    let text = leaf(corpus);
    corpus.encoded(text.trim_matches('"'))
}

/// A Keyside with a route for each preset, and the upstreams.
fn started(all: &[Shipped], route: &str) -> (Keyside, Provider) {
    let goldens: Vec<_> = all.iter().map(|one| one.golden.clone()).collect();
    let (provider, key) = (Provider::new(&goldens), SigningKey::new());
    let setup = Setup::new(&provider.upstream);
    let mut config = "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n".to_owned();
    let route = format!("{route}{ALL_AT_ONCE}");
    for golden in &goldens {
        config.push_str(&golden.config(&setup, &key.pem(), &provider.further, &route));
    }
    (setup.config(&config).start(), provider)
}

/// The requests of a preset at the upstreams, without those for access tokens.
fn seen(
    keyside: &Keyside,
    provider: &Provider,
    requests: impl Iterator<Item = Sent>,
) -> Vec<Request> {
    let upstreams = || {
        [&provider.upstream]
            .into_iter()
            .chain(provider.further.values())
    };
    upstreams().for_each(|upstream| upstream.forget());
    pass(keyside, &provider.upstream, requests);
    let whole = upstreams().flat_map(|upstream| upstream.requests());
    whole
        .filter(|request| request.complete && !Provider::is_exchange(request))
        .collect()
}

fn pointers(places: &[Place]) -> String {
    let joined: Vec<_> = places.iter().map(|place| place.join("/")).collect();
    joined.join(" ")
}

/// True if the forged parameter stands anywhere in a value.
fn is_forged(value: &Value) -> bool {
    value.to_string().contains(FORGED)
}

/// Lines with a forged credential in the header of a preset, in one of the spellings that servers
/// take for one.
fn forged_headers(corpus: &mut Corpus, names: &[String]) -> String {
    let mut lines = String::new();
    for _ in 0..corpus.below(4) {
        let name = &names[corpus.below(names.len())];
        let name = match corpus.below(4) {
            0 => name.to_ascii_uppercase(),
            1 => name.replace('-', "_"),
            _ => name.clone(),
        };
        lines.push_str(&format!("{name}: {FORGED_HEADER}\r\n"));
    }
    lines
}

#[test]
#[ignore = "needs PHP and Node: tests/run servers"]
fn no_parser_finds_a_forged_credential_in_what_leaves_for_any_preset() {
    let (readers, all) = (Reader::all(), Shipped::all());
    let (keyside, provider) = started(&all, "");
    let headers = all.iter().flat_map(|one| &one.preset.strip.headers);
    let headers: BTreeSet<_> = headers.map(|name| name.as_str().to_owned()).collect();
    let headers: Vec<_> = headers.into_iter().collect();
    for one in &all {
        let (name, samples) = (&one.golden.name, one.samples());
        assert!(!samples.is_empty(), "{name}: no sample has a body");
        let (parameters, fields) = (one.parameters(), one.fields());
        let names: Vec<_> = parameters.iter().copied().collect();
        let mut corpus = Corpus::new(seed(), &names);
        let leaf: Leaf = |_| format!("{FORGED:?}");
        let requests = (0..REQUESTS).map(|_| {
            let sample = &samples[corpus.below(samples.len())];
            let headers = forged_headers(&mut corpus, &headers);
            request(&mut corpus, sample, &fields, leaf).with_headers(headers)
        });
        let seen = seen(&keyside, &provider, requests);
        assert!(seen.len() > REQUESTS / 20, "{name}: {} passed", seen.len());
        let places = names.iter().map(|name| vec![(*name).to_owned()]);
        let places: Vec<_> = places.chain(fields).collect();
        for request in &seen {
            let told = format!("{name}: {}", request.raw.escape_ascii());
            assert!(!contains(&request.raw, FORGED_HEADER.as_bytes()), "{told}");
            let (target, kind) = super::told(request);
            for reader in &readers {
                let places = pointers(&places);
                let found = reader.first_at(&places, (&target, &kind, &request.body), is_forged);
                assert_eq!(found, None, "{} in {told}", reader.language);
            }
        }
    }
}

#[test]
#[ignore = "needs PHP and Node: tests/run servers"]
fn no_parser_finds_a_foreign_sender_in_what_leaves_for_any_preset() {
    let readers = Reader::all();
    let mut all = Shipped::all();
    all.retain(|one| !one.preset.limits.sender.is_empty());
    for route in ["senders = [\"1555\"]\n", ""] {
        let (keyside, provider) = started(&all, route);
        let mut foreign = 0;
        for one in &all {
            let (name, places) = (&one.golden.name, &one.preset.limits.sender);
            let (named, others): (Vec<_>, Vec<_>) = one
                .messages()
                .into_iter()
                .partition(|sample| sample.body.has(places));
            // A sender is added to samples that name none.
            let samples = if named.is_empty() { others } else { named };
            assert!(!samples.is_empty(), "{name}: no sample is a message");
            let names = places.iter().filter_map(|place| place.last());
            let names: Vec<_> = names.map(|name| &*name.clone().leak()).collect();
            let mut corpus = Corpus::new(seed(), &names);
            let leaf = one.sender();
            let requests = (0..REQUESTS).map(|_| {
                let sample = &samples[corpus.below(samples.len())];
                request(&mut corpus, sample, places, leaf)
            });
            let seen = seen(&keyside, &provider, requests);
            assert!(seen.len() > REQUESTS / 20, "{name}: {} passed", seen.len());
            for request in &seen {
                let (target, kind) = told(request);
                for reader in &readers {
                    let asked = (target.as_str(), kind.as_str(), request.body.as_slice());
                    let found = reader.first_at(&pointers(places), asked, |one| !is_allowed(one));
                    if route.is_empty() {
                        foreign += usize::from(found.is_some());
                    } else {
                        let body = request.body.escape_ascii();
                        assert_eq!(
                            found, None,
                            "{name}: {} in {target} {body}",
                            reader.language
                        );
                    }
                }
            }
        }
        // Without `senders` the same messages leave with the senders that the parsers do find.
        assert!(!route.is_empty() || foreign > REQUESTS, "{foreign}");
    }
}
