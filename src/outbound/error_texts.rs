//! The texts of refusals that take more than a line: what is wrong, and what to do.

use crate::limit::Limited;
use crate::response::whole_seconds;
use crate::upstream::UpstreamError;

pub(super) fn channel_texts(channel: &str) -> (String, String) {
    (
        format!("a message in the channel `{channel}` is not allowed on this route"),
        "if this application needs the channel, add it to `channels` of the route".into(),
    )
}

pub(super) fn not_allowed_texts(operation: &str, others: &[String]) -> (String, String) {
    let mut details =
        format!("if this application needs it, add \"{operation}\" to `operations` of the route");
    if !others.is_empty() {
        details.push_str(&format!(
            "; the request is in \"{}\" as well",
            others.join("\", \"")
        ));
    }
    (
        format!("the operation `{operation}` is not allowed on this route"),
        details,
    )
}

pub(super) fn field_texts(field: &str, operation: &str, allowed: &[String]) -> (String, String) {
    let only = match allowed {
        [] => "what the query can ask for, without a body".to_owned(),
        allowed => allowed.join(", "),
    };
    (
        format!("the operation `{operation}` does not allow the field {field:?} in this request"),
        format!(
            "send only {only}, or add the operation that has this request with any field to `operations` of the route",
        ),
    )
}

pub(super) fn not_named_texts(advice: &str) -> (String, String) {
    (
        "the request names no sender, and the sender decides whether it may pass".into(),
        advice.to_owned(),
    )
}

pub(super) fn draining_texts(outcome_unknown: bool) -> (String, String) {
    let details = if outcome_unknown {
        "the provider may or may not have acted on the request; look for a status webhook before sending again"
    } else {
        "the provider has changed nothing for this request; send again after the time in Retry-After"
    };
    let message = "the sidecar stopped before the provider answered";
    (message.into(), details.into())
}

pub(super) fn account_texts(account: &str) -> (String, String) {
    (
        format!("the account {account} in the path is that of no route here, and the account chooses the route"),
        "name the account of a route in the path, or add a [credential.NAME] and a [[route]] for this account".into(),
    )
}

pub(super) fn page_texts(sender: &str) -> (String, String) {
    (
        format!("the sender {sender} is a page of the token, and no number of WhatsApp"),
        "use the id of a phone number; Keyside sends no messages of Messenger".into(),
    )
}

pub(super) fn unsupported_texts(taken: &[String]) -> (String, String) {
    let details = match taken {
        [] => "send no body".to_owned(),
        taken => format!("send the body as {} in UTF-8", taken.join(" or as ")),
    };
    (
        "the operation takes no body of this Content-Type".into(),
        details,
    )
}

pub(super) fn rate_limited_texts(limited: &Limited) -> (String, String) {
    if limited.is_closed {
        return (
            "the shared server of [limits] does not answer, and on_failure is \"closed\"".into(),
            "send again after the time in Retry-After; `keyside status` says what is wrong with the shared server"
                .into(),
        );
    }
    let subject = limited.scope.as_str();
    let seconds = whole_seconds(limited.retry_after);
    if let Some(reason) = limited.pause {
        return (
            format!(
                "this {subject} is paused for another {seconds} s: {}",
                reason.explained()
            ),
            "send again after the time in Retry-After; until then the provider would refuse the request too; \
             `keyside explain` shows the pause"
                .into(),
        );
    }
    let queue = match limited.waiting {
        0 => String::new(),
        1 => ", and 1 request is waiting".to_owned(),
        waiting => format!(", and {waiting} requests are waiting"),
    };
    (
        format!("the limit of this {subject} is reached for another {seconds} s{queue}"),
        "send again after the time in Retry-After, or raise `max_wait` of [route.limits]".into(),
    )
}

pub(super) fn user_texts() -> (String, String) {
    (
        "the user of the calling process may not use this route".into(),
        "add the user's id to `allow_uids` of the route, or use a route of your own".into(),
    )
}

/// The texts for a repeated key while the first request is under way.
pub(super) fn under_way_texts() -> (String, String) {
    (
        "the message with this Idempotency-Key is under way".into(),
        "wait for its answer, or ask again in a moment".into(),
    )
}

/// The texts for a repeated key after the answer to the first request was lost.
pub(super) fn unanswered_texts() -> (String, String) {
    (
        "the message with this Idempotency-Key was written, and no answer came: it may have been sent".into(),
        "find out, for example by a status webhook; if the message was not sent, repeat the request with Keyside-Settle: not-sent".into(),
    )
}

/// The texts for a request that was written, and whose answer did not come.
pub(super) fn lost_answer_texts(error: &UpstreamError) -> (String, String) {
    (
        error.to_string(),
        "the provider may or may not have acted on the request; look for a status webhook before sending again".into(),
    )
}
