//! The form of refusals for the SDKs of a provider, as data, and the forms of a listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri, header};
use serde_json::Value;

use crate::document::Malformed;
use crate::response::Refusal;

/// A JSON text in which words with a dollar sign stand for the facts of a refusal.
///
/// | word | meaning |
/// |---|---|
/// | `$message`, `$details` | the fault, and the advice |
/// | `$text` | the fault and the advice in one text |
/// | `$slug`, `$status` | the slug, and the HTTP status as a number |
/// | `$code` | the provider's code for the HTTP status, else the code for other statuses, else the status as a number |
/// | `$keyside` | the object that the Graph form has under `error.keyside` |
///
/// A word stands for a whole JSON string, never for a part of one, so that no text of a refusal
/// needs escaping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalForm {
    body: Value,
    codes: RefusalCodes,
}

/// A provider's codes for errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalCodes {
    /// The codes by HTTP status.
    pub by_status: BTreeMap<u16, Value>,
    /// The code of every other status.
    pub other: Option<Value>,
}

impl RefusalForm {
    /// Reads the JSON text of a form.
    ///
    /// # Errors
    /// A text that is no JSON, or has an unknown word.
    pub fn parse(text: &str, codes: RefusalCodes) -> Result<Self, Malformed> {
        let body = serde_json::from_str(text).map_err(|_| {
            Malformed::new("not JSON, expected a text like '{\"message\": \"$text\"}'")
        })?;
        if has_unknown_word(&body) {
            return Err(UNKNOWN_WORD);
        }
        Ok(Self { body, codes })
    }

    /// Returns the whole answer for a refusal.
    #[must_use]
    pub fn to_response(&self, refusal: &Refusal) -> Response<Bytes> {
        refusal.to_response_with(&self.filled(&self.body, refusal))
    }

    fn filled(&self, value: &Value, refusal: &Refusal) -> Value {
        match value {
            Value::String(word) => self.meaning(word, refusal).unwrap_or_else(|| value.clone()),
            Value::Array(values) => values
                .iter()
                .map(|value| self.filled(value, refusal))
                .collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.filled(value, refusal)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn meaning(&self, word: &str, refusal: &Refusal) -> Option<Value> {
        Some(match word {
            "$message" => refusal.message.as_str().into(),
            "$details" => refusal.details.as_str().into(),
            "$text" => format!("{}; {}", refusal.message, refusal.details).into(),
            "$slug" => refusal.kind.slug.into(),
            "$status" => refusal.kind.status.as_u16().into(),
            "$code" => self.code(refusal.kind.status),
            "$keyside" => refusal.facts(),
            _ => return None,
        })
    }

    fn code(&self, status: StatusCode) -> Value {
        let known = self.codes.by_status.get(&status.as_u16());
        let code = known.or(self.codes.other.as_ref());
        code.cloned().unwrap_or_else(|| status.as_u16().into())
    }
}

/// The forms of the refusals of a listener: of all routes, by path and by the hosts of their
/// providers.
///
/// A refusal may come before a route is known, even before the request can be read. It then has the
/// form of the provider that the request can only be for, or else the fields of all forms in
/// question, so that no SDK takes it for a success.
#[derive(Clone, Debug, Default)]
pub struct RefusalForms {
    /// Each form once; `None` for Graph's.
    forms: Vec<Option<Arc<RefusalForm>>>,
    /// The positions of forms, by the path of a route and the host of its provider. Paths with the
    /// same hosts and forms share them.
    by_path: BTreeMap<Box<str>, Arc<ByHost>>,
    /// The positions of forms, by the host of a provider, whatever the path.
    by_host: ByHost,
    /// Each value of `by_path` once.
    distinct: BTreeSet<Arc<ByHost>>,
    /// The names besides those of providers and loopback that the listener answers for, in lower
    /// case.
    allowed: BTreeSet<Box<str>>,
}

/// The positions of forms, by the host of a provider.
type ByHost = BTreeMap<Box<str>, BTreeSet<usize>>;

/// The facts about a request that is refused without a route.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'r> {
    /// The host that the request names.
    pub host: Option<&'r str>,
    /// The path.
    pub path: Option<&'r str>,
}

impl<'r> Asked<'r> {
    /// Returns the facts in the head of a request.
    #[must_use]
    pub fn of(target: &'r Uri, headers: &'r HeaderMap) -> Self {
        let authority = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = authority.and_then(|authority| authority.split(':').next());
        Self {
            host: target.host().or(host),
            path: Some(target.path()),
        }
    }
}

impl RefusalForms {
    /// Adds the form of a route at a path, whose provider has these hosts.
    pub fn add<'h>(
        &mut self,
        path: &str,
        hosts: impl Iterator<Item = &'h str>,
        form: Option<&Arc<RefusalForm>>,
    ) {
        let known = self.forms.iter().position(|own| own.as_ref() == form);
        let position = known.unwrap_or_else(|| {
            self.forms.push(form.cloned());
            self.forms.len() - 1
        });
        let known = self.by_path.get(path);
        let mut by_host = known.map_or_else(ByHost::new, |known| ByHost::clone(known));
        for host in hosts {
            for by_host in [&mut by_host, &mut self.by_host] {
                by_host.entry(host.into()).or_default().insert(position);
            }
        }
        let shared = match self.distinct.get(&by_host) {
            Some(shared) => Arc::clone(shared),
            None => {
                let shared = Arc::new(by_host);
                self.distinct.insert(Arc::clone(&shared));
                shared
            }
        };
        self.by_path.insert(path.into(), shared);
    }

