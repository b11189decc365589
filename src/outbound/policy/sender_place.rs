//! The place for the sender in a request, for the refusal of a request without a sender.

use crate::outbound::error::OutboundError;
use crate::provider::{Provider, RequestPattern, Segment};

/// The refusal of a request without a sender, on a route with `senders`.
pub(super) fn not_named(provider: &Provider, pattern: &RequestPattern) -> OutboundError {
    OutboundError::SenderNotNamed {
        advice: naming(provider, pattern),
    }
}

/// The refusal of a request of several credentials. The route is chosen before a body is read.
pub(super) fn not_chosen(provider: &Provider, pattern: &RequestPattern) -> OutboundError {
    OutboundError::SenderNotNamed {
        advice: choosing(provider, pattern),
    }
}

/// The advice for naming a sender: in the query, in the path or in the body.
fn naming(provider: &Provider, pattern: &RequestPattern) -> String {
    if let Some(parameter) = &pattern.sender {
        let instead = if pattern.methods.iter().all(RequestPattern::may_get_sender) {
            "for an SDK that does not, give each sender a [[route]] with a `path` of its own: a route with one sender adds the \
                 parameter"
        } else {
            UNBOUND
        };
        return format!("name the sender in the query, as in ?{parameter}=...; {instead}");
    }
    if !pattern.senders.is_empty() {
        let places = pointers(&pattern.senders);
        return format!(
            "name the sender in the body, at {places}: without, the provider chooses, or means every sender of the account"
        );
    }
    let in_path = requests(provider)
        .filter(|known| known.limited)
        .find(|known| known.path.segments.iter().any(Segment::is_sender));
    match (in_body(provider), in_path) {
        (Some(place), _) => format!("name the sender {place}; {UNBOUND}"),
        (None, Some(known)) => {
            format!(
                "name the sender in the path, as in {}; {UNBOUND}",
                known.path
            )
        }
        (None, None) => NO_PLACE.to_owned(),
    }
}

/// The places for the sender in a body.
fn in_body(provider: &Provider) -> Option<String> {
    let limits = &provider.limits;
    if limits.sender.is_empty() {
        return None;
    }
    let mut place = format!("in the body, at {}", pointers(&limits.sender));
    if let Some(end) = limits.sender_before {
        let targets = pointers(&limits.recipient);
        place.push_str(&format!(
            ", or before the recipient at {targets}, as in SENDER{end}RECIPIENT"
        ));
    }
    Some(place)
}

fn pointers(places: &[Vec<String>]) -> String {
    let pointers: Vec<_> = places
        .iter()
        .take(MAX_PLACES)
        .map(|place| format!("/{}", place.join("/")))
        .collect();
    pointers.join(" or ")
}

/// The advice for the choice of a route: by a sender in the query, by the account in the path, or
/// by the path of a route.
fn choosing(provider: &Provider, pattern: &RequestPattern) -> String {
    let by_any = || requests(provider).any(|known| known.sender.as_deref() == Some(ANY_QUERY));
    let parameter = pattern
        .sender
        .as_deref()
        .or_else(|| by_any().then_some(ANY_QUERY));
    let sender =
        parameter.map(|parameter| format!("the sender in the query, as in ?{parameter}=..."));
    let account = with_account(provider, pattern)
        .map(|variable| format!("the account as {{{variable}}} in the path"));
    let named: Vec<_> = sender.into_iter().chain(account).collect();
    let adds = match &pattern.sender {
        Some(_) if pattern.methods.iter().all(RequestPattern::may_get_sender) => {
            ": a route with one sender adds the parameter"
        }
        _ => "",
    };
    if named.is_empty() {
        return NO_PLACE.to_owned();
    }
    format!(
        "name {}; for an SDK that does not, give each sender a [[route]] with a `path` of its own{adds}",
        named.join(", or ")
    )
}

