//! The memory of bodies and of kept answers in `/status`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::json::words::{counted, seconds};
use crate::memory::MemoryReport;
use crate::sends::KeptAnswers;

/// Returns the bytes in memory, and what lack of room has cost.
pub(super) fn memory_status(memory: &MemoryReport, kept: &KeptAnswers, now: Instant) -> Value {
    json!({
        "events_bytes": memory.events,
        "sends_bytes": memory.sends,
        "kept_answers": {
            "messages": kept.messages,
            "bytes": memory.kept_answers,
            "room_bytes": memory.room_for_kept,
            "forgotten_early": kept.forgotten_early,
            "last_forgotten": kept.last_early.map(|(at, age)| json!({
                "seconds_ago": now.saturating_duration_since(at).as_secs(),
                "age_seconds": age.as_secs(),
            })),
        },
    })
}

/// Returns a line if answers were forgotten within the last hour that should have been kept.
pub(super) fn memory_problem(memory: &Value) -> Option<String> {
    let kept = &memory["kept_answers"];
    let last = &kept["last_forgotten"];
    let ago = last["seconds_ago"].as_u64()?;
    (ago < TOLD.as_secs()).then(|| {
        let forgotten = kept["forgotten_early"].as_u64().unwrap_or_default();
        format!(
            "{} under an Idempotency-Key forgotten for lack of memory, the last one {} after its message: a repeat later than \
             that is sent as a new message, unless sidecars share kept answers",
            counted(forgotten, "kept answer"),
            seconds(&last["age_seconds"])
        )
    })
}

/// The time for which a lack of room is told: as the failures of a route, which count for an hour.
const TOLD: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_were_forgotten_early_are_told_for_an_hour() {
        let memory = MemoryReport {
            events: 1,
            sends: 2,
            kept_answers: 3,
            room_for_kept: 4,
        };
        let begin = Instant::now();
        let mut kept = KeptAnswers::default();
        assert_eq!(memory_problem(&memory_status(&memory, &kept, begin)), None);
        kept.forgotten_early = 2;
        kept.last_early = Some((begin, Duration::from_secs(300)));
        let at = |minutes: u64| {
            let now = begin + Duration::from_secs(60 * minutes);
            memory_problem(&memory_status(&memory, &kept, now))
        };
        let told = at(59).unwrap();
        assert!(told.starts_with("2 kept answers under"), "{told}");
        assert_eq!(at(60), None);
    }
}