    /// Adds names that the listener answers for.
    pub fn allow<'h>(&mut self, hosts: impl Iterator<Item = &'h str>) {
        self.allowed.extend(hosts.map(Into::into));
    }

    /// Returns the whole answer for a refusal of a request.
    #[must_use]
    pub fn to_response(&self, refusal: &Refusal, asked: Asked<'_>) -> Response<Bytes> {
        let positions = self.candidates(asked);
        let mut forms = positions.iter().filter_map(|at| self.forms.get(*at));
        match (forms.next(), forms.next()) {
            (Some(Some(only)), None) => only.to_response(refusal),
            (None | Some(None), None) => refusal.to_response(),
            _ => refusal.to_response_with(&self.in_all_forms(&positions, refusal)),
        }
    }

    /// The fields of Graph's form and of several others. Of fields with one name, the first counts.
    fn in_all_forms(&self, positions: &BTreeSet<usize>, refusal: &Refusal) -> Value {
        let mut body = refusal.in_graph_form();
        let forms = positions.iter().filter_map(|at| self.forms.get(*at));
        for form in forms.flatten() {
            if let (Value::Object(all), Value::Object(own)) =
                (&mut body, form.filled(&form.body, refusal))
            {
                for (name, value) in own {
                    all.entry(name).or_insert(value);
                }
            }
        }
        body
    }

    /// True for a name that the listener does not answer for, as a rebound name of the DNS is. An
    /// address is no name.
    fn is_foreign(&self, host: &str) -> bool {
        let bare = host.trim_matches(['[', ']']);
        host != "localhost" && bare.parse::<IpAddr>().is_err() && !self.allowed.contains(host)
    }

    /// The positions of the forms of all providers that the request may be for: by the host, then
    /// by the path. At a foreign host every form is in question: no page may learn there which
    /// provider has a path.
    fn candidates(&self, asked: Asked<'_>) -> BTreeSet<usize> {
        let host = asked.host.map(str::to_ascii_lowercase);
        let of_host = |hosts: &ByHost| host.as_deref().and_then(|host| hosts.get(host).cloned());
        let at_path = || {
            let paths = asked.path.into_iter().flat_map(prefixes);
            paths.filter_map(|path| self.by_path.get(path))
        };
        let at_host = at_path().find_map(|hosts| of_host(hosts));
        if let Some(positions) = at_host.or_else(|| of_host(&self.by_host)) {
            return positions;
        }
        let is_foreign = host.as_deref().is_some_and(|host| self.is_foreign(host));
        let of_path = at_path().next().filter(|_| !is_foreign);
        let hosts = of_path.map_or(&self.by_host, |path| &**path);
        hosts.values().flatten().copied().collect()
    }
}

/// The beginnings of a path that end before a slash, the longest first, and the whole path.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.rmatch_indices('/');
    let shorter = slashes.filter_map(|(at, _)| path.get(..at));
    std::iter::once(path).chain(shorter)
}

