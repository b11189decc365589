//! Accounts, numbers and what belongs to them: small answers in the right shape.

use http::Method;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::call::{self, Call};
use super::error::GraphError;
use super::ids;
use super::json::{Json, object, success};
use super::media;
use super::message::check_product;
use super::state::{ACCOUNT, APP, SENDER, is_id, lock};
use super::template;
use super::token::MESSAGING;

/// How many numbers may have a profile or a block list.
const NUMBERS: usize = 10_000;

/// `GET /{id}`: a file, a template, a number or an account. Which of them is for the id to say.
pub(super) fn read(call: &Call<'_>, id: &str) -> Result<Json, GraphError> {
    if let Some(file) = call.state.media.get(id) {
        call.caller.needs(MESSAGING)?;
        return media::describe(call, &file);
    }
    let found = call.state.templates.get(id).or_else(|| of_account(call, id)).or_else(|| of_number(call, id));
    let found = found.ok_or_else(|| call.unknown(id))?;
    Ok(match call.query.fields() {
        Some(mut fields) => {
            fields.extend((!fields.contains(&"id")).then_some("id"));
            found.only(&fields)
        }
        None => found,
    })
}

fn of_account(call: &Call<'_>, id: &str) -> Option<Json> {
    let fields = call.query.fields().unwrap_or_default();
    let asked = fields.iter().any(|field| ACCOUNT_FIELDS.contains(field)) && is_id(id);
    (id == ACCOUNT || asked).then(|| account(id))
}

/// Where any number may send, an id with fields is taken for one: what else could be meant is handled before.
fn of_number(call: &Call<'_>, id: &str) -> Option<Json> {
    let senders = &call.state.rules.senders;
    let any = senders.is_empty() && (id == SENDER || call.query.fields().is_some());
    (call.state.is_sender(id) && (any || !senders.is_empty())).then(|| number(id))
}

/// Fields that only an account has.
const ACCOUNT_FIELDS: [&str; 6] = [
    "message_template_namespace",
    "timezone_id",
    "currency",
    "account_review_status",
    "owner_business_info",
    "on_behalf_of_business_info",
];

fn account(id: &str) -> Json {
    object([
        ("id", id.into()),
        ("name", "Sandbox".into()),
        ("currency", "USD".into()),
        ("timezone_id", "1".into()),
        ("message_template_namespace", "4c3a0a3e_9e3c_4e38_9b5e_6f0a3f5d9c11".into()),
        ("account_review_status", "APPROVED".into()),
    ])
}

fn number(id: &str) -> Json {
    object([
        ("verified_name", "Test Number".into()),
        ("code_verification_status", "NOT_VERIFIED".into()),
        ("display_phone_number", "+1 555-093-4873".into()),
        ("quality_rating", "GREEN".into()),
        ("platform_type", "CLOUD_API".into()),
        ("throughput", object([("level", "STANDARD".into())])),
        ("account_mode", "SANDBOX".into()),
        ("status", "CONNECTED".into()),
        ("name_status", "AVAILABLE_WITHOUT_REVIEW".into()),
        ("new_name_status", "NONE".into()),
        ("is_official_business_account", false.into()),
        ("is_pin_enabled", true.into()),
        ("search_visibility", "NON_VISIBLE".into()),
        ("messaging_limit_tier", "TIER_250".into()),
        ("whatsapp_business_manager_messaging_limit", "TIER_250".into()),
        ("id", id.into()),
    ])
}

/// `GET /{account}/phone_numbers`.
pub(super) fn numbers(call: &Call<'_>) -> Json {
    let senders = &call.state.rules.senders;
    let ids: Vec<&str> = if senders.is_empty() { vec![SENDER] } else { senders.iter().map(String::as_str).collect() };
    let items = ids.into_iter().map(|id| match call.query.fields() {
        Some(mut fields) => {
            fields.extend((!fields.contains(&"id")).then_some("id"));
            number(id).only(&fields)
        }
        None => number(id),
    });
    template::page(call, items.collect())
}

