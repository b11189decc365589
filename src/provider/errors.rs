//! The rules for the meaning of a provider's errors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::code::CodePattern;
use super::limits::{Scope, Throttle};

/// The rules for the meaning of a provider's errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRules {
    /// The places of the provider's own code: the first one with a code counts. For an answer
    /// without a code, the status decides.
    pub code: Vec<CodePlace>,
    /// The JSON pointer to the subcode of an error.
    pub subcode: Option<String>,
    /// The JSON pointers to the message of an error: every place counts.
    pub message: Vec<String>,
    /// The JSON pointer to the provider's id of the request, for the provider's support.
    pub trace: Option<String>,
    /// The remedy for errors with a code, in words for people.
    pub advice: BTreeMap<String, String>,
    /// The signs of a refused credential.
    pub refused: ErrorSigns,
    /// Words of the text that mean a refused credential as well.
    pub refused_words: Vec<String>,
    /// The signs of a credential without permission for the request.
    pub forbidden: ForbiddenSigns,
    /// The signs of too many requests.
    pub throttled: Vec<Throttle>,
    /// The signs of a temporary failure.
    pub temporary: ErrorSigns,
    /// The signs of a refusal by policy: a blocked account, a broken rule, an unpaid bill.
    pub policy: ErrorSigns,
    /// Words of the message for a refusal by policy as well.
    pub policy_words: Vec<String>,
}

/// The place of an error's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodePlace {
    /// The body, at this JSON pointer: a number or a string.
    Body(String),
    /// A header of this name.
    Header(HeaderName),
}

/// The signs of a credential without permission: codes, and statuses for an answer without a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForbiddenSigns {
    /// The provider's own codes.
    pub codes: Vec<CodePattern>,
    /// The statuses.
    pub statuses: Vec<u16>,
}

/// The signs of one kind of error: codes, and statuses for an answer without a code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorSigns {
    /// The provider's own codes; a number as its digits.
    pub codes: Vec<String>,
    /// The statuses.
    pub statuses: Vec<u16>,
}

impl Default for ErrorRules {
    /// The meaning of statuses alone: 401 and 403 by RFC 9110, sections 15.5.2 and 15.5.4; 5xx by
    /// RFC 9110, section 15.6.
    fn default() -> Self {
        Self {
            code: Vec::new(),
            subcode: None,
            message: Vec::new(),
            trace: None,
            advice: BTreeMap::new(),
            refused: ErrorSigns::of_statuses(&[401]),
            refused_words: Vec::new(),
            forbidden: ForbiddenSigns {
                codes: Vec::new(),
                statuses: vec![403],
            },
            throttled: Vec::new(),
            temporary: ErrorSigns::of_statuses(&[500, 502, 503, 504]),
            policy: ErrorSigns::default(),
            policy_words: Vec::new(),
        }
    }
}

/// The meaning of an answer, as far as Keyside acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning<'p> {
    /// The provider refuses the credential. The provider did not act on the request.
    CredentialRefused,
    /// The credential has no permission for the request. The provider did not act on the request.
    Forbidden,
    /// Requests come too fast. The provider did not act on the request.
    Throttled(&'p Throttle),
    /// The provider cannot answer now, and may or may not have acted on the request.
    Temporary,
    /// The provider refuses the request by policy.
    Policy,
    /// A success, or an error without meaning for Keyside.
    Other,
}

impl Meaning<'_> {
    /// Returns the word for metrics; `None` for [`Self::Other`].
    #[must_use]
    pub fn class(self) -> Option<&'static str> {
        match self {
            Self::CredentialRefused => Some("refused"),
            Self::Forbidden => Some("forbidden"),
            Self::Throttled(_) => Some("throttled"),
            Self::Temporary => Some("temporary"),
            Self::Policy => Some("policy"),
            Self::Other => None,
        }
    }
}

impl ErrorRules {
    /// Returns true if the body of an error has a code or a text to read.
    #[must_use]
    pub fn is_in_body(&self) -> bool {
        let mut places = self.code.iter();
        !self.message.is_empty() || places.any(|place| matches!(place, CodePlace::Body(_)))
    }

