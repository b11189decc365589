//! Calls about accounts and phone numbers: descriptions, profiles, registration, block lists, voice calls.

use http::Method;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Call, read_product_json};
use super::error::GraphError;
use super::media;
use super::page::Page;
use crate::ids::{self, ACCOUNT, APP, SENDER};
use crate::json::{GraphJson, Selected};
use crate::store::token::MESSAGING;

/// `GET /{id}`: a file, a template, an account or a number.
pub(crate) fn read(call: &Call<'_>, id: &str) -> Result<GraphJson, GraphError> {
    if let Some(file) = call.state.media.get(id) {
        call.caller.require(MESSAGING)?;
        return media::describe(call, &file);
    }
    let fields = call.query.fields();
    let fields = fields.as_deref();
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
    if is_number(call, id) {
        return Ok(GraphJson::new(&Selected::new(
            Number::new(call, id),
            fields,
            "id",
        )));
    }
    Err(call.unknown(id))
}

/// Returns true for the known account, and for any id if a requested field exists only for accounts.
fn is_account(id: &str, fields: Option<&[&str]>) -> bool {
    let names = fields.unwrap_or_default();
    id == ACCOUNT || names.iter().any(|name| ACCOUNT_FIELDS.contains(name))
}

/// Returns true for a sender. If any number may send, an id with fields counts as a number: templates, files and
/// accounts have been ruled out before.
fn is_number(call: &Call<'_>, id: &str) -> bool {
    let is_certain =
        !call.state.rules.senders.is_empty() || id == SENDER || call.query.fields().is_some();
    is_certain && call.state.is_sender(id)
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

#[derive(Serialize)]
struct Number<'a> {
    verified_name: &'a str,
    code_verification_status: &'a str,
    display_phone_number: &'a str,
    quality_rating: &'a str,
    platform_type: &'a str,
    throughput: Throughput<'a>,
    account_mode: &'a str,
    status: &'a str,
    name_status: &'a str,
    new_name_status: &'a str,
    is_official_business_account: bool,
    is_pin_enabled: bool,
    search_visibility: &'a str,
    messaging_limit_tier: &'a str,
    whatsapp_business_manager_messaging_limit: &'a str,
    is_on_biz_app: bool,
    health_status: Health<'a>,
    webhook_configuration: Callbacks,
    id: &'a str,
}

/// The obstacles to messages: <https://developers.facebook.com/docs/whatsapp/cloud-api/health-status>.
#[derive(Serialize)]
struct Health<'a> {
    can_send_message: &'a str,
    entities: Vec<Value>,
}

impl<'a> Health<'a> {
    fn new(state: &'a str, number: &str) -> Self {
        let is_well = state == "AVAILABLE";
        let errors = json!([{
            "error_code": 141006,
            "error_description": "There is an error with the payment method. This will block business initiated conversations.",
            "possible_solution": "There was an error with your payment method. Please add a new payment method to the account.",
        }]);
        let account = if is_well {
            json!({"entity_type": "WABA", "id": ACCOUNT, "can_send_message": state})
        } else {
            json!({"entity_type": "WABA", "id": ACCOUNT, "can_send_message": state, "errors": errors})
        };
        let number =
            json!({"entity_type": "PHONE_NUMBER", "id": number, "can_send_message": "AVAILABLE"});
        Self {
            can_send_message: state,
            entities: vec![number, account],
        }
    }
}

/// The callback URLs of a number, of its account and of the app. A level without one is left out.
#[derive(Serialize)]
struct Callbacks {
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whatsapp_business_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
}

/// Returns the callback URL of the first subscribed app.
fn app_callback(call: &Call<'_>) -> Option<String> {
    let apps = call.state.webhooks.apps();
    apps.into_iter().next().map(|(_, callback)| callback)
}

#[derive(Serialize)]
struct Throughput<'a> {
    level: &'a str,
}

impl<'a> Number<'a> {
    fn new(call: &Call<'a>, id: &'a str) -> Self {
        let standing = &call.state.rules.standing;
        Self {
            verified_name: "Test Number",
            code_verification_status: "NOT_VERIFIED",
            display_phone_number: "+1 555-093-4873",
            quality_rating: &standing.quality,
            platform_type: "CLOUD_API",
            throughput: Throughput { level: "STANDARD" },
            account_mode: "SANDBOX",
            status: &standing.number_status,
            name_status: "AVAILABLE_WITHOUT_REVIEW",
            new_name_status: "NONE",
            is_official_business_account: false,
            is_pin_enabled: true,
            search_visibility: "NON_VISIBLE",
            messaging_limit_tier: &standing.tier,
            whatsapp_business_manager_messaging_limit: &standing.tier,
            is_on_biz_app: false,
            health_status: Health::new(&standing.health, id),
            webhook_configuration: Callbacks {
                phone_number: standing.number_callback.clone(),
                whatsapp_business_account: standing.account_callback.clone(),
                application: app_callback(call),
            },
            id,
        }
    }
}

