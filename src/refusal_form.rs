//! The form of refusals for the SDKs of a provider, as data.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use crate::document::Malformed;
use crate::response::Refusal;

/// A JSON text in which words with a dollar sign stand for the facts of a refusal.
///
/// | word | meaning |
/// |---|---|
/// | `$message`, `$details` | the fault, and the advice |
/// | `$text` | the fault and the advice in one text |
/// | `$slug`, `$status` | the slug, and the HTTP status as a number |
/// | `$code` | the provider's code for the HTTP status, else the code for other statuses, else the status as a number |
/// | `$keyside` | the object that the Graph form has under `error.keyside` |
///
/// A word stands for a whole JSON string, never for a part of one, so that no text of a refusal needs escaping.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusalForm {
    body: Value,
    codes: RefusalCodes,
}

/// A provider's codes for errors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RefusalCodes {
    /// The codes by HTTP status.
    pub by_status: BTreeMap<u16, Value>,
    /// The code of every other status.
    pub other: Option<Value>,
}

impl RefusalForm {
    /// Reads the JSON text of a form.
    ///
    /// # Errors
    /// A text that is no JSON, or has an unknown word.
    pub fn parse(text: &str, codes: RefusalCodes) -> Result<Self, Malformed> {
        let body = serde_json::from_str(text).map_err(|_| {
            Malformed::new("not JSON, expected a text like '{\"message\": \"$text\"}'")
        })?;
        if has_unknown_word(&body) {
            return Err(UNKNOWN_WORD);
        }
        Ok(Self { body, codes })
    }

    /// Returns the whole answer for a refusal.
    #[must_use]
    pub fn to_response(&self, refusal: &Refusal) -> Response<Bytes> {
        let body = self.filled(&self.body, refusal);
        refusal.to_response_with(Bytes::from(body.to_string()))
    }

    fn filled(&self, value: &Value, refusal: &Refusal) -> Value {
        match value {
            Value::String(word) => self.meaning(word, refusal).unwrap_or_else(|| value.clone()),
            Value::Array(values) => values
                .iter()
                .map(|value| self.filled(value, refusal))
                .collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.filled(value, refusal)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn meaning(&self, word: &str, refusal: &Refusal) -> Option<Value> {
        Some(match word {
            "$message" => refusal.message.as_str().into(),
            "$details" => refusal.details.as_str().into(),
            "$text" => format!("{}; {}", refusal.message, refusal.details).into(),
            "$slug" => refusal.kind.slug.into(),
            "$status" => refusal.kind.status.as_u16().into(),
            "$code" => self.code(refusal.kind.status),
            "$keyside" => refusal.facts(),
            _ => return None,
        })
    }

    fn code(&self, status: StatusCode) -> Value {
        let known = self.codes.by_status.get(&status.as_u16());
        let code = known.or(self.codes.other.as_ref());
        code.cloned().unwrap_or_else(|| status.as_u16().into())
    }
}

fn has_unknown_word(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with('$') && !WORDS.contains(&text.as_str()),
        Value::Array(values) => values.iter().any(has_unknown_word),
        Value::Object(fields) => fields.values().any(has_unknown_word),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

const WORDS: [&str; 7] = [
    "$message", "$details", "$text", "$slug", "$status", "$code", "$keyside",
];
const UNKNOWN_WORD: Malformed = Malformed::new(
    "an unknown word with a dollar sign, expected $message, $details, $text, $slug, $status, $code or $keyside",
);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header;
    use serde_json::json;

    use super::*;
    use crate::response::RefusalKind;

    fn refusal(status: StatusCode) -> Refusal {
        let kind = RefusalKind::new("rate_limited", status, 130_429);
        Refusal {
            route: Some("acme".into()),
            retry_after: Some(Duration::from_millis(1200)),
            ..Refusal::new(kind, "too \"fast\"", "wait")
        }
    }

    #[test]
    fn words_become_the_facts_of_the_refusal_and_other_text_stays() {
        let text = r#"{"errors": [{"code": "$code", "text": "$text", "is": ["$slug", "$status", 7, null, "$5"]}]}"#;
        assert_eq!(
            RefusalForm::parse(text, RefusalCodes::default()),
            Err(UNKNOWN_WORD),
            "a price is no word"
        );
        let codes = RefusalCodes {
            by_status: BTreeMap::from([(429, 20_429.into())]),
            other: Some("other".into()),
        };
        let form = RefusalForm::parse(&text.replace("$5", "5 $"), codes).unwrap();
        let response = form.to_response(&refusal(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        let is = json!(["rate_limited", 429, 7, null, "5 $"]);
        assert_eq!(
            body,
            json!({"errors": [{"code": 20_429, "text": "too \"fast\"; wait", "is": is}]})
        );
    }

    #[test]
    fn a_status_without_a_code_of_the_providers_has_the_code_of_others_or_itself() {
        let keyside = json!({"slug": "rate_limited", "route": "acme", "retry_after_ms": 1200});
        for (other, expected) in [(None, json!(403)), (Some(json!("other")), json!("other"))] {
            let codes = RefusalCodes {
                other,
                ..RefusalCodes::default()
            };
            let form = RefusalForm::parse(r#"["$code", "$keyside"]"#, codes).unwrap();
            let response = form.to_response(&refusal(StatusCode::FORBIDDEN));
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body, json!([expected, keyside]));
        }
    }
}