/// `/{number}/whatsapp_business_profile`.
pub(super) async fn profile(call: &Call<'_>, id: &str, body: Incoming) -> Result<Json, GraphError> {
    call.needs_sender(id)?;
    if call.method == Method::POST {
        let body = call::json(body).await?;
        check_product(&body)?;
        let mut profiles = lock(&call.state.profiles);
        if profiles.len() < NUMBERS || profiles.contains_key(id) {
            profiles.insert(id.to_owned(), body);
        }
        return Ok(success());
    }
    let set = lock(&call.state.profiles).get(id).cloned().unwrap_or_else(|| json!({}));
    let mut profile = object([]);
    for (field, usual) in PROFILE {
        let value = set.get(field).cloned().unwrap_or_else(|| Value::from(usual));
        profile = profile.with(field, Json::Any(value));
    }
    profile = profile.with("websites", Json::Any(set.get("websites").cloned().unwrap_or_else(|| json!([]))));
    if let Some(fields) = call.query.fields() {
        profile = profile.only(&fields);
    }
    Ok(object([("data", vec![profile.with("messaging_product", "whatsapp")].into())]))
}

const PROFILE: [(&str, &str); 6] = [
    ("about", "A sandbox"),
    ("address", "123, Main Street, New York, NY, 10001"),
    ("description", "This is a description"),
    ("email", "testing@example.com"),
    ("vertical", "OTHER"),
    ("profile_picture_url", "https://pps.whatsapp.net/sandbox.jpg"),
];

/// `POST /{number}/register`.
pub(super) async fn register(call: &Call<'_>, id: &str, body: Incoming) -> Result<Json, GraphError> {
    call.needs_sender(id)?;
    let body = call::json(body).await?;
    check_product(&body)?;
    if body.get("pin").is_none() {
        return Err(GraphError::required("pin"));
    }
    Ok(success())
}

/// `/{account}/subscribed_apps`.
pub(super) fn subscribed_apps(call: &Call<'_>) -> Json {
    if call.method != Method::GET {
        return success();
    }
    let app = object([
        ("link", format!("https://www.facebook.com/games/?app_id={APP}").into()),
        ("name", "Sandbox".into()),
        ("id", APP.into()),
    ]);
    object([("data", vec![object([("whatsapp_business_api_data", app)])].into())])
}

/// `/{number}/block_users`.
pub(super) async fn block_users(call: &Call<'_>, id: &str, body: Incoming) -> Result<Json, GraphError> {
    call.needs_sender(id)?;
    if call.method == Method::GET {
        let blocked = lock(&call.state.blocked).get(id).cloned().unwrap_or_default();
        let entry = |user: String| {
            object([
                ("messaging_product", "whatsapp".into()),
                // Not in the documented answer, but pywa 4.5.0 cannot read an entry without it.
                ("input", user.as_str().into()),
                ("wa_id", user.as_str().into()),
            ])
        };
        return Ok(template::page(call, blocked.into_iter().map(entry).collect()));
    }
    let body = call::json(body).await?;
    check_product(&body)?;
    let users = body.get("block_users").and_then(Value::as_array).ok_or_else(|| GraphError::required("block_users"))?;
    let named = |user: &Value| ["user", "user_id"].iter().find_map(|key| user.get(key)?.as_str().map(str::to_owned));
    let users: Vec<String> = users.iter().filter_map(named).collect();
    let block = call.method == Method::POST;
    let mut numbers = lock(&call.state.blocked);
    if numbers.len() < NUMBERS || numbers.contains_key(id) {
        let blocked = numbers.entry(id.to_owned()).or_default();
        blocked.retain(|user| !users.contains(user));
        blocked.extend(users.iter().filter(|_| block).cloned());
        blocked.truncate(64_000);
    }
    let entry = |user: &String| object([("input", user.as_str().into()), ("wa_id", user.as_str().into())]);
    let entries: Vec<Json> = users.iter().map(entry).collect();
    let done = if block { "added_users" } else { "removed_users" };
    Ok(object([("messaging_product", "whatsapp".into()), ("block_users", object([(done, entries.into())]))]))
}

/// `POST /{number}/calls`.
pub(super) async fn calls(call: &Call<'_>, id: &str, body: Incoming) -> Result<Json, GraphError> {
    call.needs_sender(id)?;
    let body = call::json(body).await?;
    check_product(&body)?;
    if body.get("action").and_then(Value::as_str) != Some("connect") {
        return Ok(success());
    }
    let wacid = ids::wamid(body.get("to").and_then(Value::as_str).unwrap_or(id)).replace("wamid.", "wacid.");
    let made = vec![object([("id", wacid.into())])];
    Ok(object([("messaging_product", "whatsapp".into()), ("calls", made.into()), ("success", true.into())]))
}
