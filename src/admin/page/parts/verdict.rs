//! The verdict about the sidecar, and the facts about it.

use serde_json::Value;

use super::Scene;
use crate::admin::page::html::Html;
use crate::admin::problems::Gravity;
use crate::json::words::{counted, duration, text};

/// Writes the verdict: one line that changes only when the matter does.
pub(super) fn verdict(scene: &Scene<'_>, html: &mut Html) {
    let summary = scene.summary;
    let wrong = summary.count(Gravity::Wrong) as u64;
    let notices = summary.count(Gravity::Notice) as u64;
    let sidecar = &summary.sidecar;
    let is_draining = sidecar["draining"] == true;
    html.markup(match (wrong, notices, is_draining) {
        (0, 0, false) => "<p class=\"verdict fine\">",
        (0, _, false) => "<p class=\"verdict notice\">",
        _ => "<p class=\"verdict wrong\">",
    });
    match wrong {
        0 => html.text("Nothing is wrong"),
        1 => html.text("1 thing is wrong"),
        more => html.text(format_args!("{more} things are wrong")),
    };
    if notices > 0 {
        html.text(format_args!(
            ", {} to be done in time",
            counted(notices, "thing")
        ));
    }
    if is_draining {
        html.text(". The sidecar is stopping");
    }
    html.markup("</p>");
}

/// Writes the facts: version, age, generation, last reload.
pub(super) fn facts(scene: &Scene<'_>, html: &mut Html) {
    let live = &scene.summary.live;
    let sidecar = &scene.summary.sidecar;
    let reload = |key| sidecar.pointer(key).unwrap_or(&Value::Null);
    let uptime = sidecar["uptime_seconds"].as_u64().unwrap_or_default();
    let facts = [
        ("version", text(&sidecar["version"])),
        ("up", duration(uptime)),
        ("generation", sidecar["generation"].to_string()),
        ("last reload", text(reload("/reload/last_result"))),
        (
            "tenants",
            format!(
                "{}, {}, {}",
                counted(live.credentials.len() as u64, "credential"),
                counted(live.generation.policy.routes().len() as u64, "route"),
                counted(live.config.webhooks.len() as u64, "webhook")
            ),
        ),
    ];
    html.markup("<dl class=\"facts\">");
    for (name, value) in facts {
        html.markup("<div><dt>").text(name).markup("</dt><dd>");
        html.text(value).markup("</dd></div>");
    }
    html.markup("</dl>");
}