    /// Returns the header that may have a code, if any.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderName> {
        self.code.iter().find_map(|place| match place {
            CodePlace::Header(name) => Some(name),
            CodePlace::Body(_) => None,
        })
    }

    /// Returns the meaning of an answer, from status, code in a header, and body.
    ///
    /// A code outweighs the status, with one exception: a 429 with an unknown code is a throttle.
    #[must_use]
    pub fn meaning(&self, status: u16, in_header: Option<&str>, body: &Value) -> Meaning<'_> {
        let found_code = self.code(in_header, body);
        let code = found_code.as_deref();
        if self.refused.has(code, status) || self.has_words(&self.refused_words, body) {
            Meaning::CredentialRefused
        } else if let Some(throttle) = self.throttle(code, status, body) {
            Meaning::Throttled(throttle)
        } else if self.policy.has(code, status) || self.has_words(&self.policy_words, body) {
            Meaning::Policy
        } else if self.is_forbidden(code, status, body) {
            Meaning::Forbidden
        } else if self.temporary.has(code, status) {
            Meaning::Temporary
        } else {
            Meaning::Other
        }
    }

    pub(super) fn code<'a>(
        &self,
        in_header: Option<&'a str>,
        body: &'a Value,
    ) -> Option<Cow<'a, str>> {
        self.code.iter().find_map(|place| match place {
            CodePlace::Body(pointer) => body.pointer(pointer).and_then(code_text),
            CodePlace::Header(_) => in_header.map(Cow::Borrowed),
        })
    }

    fn is_forbidden(&self, code: Option<&str>, status: u16, body: &Value) -> bool {
        let Some(code) = code else {
            return self.forbidden.statuses.contains(&status);
        };
        let subcode = self.subcode(body);
        let has = |pattern: &CodePattern| pattern.has(code, subcode.as_deref());
        self.forbidden.codes.iter().any(has)
    }

    pub(super) fn subcode<'a>(&self, body: &'a Value) -> Option<Cow<'a, str>> {
        body.pointer(self.subcode.as_ref()?).and_then(code_text)
    }

    /// Returns true if the message of an error has some of these words.
    fn has_words(&self, some: &[String], body: &Value) -> bool {
        let has = |message: &str| some.iter().any(|words| message.contains(words));
        self.messages(body).any(has)
    }

    /// Returns the messages at the places of the rules. The empty place is an error without JSON as
    /// a whole, which may be a page of anybody's that repeats the request: only rules that name the
    /// place look at it.
    fn messages<'a>(&'a self, body: &'a Value) -> impl Iterator<Item = &'a str> {
        let places = self.message.iter();
        places.filter_map(|place| body.pointer(place)?.as_str())
    }

    /// Returns the messages in the fields of an error.
    pub(super) fn named_messages<'a>(&'a self, body: &'a Value) -> impl Iterator<Item = &'a str> {
        let is_fields = body.is_object();
        self.messages(body).filter(move |_| is_fields)
    }

    fn throttle(&self, code: Option<&str>, status: u16, body: &Value) -> Option<&Throttle> {
        let subcode = self.subcode(body);
        let has_code = |throttle: &&Throttle| {
            let has = |pattern: &CodePattern| {
                code.is_some_and(|code| pattern.has(code, subcode.as_deref()))
            };
            throttle.codes.iter().any(has)
        };
        let has_words = |throttle: &&Throttle| self.has_words(&throttle.words, body);
        let has_status = |throttle: &&Throttle| throttle.statuses.contains(&status);
        let names_statuses = |throttle: &Throttle| !throttle.statuses.is_empty();
        let by_default = || {
            (status == TOO_MANY_REQUESTS && !self.throttled.iter().any(names_statuses))
                .then_some(&THROTTLED_BY_STATUS)
        };
        self.throttled
            .iter()
            .find(has_code)
            .or_else(|| self.throttled.iter().find(has_words))
            .or_else(|| self.throttled.iter().find(has_status))
            .or_else(by_default)
    }
}

impl ErrorSigns {
    fn of_statuses(statuses: &[u16]) -> Self {
        Self {
            codes: Vec::new(),
            statuses: statuses.to_vec(),
        }
    }

