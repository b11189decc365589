//! The place for the sender in a request, for the refusal of a request without a sender.

use crate::outbound::error::OutboundError;
use crate::provider::{Provider, RequestPattern};

/// The refusal of a request without a sender.
pub(super) fn not_named(provider: &Provider, pattern: &RequestPattern) -> OutboundError {
    OutboundError::SenderNotNamed {
        advice: advice(provider, pattern),
    }
}

/// The advice for naming the sender: in the query, in the body, or not at all.
fn advice(provider: &Provider, pattern: &RequestPattern) -> String {
    let places = &provider.limits.sender;
    let requests = || {
        let operations = provider.operations.iter();
        operations.flat_map(|operation| &operation.requests)
    };
    let parameter = pattern.sender.as_deref();
    let in_target = provider
        .limits
        .sender_before
        .filter(|_| pattern.limited && parameter.is_none());
    let parameter = parameter.or_else(|| requests().find_map(|known| known.sender.as_deref()));
    let place = match (in_target, parameter) {
        (Some(end), _) => Some(format!("before the recipient, as in SENDER{end}RECIPIENT")),
        (None, Some(parameter)) => Some(format!("in the query, as in ?{parameter}=...")),
        (None, None) if !places.is_empty() && pattern.limited => {
            let pointers = places.iter().map(|place| format!("/{}", place.join("/")));
            let pointers: Vec<_> = pointers.collect();
            Some(format!("in the body, at {}", pointers.join(" or ")))
        }
        (None, None) => None,
    };
    let account = match &provider.account {
        Some(account) => format!(", or the account as {{{}}} in the path", account.variable),
        None => String::new(),
    };
    let adds = match &pattern.sender {
        Some(_) => ": a route with one sender adds the parameter",
        None => "",
    };
    match place {
        Some(place) => format!(
            "name the sender {place}{account}; for an SDK that does not, give each sender a [[route]] with a `path` of its own{adds}"
        ),
        None => "give each sender a [[route]] with a `path` of its own: this request has no place for a sender".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::presets;

    #[test]
    fn the_advice_names_the_place_of_the_provider() {
        for (preset, operation, expected) in [
            ("meta", "media", "?phone_number_id="),
            ("meta", "templates", "?phone_number_id="),
            ("360dialog", "templates", "no place for a sender"),
            ("infobip", "messages", "/from or /messages/*/from"),
            ("infobip", "conversions", "no place for a sender"),
            ("twilio", "messages", "at /From"),
        ] {
            let provider = presets::provider(preset).unwrap();
            let mut operations = provider.operations.iter();
            let operation = operations.find(|known| known.name == operation).unwrap();
            let by_query = |pattern: &&RequestPattern| pattern.sender.is_some();
            let pattern = operation.requests.iter().find(by_query);
            let pattern = pattern.or(operation.requests.first()).unwrap();
            let advice = advice(&provider, pattern);
            assert!(advice.contains(expected), "{preset}: {advice}");
            assert_eq!(
                advice.contains("phone_number_id"),
                preset == "meta",
                "{advice}"
            );
        }
    }
}
