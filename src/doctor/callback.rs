//! Verdicts about the way of events at Meta: which callback URL wins, and whether the app gets
//! events at all.
//!
//! The callback URL of a number wins over that of its account, and that over the app's. A read of
//! `webhook_configuration` tells all three:
//! <https://developers.facebook.com/docs/whatsapp/embedded-signup/webhooks/override>.

use http::Uri;
use serde_json::Value;

use super::ask::shown_url;
use super::number::{text, usable};
use super::step::DoctorStep;
use crate::health::QueryError;

/// The field of a number with the callback URLs.
pub(super) const CALLBACK_FIELD: &str = "webhook_configuration";

/// The public URLs of the webhooks of a credential.
pub(super) struct OwnUrls<'u> {
    /// The URLs of the configuration.
    pub(super) urls: Vec<&'u str>,
    /// True if a webhook has no `public_url`.
    pub(super) some_unknown: bool,
    /// The segments of the webhooks' paths, which are no secrets.
    pub(super) known: Vec<&'u str>,
}

impl OwnUrls<'_> {
    fn shown(&self, url: &str) -> String {
        shown_url(url, &self.known)
    }
}

/// The level at which a callback URL is set, from the one that wins.
const LEVELS: [(&str, &str); 3] = [
    ("phone_number", "number"),
    ("whatsapp_business_account", "account"),
    ("application", "app"),
];

/// Decides about the callback URL of a number.
pub(super) fn of_number(
    number: &str,
    answer: &Result<Value, QueryError>,
    own: &OwnUrls<'_>,
) -> DoctorStep {
    let name = format!("{number} callback");
    let answer = match usable(answer) {
        Ok(answer) => answer,
        Err(untold) => return untold.named(&name),
    };
    let Some(levels) = answer.get(CALLBACK_FIELD) else {
        return DoctorStep::skipped(name, "not told by the provider");
    };
    let set: Vec<(&str, String)> = LEVELS
        .iter()
        .filter_map(|(key, level)| Some((*level, text(levels, key)?)))
        .filter(|(_, url)| !url.is_empty())
        .collect();
    let Some((level, url)) = set.first() else {
        return DoctorStep::fail(
            name,
            "neither the number nor its account nor the app has a callback URL",
            "set the callback URL of the app (App Dashboard, WhatsApp, Configuration)",
        );
    };
    let overridden: Vec<_> = set
        .iter()
        .skip(1)
        .map(|(level, url)| format!("{} of the {level}", own.shown(url)))
        .collect();
    let over = if overridden.is_empty() {
        String::new()
    } else {
        format!(", over {}", overridden.join(" and "))
    };
    let found = format!("events go to {} of the {level}{over}", own.shown(url));
    judge(name, url, found, own, remedy(level))
}

/// Returns how to change the callback URL of a level.
fn remedy(level: &str) -> &'static str {
    match level {
        "number" => {
            "set it (POST /{number} with `webhook_configuration`), or clear it there with an empty `override_callback_uri`"
        }
        "account" => {
            "set it (POST /{account}/subscribed_apps with `override_callback_uri`), or clear it with a POST without a body"
        }
        _ => "set the callback URL of the app (App Dashboard, WhatsApp, Configuration)",
    }
}

fn judge(name: String, url: &str, found: String, own: &OwnUrls<'_>, remedy: &str) -> DoctorStep {
    if own.urls.iter().any(|own| is_same(own, url)) {
        return DoctorStep::ok(name, found);
    }
    if own.some_unknown {
        return DoctorStep::skipped(
            name,
            format!("{found}: a webhook has no `public_url` to compare with"),
        );
    }
    DoctorStep::fail(
        name,
        format!("{found}, which is the `public_url` of no webhook here"),
        remedy,
    )
}

/// True if two URLs lead to the same place. Host and scheme have no case, and a query may hold a
/// token.
fn is_same(own: &str, set: &str) -> bool {
    let parts = |url: &str| {
        let uri: Uri = without_secrets(url).parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "http" { 80 } else { 443 });
        let host = uri.host()?.to_ascii_lowercase();
        Some((scheme, host, port, uri.path().to_owned()))
    };
    match (parts(own), parts(set)) {
        (Some(own), Some(set)) => own == set,
        _ => false,
    }
}

