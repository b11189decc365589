//! Calls about apps: their webhooks, the accounts that they are subscribed to, and tokens for
//! others.

use http::Method;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::GraphError;
use crate::ids::{self, APP};
use crate::json::GraphJson;
use crate::store::token::Grant;

/// `/{account}/subscribed_apps`.
pub(crate) async fn subscribed(
    call: &Call<'_>,
    account: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let list = format!("{account}/subscribed_apps");
    let kept = &call.state.kept;
    match call.method.as_str() {
        "GET" if is_subscribed(call, &list) => {
            let app = SubscribedApp {
                override_callback_uri: account_callback(call, account),
                whatsapp_business_api_data: AppData {
                    link: format!("https://www.facebook.com/games/?app_id={APP}"),
                    name: "Sandbox",
                    id: APP,
                },
            };
            Ok(GraphJson::new(&Apps { data: [app] }))
        }
        "GET" => Ok(GraphJson::new(&json!({"data": []}))),
        "DELETE" => {
            kept.remove(&list, APP);
            kept.note_deleted(&list, APP);
            Ok(GraphJson::success())
        }
        _ => {
            let given = call.given(body).await?;
            kept.remove(&list, APP);
            kept.add(&list, APP, APP, given);
            Ok(GraphJson::success())
        }
    }
}

/// True if the app gets the events of an account: as calls have said, or else as the sandbox was
/// started.
fn is_subscribed(call: &Call<'_>, list: &str) -> bool {
    let kept = &call.state.kept;
    if kept.is_deleted(list, APP) {
        return false;
    }
    call.state.rules.standing.subscribed || kept.read(list, APP).is_some()
}

/// Returns the callback URL of an account in the place of the app's.
pub(crate) fn account_callback(call: &Call<'_>, account: &str) -> Option<String> {
    let list = format!("{account}/subscribed_apps");
    match call.state.kept.read(&list, APP) {
        None => call.state.rules.standing.account_callback.clone(),
        Some(set) => Some(set.get("override_callback_uri")?.as_str()?.to_owned()),
    }
}

#[derive(Serialize)]
struct Apps {
    data: [SubscribedApp; 1],
}

#[derive(Serialize)]
struct SubscribedApp {
    whatsapp_business_api_data: AppData,
    #[serde(skip_serializing_if = "Option::is_none")]
    override_callback_uri: Option<String>,
}

#[derive(Serialize)]
struct AppData {
    link: String,
    name: &'static str,
    id: &'static str,
}

/// `/{app}/subscriptions`: the webhooks of the app, for the app's own token.
pub(crate) async fn subscriptions(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    if id != APP {
        return Err(call.unknown(id));
    }
    let kept = &call.state.kept;
    if call.method != Method::GET {
        let given = call.given(body).await?;
        let object = given.get("object").and_then(Value::as_str);
        let object = object.unwrap_or(ACCOUNT_OBJECT).to_owned();
        kept.remove(SUBSCRIPTIONS, &object);
        kept.note_deleted(SUBSCRIPTIONS, &object);
        if call.method == Method::POST {
            kept.add(
                SUBSCRIPTIONS,
                &object,
                &object,
                subscription(&object, &given),
            );
        }
        return Ok(GraphJson::success());
    }
    let mut all = kept.list(SUBSCRIPTIONS).unwrap_or_default();
    let is_settled = |object: &str| {
        let known = kept.read(SUBSCRIPTIONS, object);
        known.is_some() || kept.is_deleted(SUBSCRIPTIONS, object)
    };
    if let Some(callback) = callback(call).filter(|_| !is_settled(ACCOUNT_OBJECT)) {
        let given = Map::from_iter([("callback_url".to_owned(), json!(callback))]);
        all.push(Value::Object(subscription(ACCOUNT_OBJECT, &given)));
    }
    Ok(GraphJson::new(&json!({ "data": all })))
}

fn subscription(object: &str, given: &Map<String, Value>) -> Map<String, Value> {
    let fields = match given.get("fields") {
        Some(Value::String(names)) => names.split(',').map(str::to_owned).collect(),
        _ => vec!["messages".to_owned()],
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|name| json!({"name": name, "version": "v26.0"}))
        .collect();
    let callback = given.get("callback_url");
    Map::from_iter([
        ("object".to_owned(), json!(object)),
        ("callback_url".to_owned(), json!(callback)),
        ("active".to_owned(), json!(true)),
        ("fields".to_owned(), json!(fields)),
    ])
}

/// Returns the callback URL of the first subscribed app.
pub(crate) fn callback(call: &Call<'_>) -> Option<String> {
    let apps = call.state.webhooks.apps();
    apps.into_iter().next().map(|(_, callback)| callback)
}

/// The answer to a call for a token of somebody else: a new token, which is good.
pub(crate) fn token(call: &Call<'_>) -> GraphJson {
    let token = ids::token();
    call.state.tokens.issue(&token, Grant::usual());
    GraphJson::new(&json!({ "access_token": token }))
}

/// The object of events about messages.
const ACCOUNT_OBJECT: &str = "whatsapp_business_account";

/// The name of the list of what calls have subscribed.
const SUBSCRIPTIONS: &str = "subscriptions";
