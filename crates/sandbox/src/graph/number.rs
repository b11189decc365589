//! Calls about phone numbers: their description, registration and settings.

use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::app;
use super::call::{Call, read_product_json};
use super::error::GraphError;
use super::page::Page;
use super::setting::Setting;
use crate::ids::{ACCOUNT, SENDER};
use crate::json::{GraphJson, Selected};

/// `GET /{number}`; `None` for an id that is no number. If any number may send, an id with fields
/// counts as a number: templates, files and accounts have been ruled out before.
pub(crate) fn read(call: &Call<'_>, id: &str) -> Option<GraphJson> {
    let fields = call.query.fields();
    if !call.state.is_sender(id) || !(is_certain(call, id) || fields.is_some()) {
        return None;
    }
    let fields = fields.as_deref();
    let number = Number::new(call, id, fields.unwrap_or_default());
    Some(GraphJson::new(&Selected::new(number, fields, "id")))
}

/// `POST /{number}`; `None` for an id that is no number. If any number may send, an id with a
/// setting of numbers counts as a number.
pub(crate) fn change(
    call: &Call<'_>,
    id: &str,
    mut given: Map<String, Value>,
) -> Option<GraphJson> {
    let has_setting = given.keys().any(|name| SETTINGS.contains(&name.as_str()));
    if !call.state.is_sender(id) || !(is_certain(call, id) || has_setting) {
        return None;
    }
    if given.remove("pin").is_some() {
        given.insert("is_pin_enabled".to_owned(), json!(true));
    }
    if given.contains_key("new_display_name") {
        given.insert("new_name_status".to_owned(), json!("PENDING_REVIEW"));
    }
    note(call, id, given);
    Some(GraphJson::success())
}

/// True for an id that is a number whatever a call says about the id.
fn is_certain(call: &Call<'_>, id: &str) -> bool {
    !call.state.rules.senders.is_empty() || id == SENDER
}

/// `POST /{number}/register`, `/deregister`, `/request_code` and `/verify_code`, of a sender or a
/// number that a call has added.
pub(crate) async fn registration(
    call: &Call<'_>,
    id: &str,
    step: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    if call.state.kept.list_with(id).is_none() {
        call.require_sender(id)?;
    }
    let (name, value) = match step {
        "register" => {
            let body = read_product_json(body).await?;
            if body.get("pin").is_none() {
                return Err(GraphError::required("pin"));
            }
            ("status", "CONNECTED")
        }
        "deregister" => ("status", "DISCONNECTED"),
        "verify_code" => ("code_verification_status", "VERIFIED"),
        _ => return Ok(GraphJson::success()),
    };
    note(call, id, Map::from_iter([(name.to_owned(), json!(value))]));
    Ok(GraphJson::success())
}

/// Keeps what a call has set.
fn note(call: &Call<'_>, id: &str, changes: Map<String, Value>) {
    let kept = &call.state.kept;
    let list = kept.list_with(id).unwrap_or_else(|| NUMBERS.to_owned());
    if kept.change(&list, id, &changes).is_none() {
        kept.add(&list, id, id, changes);
    }
}

/// `GET /{account}/phone_numbers`: the senders, and the numbers that calls have added.
pub(crate) fn list(call: &Call<'_>, account: &str) -> GraphJson {
    let senders = &call.state.rules.senders;
    let ids: Vec<&str> = if senders.is_empty() {
        vec![SENDER]
    } else {
        senders.iter().map(String::as_str).collect()
    };
    let fields = call.query.fields();
    let fields = fields.as_deref();
    let numbers = ids.into_iter().map(|id| {
        let number = Number::new(call, id, fields.unwrap_or_default());
        Listed::Sender(Box::new(Selected::new(number, fields, "id")))
    });
    let added = call.state.kept.list(&format!("{account}/phone_numbers"));
    let added = added.unwrap_or_default().into_iter();
    let added = added.map(|number| Listed::Added(Selected::new(number, fields, "id")));
    GraphJson::new(&Page::new(call, numbers.chain(added).collect()))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Sender(Box<Selected<Number<'a>>>),
    Added(Selected<Value>),
}

#[derive(Serialize)]
struct Number<'a> {
    verified_name: &'a str,
    code_verification_status: String,
    display_phone_number: &'a str,
    quality_rating: &'a str,
    platform_type: &'a str,
    throughput: Throughput<'a>,
    account_mode: &'a str,
    status: String,
    name_status: &'a str,
    new_name_status: String,
    is_official_business_account: bool,
    is_pin_enabled: bool,
    search_visibility: &'a str,
    messaging_limit_tier: &'a str,
    whatsapp_business_manager_messaging_limit: &'a str,
    is_on_biz_app: bool,
    health_status: Health<'a>,
    webhook_configuration: Callbacks,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_display_name: Option<String>,
    /// A field that only a call has that names the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversational_automation: Option<Value>,
    id: &'a str,
}

/// The obstacles to messages:
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/health-status>.
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

#[derive(Serialize)]
struct Throughput<'a> {
    level: &'a str,
}

impl<'a> Number<'a> {
    /// Describes a number. `fields` are the fields that the call names.
    fn new(call: &Call<'a>, id: &'a str, fields: &[&str]) -> Self {
        let standing = &call.state.rules.standing;
        let set = call.state.kept.read(NUMBERS, id);
        let set = set.unwrap_or_default();
        let text = |name: &str| set.get(name).and_then(Value::as_str).map(str::to_owned);
        let or = |name: &str, usual: &str| text(name).unwrap_or_else(|| usual.to_owned());
        let callback = set.pointer("/webhook_configuration/override_callback_uri");
        let callback = match callback.and_then(Value::as_str) {
            Some("") => None,
            Some(callback) => Some(callback.to_owned()),
            None => standing.number_callback.clone(),
        };
        let automation = Setting::at("conversational_automation");
        let automation = automation.filter(|_| fields.contains(&"conversational_automation"));
        Self {
            verified_name: "Test Number",
            code_verification_status: or("code_verification_status", "NOT_VERIFIED"),
            display_phone_number: "+1 555-093-4873",
            quality_rating: &standing.quality,
            platform_type: "CLOUD_API",
            throughput: Throughput { level: "STANDARD" },
            account_mode: "SANDBOX",
            status: or("status", &standing.number_status),
            name_status: "AVAILABLE_WITHOUT_REVIEW",
            new_name_status: or("new_name_status", "NONE"),
            is_official_business_account: false,
            is_pin_enabled: true,
            search_visibility: "NON_VISIBLE",
            messaging_limit_tier: &standing.tier,
            whatsapp_business_manager_messaging_limit: &standing.tier,
            is_on_biz_app: false,
            health_status: Health::new(&standing.health, id),
            webhook_configuration: Callbacks {
                phone_number: callback,
                whatsapp_business_account: app::account_callback(call, ACCOUNT),
                application: app::callback(call),
            },
            new_display_name: text("new_display_name"),
            conversational_automation: automation
                .and_then(|setting| setting.current(call, id))
                .map(Value::Object),
            id,
        }
    }
}

/// The name of the list of what calls have set on numbers.
const NUMBERS: &str = "numbers";

/// The settings of a number that a call of the bare id changes.
const SETTINGS: [&str; 4] = ["pin", "webhook_configuration", "new_display_name", "status"];