    fn has(&self, code: Option<&str>, status: u16) -> bool {
        match code {
            Some(code) => self.codes.iter().any(|own| own == code),
            None => self.statuses.contains(&status),
        }
    }
}

fn code_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        // An empty text is no code, so that the status decides.
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// Too Many Requests: RFC 6585, section 4.
const TOO_MANY_REQUESTS: u16 = 429;

/// The meaning of a 429 for a provider without statuses of its own. A second is the shortest
/// `Retry-After`.
static THROTTLED_BY_STATUS: Throttle = Throttle {
    codes: Vec::new(),
    statuses: Vec::new(),
    words: Vec::new(),
    scope: Scope::Sender,
    pause: Duration::from_secs(1),
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors() -> ErrorRules {
        let codes = |codes: &[&str]| codes.iter().map(ToString::to_string).collect();
        let signs = |some: &[&str], statuses: &[u16]| ErrorSigns {
            codes: codes(some),
            statuses: statuses.to_vec(),
        };
        let patterns = |some: &[&str]| {
            let code = |code: &&str| match code.split_once('/') {
                Some((code, subcode)) => {
                    CodePattern::WithSubcode(code.to_owned(), subcode.to_owned())
                }
                None => CodePattern::Code((*code).to_owned()),
            };
            some.iter().map(code).collect()
        };
        let throttle = |some: &[&str], statuses: &[u16], scope| Throttle {
            codes: patterns(some),
            statuses: statuses.to_vec(),
            words: Vec::new(),
            scope,
            pause: Duration::from_secs(1),
        };
        ErrorRules {
            code: ["/error/inner/code", "/error/code"]
                .map(|place| CodePlace::Body(place.to_owned()))
                .into(),
            trace: None,
            advice: BTreeMap::new(),
            message: ["/error/message", "/meta/said"].map(str::to_owned).into(),
            refused: signs(&["190", "UNAUTHORIZED"], &[401]),
            refused_words: vec!["proof".to_owned()],
            subcode: Some("/error/error_subcode".to_owned()),
            forbidden: ForbiddenSigns {
                codes: vec![
                    CodePattern::Code("10".to_owned()),
                    CodePattern::Range(200, 299),
                    CodePattern::WithSubcode("100".to_owned(), "33".to_owned()),
                ],
                statuses: vec![402],
            },
            throttled: vec![
                throttle(&["4/2390008"], &[], Scope::Operation),
                throttle(&["4"], &[], Scope::Account),
                throttle(&[], &[429, 420], Scope::Recipient),
                Throttle {
                    words: vec!["too fast".to_owned()],
                    ..throttle(&[], &[], Scope::Sender)
                },
            ],
            temporary: signs(&["2"], &[503]),
            policy: signs(&["368"], &[403]),
            policy_words: vec!["not paid".to_owned()],
        }
    }

    #[test]
    fn a_code_outweighs_the_status_of_an_answer() {
        let errors = errors();
        for (status, body, expected) in [
            (400, json!({"error": {"code": 190}}), Some("refused")),
            (403, json!({"error": {"code": 10}}), Some("forbidden")),
            (400, json!({"error": {"code": "200"}}), Some("forbidden")),
            (400, json!({"error": {"code": 299}}), Some("forbidden")),
            (400, json!({"error": {"code": 300}}), None),
            (400, json!({"error": {"code": 100}}), None),
            (
                400,
                json!({"error": {"code": 100, "error_subcode": 34}}),
                None,
            ),
            (
                400,
                json!({"error": {"code": 100, "error_subcode": 33}}),
                Some("forbidden"),
            ),
            (402, json!({}), Some("forbidden")),
            (
                400,
                json!({"error": {"code": "UNAUTHORIZED"}}),
                Some("refused"),
            ),
            (400, json!({"error": {"code": "190"}}), Some("refused")),
            (401, json!({"error": {"code": 3}}), None),
            (401, json!({}), Some("refused")),
            (401, json!(null), Some("refused")),
            (
                400,
                json!({"error": {"code": 100, "message": "the proof is wrong"}}),
                Some("refused"),
            ),
            (403, json!({"error": {"code": 4}}), Some("throttled")),
            (400, json!({"meta": {"said": "not paid"}}), Some("policy")),
            (
                400,
                json!({"error": {"message": "x"}, "meta": {"said": "not paid"}}),
                Some("policy"),
            ),
            (400, json!({"other": "not paid"}), None),
            (400, json!("the bill is not paid"), None),
            (404, json!("no such page: /?proof=x"), None),
            (429, json!({"error": {"code": 555}}), Some("throttled")),
            (420, json!({}), Some("throttled")),
            (400, json!({"error": {"code": 368}}), Some("policy")),
            (403, json!({}), Some("policy")),
            (403, json!({"error": {"code": 100}}), None),
            (500, json!({"error": {"code": 2}}), Some("temporary")),
            (503, json!([]), Some("temporary")),
            (400, json!({"error": {"code": [190]}}), None),
        ] {
            assert_eq!(
                errors.meaning(status, Some("190"), &body).class(),
                expected,
                "{status} {body}"
            );
        }
    }

    #[test]
    fn an_error_without_json_tells_only_rules_with_the_empty_place() {
        let mut errors = errors();
        errors.message.push(String::new());
        let page = json!("the bill is not paid");
        assert_eq!(errors.meaning(400, None, &page).class(), Some("policy"));
        assert_eq!(errors.named_messages(&page).count(), 0);
        let object = json!({"text": "the bill is not paid"});
        assert_eq!(errors.meaning(400, None, &object).class(), None);
    }

    #[test]
    fn words_tell_a_throttle_and_the_first_place_with_a_code_counts() {
        let errors = errors();
        for (status, body, expected) in [
            (
                400,
                json!({"error": {"message": "That was too fast."}}),
                Some(Scope::Sender),
            ),
            (
                400,
                json!({"error": {"message": "too faster"}}),
                Some(Scope::Sender),
            ),
            (400, json!({"error": {"message": "slow"}}), None),
            (
                429,
                json!({"error": {"code": "X", "inner": {"code": 4}}}),
                Some(Scope::Account),
            ),
            (
                429,
                json!({"error": {"code": 4, "inner": {}}}),
                Some(Scope::Account),
            ),
            (
                429,
                json!({"error": {"code": 4, "inner": {"code": "X"}}}),
                Some(Scope::Recipient),
            ),
        ] {
            let scope = match errors.meaning(status, None, &body) {
                Meaning::Throttled(throttle) => Some(throttle.scope),
                _ => None,
            };
            assert_eq!(scope, expected, "{status} {body}");
        }
    }

    #[test]
    fn a_subcode_tells_throttles_apart() {
        let errors = errors();
        for (subcode, expected) in [
            (json!(2_390_008), Scope::Operation),
            (json!("2390008"), Scope::Operation),
            (json!(1), Scope::Account),
            (json!(null), Scope::Account),
        ] {
            let body = json!({"error": {"code": 4, "error_subcode": subcode}});
            let meaning = errors.meaning(400, None, &body);
            assert!(
                matches!(meaning, Meaning::Throttled(throttle) if throttle.scope == expected),
                "{body}: {meaning:?}"
            );
        }
    }

    #[test]
    fn a_code_may_stand_in_a_header() {
        let header = HeaderName::from_static("x-error");
        let errors = ErrorRules {
            code: vec![CodePlace::Header(header)],
            ..errors()
        };
        let meaning = |status, code| errors.meaning(status, code, &Value::Null).class();
        assert_eq!(
            (meaning(400, Some("190")), meaning(401, Some("3"))),
            (Some("refused"), None)
        );
        assert_eq!(
            (meaning(401, None), meaning(400, None)),
            (Some("refused"), None)
        );
    }

    #[test]
    fn status_429_is_a_throttle_for_a_provider_that_names_no_status() {
        let named = errors();
        assert_eq!(
            ErrorRules::default().meaning(429, None, &Value::Null),
            Meaning::Throttled(&THROTTLED_BY_STATUS)
        );
        let status = 420;
        let null = Value::Null;
        assert!(
            matches!(named.meaning(status, None, &null), Meaning::Throttled(throttle) if throttle.scope == Scope::Recipient)
        );
        assert_eq!(
            ErrorRules::default().meaning(status, None, &null),
            Meaning::Other
        );
    }
}
