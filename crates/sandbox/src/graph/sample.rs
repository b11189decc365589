//! Calls that the sandbox answers with a sample: administration without a state of its own here.
//!
//! The answers have the keys of Meta's documentation and of its OpenAPI description, with values of
//! the sandbox.

use serde_json::{Value, json};

use super::call::Call;
use crate::json::GraphJson;

/// Returns the answer to a call of an edge; `None` for an edge that is not emulated.
pub(crate) fn answer(call: &Call<'_>, id: &str, edge: &str) -> Option<GraphJson> {
    let method = call.method.as_str();
    let (_, _, text) = SAMPLES
        .iter()
        .find(|(methods, name, _)| *name == edge && methods.split(' ').any(|own| own == method))?;
    let text = text.replace("@ID@", id);
    if text.contains("@NEW@") {
        return Some(written(
            &text.replace("@NEW@", &call.state.objects.create()),
        ));
    }
    Some(written(&text))
}

/// Returns the answer to a call of a path that is no object with an edge.
pub(crate) fn fixed(call: &Call<'_>, segments: &[&str]) -> Option<GraphJson> {
    let text = match (call.method.as_str(), segments) {
        ("GET", ["me"]) => r#"{"id":"104169029247128","name":"Sandbox System User"}"#,
        ("GET", ["app"]) => r#"{"id":"634974688087057","name":"Sandbox"}"#,
        ("GET", ["me", "businesses"]) => r#"{"data":[{"id":"506914307656634","name":"Sandbox"}]}"#,
        ("GET", ["message_template_library"]) => {
            r#"{"data":[{"name":"group_invite_link_1","language":"en","category":"UTILITY","topic":"GROUP_INVITE_LINK","usecase":"GROUP_INVITE_LINK","industry":["E_COMMERCE"],"body":"Join {{1}}","body_params":["Lucky Shrub"],"id":"7147013345418927"}]}"#
        }
        ("GET", ["me", "application_details"]) => r#"{"id":"634974688087057","name":"Sandbox"}"#,
        ("GET", ["signups", _]) => {
            r#"{"id":"7938475610293853","name":"Sandbox","status":"ACTIVE"}"#
        }
        ("POST", ["signups", _]) => r#"{"success":true}"#,
        _ => return None,
    };
    Some(written(text))
}

/// Describes an object that a call has made, in the words of a flow.
pub(crate) fn object(id: &str) -> GraphJson {
    GraphJson::new(&json!({
        "id": id, "name": "Sandbox", "status": "DRAFT", "categories": ["OTHER"], "validation_errors": [],
    }))
}

fn written(text: &str) -> GraphJson {
    GraphJson::new(&serde_json::from_str::<Value>(text).unwrap_or_default())
}

const SUCCESS: &str = r#"{"success":true}"#;
const EMPTY_LIST: &str = r#"{"data":[]}"#;
const NEW_ID: &str = r#"{"id":"@NEW@"}"#;

