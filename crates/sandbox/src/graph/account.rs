//! Calls about accounts and what belongs to a number: profiles, block lists, payments, voice calls.

use http::Method;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Call, read_product_json};
use super::error::GraphError;
use super::media;
use super::number;
use super::page::Page;
use crate::ids::{self, ACCOUNT};
use crate::json::{GraphJson, Selected};
use crate::store::token::MESSAGING;

/// `GET /{id}`: a file, a template, an account or a number.
pub(crate) fn read(call: &Call<'_>, id: &str) -> Result<GraphJson, GraphError> {
    if let Some(file) = call.state.media.get(id) {
        call.caller.require(MESSAGING)?;
        return media::describe(call, &file);
    }
    let selection = call.query.fields();
    let fields = selection.as_deref();
    if let Some(template) = call.state.templates.get(id) {
        return Ok(GraphJson::new(&Selected::new(template, fields, "id")));
    }
    if is_account(id, fields) {
        return Ok(GraphJson::new(&Selected::new(
            Account::new(id),
            fields,
            "id",
        )));
    }
    number::read(call, id).ok_or_else(|| call.unknown(id))
}

/// `POST /{id}` of an account or a number.
pub(crate) async fn change(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let given = call.given(body).await?;
    if id == ACCOUNT {
        return Ok(GraphJson::success());
    }
    number::change(call, id, given).ok_or_else(|| call.unknown(id))
}

/// Returns true for the known account, and for any id if a requested field exists only for
/// accounts.
fn is_account(id: &str, fields: Option<&[&str]>) -> bool {
    let names = fields.unwrap_or_default();
    id == ACCOUNT || names.iter().any(|name| ACCOUNT_FIELDS.contains(name))
}

#[derive(Serialize)]
struct Account<'a> {
    id: &'a str,
    name: &'a str,
    currency: &'a str,
    timezone_id: &'a str,
    message_template_namespace: &'a str,
    account_review_status: &'a str,
}

impl<'a> Account<'a> {
    fn new(id: &'a str) -> Self {
        Self {
            id,
            name: "Sandbox",
            currency: "USD",
            timezone_id: "1",
            message_template_namespace: "4c3a0a3e_9e3c_4e38_9b5e_6f0a3f5d9c11",
            account_review_status: "APPROVED",
        }
    }
}

/// `/{number}/whatsapp_business_profile`.
pub(crate) async fn profile(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.require_sender(id)?;
    if call.method == Method::POST {
        let body = read_product_json(body).await?;
        call.state.numbers.set_profile(id, body);
        return Ok(GraphJson::success());
    }
    let set = call.state.numbers.profile(id).unwrap_or_default();
    let fields = call.query.fields();
    let profile = Selected::new(
        BusinessProfile::new(&set),
        fields.as_deref(),
        "messaging_product",
    );
    Ok(GraphJson::new(&Data { data: [profile] }))
}

#[derive(Serialize)]
struct Data<T> {
    data: [T; 1],
}

#[derive(Serialize)]
struct BusinessProfile {
    about: Value,
    address: Value,
    description: Value,
    email: Value,
    vertical: Value,
    profile_picture_url: Value,
    websites: Value,
    messaging_product: &'static str,
}

impl BusinessProfile {
    /// The profile with the values that a call has set, and samples for all other values.
    fn new(set: &Value) -> Self {
        let value = |name: &str, sample: Value| set.get(name).cloned().unwrap_or(sample);
        Self {
            about: value("about", json!("A sandbox")),
            address: value("address", json!("123, Main Street, New York, NY, 10001")),
            description: value("description", json!("This is a description")),
            email: value("email", json!("testing@example.com")),
            vertical: value("vertical", json!("OTHER")),
            profile_picture_url: value(
                "profile_picture_url",
                json!("https://pps.whatsapp.net/sandbox.jpg"),
            ),
            websites: value("websites", json!([])),
            messaging_product: "whatsapp",
        }
    }
}

/// `/{number}/block_users`.
pub(crate) async fn block_users(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.require_sender(id)?;
    let numbers = &call.state.numbers;
    if call.method == Method::GET {
        let entries = numbers
            .blocked(id)
            .into_iter()
            .map(|user| BlockedUser::new(user, Some("whatsapp")));
        return Ok(GraphJson::new(&Page::new(call, entries.collect())));
    }
    let body = read_product_json(body).await?;
    let named = |user: &Value| {
        user.get("user")
            .and_then(Value::as_str)
            .or_else(|| user.get("user_id").and_then(Value::as_str))
            .map(str::to_owned)
    };
    let users: Vec<String> = body
        .get("block_users")
        .and_then(Value::as_array)
        .ok_or_else(|| GraphError::required("block_users"))?
        .iter()
        .filter_map(named)
        .collect();
    let entries = |users: Vec<String>| {
        users
            .into_iter()
            .map(|user| BlockedUser::new(user, None))
            .collect()
    };
    let changed = if call.method == Method::POST {
        numbers.block(id, &users);
        ChangedUsers::AddedUsers(entries(users))
    } else {
        numbers.unblock(id, &users);
        ChangedUsers::RemovedUsers(entries(users))
    };
    Ok(GraphJson::new(&BlockAnswer {
        messaging_product: "whatsapp",
        block_users: changed,
    }))
}

#[derive(Serialize)]
struct BlockedUser {
    /// A field of lists only. Meta's documentation lacks `input` in lists, but pywa 4.5.0 cannot
    /// read them without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    messaging_product: Option<&'static str>,
    input: String,
    wa_id: String,
}

impl BlockedUser {
    fn new(user: String, messaging_product: Option<&'static str>) -> Self {
        Self {
            messaging_product,
            input: user.clone(),
            wa_id: user,
        }
    }
}

#[derive(Serialize)]
struct BlockAnswer {
    messaging_product: &'static str,
    block_users: ChangedUsers,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ChangedUsers {
    AddedUsers(Vec<BlockedUser>),
    RemovedUsers(Vec<BlockedUser>),
}

/// `GET /{number}/payments/{configuration}/{reference}`.
pub(crate) fn payment(reference: &str) -> GraphJson {
    GraphJson::new(&json!({"payments": [{
        "reference_id": reference, "status": "pending", "currency": "INR",
        "amount": {"value": 21000, "offset": 100}, "transactions": [],
    }]}))
}

/// `POST /{number}/calls`.
pub(crate) async fn calls(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.require_sender(id)?;
    let body = read_product_json(body).await?;
    if body.get("action").and_then(Value::as_str) != Some("connect") {
        return Ok(GraphJson::success());
    }
    let callee = body.get("to").and_then(Value::as_str).unwrap_or(id);
    let call_id = ids::wamid(callee).replace("wamid.", "wacid.");
    Ok(GraphJson::new(&CallAnswer {
        messaging_product: "whatsapp",
        calls: [StartedCall { id: call_id }],
        success: true,
    }))
}

#[derive(Serialize)]
struct CallAnswer {
    messaging_product: &'static str,
    calls: [StartedCall; 1],
    success: bool,
}

#[derive(Serialize)]
struct StartedCall {
    id: String,
}

/// The fields that only accounts have.
const ACCOUNT_FIELDS: [&str; 6] = [
    "message_template_namespace",
    "timezone_id",
    "currency",
    "account_review_status",
    "owner_business_info",
    "on_behalf_of_business_info",
];
