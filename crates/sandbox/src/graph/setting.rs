//! Edges with a single object: what a call has set is read back.
//!
//! The objects have the keys of Meta's documentation and of its OpenAPI description, unless their
//! line says otherwise.

use http::Method;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::error::GraphError;
use crate::json::GraphJson;

/// An edge with a single object.
pub(crate) struct Setting {
    edge: &'static str,
    /// The methods beside GET.
    methods: &'static [Method],
    shape: Shape,
    /// The object before a call has set a field; empty for no object.
    before: &'static str,
    /// The fields that every change sets, whatever the call says.
    always: &'static str,
    /// The answer to a change.
    answer: &'static str,
}

/// The form of the answer to GET.
#[derive(Clone, Copy)]
enum Shape {
    /// The object itself.
    Bare,
    /// A list of one under `data`, or an empty list.
    Listed,
}

impl Setting {
    /// Returns the setting at an edge.
    pub(crate) fn at(edge: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.edge == edge)
    }

    /// Answers a call of the edge.
    pub(crate) async fn call(
        &self,
        call: &Call<'_>,
        id: &str,
        body: Incoming,
    ) -> Result<GraphJson, GraphError> {
        if call.method == Method::GET {
            return Ok(self.shown(self.current(call, id)));
        }
        if !self.methods.contains(call.method) {
            return Err(GraphError::unknown_path(&call.target.path));
        }
        let list = format!("{id}/{}", self.edge);
        if call.method == Method::DELETE {
            call.state.kept.remove(&list, self.edge);
            call.state.kept.note_deleted(&list, self.edge);
            return Ok(GraphJson::success());
        }
        let mut whole = self.current(call, id).unwrap_or_default();
        whole.extend(call.given(body).await?);
        whole.extend(object(self.always, id));
        call.state.kept.remove(&list, self.edge);
        call.state.kept.add(&list, self.edge, self.edge, whole);
        Ok(GraphJson::new(&object(self.answer, id)))
    }

    /// Returns the object of an edge as it is now; `None` if there is none.
    pub(crate) fn current(&self, call: &Call<'_>, id: &str) -> Option<Map<String, Value>> {
        let list = format!("{id}/{}", self.edge);
        let kept = &call.state.kept;
        match kept.read(&list, self.edge) {
            Some(Value::Object(set)) => Some(set),
            _ if kept.is_deleted(&list, self.edge) || self.before.is_empty() => None,
            _ => Some(object(self.before, id)),
        }
    }

    fn shown(&self, object: Option<Map<String, Value>>) -> GraphJson {
        match self.shape {
            Shape::Bare => GraphJson::new(&object.unwrap_or_default()),
            Shape::Listed => {
                let all: Vec<_> = object.into_iter().collect();
                GraphJson::new(&json!({ "data": all }))
            }
        }
    }
}

/// Reads an object of the tables; `@ID@` is the object of the call.
fn object(text: &str, id: &str) -> Map<String, Value> {
    serde_json::from_str(&text.replace("@ID@", id)).unwrap_or_default()
}

const POST: &[Method] = &[Method::POST];
const SUCCESS: &str = r#"{"success":true}"#;

/// `conversational_automation` is documented as a field of the number alone, and `dataset` in no
/// source.
const SETTINGS: [Setting; 8] = [
    Setting {
        edge: "settings",
        methods: POST,
        shape: Shape::Bare,
        before: r#"{"calling":{"status":"DISABLED"},"storage_configuration":{"status":"DEFAULT"}}"#,
        always: "",
        answer: SUCCESS,
    },
    Setting {
        edge: "whatsapp_commerce_settings",
        methods: POST,
        shape: Shape::Listed,
        before: r#"{"is_cart_enabled":true,"is_catalog_visible":true,"id":"527759822865714"}"#,
        always: "",
        answer: SUCCESS,
    },
    Setting {
        edge: "conversational_automation",
        methods: POST,
        shape: Shape::Bare,
        before: r#"{"enable_welcome_message":false,"id":"@ID@"}"#,
        always: "",
        answer: SUCCESS,
    },
    Setting {
        edge: "business_compliance_info",
        methods: POST,
        shape: Shape::Listed,
        before: "",
        always: "",
        answer: SUCCESS,
    },
    Setting {
        edge: "official_business_account",
        methods: POST,
        shape: Shape::Bare,
        before: r#"{"oba_status":"NOT_STARTED","id":"@ID@"}"#,
        always: r#"{"oba_status":"PENDING"}"#,
        answer: SUCCESS,
    },
    Setting {
        edge: "username",
        methods: &[Method::POST, Method::DELETE],
        shape: Shape::Bare,
        before: r#"{"username":"sandbox","status":"approved"}"#,
        always: r#"{"status":"reserved"}"#,
        answer: r#"{"status":"reserved"}"#,
    },
    Setting {
        edge: "whatsapp_business_encryption",
        methods: POST,
        shape: Shape::Listed,
        before: r#"{"business_public_key":"-----BEGIN PUBLIC KEY-----","business_public_key_signature_status":"VALID"}"#,
        always: r#"{"business_public_key_signature_status":"VALID"}"#,
        answer: SUCCESS,
    },
    Setting {
        edge: "dataset",
        methods: POST,
        shape: Shape::Bare,
        before: "",
        always: r#"{"id":"2093847561029384"}"#,
        answer: r#"{"id":"2093847561029384"}"#,
    },
];
