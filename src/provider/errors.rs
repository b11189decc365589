//! How the answers of a provider say what is wrong.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::limits::{Scope, Throttle};

/// Where the answers of a provider say what is wrong, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// Where an error has the provider's own code. Where it has none, the status tells.
    pub code: Option<CodePlace>,
    /// Where it has a text for people, as a JSON pointer.
    pub message: Option<String>,
    /// The credential itself is refused, whatever was asked with it.
    pub refused: Signs,
    /// The words of the text that mean the same.
    pub refused_words: Vec<String>,
    /// It was asked too fast.
    pub throttled: Vec<Throttle>,
    /// It cannot answer now.
    pub temporary: Signs,
    /// It does not want to: the account is blocked, a rule was broken, something was not paid.
    pub policy: Signs,
}

/// Where the code of an error stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodePlace {
    /// In the body, at this JSON pointer: a number or a string.
    Body(String),
    /// In this header.
    Header(HeaderName),
}

/// What means one thing: codes, and statuses where an error has no code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The provider's own codes; a number as it is written.
    pub codes: Vec<String>,
    /// The statuses.
    pub statuses: Vec<u16>,
}

impl Default for Errors {
    /// 401 by RFC 9110, section 15.5.2; 429 by RFC 6585; what a server says of itself by RFC 9110, section 15.6.
    fn default() -> Self {
        let statuses = |statuses: &[u16]| Signs { codes: Vec::new(), statuses: statuses.to_vec() };
        Self {
            code: None,
            message: None,
            refused: statuses(&[401]),
            refused_words: Vec::new(),
            throttled: Vec::new(),
            temporary: statuses(&[500, 502, 503, 504]),
            policy: Signs::default(),
        }
    }
}

/// What an answer means, as far as that changes what Keyside does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning<'p> {
    /// The provider refuses the credential itself, and did nothing with the request.
    CredentialRefused,
    /// It was asked too fast, and did nothing with the request.
    Throttled(&'p Throttle),
    /// It cannot answer now; what it did is not known.
    Temporary,
    /// It does not want to.
    Policy,
    /// Nothing of that kind.
    Other,
}

impl Meaning<'_> {
    /// As metrics show it; `None` where nothing is wrong that is the provider's to say.
    #[must_use]
    pub fn class(self) -> Option<&'static str> {
        match self {
            Self::CredentialRefused => Some("refused"),
            Self::Throttled(_) => Some("throttled"),
            Self::Temporary => Some("temporary"),
            Self::Policy => Some("policy"),
            Self::Other => None,
        }
    }
}

impl Errors {
    /// Whether the body of an error has anything to say.
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        self.message.is_some() || matches!(self.code, Some(CodePlace::Body(_)))
    }

    /// What an error means by its status, the code that its header has, and its body. A code has the last word, but that a
    /// 429 with an unknown code is a throttle too.
    #[must_use]
    pub fn meaning(&self, status: u16, in_header: Option<&str>, body: &Value) -> Meaning<'_> {
        let code = match &self.code {
            Some(CodePlace::Body(pointer)) => body.pointer(pointer).and_then(code_text),
            Some(CodePlace::Header(_)) => in_header.map(Cow::Borrowed),
            None => None,
        };
        let code = code.as_deref();
        let message = self.message.as_ref().and_then(|message| body.pointer(message)?.as_str()).unwrap_or_default();
        let throttle = |fits: &dyn Fn(&Throttle) -> bool| self.throttled.iter().find(|throttle| fits(throttle));
        let by_code = throttle(&|throttle| code.is_some_and(|code| throttle.codes.iter().any(|own| own == code)));
        let by_status = || throttle(&|throttle| throttle.statuses.contains(&status));
        if self.refused.has(code, status) || self.refused_words.iter().any(|words| message.contains(words)) {
            Meaning::CredentialRefused
        } else if let Some(throttle) = by_code.or_else(by_status) {
            Meaning::Throttled(throttle)
        } else if status == TOO_MANY_REQUESTS && !self.throttled.iter().any(|throttle| !throttle.statuses.is_empty()) {
            Meaning::Throttled(&THROTTLED_BY_STATUS)
        } else if self.policy.has(code, status) {
            Meaning::Policy
        } else if self.temporary.has(code, status) {
            Meaning::Temporary
        } else {
            Meaning::Other
        }
    }
}

