//! The webhooks with their events and backlogs.

use serde_json::Value;

use super::Scene;
use super::hour::{LastHour, backlog};
use super::selection::left_out;
use super::table::{self, grouped};
use crate::admin::page::html::Html;
use crate::admin::page::plot::Size;
use crate::admin::status::webhook_traffic;
use crate::admin::webhook_status::webhook_status;
use crate::config::WebhookConfig;
use crate::inbound::metrics::WebhookMetrics;
use crate::json::words::{duration, list, text};
use crate::spool::{StoredState, Surveyed, TroubleKind};

/// Writes the table; nothing without a webhook.
pub(super) fn webhooks(scene: &Scene<'_>, html: &mut Html) {
    let rows = &scene.selection.webhooks;
    if rows.shown.is_empty() {
        return;
    }
    let traffic = webhook_traffic(&scene.summary.live);
    html.markup("<h2>Webhooks</h2>");
    table::begin(html, &["Webhook", EVENTS, LAST, DESTINATIONS]);
    for webhook in &rows.shown {
        row(
            webhook,
            traffic.get(webhook.name.as_str()).copied(),
            scene,
            html,
        );
    }
    table::end(html);
    left_out(rows.more, html);
}

fn row(
    webhook: &WebhookConfig,
    metrics: Option<&WebhookMetrics>,
    scene: &Scene<'_>,
    html: &mut Html,
) {
    let traffic = metrics.map(|metrics| metrics.traffic(scene.now));
    let status = &webhook_status(webhook, traffic, &scene.summary.deliveries);
    let minutes = metrics
        .map(|metrics| metrics.minutes(scene.now))
        .unwrap_or_default();
    let hour = LastHour::new(&minutes);
    table::row(html, &webhook.name);
    table::small(html, text(&status["path"]));
    table::first_cell(html, EVENTS);
    if !minutes.is_empty() {
        hour.counts(Size::Row, "Events", html);
    }
    table::small(html, hour.requests_text("failed", "forged or refused"));
    table::cell(html, LAST);
    match status["last_event_seconds_ago"].as_u64() {
        Some(ago) => html.text(format_args!("{} ago", duration(ago))),
        None => html.text("none yet"),
    };
    if status["silent_seconds"].is_u64() {
        html.markup("<small><b class=\"bad\">unusually quiet</b></small>");
    }
    table::cell(html, DESTINATIONS);
    destinations(webhook, status, scene, html);
    table::end_row(html);
}

fn destinations(webhook: &WebhookConfig, status: &Value, scene: &Scene<'_>, html: &mut Html) {
    let survey = scene.summary.survey.iter();
    let stored: Vec<_> = survey
        .flat_map(|survey| &survey.destinations)
        .filter(|to| to.webhook == webhook.name)
        .collect();
    html.markup("<ul class=\"destinations\">");
    if stored.is_empty() {
        for to in list(&status["to"]) {
            html.markup("<li><bdi>").text(text(&to["to"]));
            let problem = to.pointer("/traffic/problem");
            html.markup(if problem.is_some_and(Value::is_string) {
                "</bdi> <b class=\"bad\">failing</b></li>"
            } else {
                "</bdi></li>"
            });
        }
    }
    for to in stored {
        destination(to, scene, html);
    }
    html.markup("</ul>");
}

fn destination(to: &Surveyed, scene: &Scene<'_>, html: &mut Html) {
    html.markup("<li><b><bdi>")
        .text(&to.name)
        .markup("</bdi></b> ");
    html.markup(match to.trouble.as_ref().map(|(trouble, _)| trouble.kind) {
        Some(TroubleKind::Down) => "<b class=\"bad\">down</b> ",
        Some(TroubleKind::Failing) => "<b class=\"bad\">failing</b> ",
        Some(TroubleKind::Paused) => "<b class=\"bad\">paused</b> ",
        None if !to.is_configured => "<b class=\"warn\">not configured</b> ",
        None => "",
    });
    let waiting = scene.backlogs.of(&to.webhook, &to.name, scene.now);
    if !waiting.is_empty() {
        backlog(Size::Row, &waiting, html);
    }
    let mut words = format!("{} waiting", grouped(to.count(StoredState::Waiting)));
    if let Some(oldest) = to.oldest {
        words += &format!(", the oldest for {}", duration(oldest.as_secs()));
    }
    let dead = to.count(StoredState::Dead);
    if dead > 0 {
        words += &format!(", {} dead", grouped(dead));
    }
    table::small(html, words);
    html.markup("</li>");
}

const EVENTS: &str = "Events";
const LAST: &str = "Last event";
const DESTINATIONS: &str = "Destinations and backlog";
