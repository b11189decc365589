//! The sidecar itself: certificates, the audit file, the shared server, the spool, the state.

use serde_json::Value;

use super::Scene;
use crate::admin::page::html::Html;
use crate::json::words::{counted, duration, list, size, text};

/// Writes the list of what is configured; nothing if there is nothing.
pub(super) fn sidecar(scene: &Scene<'_>, html: &mut Html) {
    let sidecar = &scene.summary.sidecar;
    let mut facts = Vec::new();
    for certificate in list(&sidecar["certificates"]) {
        facts.push(certificate_fact(certificate));
    }
    let audit = &sidecar["audit"];
    if !audit.is_null() {
        let lost = audit["lost"].as_u64().unwrap_or_default();
        let part = part_state(&audit["problem"], "written");
        let words = format!("{}, {} lost", text(&audit["file"]), counted(lost, "event"));
        facts.push(("Audit file".to_owned(), part, words));
    }
    let shared = &sidecar["shared_limits"];
    if !shared.is_null() {
        let since = shared["since_seconds"].as_u64().unwrap_or_default();
        let part = part_state(&shared["problem"], "in use");
        let words = format!("{}, for {}", text(&shared["redis"]), duration(since));
        facts.push(("Shared limits".to_owned(), part, words));
    }
    if let Some(survey) = &scene.summary.survey {
        let bytes = survey.numbers.bytes;
        let words = format!(
            "{} of {}, in {}",
            size(bytes),
            size(survey.max_size),
            survey.dir.display()
        );
        facts.push(("Spool".to_owned(), PartState::Good("open"), words));
    }
    let state = &sidecar["state"];
    if !state.is_null() {
        let kept = if state["keeps_secrets"] == true {
            "keeps replaced secrets"
        } else {
            "keeps fingerprints alone"
        };
        let problem = list(&state["problems"]).next();
        let part = part_state(problem.unwrap_or(&Value::Null), "written");
        let words = format!("{}, {kept}", text(&state["dir"]));
        facts.push(("State".to_owned(), part, words));
    }
    if facts.is_empty() {
        return;
    }
    html.markup("<h2>Sidecar</h2><ul class=\"sidecar\">");
    for (name, state, words) in facts {
        html.markup("<li><b>").text(name).markup("</b> ");
        state.write(html);
        html.markup(" <span>").text(words).markup("</span></li>");
    }
    html.markup("</ul>");
}

/// The state of one part.
enum PartState {
    Good(&'static str),
    /// The problems at the top of the page have the reason.
    Bad,
}

impl PartState {
    fn write(&self, html: &mut Html) {
        match self {
            Self::Good(word) => html
                .markup("<span class=\"fine\">")
                .markup(word)
                .markup("</span>"),
            Self::Bad => html.markup("<b class=\"bad\">see above</b>"),
        };
    }
}

fn part_state(problem: &Value, good: &'static str) -> PartState {
    if problem.is_null() {
        PartState::Good(good)
    } else {
        PartState::Bad
    }
}

fn certificate_fact(certificate: &Value) -> (String, PartState, String) {
    let left = certificate["ends_in_seconds"].as_u64().unwrap_or_default();
    let name = format!("Certificate of [{}]", text(&certificate["listener"]));
    let words = format!("{}, ends in {}", text(&certificate["file"]), duration(left));
    (name, part_state(&certificate["problem"], "valid"), words)
}