/// The variable of the account, if another request has the same path with the variable.
fn with_account<'p>(provider: &'p Provider, pattern: &RequestPattern) -> Option<&'p str> {
    let variable = provider.account.as_ref()?.variable.as_str();
    let is_account = |segment: &&Segment| matches!(segment, Segment::Any(name) if name == variable);
    let mut others = requests(provider);
    others
        .any(|known| {
            let segments = &known.path.segments;
            let bare = segments.iter().filter(|segment| !is_account(segment));
            segments.iter().any(|segment| is_account(&segment)) && bare.eq(&pattern.path.segments)
        })
        .then_some(variable)
}

fn requests(provider: &Provider) -> impl Iterator<Item = &RequestPattern> {
    let operations = provider.operations.iter();
    operations.flat_map(|operation| &operation.requests)
}

/// Meta's parameter for the sender, good for every request without a sender in the path.
const ANY_QUERY: &str = "phone_number_id";
/// The most places of a kind in an advice. A preset has the spellings of all versions of an API.
const MAX_PLACES: usize = 2;
const UNBOUND: &str = "a route without `senders` takes messages that name none";
const NO_PLACE: &str =
    "give each sender a [[route]] with a `path` of its own: this request has no place for a sender";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::presets;

    fn request<'p>(provider: &'p Provider, path: &str) -> &'p RequestPattern {
        let mut requests = requests(provider);
        requests
            .find(|known| known.path.to_string() == path)
            .unwrap()
    }

    #[test]
    fn the_advice_names_a_place_that_the_request_has() {
        for (preset, path, expected) in [
            (
                "infobip",
                "/messages-api/1/messages",
                "in the body, at /from or /messages/*/from",
            ),
            (
                "twilio",
                "/2010-04-01/Accounts/{account_sid}/Messages.json",
                "in the body, at /From",
            ),
            (
                "360dialog",
                "/messages",
                "in the path, as in /{v}/{sender}/messages",
            ),
            ("meta", "/{v}/{id}", "in the query, as in ?phone_number_id="),
            (
                "wati",
                "/api/ext/v3/messageTemplates/send",
                "in the body, at /channel or ",
            ),
            (
                "wati",
                "/{tenant}/api/v1/sendTemplateMessage",
                "or /channel_number",
            ),
            (
                "wati",
                "/api/v2/sendTemplateMessages",
                "in the body, at /channel or ",
            ),
            (
                "wati",
                "/api/ext/v3/conversations/messages/text",
                "at /target or /whatsappNumber, as in SENDER:RECIPIENT",
            ),
            (
                "wati",
                "/api/v1/sendSessionMessage/{recipient}",
                "in the query, as in ?channelPhoneNumber=",
            ),
        ] {
            let provider = presets::provider(preset).unwrap();
            let advice = naming(&provider, request(&provider, path));
            assert!(advice.contains(expected), "{preset} {path}: {advice}");
            assert!(!advice.contains("the account"), "{preset} {path}: {advice}");
            let adds = "adds the parameter";
            assert_eq!(advice.contains(adds), preset == "meta", "{advice}");
        }
    }

    #[test]
    fn the_advice_for_a_choice_names_what_stands_before_the_body() {
        for (preset, path, expected) in [
            (
                "meta",
                "/{v}/{id}/message_templates",
                "the sender in the query, as in ?phone_number_id=",
            ),
            ("360dialog", "/v1/configs/templates", NO_PLACE),
            ("infobip", "/messages-api/1/messages", NO_PLACE),
            (
                "wati",
                "/api/v1/sendTemplateMessage",
                "the account as {tenant} in the path",
            ),
            ("wati", "/api/ext/v3/messageTemplates/send", NO_PLACE),
            ("twilio", "/v1/Content", NO_PLACE),
        ] {
            let mut provider = presets::provider(preset).unwrap();
            let variable = match preset {
                "wati" => "tenant",
                _ => "account_sid",
            };
            std::sync::Arc::make_mut(&mut provider).account = Some(crate::provider::NamedAccount {
                variable: variable.to_owned(),
                value: "1".to_owned(),
            });
            let advice = choosing(&provider, request(&provider, path));
            assert!(advice.contains(expected), "{preset} {path}: {advice}");
        }
    }
}
