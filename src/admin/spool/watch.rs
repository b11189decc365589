//! The log of the spool's alarms: a line at the beginning of each, and a line at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::{AlarmKind, SpoolAlarm, SpoolSubject};
use super::alarms::alarms;
use crate::admin::backlog::Backlogs;
use crate::beat::{next_beat, next_beat_of_traffic};
use crate::spool::Spool;

/// Looks at the spool again and again, logs changes, and notes the backlogs. Never returns. A spool
/// in which nothing waits changes with the next event only.
pub async fn watch_spool(spool: Arc<Spool>, backlogs: Arc<Backlogs>) {
    let mut before = Vec::new();
    let mut is_at_rest = false;
    loop {
        let spool = Arc::clone(&spool);
        // The survey reads the disk.
        let backlogs = Arc::clone(&backlogs);
        let survey = move || {
            let survey = spool.survey();
            backlogs.note(&survey, Instant::now());
            survey
        };
        if let Ok(survey) = tokio::task::spawn_blocking(survey).await {
            let now = alarms(&survey);
            for change in changes(&before, &now) {
                change.log();
            }
            before = now;
            is_at_rest = !survey.has_waiting();
        }
        if is_at_rest {
            next_beat_of_traffic(INTERVAL).await;
        } else {
            next_beat(INTERVAL).await;
        }
    }
}

/// A change of the alarms.
#[derive(Debug, PartialEq, Eq)]
enum AlarmChange<'a> {
    Began(&'a SpoolAlarm),
    Ended(&'a SpoolAlarm),
}

/// Returns the new alarms and the ended alarms. An alarm with new numbers goes on.
fn changes<'a>(before: &'a [SpoolAlarm], now: &'a [SpoolAlarm]) -> Vec<AlarmChange<'a>> {
    let is_same = |one: &SpoolAlarm, other: &SpoolAlarm| {
        one.kind == other.kind && one.subject == other.subject
    };
    let missing = |from: &[SpoolAlarm], alarm: &SpoolAlarm| {
        // The delivery tells of the troubles of destinations at once.
        alarm.kind != AlarmKind::Trouble && !from.iter().any(|other| is_same(other, alarm))
    };
    let began = now
        .iter()
        .filter(|alarm| missing(before, alarm))
        .map(AlarmChange::Began);
    let ended = before
        .iter()
        .filter(|alarm| missing(now, alarm))
        .map(AlarmChange::Ended);
    began.chain(ended).collect()
}

impl AlarmChange<'_> {
    fn log(&self) {
        let (Self::Began(alarm) | Self::Ended(alarm)) = self;
        let (webhook, to) = match &alarm.subject {
            SpoolSubject::Spool => (None, None),
            SpoolSubject::Destination { webhook, to } => (Some(webhook), Some(to)),
        };
        match self {
            Self::Began(alarm) => tracing::warn!(webhook, to, "spool: {}", alarm.text),
            Self::Ended(alarm) => {
                tracing::info!(webhook, to, "spool: this is over: {}", alarm.text);
            }
        }
    }
}

/// The interval between two looks: short beside every time that an alarm names.
const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(kind: AlarmKind, text: &str) -> SpoolAlarm {
        SpoolAlarm {
            subject: SpoolSubject::Spool,
            kind,
            text: text.to_owned(),
        }
    }

    #[test]
    fn an_alarm_is_told_when_it_begins_and_when_it_ends() {
        let full = alarm(AlarmKind::Full, "99 %");
        let fuller = alarm(AlarmKind::Full, "100 %");
        let dead = alarm(AlarmKind::DeadLetters, "1");
        let trouble = alarm(AlarmKind::Trouble, "down");
        let before = [full.clone(), dead.clone()];
        assert_eq!(
            changes(&[], &before),
            [AlarmChange::Began(&full), AlarmChange::Began(&dead)]
        );
        assert_eq!(changes(&before, &[fuller]), [AlarmChange::Ended(&dead)]);
        assert_eq!(changes(&before, &before), []);
        assert_eq!(changes(&[], &[trouble]), []);
    }
}
