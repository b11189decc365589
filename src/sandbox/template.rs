//! Message templates of an account: listed page by page, made, changed, deleted.

use std::collections::HashMap;
use std::sync::Mutex;

use http::header::HOST;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde_json::{Value, json};

use super::call::Call;
use super::error::GraphError;
use super::ids;
use super::json::{Json, object, success};
use super::state::lock;

/// How many templates a page has unless the caller says otherwise.
const PAGE: usize = 25;
/// How many templates an account may have.
const MOST: usize = 250;
/// How many accounts may have templates of their own.
const ACCOUNTS: usize = 1000;

#[derive(Clone)]
struct Template {
    id: String,
    name: String,
    language: String,
    status: &'static str,
    category: String,
    parameter_format: String,
    components: Value,
}

/// The templates of all accounts.
#[derive(Default)]
pub(super) struct Templates(Mutex<HashMap<String, Vec<Template>>>);

impl Templates {
    /// A template by its id.
    pub(super) fn get(&self, id: &str) -> Option<Json> {
        let accounts = lock(&self.0);
        let own = accounts.values().flatten().find(|template| template.id == id).map(Template::json);
        own.or_else(|| samples().iter().find(|template| template.id == id).map(Template::json))
    }

    fn of(&self, account: &str) -> Vec<Template> {
        lock(&self.0).get(account).cloned().unwrap_or_else(samples)
    }

    fn change<T>(&self, account: &str, change: impl FnOnce(&mut Vec<Template>) -> T) -> Result<T, GraphError> {
        let mut accounts = lock(&self.0);
        if accounts.len() >= ACCOUNTS && !accounts.contains_key(account) {
            return Err(GraphError::parameter("The sandbox has no room for another account."));
        }
        Ok(change(accounts.entry(account.to_owned()).or_insert_with(samples)))
    }
}

impl Template {
    fn json(&self) -> Json {
        object([
            ("name", self.name.as_str().into()),
            ("parameter_format", self.parameter_format.as_str().into()),
            ("components", Json::Any(self.components.clone())),
            ("language", self.language.as_str().into()),
            ("status", self.status.into()),
            ("category", self.category.as_str().into()),
            ("id", self.id.as_str().into()),
        ])
    }
}

/// `GET /{account}/message_templates`.
pub(super) fn list(call: &Call<'_>, account: &str) -> Json {
    let mut templates = call.state.templates.of(account);
    for (key, of) in FILTERS {
        if let Some(wanted) = call.query.get(key) {
            templates.retain(|template| of(template).eq_ignore_ascii_case(wanted));
        }
    }
    let items = templates.iter().map(|template| match call.query.fields() {
        Some(mut fields) => {
            fields.extend((!fields.contains(&"id")).then_some("id"));
            template.json().only(&fields)
        }
        None => template.json(),
    });
    let total = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let page = page(call, items.collect());
    match call.query.get("summary") {
        Some(fields) => page.with("summary", summary(total).only(&fields.split(',').collect::<Vec<_>>())),
        None => page,
    }
}

fn summary(total: u64) -> Json {
    object([
        ("total_count", total.into()),
        ("message_template_count", total.into()),
        ("message_template_limit", 250_i64.into()),
        ("are_translations_complete", true.into()),
    ])
}

type Of = fn(&Template) -> &str;
const FILTERS: [(&str, Of); 4] = [
    ("name", |template| &template.name),
    ("status", |template| template.status),
    ("category", |template| &template.category),
    ("language", |template| &template.language),
];

/// A page of a list, with cursors and with links that, like Graph's, carry the token.
pub(super) fn page(call: &Call<'_>, items: Vec<Json>) -> Json {
    let number = |name| call.query.get(name).and_then(|value| value.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(PAGE).clamp(1, 1000);
    let start = match (cursor(call, "after"), cursor(call, "before")) {
        (Some(after), _) => after.saturating_add(1),
        (None, Some(before)) => before.saturating_sub(limit),
        (None, None) => 0,
    };
    let total = items.len();
    let shown: Vec<Json> = items.into_iter().skip(start).take(limit).collect();
    let Some(last) = (start + shown.len()).checked_sub(1).filter(|_| !shown.is_empty()) else {
        return object([("data", Json::List(Vec::new()))]);
    };
    let cursors = object([("before", cursor_text(start).into()), ("after", cursor_text(last).into())]);
    let mut paging = object([("cursors", cursors)]);
    if last + 1 < total {
        paging = paging.with("next", link(call, limit, "after", last));
    }
    if start > 0 {
        paging = paging.with("previous", link(call, limit, "before", start));
    }
    object([("data", shown.into()), ("paging", paging)])
}

/// A cursor is a position, written so that it does not look like one.
fn cursor_text(position: usize) -> String {
    format!("QVFIU{position:08x}ZD")
}

fn cursor(call: &Call<'_>, name: &str) -> Option<usize> {
    let position = call.query.get(name)?.strip_prefix("QVFIU")?.strip_suffix("ZD")?;
    usize::from_str_radix(position, 16).ok()
}

/// The link names the host that the caller named, repeats what the caller asked for, and holds the token, which
/// a proxy must take out.
fn link(call: &Call<'_>, limit: usize, direction: &str, position: usize) -> String {
    let host = call.headers.get(HOST).and_then(|host| host.to_str().ok());
    let asked = call.query.without(&[
        "access_token",
        "appsecret_proof",
        "appsecret_time",
        "pretty",
        "limit",
        "after",
        "before",
    ]);
    let asked = asked.map(|(name, value)| format!("&{}={}", encoded(name), encoded(value)));
    format!(
        "{}://{}/{}{}?access_token={}{}&pretty=0&limit={limit}&{direction}={}",
        call.state.rules.scheme,
        host.unwrap_or("graph.facebook.com"),
        call.target.version,
        call.target.path,
        encoded(&call.caller.token),
        asked.collect::<String>(),
        cursor_text(position),
    )
}

fn encoded(text: &str) -> PercentEncode<'_> {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');
    utf8_percent_encode(text, RESERVED)
}