/// `GET /{account}/phone_numbers`.
pub(crate) fn numbers(call: &Call<'_>) -> GraphJson {
    let senders = &call.state.rules.senders;
    let ids: Vec<&str> = if senders.is_empty() {
        vec![SENDER]
    } else {
        senders.iter().map(String::as_str).collect()
    };
    let fields = call.query.fields();
    let items = ids
        .into_iter()
        .map(|id| Selected::new(Number::new(call, id), fields.as_deref(), "id"));
    GraphJson::new(&Page::new(call, items.collect()))
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
    let profile = Profile::new(&set);
    let fields = call.query.fields();
    let profile = Selected::new(profile, fields.as_deref(), "messaging_product");
    Ok(GraphJson::new(&Data { data: [profile] }))
}

#[derive(Serialize)]
struct Data<T> {
    data: [T; 1],
}

#[derive(Serialize)]
struct Profile {
    about: Value,
    address: Value,
    description: Value,
    email: Value,
    vertical: Value,
    profile_picture_url: Value,
    websites: Value,
    messaging_product: &'static str,
}

impl Profile {
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

/// `POST /{number}/register`.
pub(crate) async fn register(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.require_sender(id)?;
    let body = read_product_json(body).await?;
    if body.get("pin").is_none() {
        return Err(GraphError::required("pin"));
    }
    Ok(GraphJson::success())
}

/// `/{account}/subscribed_apps`.
pub(crate) fn subscribed_apps(call: &Call<'_>) -> GraphJson {
    if call.method != Method::GET {
        return GraphJson::success();
    }
    let standing = &call.state.rules.standing;
    if !standing.subscribed {
        return GraphJson::new(&json!({"data": []}));
    }
    let app = SubscribedApp {
        override_callback_uri: standing.account_callback.clone(),
        whatsapp_business_api_data: AppData {
            link: format!("https://www.facebook.com/games/?app_id={APP}"),
            name: "Sandbox",
            id: APP,
        },
    };
    GraphJson::new(&Data { data: [app] })
}

#[derive(Serialize)]
struct SubscribedApp {
    whatsapp_business_api_data: AppData,
    #[serde(skip_serializing_if = "Option::is_none")]
    override_callback_uri: Option<String>,
}

/// `GET /{app}/subscriptions`: the webhook of the app, for the app's own token.
pub(crate) fn subscriptions(call: &Call<'_>, id: &str) -> Result<GraphJson, GraphError> {
    if id != APP {
        return Err(call.unknown(id));
    }
    let subscription = app_callback(call).map(|callback| {
        json!({
            "object": "whatsapp_business_account",
            "callback_url": callback,
            "active": true,
            "fields": [{"name": "messages", "version": "v26.0"}],
        })
    });
    let all: Vec<_> = subscription.into_iter().collect();
    Ok(GraphJson::new(&json!({ "data": all })))
}

#[derive(Serialize)]
struct AppData {
    link: String,
    name: &'static str,
    id: &'static str,
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
        let blocked = numbers.blocked(id).into_iter();
        let entries = blocked.map(|user| BlockedUser::new(user, Some("whatsapp")));
        return Ok(GraphJson::new(&Page::new(call, entries.collect())));
    }
    let body = read_product_json(body).await?;
    let users = body.get("block_users").and_then(Value::as_array);
    let users = users.ok_or_else(|| GraphError::required("block_users"))?;
    let named = |user: &Value| {
        let name = user.get("user").and_then(Value::as_str);
        let name = name.or_else(|| user.get("user_id").and_then(Value::as_str));
        name.map(str::to_owned)
    };
    let users: Vec<String> = users.iter().filter_map(named).collect();
    let entries = |users: Vec<String>| {
        let users = users.into_iter();
        users.map(|user| BlockedUser::new(user, None)).collect()
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
    /// A field of lists only. Meta's documentation lacks `input` in lists, but pywa 4.5.0 cannot read them without it.
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
