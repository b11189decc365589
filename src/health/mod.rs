//! Queries to providers about credentials: is a new token good before it is used, and until when,
//! and how fast may a number send.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

mod error;
mod query;
mod sender;
mod token;

pub use error::QueryError;
use error::shown;
use query::refuses_proof;
pub use query::{ProviderQuery, number_at};
use sender::see_senders;
pub use token::{TokenLifetime, exchange_token, is_own_token_valid, is_token_valid, revoke_token};

use crate::credential::{
    MESSAGING, SecretRefusal, SecretSet, TokenFacts, TokenIssuer, TokenNeeds, Verdict, access_token,
};
use crate::provider::HealthCheck;
use crate::units::Rate;
use crate::upstream::Upstream;

/// The upstreams that queries about a credential go to.
#[derive(Clone, Copy)]
pub struct Endpoints<'a> {
    /// The upstream of the provider.
    pub upstream: &'a Arc<Upstream>,
    /// The value for the Host header.
    pub host: &'a str,
    /// The issuer of access tokens.
    pub issuer: TokenIssuer<'a>,
}

/// The uses of a credential by its routes, to ask about.
#[derive(Clone, Copy)]
pub struct Uses<'u> {
    /// The uses for which the routes need the token.
    pub needs: &'u TokenNeeds,
    /// The senders of the routes.
    pub senders: &'u [&'u str],
    /// The secrets in use, for a question about new secrets.
    pub in_use: Option<SecretSet<'u>>,
}

/// Asks the provider if a secret set is good, and if a token is good for the uses of its routes:
/// has the scopes, and can see each sender.
///
/// If the provider takes access tokens and has no question of its own, a successful exchange proves
/// the secrets.
pub async fn verify(secrets: SecretSet<'_>, at: Endpoints<'_>, uses: Uses<'_>) -> Verdict {
    let issued = match access_token(secrets, at.issuer, None).await {
        Ok(issued) => issued,
        Err(error) if error.is_refusal => {
            return Verdict::Refused(SecretRefusal::new(error.to_string()));
        }
        Err(error) => return Verdict::Unproved(error.to_string()),
    };
    let query = ProviderQuery {
        secrets: secrets.with_access_token(issued.as_deref()),
        upstream: at.upstream,
        host: at.host,
    };
    let provider = secrets.provider();
    match &provider.health {
        Some(HealthCheck::Graph) => verify_graph_token(&query, uses).await,
        Some(HealthCheck::Get(path)) => query.verify_by_get(path).await,
        None if provider.exchange().is_some() => Verdict::Proved(TokenFacts::default()),
        None => Verdict::Unproved("the provider has no request that proves a secret".to_owned()),
    }
}

async fn verify_graph_token(query: &ProviderQuery<'_>, uses: Uses<'_>) -> Verdict {
    let answer = match query.token() {
        Ok(token) => query.debug_token(token).await,
        Err(error) => Err(error),
    };
    let described = match answer {
        Ok(answer) => answer,
        Err(error) => return Verdict::Unproved(error.to_string()),
    };
    let refused_codes = &query.secrets.credential().provider.errors.refused.codes;
    if let Some(verdict) = refusal(query, &described, refused_codes) {
        return verdict;
    }
    let data = described.get("data").unwrap_or(&Value::Null);
    let Some(is_valid) = data.get("is_valid") else {
        return Verdict::Unproved(
            "the answer to debug_token does not say if the token is valid".to_owned(),
        );
    };
    if *is_valid != true {
        let code = shown(number_at(data, "/error/code"));
        let reason = with_subcode(&code, number_at(data, "/error/subcode"));
        return query.refuses_token(format!("debug_token says that it is not valid {reason}"));
    }
    let mut facts = facts_of(data);
    if facts
        .expires
        .is_some_and(|expires| expires <= query.upstream.read_clock().time)
    {
        return query.refuses_token("debug_token says that it has expired");
    }
    let mut missing = facts.too_narrow(uses.needs);
    missing.extend(lost_scopes(&facts, uses));
    if !missing.is_empty() {
        return query.refuses_token(format!(
            "it may do less than its routes need: make one with these scopes: {}",
            missing.join(" ")
        ));
    }
    match see_senders(query, &facts, uses).await {
        Ok(sees_senders) => facts.sees_senders = sees_senders,
        Err(verdict) => return verdict,
    }
    Verdict::Proved(facts)
}