/// `POST /{account}/message_templates`.
pub(super) fn create(call: &Call<'_>, account: &str, body: &Value) -> Result<Json, GraphError> {
    let text = |name: &str| {
        let value = body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.map(str::to_owned).ok_or_else(|| GraphError::required(name))
    };
    let template = Template {
        id: ids::object_id(),
        name: text("name")?,
        language: text("language")?,
        status: "PENDING",
        category: text("category")?.to_ascii_uppercase(),
        parameter_format: text("parameter_format").unwrap_or_else(|_| "POSITIONAL".to_owned()),
        components: body.get("components").cloned().unwrap_or_else(|| json!([])),
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !template.name.bytes().all(plain) {
        return Err(GraphError::parameter("Param name must be lower-case letters, digits and underscores."));
    }
    let answer = object([
        ("id", template.id.as_str().into()),
        ("status", template.status.into()),
        ("category", template.category.as_str().into()),
    ]);
    let made = call.state.templates.change(account, |templates| {
        let room = templates.len() < MOST;
        if room {
            templates.push(template);
        }
        room
    })?;
    if made { Ok(answer) } else { Err(GraphError::parameter("Message template limit exceeded")) }
}

/// `DELETE /{account}/message_templates?name=...`.
pub(super) fn delete(call: &Call<'_>, account: &str) -> Result<Json, GraphError> {
    let name = call.query.get("name").ok_or_else(|| GraphError::required("name"))?;
    let id = call.query.get("hsm_id");
    let removed = call.state.templates.change(account, |templates| {
        let before = templates.len();
        templates.retain(|template| template.name != name || id.is_some_and(|id| id != template.id));
        before - templates.len()
    })?;
    if removed == 0 { Err(GraphError::no_template(name)) } else { Ok(success()) }
}

/// What every account begins with.
fn samples() -> Vec<Template> {
    let sample = |(id, name, language, category, text): (&str, &str, &str, &str, &str)| Template {
        id: id.to_owned(),
        name: name.to_owned(),
        language: language.to_owned(),
        status: "APPROVED",
        category: category.to_owned(),
        parameter_format: "POSITIONAL".to_owned(),
        components: components(text),
    };
    SAMPLES.map(sample).to_vec()
}

fn components(text: &str) -> Value {
    if text.contains("{{1}}") {
        return json!([{"type": "BODY", "text": text, "example": {"body_text": [["3"]]}}]);
    }
    json!([{"type": "BODY", "text": text}])
}

const SAMPLES: [(&str, &str, &str, &str, &str); 5] = [
    (
        "711633970112948",
        "hello_world",
        "en_US",
        "MARKETING",
        "Welcome and congratulations!! This message demonstrates your ability to send a message notification from WhatsApp Business Platform\u{2019}s Cloud API. Thank you for taking the time to test with us.",
    ),
    (
        "1350788845398345",
        "sample_purchase_feedback",
        "en_US",
        "MARKETING",
        "Thank you for purchasing {{1}}! We value your feedback and would like to learn more about your experience.",
    ),
    (
        "5367414413280831",
        "sample_issue_resolution",
        "en_US",
        "UTILITY",
        "Hi {{1}}, were we able to solve the issue that you were facing?",
    ),
    (
        "413970837002183",
        "sample_issue_resolution",
        "es",
        "MARKETING",
        "Hola, {{1}}. \u{bf}Pudiste solucionar el problema que ten\u{ed}as?",
    ),
    (
        "419824263320619",
        "sample_shipping_confirmation",
        "en_US",
        "UTILITY",
        "Your package has been shipped. It will be delivered in {{1}} business days.",
    ),
];