/// Methods, edge, answer. `@ID@` is the object of the call, `@NEW@` a new id.
#[rustfmt::skip]
const SAMPLES: [(&str, &str, &str); 50] = [
    ("GET", "compare", r#"{"data":[{"metric":"BLOCK_RATE","type":"RELATIVE","order_by_relative_metric":["@ID@"]},{"metric":"MESSAGE_SENDS","type":"NUMBER_VALUES","number_values":[{"key":"@ID@","value":1273}]},{"metric":"TOP_BLOCK_REASON","type":"STRING_VALUES","string_values":[{"key":"@ID@","value":"UNKNOWN_BLOCK_REASON"}]}]}"#),
    ("POST", "unpause", r#"{"success":true,"reason":"UNPAUSED"}"#),
    ("POST", "migrate_message_templates", r#"{"migrated_templates":["@NEW@"],"failed_templates":[]}"#),
    ("GET", "message_template_previews", r#"{"data":[{"body":"*{{1}}* is your verification code.","language":"en_US"}]}"#),
    ("GET", "template_analytics", r#"{"data":[{"granularity":"DAILY","product_type":"cloud_api","data_points":[]}]}"#),
    ("GET", "template_group_analytics", EMPTY_LIST),
    ("GET", "group_analytics", EMPTY_LIST),
    ("GET", "insights", EMPTY_LIST),
    ("GET", "message_history", r#"{"data":[{"id":"@NEW@","message_id":"wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA"}]}"#),
    ("GET", "events", r#"{"data":[{"delivery_status":"DELIVERED","application":{"id":"634974688087057"}}]}"#),
    ("GET", "flows", r#"{"data":[{"id":"1098765432109876","name":"sandbox","status":"DRAFT","categories":["OTHER"],"validation_errors":[]}]}"#),
    ("GET", "assets", r#"{"data":[{"name":"flow.json","asset_type":"FLOW_JSON","download_url":"https://scontent.xx.fbcdn.net/sandbox"}]}"#),
    ("POST", "assets", r#"{"success":true,"validation_errors":[]}"#),
    ("POST", "migrate_flows", r#"{"migrated_flows":[{"source_id":"1098765432109876","source_name":"sandbox","migrated_id":"@NEW@"}],"failed_flows":[]}"#),
    ("GET", "message_qrdls", r#"{"data":[{"code":"4O4YGZEG3RIVE1","prefilled_message":"Hello","deep_link_url":"https://wa.me/message/4O4YGZEG3RIVE1"}]}"#),
    ("POST", "message_qrdls", r#"{"code":"4O4YGZEG3RIVE1","prefilled_message":"Hello","deep_link_url":"https://wa.me/message/4O4YGZEG3RIVE1"}"#),
    ("GET", "username_suggestions", r#"{"data":[{"username_suggestions":["sandbox","sandbox.shop"]}]}"#),
    ("GET", "call_permissions", r#"{"messaging_product":"whatsapp","permission":{"status":"temporary","expiration_time":1999999999},"actions":[{"action_name":"send_call_permission_request","can_perform_action":true,"limits":[{"time_period":"PT24H","max_allowed":1,"current_usage":0}]},{"action_name":"start_call","can_perform_action":true,"limits":[{"time_period":"PT24H","max_allowed":5,"current_usage":0}]}]}"#),
    ("POST", "payments_refund", r#"{"refund_id":"@NEW@","status":"pending"}"#),
    ("POST", "generate_payment_configuration_oauth_link", r#"{"oauth_url":"https://www.facebook.com/sandbox","expiration":1999999999}"#),
    ("GET", "activities", EMPTY_LIST),
    ("GET", "solutions", EMPTY_LIST),
    ("GET", "owned_whatsapp_business_accounts", r#"{"data":[{"id":"114503234599312","name":"Sandbox","currency":"USD","timezone_id":"1","message_template_namespace":"4c3a0a3e_9e3c_4e38_9b5e_6f0a3f5d9c11"}]}"#),
    ("GET", "client_whatsapp_business_accounts", EMPTY_LIST),
    ("GET", "assigned_whatsapp_business_accounts", EMPTY_LIST),
    ("GET", "extendedcredits", EMPTY_LIST),
    ("GET", "system_users", EMPTY_LIST),
    ("POST", "smb_app_data", r#"{"messaging_product":"whatsapp","request_id":"@NEW@"}"#),
    ("GET", "signups", r#"{"data":[{"id":"7938475610293853","name":"Sandbox","status":"ACTIVE"}]}"#),
    ("GET", "connected_client_businesses", EMPTY_LIST),
    ("GET", "in_progress_onbehalf_request", EMPTY_LIST),
    ("GET", "payment_configurations", r#"{"data":[{"payment_configurations":[]}]}"#),
    ("GET", "product_catalogs", EMPTY_LIST),
    ("GET", "welcome_message_sequences", EMPTY_LIST),
    ("GET", "assigned_users", EMPTY_LIST),
    ("GET", "schedules", EMPTY_LIST),
    ("GET", "preverified_numbers", EMPTY_LIST),
    ("GET", "partners", EMPTY_LIST),
    ("GET", "whatsapp_business_solutions", EMPTY_LIST),
    ("GET", "whatsapp_business_accounts", EMPTY_LIST),
    ("GET", "owning_credit_allocation_configs", EMPTY_LIST),
    ("GET", "self_certified_whatsapp_business_submissions", EMPTY_LIST),
    ("POST", "events", r#"{"events_received":1}"#),
    ("POST", "onboard_partners_to_mm_lite", SUCCESS),
    ("POST", "migration_intent", NEW_ID),
    ("POST", "set_solution_migration_intent", SUCCESS),
    ("POST", "obo_mobility_intent", SUCCESS),
    ("POST", "set_obo_mobility_intent", SUCCESS),
    ("POST", "whatsapp_credit_sharing", SUCCESS),
    ("POST", "whatsapp_credit_attach", SUCCESS),
];

/// Returns true for an edge that the sandbox answers with a sample and that belongs to sending.
pub(crate) fn is_messaging(edge: &str) -> bool {
    MESSAGING.contains(&edge)
}

/// The sampled edges that need the scope for messaging.
const MESSAGING: [&str; 2] = ["call_permissions", "payments_refund"];