fn has_unknown_word(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with('$') && !WORDS.contains(&text.as_str()),
        Value::Array(values) => values.iter().any(has_unknown_word),
        Value::Object(fields) => fields.values().any(has_unknown_word),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

const WORDS: [&str; 7] = [
    "$message", "$details", "$text", "$slug", "$status", "$code", "$keyside",
];
const UNKNOWN_WORD: Malformed = Malformed::new(
    "an unknown word with a dollar sign, expected $message, $details, $text, $slug, $status, $code or $keyside",
);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header;
    use serde_json::json;

    use super::*;
    use crate::response::RefusalKind;

    fn refusal(status: StatusCode) -> Refusal {
        let kind = RefusalKind::new("rate_limited", status, 130_429);
        Refusal {
            route: Some("acme".into()),
            retry_after: Some(Duration::from_millis(1200)),
            ..Refusal::new(kind, "too \"fast\"", "wait")
        }
    }

    #[test]
    fn words_become_the_facts_of_the_refusal_and_other_text_stays() {
        let text = r#"{"errors": [{"code": "$code", "text": "$text", "is": ["$slug", "$status", 7, null, "$5"]}]}"#;
        assert_eq!(
            RefusalForm::parse(text, RefusalCodes::default()),
            Err(UNKNOWN_WORD),
            "a price is no word"
        );
        let codes = RefusalCodes {
            by_status: BTreeMap::from([(429, 20_429.into())]),
            other: Some("other".into()),
        };
        let form = RefusalForm::parse(&text.replace("$5", "5 $"), codes).unwrap();
        let response = form.to_response(&refusal(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        let is = json!(["rate_limited", 429, 7, null, "5 $"]);
        assert_eq!(
            body,
            json!({"errors": [{"code": 20_429, "text": "too \"fast\"; wait", "is": is}]})
        );
    }

    #[test]
    fn a_refusal_without_a_route_has_the_form_of_every_provider_that_it_may_be_for() {
        let form = |text: &str| {
            let form = RefusalForm::parse(text, RefusalCodes::default()).unwrap();
            Some(Arc::new(form))
        };
        let twilio = form(r#"{"code": 1, "text": "$text"}"#);
        let bird = form(r#"{"errors": [1]}"#);
        let mut forms = RefusalForms::default();
        forms.add("", ["graph.test"].into_iter(), None);
        forms.add("", ["api.twilio.test"].into_iter(), twilio.as_ref());
        forms.add("/bird", ["bird.test"].into_iter(), bird.as_ref());
        forms.add("/bird/graph", ["graph.test"].into_iter(), None);
        forms.allow(["keyside"].into_iter());
        let refusal = refusal(StatusCode::BAD_REQUEST);
        for (host, path, expected) in [
            (Some("graph.test"), None, &["error"][..]),
            (Some("API.twilio.test"), None, &["code", "text"]),
            (Some("bird.test"), Some("/none"), &["errors"]),
            (Some("localhost"), Some("/bird/x"), &["errors"]),
            (Some("localhost"), Some("/bird/graph"), &["error"]),
            (
                Some("localhost"),
                Some("/birds"),
                &["code", "error", "text"],
            ),
            (None, None, &["code", "error", "errors", "text"]),
            (Some("127.0.0.1"), Some("/bird/x"), &["errors"]),
            (Some("keyside"), Some("/bird/x"), &["errors"]),
            (
                Some("rebound.test"),
                Some("/bird/x"),
                &["code", "error", "errors", "text"],
            ),
        ] {
            let response = forms.to_response(&refusal, Asked { host, path });
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            let mut fields: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
            fields.sort_unstable();
            assert_eq!(fields, expected, "{host:?} {path:?}");
        }
        let none = RefusalForms::default().to_response(&refusal, Asked::default());
        assert_eq!(none.body(), refusal.to_response().body());
    }

    #[test]
    fn a_status_without_a_code_of_the_providers_has_the_code_of_others_or_itself() {
        let keyside = json!({"slug": "rate_limited", "route": "acme", "retry_after_ms": 1200});
        for (other, expected) in [(None, json!(403)), (Some(json!("other")), json!("other"))] {
            let codes = RefusalCodes {
                other,
                ..RefusalCodes::default()
            };
            let form = RefusalForm::parse(r#"["$code", "$keyside"]"#, codes).unwrap();
            let response = form.to_response(&refusal(StatusCode::FORBIDDEN));
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body, json!([expected, keyside]));
        }
    }
}