/// Returns the scopes of some requests that only the token in use has: the requests work now.
fn lost_scopes<'u>(facts: &TokenFacts, uses: Uses<'u>) -> Vec<&'u str> {
    let verification = uses
        .in_use
        .filter(|in_use| !in_use.is_previous())
        .and_then(|in_use| in_use.credential().verification());
    let Some(now) = verification.as_ref().and_then(|found| found.facts()) else {
        return Vec::new();
    };
    let lacking = facts.lacking(uses.needs).into_iter();
    lacking.filter(|scope| !now.lacks(scope)).collect()
}

/// Asks for the rate at which a number may send; `None` if the answer does not tell.
///
/// The rate is 80 messages a second, 1000 at the high throughput level, and 20 for a number that
/// the WhatsApp Business app uses as well:
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/overview#throughput>.
pub async fn sender_rate(query: &ProviderQuery<'_>, sender: &str) -> Option<Rate> {
    let answer = query
        .get(&format!("/{sender}?fields=throughput,is_on_biz_app"))
        .await
        .ok()?;
    let level = answer
        .pointer("/throughput/level")
        .and_then(Value::as_str)?;
    let per_second = match level {
        _ if answer.get("is_on_biz_app") == Some(&Value::Bool(true)) => 20,
        "HIGH" => 1000,
        "STANDARD" => 80,
        _ => return None,
    };
    Some(Rate {
        count: NonZeroU32::new(per_second)?,
        per: Duration::from_secs(1),
    })
}

/// Returns the verdict of an answer in which Graph refuses the query itself.
fn refusal(query: &ProviderQuery<'_>, answer: &Value, refused_codes: &[String]) -> Option<Verdict> {
    let error = answer.get("error")?;
    if refuses_proof(answer) {
        return Some(query.refuses_proof_key());
    }
    Some(match number_at(error, "/code") {
        Some(code) if refused_codes.contains(&code.to_string()) => {
            let reason = with_subcode(&code.to_string(), number_at(error, "/error_subcode"));
            query.refuses_token(format!("the provider refuses it {reason}"))
        }
        Some(code) => Verdict::Unproved(format!("the question was refused (code {code})")),
        None => Verdict::Unproved("the question was refused".to_owned()),
    })
}

/// Returns the numbers of a refusal, with the meaning of the subcode.
fn with_subcode(code: &str, subcode: Option<i64>) -> String {
    match subcode {
        Some(subcode) => format!(
            "(code {code}, subcode {subcode}){}",
            meaning_of_subcode(subcode)
        ),
        None => format!("(code {code})"),
    }
}

/// Returns the meaning of a subcode of 190, to follow the numbers; empty for an unknown subcode.
/// <https://developers.facebook.com/docs/graph-api/guides/error-handling>
fn meaning_of_subcode(subcode: i64) -> &'static str {
    match subcode {
        458 => ": the app was removed from the account",
        459 | 464 => ": its user must log in and confirm the account",
        460 => ": the password of its user was changed",
        463 => ": it has expired",
        467 => ": it is invalid, because it was revoked or has ended",
        492 => ": its session has ended",
        _ => "",
    }
}

/// Reads the facts from the data of `debug_token`. Times are Unix seconds, and 0 stands for never.
fn facts_of(data: &Value) -> TokenFacts {
    let granted = || data["granular_scopes"].as_array().into_iter().flatten();
    let of_pages = |granted: &&Value| {
        let scope = granted["scope"].as_str().unwrap_or_default();
        PAGE_SCOPES.iter().any(|prefix| scope.starts_with(prefix))
    };
    let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    let time = |key: &str| {
        data[key]
            .as_u64()
            .filter(|at| *at != 0)
            .map(|at| UNIX_EPOCH + Duration::from_secs(at))
    };
    TokenFacts {
        app: text("app_id"),
        kind: text("type"),
        user: text("user_id"),
        sees_senders: false,
        issued: time("issued_at"),
        expires: time("expires_at"),
        data_access_expires: time("data_access_expires_at"),
        scopes: data["scopes"].as_array().map(|scopes| {
            let texts = scopes.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }),
        idle_scopes: granted()
            .filter(|granted| granted["target_ids"].as_array().is_some_and(Vec::is_empty))
            .filter_map(|granted| granted["scope"].as_str().map(str::to_owned))
            .collect(),
        accounts: granted()
            .filter(|granted| granted["scope"] == MESSAGING)
            .filter_map(|granted| granted["target_ids"].as_array())
            .flatten()
            .filter_map(|account| account.as_str().map(str::to_owned))
            .collect(),
        pages: granted()
            .filter(of_pages)
            .filter_map(|granted| granted["target_ids"].as_array())
            .flatten()
            .filter_map(|page| page.as_str().map(str::to_owned))
            .collect(),
        pageless_scopes: pageless_scopes(data),
        scoped_accounts: {
            let of_accounts = |granted: &&Value| {
                let scope = granted["scope"].as_str().unwrap_or_default();
                scope.starts_with(ACCOUNT_SCOPES)
            };
            let targets = granted()
                .filter(of_accounts)
                .filter_map(|granted| granted["target_ids"].as_array());
            let ids: BTreeSet<_> = targets
                .flatten()
                .filter_map(|account| account.as_str().map(str::to_owned))
                .collect();
            ids.into_iter().collect()
        },
    }
}

