//! Calls about flows and QR codes, which an application makes, lists, reads, changes and deletes.
//!
//! An account or number without any has the samples in [`super::sample`].

use http::Method;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::call::{Call, read_json};
use super::error::GraphError;
use super::page::Page;
use crate::ids;
use crate::json::{GraphJson, Selected};

/// `/{account}/flows`; `None` for the list of an account that has made none.
pub(crate) async fn flows(
    call: &Call<'_>,
    account: &str,
    body: Incoming,
) -> Result<Option<GraphJson>, GraphError> {
    let list = format!("{account}/flows");
    if call.method == Method::GET {
        return Ok(listed(call, &list, "id"));
    }
    let body = read_json(body).await?;
    let name = required(call, &body, "name")?;
    let id = call.state.objects.create();
    let is_published = body.get("publish") == Some(&Value::Bool(true));
    let flow = json!({
        "id": id, "name": name, "status": if is_published { "PUBLISHED" } else { "DRAFT" },
        "categories": body.get("categories").cloned().unwrap_or_else(|| json!(["OTHER"])),
        "validation_errors": [],
    });
    call.state.kept.add(&list, &id, &id, fields_of(flow));
    Ok(Some(GraphJson::new(
        &json!({"id": id, "success": true, "validation_errors": []}),
    )))
}

/// `/{flow}`.
pub(crate) async fn flow(
    call: &Call<'_>,
    id: &str,
    list: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let changes = match call.method.as_str() {
        "GET" => Map::new(),
        "DELETE" => {
            call.state.kept.remove(list, id);
            call.state.objects.remove(id);
            return Ok(GraphJson::success());
        }
        _ => {
            let body = read_json(body).await?;
            let known =
                ["name", "categories"].map(|name| Some((name.to_owned(), body.get(name)?.clone())));
            known.into_iter().flatten().collect()
        }
    };
    let flow = call.state.kept.change(list, id, &changes);
    let flow = flow.ok_or_else(|| call.unknown(id))?;
    if call.method != Method::GET {
        return Ok(GraphJson::success());
    }
    let fields = call.query.fields();
    Ok(GraphJson::new(&Selected::new(
        flow,
        fields.as_deref(),
        "id",
    )))
}

/// `POST /{flow}/publish` and `/deprecate`.
pub(crate) fn flow_status(call: &Call<'_>, id: &str, edge: &str) -> GraphJson {
    let status = match edge {
        "publish" => "PUBLISHED",
        _ => "DEPRECATED",
    };
    if let Some(list) = call.state.kept.list_with(id) {
        let changes = fields_of(json!({ "status": status }));
        call.state.kept.change(&list, id, &changes);
    }
    GraphJson::success()
}

/// `/{number}/message_qrdls`; `None` for the list of a number that has made none.
pub(crate) async fn codes(
    call: &Call<'_>,
    number: &str,
    body: Incoming,
) -> Result<Option<GraphJson>, GraphError> {
    let list = format!("{number}/message_qrdls");
    if call.method == Method::GET {
        return Ok(listed(call, &list, "code"));
    }
    let body = read_json(body).await?;
    if call.method == Method::DELETE {
        let code = required(call, &body, "code")?;
        call.state.kept.remove(&list, &code);
        return Ok(Some(GraphJson::success()));
    }
    let message = required(call, &body, "prefilled_message")?;
    let changed = fields_of(json!({ "prefilled_message": message }));
    let code = match parameter(call, &body, "code") {
        Some(code) => code,
        None => {
            let code = ids::hex(14).to_ascii_uppercase();
            call.state
                .kept
                .add(&list, &code, &code, described(&code, &message));
            code
        }
    };
    let kept = call.state.kept.change(&list, &code, &changed);
    // A code of the samples was made by nobody here, and is answered as one.
    Ok(kept.map(|kept| GraphJson::new(&kept)))
}

/// `/{number}/message_qrdls/{code}`.
pub(crate) async fn code(
    call: &Call<'_>,
    number: &str,
    code: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let list = format!("{number}/message_qrdls");
    let kept = &call.state.kept;
    if kept.is_deleted(&list, code) {
        return Err(call.unknown(code));
    }
    if call.method == Method::DELETE {
        kept.remove(&list, code);
        return Ok(GraphJson::success());
    }
    let mut changes = Map::new();
    if call.method == Method::POST {
        let message = required(call, &read_json(body).await?, "prefilled_message")?;
        changes.insert("prefilled_message".to_owned(), json!(message));
    }
    let found = kept
        .change(&list, code, &changes)
        .unwrap_or_else(|| Value::Object(described(code, "Hello")));
    let fields = call.query.fields();
    let selected = Selected::new(found, fields.as_deref(), "code");
    Ok(GraphJson::new(&json!({ "data": [selected] })))
}

fn described(code: &str, message: &str) -> Map<String, Value> {
    let link = format!("https://wa.me/message/{code}");
    fields_of(json!({"code": code, "prefilled_message": message, "deep_link_url": link}))
}

fn listed(call: &Call<'_>, list: &str, key: &str) -> Option<GraphJson> {
    let fields = call.query.fields();
    let items = call
        .state
        .kept
        .list(list)?
        .into_iter()
        .map(|item| Selected::new(item, fields.as_deref(), key))
        .collect();
    Some(GraphJson::new(&Page::new(call, items)))
}

/// True for the list of an account's flows.
pub(crate) fn is_of_flows(list: &str) -> bool {
    list.ends_with("/flows")
}

/// A parameter of the body or of the query: Graph takes both.
fn parameter(call: &Call<'_>, body: &Value, name: &str) -> Option<String> {
    let text = body.get(name).and_then(Value::as_str);
    text.or_else(|| call.query.get(name)).map(str::to_owned)
}

fn required(call: &Call<'_>, body: &Value, name: &str) -> Result<String, GraphError> {
    parameter(call, body, name).ok_or_else(|| GraphError::required(name))
}

fn fields_of(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
