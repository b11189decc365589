//! Edges that make objects, and edges that list them: what a call has made is listed, read, changed
//! and deleted.
//!
//! The objects and answers have the keys of Meta's documentation and of its OpenAPI description
//! where these tell them. No source tells the answers about migrations, intents and shared credit
//! beyond `success` and an id.

use http::Method;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::GraphError;
use super::page::Page;
use crate::json::{GraphJson, Selected};

/// An edge that makes objects, with the edge that lists them.
pub(crate) struct List {
    /// The edge that makes an object, and deletes one by its key.
    make: &'static str,
    /// The edge that lists the objects.
    list: &'static str,
    /// The parameter that names an object in a call.
    key: &'static str,
    id: Id,
    owner: Owner,
    /// The fields of a new object; `@ID@` is its id.
    item: &'static str,
    /// The answer to the call that made an object.
    answer: &'static str,
}

/// The id of a new object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    /// A new id, by which the object is read.
    New,
    /// The key that the call gives.
    Given,
}

/// The object whose edge lists the objects.
#[derive(Clone, Copy)]
enum Owner {
    /// The object of the call.
    OfCall,
    /// The object that a parameter of the call names.
    Named(&'static str),
}

/// Answers a call of an edge that makes or lists objects; `None` for a list in which no call has
/// made one.
pub(crate) async fn answer(
    call: &Call<'_>,
    id: &str,
    edge: &str,
    body: Incoming,
) -> Result<Option<GraphJson>, GraphError> {
    if call.method == Method::GET {
        let own = LISTS.iter().find(|list| list.list == edge);
        return Ok(own.and_then(|list| list.listed(call, id)));
    }
    let Some(own) = LISTS.iter().find(|list| list.make == edge) else {
        return Ok(None);
    };
    let given = call.given(body).await?;
    match call.method.as_str() {
        "POST" => own.make(call, id, given).map(Some),
        "DELETE" => own.delete(call, id, &given).map(Some),
        _ => Ok(None),
    }
}

impl List {
    fn path(&self, id: &str, given: &Map<String, Value>) -> Result<String, GraphError> {
        let owner = match self.owner {
            Owner::OfCall => id.to_owned(),
            Owner::Named(parameter) => required(given, parameter)?,
        };
        Ok(format!("{owner}/{}", self.list))
    }

    fn listed(&self, call: &Call<'_>, id: &str) -> Option<GraphJson> {
        let items = call.state.kept.list(&format!("{id}/{}", self.list))?;
        if self.list == PAYMENTS {
            return Some(GraphJson::new(&json!({"data": [{ PAYMENTS: items }]})));
        }
        let fields = call.query.fields();
        let items = items.into_iter();
        let items = items.map(|item| Selected::new(item, fields.as_deref(), "id"));
        Some(GraphJson::new(&Page::new(call, items.collect())))
    }

    fn make(
        &self,
        call: &Call<'_>,
        id: &str,
        given: Map<String, Value>,
    ) -> Result<GraphJson, GraphError> {
        let list = self.path(id, &given)?;
        let kept = &call.state.kept;
        let key = match self.id {
            Id::Given => Some(required(&given, self.key)?),
            Id::New => text(&given, self.key),
        };
        // A call that names an object changes the object.
        if let Some(key) = &key
            && kept.change(&list, key, &given).is_some()
        {
            return Ok(written(self.answer, key));
        }
        let new = match key {
            Some(key) if self.id == Id::Given => key,
            Some(key) => return Err(call.unknown(&key)),
            None => call.state.objects.create(),
        };
        let mut item = object(self.item, &new);
        item.extend(given);
        kept.add(&list, &new, &new, item);
        Ok(written(self.answer, &new))
    }

