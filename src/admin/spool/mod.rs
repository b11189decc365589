//! The state of the spool: in `/status`, `/readyz`, `/metrics` and the log.

use serde_json::{Value, json};

mod alarm;
mod alarms;
pub(super) mod metrics;
mod watch;

use crate::spool::{Footing, StoredState, Survey, Surveyed, TroubleKind};
pub(super) use alarm::{SpoolAlarm, SpoolSubject};
pub(super) use alarms::alarms;
pub use watch::watch_spool;

/// Returns the state of the spool as JSON, the faults first.
pub(super) fn stats(survey: &Survey) -> Value {
    let numbers = &survey.numbers;
    let alarms: Vec<_> = alarms(survey).iter().map(SpoolAlarm::to_json).collect();
    let destinations: Vec<_> = survey.destinations.iter().map(destination).collect();
    json!({
        "alarms": alarms,
        "dir": survey.dir.display().to_string(),
        "bytes": numbers.bytes,
        "kept_bytes": numbers.kept_bytes,
        "max_bytes": survey.max_size,
        "file_bytes": numbers.file,
        "free_bytes": survey.free,
        "below": match survey.footing {
            Footing::Disk => "disk",
            Footing::Memory => "memory",
            Footing::Container => "container",
            Footing::Pod => "pod",
        },
        "failures": numbers.alarm.failures,
        "unreadable": survey.locked,
        "set_aside": numbers.alarm.set_aside.as_ref().map(|file| file.display().to_string()),
        "destinations": destinations,
    })
}

fn destination(to: &Surveyed) -> Value {
    let trouble = to.trouble.as_ref().map(|(trouble, age)| {
        json!({
            "kind": match trouble.kind {
                TroubleKind::Down => "down",
                TroubleKind::Failing => "failing",
                TroubleKind::Paused => "paused",
            },
            "outcome": trouble.outcome.to_string(),
            "reason": trouble.reason,
            "since_seconds": age.as_secs(),
        })
    });
    json!({
        "webhook": to.webhook,
        "to": to.name,
        "configured": to.is_configured,
        "waiting": to.count(StoredState::Waiting),
        "delivered": to.count(StoredState::Delivered),
        "dead": to.count(StoredState::Dead),
        "under_way": to.under_way,
        "oldest_seconds": to.oldest.map(|age| age.as_secs()),
        "trouble": trouble,
        "setback": to.setback.map(|setback| {
            json!({ "events": setback.events, "outcome": setback.outcome.to_string() })
        }),
    })
}