/// Returns the scopes for sending as pages without the ids of pages.
fn pageless_scopes(data: &Value) -> Box<[String]> {
    let granted = || data["granular_scopes"].as_array().into_iter().flatten();
    let names_pages = |scope: &str| {
        let mut granted = granted().filter(|granted| granted["scope"] == scope);
        granted.any(|granted| granted["target_ids"].is_array())
    };
    let scopes = data["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    scopes
        .filter(|scope| PAGE_SENDING_SCOPES.contains(scope) && !names_pages(scope))
        .map(str::to_owned)
        .collect()
}

/// The beginning of the scopes whose targets are WhatsApp Business accounts.
const ACCOUNT_SCOPES: &str = "whatsapp_business_";

/// The beginnings of the scopes whose targets are pages and accounts that send elsewhere than on
/// WhatsApp.
const PAGE_SCOPES: [&str; 2] = ["pages_", "instagram_"];

/// The scopes with which a token sends for pages:
/// <https://developers.facebook.com/docs/permissions>.
const PAGE_SENDING_SCOPES: [&str; 3] = [
    "pages_messaging",
    "instagram_manage_messages",
    "instagram_business_manage_messages",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pages_of_a_token_are_the_targets_of_its_scopes_for_pages() {
        let facts = facts_of(&json!({"scopes": ["pages_messaging"], "granular_scopes": [
            {"scope": "whatsapp_business_messaging", "target_ids": ["102290129340398"]},
            {"scope": "pages_messaging", "target_ids": ["5551", "5552"]},
            {"scope": "instagram_manage_messages", "target_ids": ["5553"]},
            {"scope": "pages_show_list"},
            {"scope": "whatsapp_business_management", "target_ids": []},
        ]}));
        assert_eq!(*facts.pages, ["5551", "5552", "5553"]);
        assert_eq!(*facts.accounts, ["102290129340398"]);
        assert_eq!(*facts.idle_scopes, ["whatsapp_business_management"]);
        assert_eq!(*facts_of(&json!({})).pages, [""; 0]);
    }

    #[test]
    fn a_refusal_names_its_subcode_and_what_it_means() {
        for (subcode, expected) in [
            (Some(463), "(code 190, subcode 463): it has expired"),
            (
                Some(460),
                "(code 190, subcode 460): the password of its user was changed",
            ),
            (Some(33), "(code 190, subcode 33)"),
            (None, "(code 190)"),
        ] {
            assert_eq!(with_subcode("190", subcode), expected);
        }
    }

    #[test]
    fn a_scope_for_the_messages_of_pages_may_name_no_page() {
        for (granted, expected) in [
            (json!([]), &["pages_messaging"][..]),
            (json!([{"scope": "pages_messaging"}]), &["pages_messaging"]),
            (
                json!([{"scope": "pages_messaging", "target_ids": ["5551"]}]),
                &[],
            ),
            (json!([{"scope": "pages_messaging", "target_ids": []}]), &[]),
        ] {
            let facts = facts_of(&json!({
                "scopes": ["whatsapp_business_messaging", "pages_show_list", "pages_messaging"],
                "granular_scopes": granted,
            }));
            assert_eq!(*facts.pageless_scopes, *expected, "{granted}");
        }
        assert_eq!(*facts_of(&json!({})).pageless_scopes, [""; 0]);
    }
}
