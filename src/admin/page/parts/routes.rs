//! The routes with their traffic and limits.

use std::time::SystemTime;

use serde_json::Value;

use super::Scene;
use super::hour::LastHour;
use super::selection::left_out;
use super::table;
use crate::admin::page::html::Html;
use crate::admin::page::plot::Size;
use crate::admin::status::route_status;
use crate::admin::status_query::StatusQuery;
use crate::json::words::{counted, duration, list, slowed_senders, text};
use crate::outbound::policy::Route;
use crate::units::unix;

/// Writes the table; nothing without a route.
pub(super) fn routes(scene: &Scene<'_>, html: &mut Html) {
    let rows = &scene.selection.routes;
    if rows.shown.is_empty() {
        return;
    }
    html.markup("<h2>Routes</h2>");
    table::begin(html, &["Route", REQUESTS, LATENCY, LIMITS, SUCCESS]);
    for route in &rows.shown {
        row(route, scene, html);
    }
    table::end(html);
    left_out(rows.more, html);
}

fn row(route: &Route, scene: &Scene<'_>, html: &mut Html) {
    let status = &route_status(route, &StatusQuery::default());
    let minutes = route.traffic.history.report(scene.now);
    let hour = LastHour::new(&minutes);
    let limit = &status["limit"];
    table::row(html, &route.name);
    let upstream = text(&status["upstream"]);
    table::small(
        html,
        format_args!("{} \u{2192} {upstream}", text(&status["path"])),
    );
    table::first_cell(html, REQUESTS);
    if !minutes.is_empty() {
        hour.counts(Size::Row, "Requests", html);
    }
    table::small(html, hour.requests_text("failed", "over a limit"));
    table::cell(html, LATENCY);
    if !minutes.is_empty() {
        hour.latency(Size::Row, html);
    }
    table::small(html, hour.latency_text());
    table::cell(html, LIMITS);
    if !minutes.is_empty() {
        hour.limits(Size::Row, html);
    }
    table::small(html, limits_text(limit, &hour));
    table::cell(html, SUCCESS);
    let last = status
        .pointer("/traffic/last_success")
        .and_then(Value::as_u64);
    match last {
        Some(at) => {
            let ago = unix(SystemTime::now()).saturating_sub(at);
            html.text(format_args!("{} ago", duration(ago)))
        }
        None => html.text("none yet"),
    };
    failing(status, html);
    table::end_row(html);
}

/// Returns the rate, what of it was used, and who waits, in words.
fn limits_text(limit: &Value, hour: &LastHour<'_>) -> String {
    let mut text = match limit["per_sender"].as_str() {
        Some(rate) => format!("{rate} each sender; {}", hour.limits_text()),
        None => "no limit of a sender".to_owned(),
    };
    let waiting: u64 = ["waiting", "waiting_for_recipients", "waiting_for_account"]
        .iter()
        .filter_map(|key| limit[*key].as_u64())
        .sum();
    if waiting > 0 {
        text += &format!(", {waiting} waiting");
    }
    if let Some(paused) = limit["senders_paused"]
        .as_u64()
        .filter(|paused| *paused > 0)
    {
        text += &format!(", {} paused", counted(paused, "sender"));
    }
    if let Some(slowed) = slowed_senders(limit) {
        text += &format!(", {slowed}");
    }
    text
}

/// Writes that the route fails, or that the provider restricts a sender. The problems above have
/// the reason.
fn failing(status: &Value, html: &mut Html) {
    let traffic = &status["traffic"];
    let restricted = list(&traffic["restrictions"]).count() as u64;
    if restricted > 0 {
        html.markup("<small><b class=\"bad\">");
        html.text(format_args!("{} restricted", counted(restricted, "sender")));
        html.markup("</b></small>");
    } else if list(&traffic["problems"]).next().is_some() {
        html.markup("<small><b class=\"bad\">failing</b></small>");
    }
}

const REQUESTS: &str = "Requests";
const LATENCY: &str = "Latency";
const LIMITS: &str = "Limits";
const SUCCESS: &str = "Last success";
