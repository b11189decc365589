//! The credentials with the ages of their secrets.

use serde_json::Value;

use super::Scene;
use super::table;
use crate::admin::credential_status::credential_status;
use crate::admin::page::html::Html;
use crate::admin::problems::Gravity;
use crate::json::words::{duration, list, seconds, text};

/// Writes the table; nothing without a credential.
pub(super) fn credentials(scene: &Scene<'_>, html: &mut Html) {
    let shown = &scene.selection.credentials;
    if shown.is_empty() {
        return;
    }
    html.markup("<h2>Credentials</h2>");
    table::begin(html, &["Credential", SECRETS, SAYS, STATE]);
    for credential in shown {
        let status = &credential_status(credential, &scene.summary.live);
        table::row(html, &credential.name);
        table::small(html, text(&status["provider"]));
        table::first_cell(html, SECRETS);
        secrets(status, html);
        table::cell(html, SAYS);
        provider(status, html);
        table::cell(html, STATE);
        state(status, scene.summary.troubled.get(&credential.name), html);
        table::end_row(html);
    }
    table::end(html);
}

fn secrets(status: &Value, html: &mut Html) {
    let max_age = status["max_age_seconds"].as_u64().unwrap_or_default();
    html.markup("<ul class=\"secrets\">");
    for secret in list(&status["secrets"]) {
        let age = secret["age_seconds"].as_u64().unwrap_or_default();
        html.markup("<li><span>").text(text(&secret["name"]));
        html.markup("</span> <code>")
            .text(text(&secret["fingerprint"]));
        html.markup("</code> ");
        bar(age, max_age, &secret["state"], html);
        html.markup("<span class=\"age\">").text(duration(age));
        html.text(format_args!(" of {}", duration(max_age)));
        html.markup(match secret["state"].as_str() {
            Some("overdue") => ", <b class=\"bad\">overdue</b>",
            Some("due") => ", <b class=\"warn\">due</b>",
            _ => "",
        });
        html.markup("</span></li>");
    }
    for missing in list(&status["missing"]) {
        html.markup("<li><span>").text(text(missing));
        html.markup("</span> <b class=\"bad\">missing</b></li>");
    }
    html.markup("</ul>");
}

/// Draws an age as a part of the highest one. The text beside it says the same.
fn bar(age: u64, max_age: u64, state: &Value, html: &mut Html) {
    let share = (age * 100)
        .checked_div(max_age)
        .unwrap_or_default()
        .min(100);
    html.markup("<svg class=\"bar\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    html.markup("<path class=\"axis\" d=\"M0 3H100\"/>");
    html.markup(match state.as_str() {
        Some("overdue") => "<path class=\"bad\" d=\"M0 0V6H",
        Some("due") => "<path class=\"refused\" d=\"M0 0V6H",
        _ => "<path class=\"good\" d=\"M0 0V6H",
    });
    html.text(share.max(1)).markup("V0Z\"/></svg>");
}

fn provider(status: &Value, html: &mut Html) {
    let check = &status["check"];
    html.text(text(&check["result"]));
    let asked = check["asked_seconds_ago"].as_u64();
    if let Some(asked) = asked {
        table::small(html, format_args!("asked {} ago", duration(asked)));
    }
    if check["ends_in_seconds"].is_u64() {
        let left = seconds(&check["ends_in_seconds"]);
        table::small(html, format_args!("the token ends in {left}"));
    }
}

fn state(status: &Value, gravity: Option<&Gravity>, html: &mut Html) {
    html.markup(match (status["usable"] == true, gravity) {
        (false, _) => "<b class=\"bad\">not usable</b>",
        (true, Some(Gravity::Wrong)) => "<b class=\"bad\">has a problem</b>",
        (true, Some(Gravity::Notice)) => "<b class=\"warn\">soon to do</b>",
        (true, None) => "<span class=\"fine\">good</span>",
    });
    if status["sends"] == "previous" {
        table::small(html, "sends with the previous secret");
    }
    if !status["kept_back"].is_null() {
        table::small(html, "the source holds a secret that is refused");
    }
    if let Some(ago) = status["last_success_seconds_ago"].as_u64() {
        table::small(html, format_args!("worked {} ago", duration(ago)));
    }
}

const SECRETS: &str = "Secrets and their ages";
const SAYS: &str = "Provider says";
const STATE: &str = "Standing";
