//! The words, codes and ids of a provider's error, besides the meaning for Keyside.

use serde_json::Value;

use super::errors::ErrorRules;

/// The words, codes and ids of an error: for people, and for the provider's support.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderError {
    /// The provider's own code.
    pub code: Option<String>,
    /// The provider's own subcode.
    pub subcode: Option<String>,
    /// The provider's id of the request.
    pub trace: Option<String>,
    /// The provider's words, which may repeat what the request had.
    pub words: Option<String>,
}

impl ErrorRules {
    /// Reads what an error says.
    #[must_use]
    pub fn provider_error(&self, in_header: Option<&str>, body: &Value) -> ProviderError {
        let at = |pointer: &Option<String>| body.pointer(pointer.as_ref()?);
        ProviderError {
            code: self
                .code(in_header, body)
                .map(std::borrow::Cow::into_owned)
                .filter(|code| is_short(code)),
            subcode: self
                .subcode(body)
                .map(std::borrow::Cow::into_owned)
                .filter(|code| is_short(code)),
            trace: at(&self.trace)
                .and_then(Value::as_str)
                .filter(|trace| is_short(trace))
                .map(str::to_owned),
            words: self.named_messages(body).next().map(str::to_owned),
        }
    }

    /// Returns the remedy for an error with this code, if the provider's definition has one.
    #[must_use]
    pub fn advice(&self, code: Option<&str>) -> Option<&str> {
        self.advice.get(code?).map(String::as_str)
    }

    /// Returns a code as a label of metrics, from a closed set: a code in the rules, else `other`.
    #[must_use]
    pub fn label<'c>(&self, code: &'c str) -> &'c str {
        let signs = [&self.refused, &self.temporary, &self.policy];
        let is_named = signs
            .iter()
            .any(|signs| signs.codes.iter().any(|own| own == code))
            || self.forbidden.codes.iter().any(|own| own.names(code))
            || self
                .throttled
                .iter()
                .any(|throttle| throttle.codes.iter().any(|own| own.names(code)))
            || self.advice.contains_key(code);
        if is_named { code } else { OTHER }
    }
}

/// True for a code or an id as providers have them, which fits into a log line.
fn is_short(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/=+".contains(c);
    (1..=MAX_CODE).contains(&text.len()) && text.chars().all(plain)
}

/// The label of a code that the rules do not name.
const OTHER: &str = "other";
/// The longest code or id, in bytes: UUIDs and words of providers are shorter, sentences longer.
const MAX_CODE: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::provider::presets::provider;

    #[test]
    fn an_error_of_meta_says_code_subcode_trace_and_words() {
        let meta = provider("meta").unwrap();
        let body = json!({ "error": { "message": "Account locked", "code": 131_031, "error_subcode": 2_494_055,
                                      "fbtrace_id": "A1b2C3" } });
        let error = meta.errors.provider_error(None, &body);
        assert_eq!(error.code.as_deref(), Some("131031"));
        assert_eq!(error.subcode.as_deref(), Some("2494055"));
        assert_eq!(error.trace.as_deref(), Some("A1b2C3"));
        assert_eq!(error.words.as_deref(), Some("Account locked"));
        let odd = json!({ "error": { "code": "1 2", "fbtrace_id": "x".repeat(65), "message": 5 } });
        assert_eq!(
            meta.errors.provider_error(None, &odd),
            super::ProviderError::default()
        );
    }

    #[test]
    fn restrictions_have_a_remedy_and_labels_are_a_closed_set() {
        let errors = &provider("meta").unwrap().errors;
        for code in ["368", "131031", "131048", "131042", "131064"] {
            assert!(errors.advice(Some(code)).is_some(), "{code}");
        }
        for (code, label) in [
            ("131031", "131031"),
            ("190", "190"),
            ("200", "200"),
            ("130429", "130429"),
            ("100", "100"),
            ("999999", "other"),
        ] {
            assert_eq!(errors.label(code), label);
        }
    }
}