/// Returns a URL without its query and fragment.
fn without_secrets(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Decides about the subscription of an app to an account.
pub(super) fn of_account(
    account: &str,
    answer: &Result<Value, QueryError>,
    app: &str,
    urls: &OwnUrls<'_>,
) -> DoctorStep {
    let name = format!("{account} subscribed_apps");
    let answer = match usable(answer) {
        Ok(answer) => answer,
        Err(untold) => return untold.named(&name),
    };
    let Some(apps) = answer.get("data").and_then(Value::as_array) else {
        return DoctorStep::skipped(name, "not told by the provider");
    };
    let id = |app: &Value| text(app.get("whatsapp_business_api_data")?, "id");
    let own = apps.iter().find(|one| id(one).as_deref() == Some(app));
    match own {
        Some(own) => {
            let to = text(own, "override_callback_uri")
                .filter(|url| !url.is_empty())
                .map_or_else(String::new, |url| {
                    format!(", and its events go to {}", urls.shown(&url))
                });
            DoctorStep::ok(name, format!("app {app} is subscribed{to}"))
        }
        None => DoctorStep::fail(
            name,
            format!("app {app} is not among the {} subscribed apps", apps.len()),
            format!(
                "subscribe the app (POST /{account}/subscribed_apps): without it no event comes"
            ),
        ),
    }
}

/// Decides about the webhooks of the app itself.
pub(super) fn of_app(
    app: &str,
    answer: &Result<Value, QueryError>,
    own: &OwnUrls<'_>,
) -> Vec<DoctorStep> {
    let name = "app callback";
    let answer = match usable(answer) {
        Ok(answer) => answer,
        Err(untold) => return vec![untold.named(name)],
    };
    let Some(all) = answer.get("data").and_then(Value::as_array) else {
        return vec![DoctorStep::skipped(name, "not told by the provider")];
    };
    let is_whatsapp = |one: &&Value| text(one, "object").as_deref() == Some(OBJECT);
    let Some(subscription) = all.iter().find(is_whatsapp) else {
        return vec![DoctorStep::fail(
            name,
            format!("app {app} has no webhook for WhatsApp"),
            "set callback URL and verify token (App Dashboard, WhatsApp, Configuration)",
        )];
    };
    let url = text(subscription, "callback_url").unwrap_or_default();
    let mut steps = vec![if subscription.get("active") == Some(&Value::Bool(false)) {
        DoctorStep::fail(
            name,
            format!("the webhook {} of app {app} is not active", own.shown(&url)),
            "set the callback URL again, so that the provider shakes hands with it",
        )
    } else {
        of_app_url(&url, own)
    }];
    let named = |field: &Value| {
        let name = text(field, "name");
        name.or_else(|| field.as_str().map(str::to_owned))
    };
    let fields: Vec<String> = subscription
        .get("fields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(named)
        .collect();
    steps.push(if fields.iter().any(|field| field == "messages") {
        DoctorStep::ok("app fields", fields.join(" "))
    } else {
        DoctorStep::fail(
            "app fields",
            format!("app {app} does not subscribe to `messages`"),
            "subscribe to `messages` (App Dashboard, WhatsApp, Configuration, Webhook fields)",
        )
    });
    steps
}

/// Decides about the app's URL, which numbers and accounts may override: events of templates and
/// accounts go there always.
fn of_app_url(url: &str, own: &OwnUrls<'_>) -> DoctorStep {
    let found = format!("events of templates and accounts go to {}", own.shown(url));
    let step = judge("app callback".to_owned(), url, found, own, remedy("app"));
    match step.mend {
        // A warning, not a fault: the app's callback may lead elsewhere on purpose, and the
        // callback of each number decides about messages.
        Some(mend) => DoctorStep::warn(step.name, step.found, mend),
        None => step,
    }
}

/// The object of WhatsApp's webhooks.
const OBJECT: &str = "whatsapp_business_account";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::step::StepOutcome;
    use super::*;

    const OWN: &str = "https://hooks.test/wa";

    fn own() -> OwnUrls<'static> {
        OwnUrls {
            urls: vec![OWN],
            some_unknown: false,
            known: vec!["wa"],
        }
    }

    #[test]
    fn the_url_of_the_number_wins_then_of_the_account_then_of_the_app() {
        let all = |number: &str, account: &str, app: &str| {
            Ok(json!({"webhook_configuration": {
                "phone_number": number, "whatsapp_business_account": account, "application": app}}))
        };
        let other = "https://other.test/x?token=secret";
        for (answer, outcome, words) in [
            (
                all(OWN, other, other),
                StepOutcome::Ok,
                "of the number, over https://other.test/x of the account",
            ),
            (
                all("", OWN, other),
                StepOutcome::Ok,
                "of the account, over https://other.test/x of the app",
            ),
            (
                all("", "", "HTTPS://Hooks.test:443/wa"),
                StepOutcome::Ok,
                "of the app",
            ),
            (
                all(other, OWN, OWN),
                StepOutcome::Fail,
                "https://other.test/x of the number",
            ),
            (
                all("", other, OWN),
                StepOutcome::Fail,
                "the `public_url` of no webhook",
            ),
            (
                all("", "", "https://hooks.test/wa/"),
                StepOutcome::Fail,
                "of the app",
            ),
            (all("", "", ""), StepOutcome::Fail, "neither"),
            (Ok(json!({})), StepOutcome::Skipped, "not told"),
            (
                Ok(json!({"error": {"code": 10}})),
                StepOutcome::Skipped,
                "may not ask",
            ),
            (Err(QueryError::NotJson), StepOutcome::Fail, "is no JSON"),
        ] {
            let step = of_number("1234", &answer, &own());
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains(words), "{step:?}");
            assert!(!step.found.contains("secret"), "{step:?}");
        }
        let unknown = OwnUrls {
            urls: vec![],
            some_unknown: true,
            known: vec![],
        };
        let step = of_number("1234", &all("", "", OWN), &unknown);
        assert_eq!(step.outcome, StepOutcome::Skipped, "{step:?}");
    }

    #[test]
    fn an_app_must_be_subscribed_to_the_account() {
        let app = |id: &str| json!({"whatsapp_business_api_data": {"id": id, "name": "x"}});
        for (answer, outcome) in [
            (json!({"data": [app("1"), app("77")]}), StepOutcome::Ok),
            (json!({"data": [app("1")]}), StepOutcome::Fail),
            (json!({"data": []}), StepOutcome::Fail),
            (json!({}), StepOutcome::Skipped),
        ] {
            let step = of_account("5", &Ok(answer), "77", &own());
            assert_eq!(step.outcome, outcome, "{step:?}");
        }
    }

    #[test]
    fn the_webhook_of_an_app_is_active_and_has_messages() {
        use StepOutcome::{Fail, Ok, Warn};
        let of = |url: &str, active: bool, fields: Value| {
            json!({"data": [{"object": "page"}, {"object": "whatsapp_business_account",
                "callback_url": url, "active": active, "fields": fields}]})
        };
        let messages = || json!([{"name": "messages", "version": "v26.0"}]);
        for (answer, expected) in [
            (of(OWN, true, messages()), vec![Ok, Ok]),
            (of(OWN, true, json!(["messages"])), vec![Ok, Ok]),
            (of(OWN, true, json!([])), vec![Ok, Fail]),
            (of(OWN, false, messages()), vec![Fail, Ok]),
            (of("https://other.test/", true, messages()), vec![Warn, Ok]),
            (json!({"data": []}), vec![Fail]),
        ] {
            let steps = of_app("77", &Result::Ok(answer), &own());
            let outcomes: Vec<_> = steps.iter().map(|step| step.outcome).collect();
            assert_eq!(outcomes, expected, "{steps:?}");
        }
    }
}
