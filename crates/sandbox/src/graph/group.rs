//! Calls about groups: their settings, invite links, members, and requests to join.

use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Call, read_bytes, read_json, read_product_json};
use super::error::GraphError;
use crate::ids;
use crate::json::{GraphJson, Selected};
use crate::store::group::Group;

/// `/{sender}/groups`.
pub(crate) async fn of_sender(
    call: &Call<'_>,
    sender: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.require_sender(sender)?;
    if call.method == http::Method::GET {
        let groups: Vec<_> = call
            .state
            .groups
            .of_sender(sender)
            .iter()
            .map(listed)
            .collect();
        return Ok(GraphJson::new(&json!({"data": {"groups": groups}})));
    }
    let body = read_product_json(body).await?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let subject = text("subject").ok_or_else(|| GraphError::required("subject"))?;
    let description = text("description").unwrap_or_default();
    let mode = text("join_approval_mode").unwrap_or("auto_approve");
    match call.state.groups.create(sender, subject, description, mode) {
        Some(_) => Ok(under_way()),
        None => Err(GraphError::parameter(
            "The sandbox has no room for another group.",
        )),
    }
}

fn listed(group: &Group) -> Value {
    json!({"id": group.id, "subject": group.subject, "created_at": group.created})
}

/// `/{group}`.
pub(crate) async fn object(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let group = call.state.groups.get(id).ok_or_else(|| call.unknown(id))?;
    match call.method.as_str() {
        "GET" => {
            let fields = call.query.fields();
            let described = Described::new(&group);
            Ok(GraphJson::new(&Selected::new(
                described,
                fields.as_deref(),
                "id",
            )))
        }
        "DELETE" => {
            call.state.groups.remove(id);
            Ok(under_way())
        }
        _ => {
            // A form with a picture is taken as it is; only JSON changes the subject here.
            let bytes = read_bytes(body, MAX_PICTURE).await?;
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            call.state.groups.change(id, |group| {
                let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
                group.subject = text("subject").unwrap_or_else(|| group.subject.clone());
                group.description =
                    text("description").unwrap_or_else(|| group.description.clone());
            });
            Ok(under_way())
        }
    }
}

#[derive(Serialize)]
struct Described<'a> {
    messaging_product: &'a str,
    id: &'a str,
    subject: &'a str,
    creation_timestamp: u64,
    suspended: bool,
    description: &'a str,
    total_participant_count: usize,
    participants: Vec<Value>,
    join_approval_mode: &'a str,
}

impl<'a> Described<'a> {
    fn new(group: &'a Group) -> Self {
        let participants = group.participants.iter();
        Self {
            messaging_product: "whatsapp",
            id: &group.id,
            subject: &group.subject,
            creation_timestamp: group.created,
            suspended: false,
            description: &group.description,
            total_participant_count: group.participants.len(),
            participants: participants.map(|user| person(user)).collect(),
            join_approval_mode: &group.join_approval_mode,
        }
    }
}

/// A user with the two names that Meta gives: the phone number, and the id for this business.
fn person(user: &str) -> Value {
    json!({"wa_id": user, "user_id": format!("US.{user}")})
}

/// `/{group}/{edge}`.
pub(crate) async fn edge(
    call: &Call<'_>,
    id: &str,
    edge: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let group = call.state.groups.get(id).ok_or_else(|| call.unknown(id))?;
    let body = read_json(body).await?;
    match (call.method.as_str(), edge) {
        ("GET", "invite_link") => Ok(invite_link(&group.invite)),
        ("POST", "invite_link") => {
            let invite = ids::hex(22);
            call.state
                .groups
                .change(id, |group| group.invite.clone_from(&invite));
            Ok(invite_link(&invite))
        }
        ("DELETE", "invite_link") => Ok(GraphJson::new(
            &json!({"messaging_product": "whatsapp", "success": "true"}),
        )),
        ("GET", "participants") => {
            let members = group.participants.iter().map(|user| person(user));
            Ok(GraphJson::new(
                &json!({"data": members.collect::<Vec<_>>()}),
            ))
        }
        ("POST" | "DELETE", "participants") => {
            let users = named(&body, "participants");
            let is_added = call.method == http::Method::POST;
            call.state.groups.change(id, |group| {
                group.participants.retain(|user| !users.contains(user));
                group
                    .participants
                    .extend(users.into_iter().filter(|_| is_added));
            });
            Ok(under_way())
        }
        ("GET", "join_requests") => {
            let asked = group.join_requests.iter().map(|(request, user)| {
                json!({"join_request_id": request, "wa_id": user, "user_id": format!("US.{user}"),
                       "creation_timestamp": group.created})
            });
            Ok(GraphJson::new(&json!({"data": asked.collect::<Vec<_>>()})))
        }
        ("POST" | "DELETE", "join_requests") => Ok(judge(call, id, &body)),
        _ => Err(GraphError::unknown_path(&format!("/{edge}"))),
    }
}

/// Approves or rejects requests to join.
fn judge(call: &Call<'_>, id: &str, body: &Value) -> GraphJson {
    let requests = named(body, "join_requests");
    let is_approved = call.method == http::Method::POST;
    call.state.groups.change(id, |group| {
        let (judged, rest) = std::mem::take(&mut group.join_requests)
            .into_iter()
            .partition::<Vec<_>, _>(|(request, _)| requests.contains(request));
        group.join_requests = rest;
        let users = judged.into_iter().map(|(_, user)| user);
        group.participants.extend(users.filter(|_| is_approved));
    });
    let key = if is_approved {
        "approved_join_requests"
    } else {
        "rejected_join_requests"
    };
    // pywa 4.5.0 cannot read the answer without `request_id`, which Meta's documentation lacks.
    GraphJson::new(&json!({
        "messaging_product": "whatsapp", "request_id": ids::object_id(), key: requests,
    }))
}

/// The texts of a list in a body, or the users of its objects.
fn named(body: &Value, list: &str) -> Vec<String> {
    let items = body
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let name = |item: &Value| {
        item.as_str()
            .or_else(|| item.get("user")?.as_str())
            .map(str::to_owned)
    };
    items.filter_map(name).collect()
}

fn invite_link(invite: &str) -> GraphJson {
    let link = format!("https://chat.whatsapp.com/{invite}");
    GraphJson::new(&json!({"messaging_product": "whatsapp", "invite_link": link}))
}

/// The answer to a change of a group, which an event settles later. The two sources differ: Meta's
/// description has `success`, its documentation `request_id`.
fn under_way() -> GraphJson {
    GraphJson::new(&json!({
        "messaging_product": "whatsapp", "request_id": ids::object_id(), "success": true,
    }))
}

/// The largest picture of a group, in bytes: as large as a picture in a message.
const MAX_PICTURE: usize = 5 * 1024 * 1024;