impl Signs {
    fn has(&self, code: Option<&str>, status: u16) -> bool {
        match code {
            Some(code) => self.codes.iter().any(|own| own == code),
            None => self.statuses.contains(&status),
        }
    }
}

fn code_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

const TOO_MANY_REQUESTS: u16 = 429;
/// What 429 says by itself, where the provider names no status.
static THROTTLED_BY_STATUS: Throttle =
    Throttle { codes: Vec::new(), statuses: Vec::new(), scope: Scope::Sender, pause: Duration::from_secs(1) };

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors() -> Errors {
        let codes = |codes: &[&str]| codes.iter().map(ToString::to_string).collect();
        let signs = |some: &[&str], statuses: &[u16]| Signs { codes: codes(some), statuses: statuses.to_vec() };
        let throttle = |some: &[&str], statuses: &[u16], scope| Throttle {
            codes: codes(some),
            statuses: statuses.to_vec(),
            scope,
            pause: Duration::from_secs(1),
        };
        Errors {
            code: Some(CodePlace::Body("/error/code".to_owned())),
            message: Some("/error/message".to_owned()),
            refused: signs(&["190", "UNAUTHORIZED"], &[401]),
            refused_words: vec!["proof".to_owned()],
            throttled: vec![throttle(&["4"], &[], Scope::Account), throttle(&[], &[429, 420], Scope::Recipient)],
            temporary: signs(&["2"], &[503]),
            policy: signs(&["368"], &[403]),
        }
    }

    #[test]
    fn a_code_tells_and_without_one_the_status() {
        let errors = errors();
        for (status, body, expected) in [
            (400, json!({"error": {"code": 190}}), Some("refused")),
            (400, json!({"error": {"code": "UNAUTHORIZED"}}), Some("refused")),
            (400, json!({"error": {"code": "190"}}), Some("refused")),
            (401, json!({"error": {"code": 3}}), None),
            (401, json!({}), Some("refused")),
            (401, json!(null), Some("refused")),
            (400, json!({"error": {"code": 100, "message": "the proof is wrong"}}), Some("refused")),
            (403, json!({"error": {"code": 4}}), Some("throttled")),
            (429, json!({"error": {"code": 555}}), Some("throttled")),
            (420, json!({}), Some("throttled")),
            (400, json!({"error": {"code": 368}}), Some("policy")),
            (403, json!({}), Some("policy")),
            (403, json!({"error": {"code": 100}}), None),
            (500, json!({"error": {"code": 2}}), Some("temporary")),
            (503, json!([]), Some("temporary")),
            (400, json!({"error": {"code": [190]}}), None),
        ] {
            assert_eq!(errors.meaning(status, Some("190"), &body).class(), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_code_may_stand_in_a_header() {
        let header = HeaderName::from_static("x-error");
        let errors = Errors { code: Some(CodePlace::Header(header)), ..errors() };
        let meaning = |status, code| errors.meaning(status, code, &Value::Null).class();
        assert_eq!((meaning(400, Some("190")), meaning(401, Some("3"))), (Some("refused"), None));
        assert_eq!((meaning(401, None), meaning(400, None)), (Some("refused"), None));
    }

    #[test]
    fn a_status_that_is_not_named_is_no_throttle_but_429_is_where_none_is() {
        let named = errors();
        assert_eq!(Errors::default().meaning(429, None, &Value::Null), Meaning::Throttled(&THROTTLED_BY_STATUS));
        let (status, null) = (420, Value::Null);
        assert!(
            matches!(named.meaning(status, None, &null), Meaning::Throttled(throttle) if throttle.scope == Scope::Recipient)
        );
        assert_eq!(Errors::default().meaning(status, None, &null), Meaning::Other);
    }
}
