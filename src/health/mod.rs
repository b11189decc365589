//! What the provider says of a credential when it is asked: whether a new token is good before it is used,
//! and how long it will be.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

mod exchange;
mod question;

pub use exchange::{exchange, is_valid, revoke};
pub use question::Question;
use question::refuses_proof;

use crate::credential::{Facts, Issuer, Sent, Verdict, access_token};
use crate::provider::Health;
use crate::units::Rate;
use crate::upstream::Upstream;

/// Asks the provider about a credential, and whether it can see each of these senders: as far as it may read numbers at
/// all, which a token that can only send may not. Where the provider exchanges it for an access token, that alone says
/// that it is good.
pub async fn ask(sent: Sent<'_>, at: Place<'_>, senders: &[&str]) -> Verdict {
    let issued = match access_token(sent, at.issuer, None).await {
        Ok(issued) => issued,
        Err(error) if error.is_refusal => return Verdict::Refused(error.to_string()),
        Err(error) => return Verdict::Unproved(error.to_string()),
    };
    let question = Question { sent: sent.carrying(issued.as_deref()), upstream: at.upstream, host: at.host };
    let provider = &sent.credential().provider;
    match &provider.health {
        Some(Health::Graph) => ask_graph(&question, senders).await,
        Some(Health::Get(path)) => question.is_taken(path).await,
        None if provider.exchange().is_some() => Verdict::Proved(Facts::default()),
        None => Verdict::Unproved("the provider has no question for it".to_owned()),
    }
}

/// Where a credential is asked about.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Where requests go.
    pub upstream: &'a Arc<Upstream>,
    /// Its name.
    pub host: &'a str,
    /// Who gives access tokens.
    pub issuer: Issuer<'a>,
}

async fn ask_graph(question: &Question<'_>, senders: &[&str]) -> Verdict {
    let described = match question.about_itself("/debug_token", "input_token").await {
        Ok(answer) => answer,
        Err(reason) => return Verdict::Unproved(reason),
    };
    if let Some(refusal) = refusal(&described, &question.sent.credential().provider.errors.refused.codes) {
        return refusal;
    }
    let Some(data) = described.get("data").filter(|data| data.get("is_valid").is_some()) else {
        return Verdict::Unproved("the answer to debug_token says nothing of it".to_owned());
    };
    if data["is_valid"] != true {
        let (code, subcode) = (number(data, "/error/code"), number(data, "/error/subcode"));
        return Verdict::Refused(format!("debug_token says that it is not valid (code {code}, subcode {subcode})"));
    }
    let facts = facts_of(data);
    if facts.expires.is_some_and(|expires| expires <= question.upstream.now()) {
        return Verdict::Refused("debug_token says that it has expired".to_owned());
    }
    for sender in senders.iter().filter(|_| facts.may_read_numbers()) {
        let refused = match question.get(&format!("/{sender}?fields=id")).await {
            Ok(answer) => answer.pointer("/error/code").and_then(Value::as_i64),
            Err(reason) => return Verdict::Unproved(reason),
        };
        if let Some(code) = refused.filter(|code| BLIND.contains(code)) {
            return Verdict::Refused(format!("it cannot see sender {sender} (code {code})"));
        }
    }
    Verdict::Proved(facts)
}

/// How many messages a second a number may send: 80, 1000 at the high level, and 20 where it is in the WhatsApp Business
/// app as well: <https://developers.facebook.com/docs/whatsapp/cloud-api/overview#throughput>. `None` where nothing tells.
pub async fn level(question: &Question<'_>, sender: &str) -> Option<Rate> {
    let answer = question.get(&format!("/{sender}?fields=throughput,is_on_biz_app")).await.ok()?;
    let per_second = match answer.pointer("/throughput/level").and_then(Value::as_str)? {
        _ if answer.get("is_on_biz_app") == Some(&Value::Bool(true)) => 20,
        "HIGH" => 1000,
        "STANDARD" => 80,
        _ => return None,
    };
    Some(Rate { count: NonZeroU32::new(per_second)?, per: Duration::from_secs(1) })
}

/// The codes by which Graph refuses the question itself.
fn refusal(answer: &Value, refused: &[String]) -> Option<Verdict> {
    let error = answer.get("error")?;
    let code = error.get("code").and_then(Value::as_i64);
    if refuses_proof(answer) {
        let reason = "the app secret is not that of the token's app; replace both together";
        return Some(Verdict::Refused(reason.to_owned()));
    }
    Some(match code {
        Some(code) if refused.contains(&code.to_string()) => {
            Verdict::Refused(format!("the provider refuses it (code {code})"))
        }
        Some(code) => Verdict::Unproved(format!("the question was refused (code {code})")),
        None => Verdict::Unproved("the question was refused".to_owned()),
    })
}

fn facts_of(data: &Value) -> Facts {
    let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
    let time = |key: &str| data[key].as_u64().filter(|at| *at != 0).map(|at| UNIX_EPOCH + Duration::from_secs(at));
    let scopes = data["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Facts {
        app: text("app_id"),
        kind: text("type"),
        expires: time("expires_at"),
        data_access_expires: time("data_access_expires_at"),
        scopes: scopes.map(str::to_owned).collect(),
    }
}

/// A number of an answer, in words where it has none.
fn number(answer: &Value, pointer: &str) -> String {
    answer.pointer(pointer).and_then(Value::as_i64).map_or_else(|| "unknown".to_owned(), |number| number.to_string())
}

/// Unknown or not assigned to the token's user, permission missing.
const BLIND: [i64; 3] = [10, 100, 200];
