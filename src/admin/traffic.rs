//! The health of routes as JSON and in words.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::log::without_numbers;
use crate::traffic::{
    DestinationTraffic, Failure, RouteTraffic, Streak, TrackReport, TrafficProblem,
};

/// Returns a line for each problem that the traffic of a route shows, with the remedy.
pub(super) fn problems(traffic: &RouteTraffic) -> Vec<String> {
    let now = Instant::now();
    let report = traffic.report(now);
    let texts = report
        .map(|report| report.problems(now, SystemTime::now()))
        .into_iter()
        .flatten()
        .map(|problem| problem.0);
    texts.collect()
}

/// Returns the health of a route; `null` before its first request.
pub(super) fn status(traffic: &RouteTraffic) -> Value {
    let now = Instant::now();
    let Some(report) = traffic.report(now) else {
        return Value::Null;
    };
    let restrictions = report.restrictions.iter().map(|restriction| {
        json!({
            "sender": without_numbers(&restriction.sender),
            "since": unix(restriction.since),
            "count": restriction.count,
            "failure": failure(&restriction.failure),
        })
    });
    json!({
        "last_success": report.last_success().map(unix),
        "sends": track(&report.sends),
        "others": track(&report.others),
        "restrictions": restrictions.collect::<Vec<_>>(),
        "problems": problems(traffic),
    })
}

/// Returns the health of a destination of events; `null` before its first event. `problem` tells
/// what is wrong, where nothing else does.
pub(super) fn destination(traffic: &DestinationTraffic, problem: Option<TrafficProblem>) -> Value {
    let Some(report) = traffic.report(Instant::now()) else {
        return Value::Null;
    };
    json!({
        "last_success": report.last_success.map(unix),
        "succeeded_last_hour": report.succeeded,
        "failed_last_hour": report.failed,
        "failing": report.streak.as_ref().map(|streak| json!({
            "since": unix(streak.since),
            "last": unix(streak.last),
            "count": streak.count,
            "class": streak.failure.class.of_destination(),
            "status": Some(streak.failure.status).filter(|status| *status != 0),
            "reason": streak.failure.reason,
            "what_to_do": streak.failure.advice,
        })),
        "problem": problem.map(|problem| problem.0),
    })
}

fn track(track: &TrackReport) -> Value {
    json!({
        "last_success": track.last_success.map(unix),
        "succeeded_last_hour": track.succeeded,
        "failed_last_hour": track.failed,
        "failing": track.streak.as_ref().map(streak),
    })
}

fn streak(streak: &Streak) -> Value {
    json!({
        "since": unix(streak.since),
        "last": unix(streak.last),
        "count": streak.count,
        "failure": failure(&streak.failure),
    })
}

fn failure(failure: &Failure) -> Value {
    json!({
        "class": failure.class.as_str(),
        "status": failure.status,
        "code": failure.code,
        "subcode": failure.subcode,
        "trace": failure.trace,
        "reason": failure.reason,
        "what_to_do": failure.advice,
    })
}

/// Returns the Unix time of a moment.
pub(super) fn unix(moment: Instant) -> u64 {
    let time = SystemTime::now().checked_sub(moment.elapsed());
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default()
        .as_secs()
}