    fn delete(
        &self,
        call: &Call<'_>,
        id: &str,
        given: &Map<String, Value>,
    ) -> Result<GraphJson, GraphError> {
        let list = self.path(id, given)?;
        let key = required(given, self.key)?;
        if call.state.kept.remove(&list, &key) {
            call.state.objects.remove(&key);
        } else if call.state.kept.is_deleted(&list, &key) {
            return Err(call.unknown(&key));
        }
        Ok(GraphJson::success())
    }
}

/// `/{object}` of an object that a call has made.
pub(crate) async fn made(
    call: &Call<'_>,
    id: &str,
    list: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let kept = &call.state.kept;
    if call.method == Method::DELETE {
        kept.remove(list, id);
        call.state.objects.remove(id);
        return Ok(GraphJson::success());
    }
    if call.method == Method::GET {
        let made = kept.read(list, id).ok_or_else(|| call.unknown(id))?;
        let fields = call.query.fields();
        return Ok(GraphJson::new(&Selected::new(
            made,
            fields.as_deref(),
            "id",
        )));
    }
    let changes = call.given(body).await?;
    kept.change(list, id, &changes);
    Ok(GraphJson::success())
}

/// `POST /{solution}/accept` and the other answers of partners, which change the status of a
/// solution; `None` for another call.
pub(crate) fn partner_answer(call: &Call<'_>, id: &str, edge: &str) -> Option<GraphJson> {
    if call.method != Method::POST {
        return None;
    }
    let (_, status) = PARTNER_ANSWERS.iter().find(|(own, _)| *own == edge)?;
    if let Some(list) = call.state.kept.list_with(id) {
        let status = Map::from_iter([("status".to_owned(), json!(status))]);
        call.state.kept.change(&list, id, &status);
    }
    Some(GraphJson::success())
}

/// `/{account}/payment_configuration/{name}`.
pub(crate) async fn payment_configuration(
    call: &Call<'_>,
    account: &str,
    name: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let list = format!("{account}/{PAYMENTS}");
    let kept = &call.state.kept;
    if call.method == Method::POST {
        let mut changes = call.given(body).await?;
        if kept.change(&list, name, &changes).is_none() {
            changes.insert("configuration_name".to_owned(), json!(name));
            kept.add(&list, name, name, changes);
        }
        return Ok(GraphJson::success());
    }
    let found = kept.read(&list, name).ok_or_else(|| call.unknown(name))?;
    Ok(GraphJson::new(&json!({ "data": [found] })))
}

fn text(given: &Map<String, Value>, name: &str) -> Option<String> {
    match given.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn required(given: &Map<String, Value>, name: &str) -> Result<String, GraphError> {
    text(given, name).ok_or_else(|| GraphError::required(name))
}

/// Reads an object of the tables; `@ID@` is the id of the object.
fn object(text: &str, id: &str) -> Map<String, Value> {
    serde_json::from_str(&text.replace("@ID@", id)).unwrap_or_default()
}

fn written(text: &str, id: &str) -> GraphJson {
    GraphJson::new(&object(text, id))
}

const PAYMENTS: &str = "payment_configurations";
const SUCCESS: &str = r#"{"success":true}"#;
const NEW_ID: &str = r#"{"id":"@ID@"}"#;

/// The answers of a partner about a solution, with the status that the solution then has.
const PARTNER_ANSWERS: [(&str, &str); 5] = [
    ("accept", "ACTIVE"),
    ("reject", "REJECTED"),
    ("send_deactivation_request", "PENDING_DEACTIVATION"),
    ("accept_deactivation_request", "DEACTIVATED"),
    ("reject_deactivation_request", "ACTIVE"),
];

/// Every edge that makes objects, except flows and QR codes.
const LISTS: [List; 13] = [
    List {
        make: "product_catalogs",
        list: "product_catalogs",
        key: "catalog_id",
        id: Id::Given,
        owner: Owner::OfCall,
        item: r#"{"id":"@ID@","name":"Sandbox"}"#,
        answer: SUCCESS,
    },
    List {
        make: "welcome_message_sequences",
        list: "welcome_message_sequences",
        key: "sequence_id",
        id: Id::New,
        owner: Owner::OfCall,
        item: NEW_ID,
        answer: r#"{"sequence_id":"@ID@"}"#,
    },
    List {
        make: "assigned_users",
        list: "assigned_users",
        key: "user",
        id: Id::Given,
        owner: Owner::OfCall,
        item: r#"{"id":"@ID@","name":"Sandbox User"}"#,
        answer: SUCCESS,
    },
    List {
        make: "schedules",
        list: "schedules",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: NEW_ID,
        answer: SUCCESS,
    },
    List {
        make: "signups",
        list: "signups",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: r#"{"id":"@ID@","status":"ACTIVE"}"#,
        answer: NEW_ID,
    },
    List {
        make: "payment_configuration",
        list: PAYMENTS,
        key: "configuration_name",
        id: Id::Given,
        owner: Owner::OfCall,
        item: r#"{"configuration_name":"@ID@","status":"Needs_Connecting"}"#,
        answer: SUCCESS,
    },
    List {
        make: "phone_numbers",
        list: "phone_numbers",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: NUMBER,
        answer: NEW_ID,
    },
    List {
        make: "add_phone_numbers",
        list: "preverified_numbers",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: NUMBER,
        answer: NEW_ID,
    },
    List {
        make: "share_preverified_numbers",
        list: "partners",
        key: "partner_business_id",
        id: Id::Given,
        owner: Owner::Named("preverified_id"),
        item: r#"{"id":"@ID@","name":"Sandbox Partner"}"#,
        answer: SUCCESS,
    },
    List {
        make: "whatsapp_business_solution",
        list: "whatsapp_business_solutions",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: r#"{"id":"@ID@","name":"Sandbox","status":"INITIATED","status_for_pending_request":"NONE"}"#,
        answer: r#"{"solution_id":"@ID@"}"#,
    },
    List {
        make: "whatsapp_business_accounts",
        list: "whatsapp_business_accounts",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: r#"{"id":"@ID@","name":"Sandbox"}"#,
        answer: NEW_ID,
    },
    List {
        make: "whatsapp_credit_sharing_and_attach",
        list: "owning_credit_allocation_configs",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: NEW_ID,
        answer: r#"{"allocation_config_id":"@ID@"}"#,
    },
    List {
        make: "self_certify_whatsapp_business",
        list: "self_certified_whatsapp_business_submissions",
        key: "id",
        id: Id::New,
        owner: Owner::OfCall,
        item: r#"{"id":"@ID@","verification_status":"PENDING"}"#,
        answer: SUCCESS,
    },
];

/// A number that was added, and has to be verified.
const NUMBER: &str =
    r#"{"id":"@ID@","code_verification_status":"NOT_VERIFIED","status":"PENDING"}"#;
