//! The senders of routes, as a token sees them.

use serde_json::Value;

use super::query::{ProviderQuery, number_at};
use super::{Uses, facts_of};
use crate::credential::{MESSAGING, SecretSet, TokenFacts, Verdict};

/// Asks for each sender. Returns true if there are senders and the token can see all of them; false
/// without senders, or if an answer tells nothing.
///
/// # Errors
/// The verdict, if the token cannot see a sender or there is no answer.
pub(super) async fn see_senders(
    query: &ProviderQuery<'_>,
    facts: &TokenFacts,
    uses: Uses<'_>,
) -> Result<bool, Verdict> {
    let mut sees_all = !uses.senders.is_empty();
    for sender in uses.senders {
        match sight_of(query, facts, sender).await? {
            SenderSight::Seen => {}
            SenderSight::Untold => sees_all = false,
            SenderSight::Unseen(_) if is_unseen_in_use(query, facts, uses.in_use, sender).await => {
                sees_all = false;
            }
            SenderSight::Unseen(code) => {
                let reason = format!("it cannot see sender {sender} (code {code})");
                return Err(query.refuses_token_for_sender(reason));
            }
            SenderSight::Elsewhere(account)
                if is_elsewhere_in_use(query, uses.in_use, &account).await =>
            {
                sees_all = false;
            }
            SenderSight::Elsewhere(_) => {
                let reason = format!(
                    "its scope {MESSAGING} is granted for other accounts than the one of sender {sender}: make one for this \
                     account as well"
                );
                return Err(query.refuses_token_for_sender(reason));
            }
        }
    }
    Ok(sees_all)
}

/// The answer to the question for a sender.
enum SenderSight {
    Seen,
    /// The token cannot see the sender, by this code.
    Unseen(i64),
    /// The token sees the sender, whose account is none of those that the token may send for.
    Elsewhere(String),
    /// The answer tells nothing of the sender.
    Untold,
}

async fn sight_of(
    query: &ProviderQuery<'_>,
    facts: &TokenFacts,
    sender: &str,
) -> Result<SenderSight, Verdict> {
    let answer = query
        .get(&format!("/{sender}?fields=id"))
        .await
        .map_err(|error| Verdict::Unproved(error.to_string()))?;
    Ok(match number_at(&answer, "/error/code") {
        Some(code) if is_invisible(code, &answer, facts) => SenderSight::Unseen(code),
        None if answer.get("id").is_some() => match account_of(query, facts, sender).await {
            Some(account) if !facts.accounts.contains(&account) => SenderSight::Elsewhere(account),
            Some(_) | None => SenderSight::Seen,
        },
        _ => SenderSight::Untold,
    })
}

/// True if the answer means an invisible sender. A token for messages alone may not read numbers,
/// so for such a token only the error for an unassigned object counts.
fn is_invisible(code: i64, answer: &Value, facts: &TokenFacts) -> bool {
    let is_unassigned = code == 100 && number_at(answer, "/error/error_subcode") == Some(33);
    is_unassigned || (facts.may_read_numbers() && INVISIBLE.contains(&code))
}

/// True if the sender is invisible to the secrets in use as well: a token may have the right to
/// send and not the right to read, so the question does not tell if the new token may send.
async fn is_unseen_in_use(
    query: &ProviderQuery<'_>,
    facts: &TokenFacts,
    in_use: Option<SecretSet<'_>>,
    sender: &str,
) -> bool {
    let Some(secrets) = in_use.filter(|_| !facts.may_read_numbers()) else {
        return false;
    };
    let query = ProviderQuery { secrets, ..*query };
    matches!(
        sight_of(&query, facts, sender).await,
        Ok(SenderSight::Unseen(_))
    )
}

/// Returns the account of a sender, if the token is for some accounts alone and may ask; `None` if
/// the answer does not tell.
///
/// The targets of a granular scope are accounts:
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/solution-providers/manage-accounts>.
/// The health of a number names its account:
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/support/health-status>.
async fn account_of(query: &ProviderQuery<'_>, facts: &TokenFacts, sender: &str) -> Option<String> {
    if facts.accounts.is_empty() || !facts.may_read_numbers() {
        return None;
    }
    let target = format!("/{sender}?fields=health_status");
    account_in(&query.get(&target).await.ok()?)
}

/// Returns the account in the health of a number.
fn account_in(answer: &Value) -> Option<String> {
    let entities = answer.pointer("/health_status/entities")?.as_array()?;
    let account = entities
        .iter()
        .find(|entity| entity["entity_type"] == "WABA")?;
    account["id"].as_str().map(str::to_owned)
}

/// True if the secrets in use may not send for the account either: the new token is no worse, and
/// requests show what it may do.
async fn is_elsewhere_in_use(
    query: &ProviderQuery<'_>,
    in_use: Option<SecretSet<'_>>,
    account: &str,
) -> bool {
    let Some(secrets) = in_use else {
        return false;
    };
    let query = ProviderQuery { secrets, ..*query };
    let described = match query.token() {
        Ok(token) => query.debug_token(token).await,
        Err(error) => Err(error),
    };
    described.is_ok_and(|described| {
        let accounts = described
            .get("data")
            .map(|data| facts_of(data).accounts)
            .unwrap_or_default();
        !accounts.is_empty() && !accounts.iter().any(|own| own == account)
    })
}

/// Graph's codes for an object that the token cannot see: permission missing (10, 200), or unknown
/// and not assigned to the token's user (100).
const INVISIBLE: [i64; 3] = [10, 100, 200];
