//! The faults of the spool, each with its remedy.

use std::time::Duration;

use super::alarm::{AlarmKind, SpoolAlarm, SpoolSubject};
use crate::spool::{Footing, RecordError, StoredState, Survey, Surveyed, Trouble, TroubleKind};
use crate::units::Written;

/// Returns the faults, the gravest first.
pub(in crate::admin) fn alarms(survey: &Survey) -> Vec<SpoolAlarm> {
    let of_spool = of_spool(survey).into_iter().map(|(kind, text)| SpoolAlarm {
        subject: SpoolSubject::Spool,
        kind,
        text,
    });
    let mut alarms: Vec<_> = of_spool.collect();
    for to in &survey.destinations {
        let found = of_destination(to).into_iter();
        alarms.extend(found.map(|(kind, text)| SpoolAlarm {
            subject: SpoolSubject::Destination {
                webhook: to.webhook.clone(),
                to: to.name.clone(),
            },
            kind,
            text,
        }));
    }
    alarms.sort_by_key(|alarm| alarm.kind);
    alarms
}

fn of_spool(survey: &Survey) -> Vec<(AlarmKind, String)> {
    let dir = survey.dir.display();
    let numbers = &survey.numbers;
    let mut found = Vec::new();
    if let Some(failure) = &numbers.alarm.failure {
        found.push((
            AlarmKind::Broken,
            format!(
                "{failure}; webhooks get 503 and the provider sends their events again{}",
                if numbers.alarm.has_remedy {
                    String::new()
                } else {
                    format!(": free or mend the disk of {dir}, and the spool goes on by itself")
                }
            ),
        ));
    }
    if survey.is_key_missing {
        found.push((
            AlarmKind::KeyMissing,
            "the key of `[state] key` cannot be had, so webhooks get 503 and the provider sends their events again: put \
             the key in its place and reload"
                .to_owned(),
        ));
    }
    if let Some(file) = numbers
        .alarm
        .set_aside
        .as_ref()
        .filter(|file| file.exists())
    {
        found.push((
            AlarmKind::SetAside,
            format!(
                "a damaged file was set aside as {}, and the events that waited in it are not delivered: look at the \
                 disk, then move the file away",
                file.display()
            ),
        ));
    }
    if survey.locked > 0 && !survey.is_key_missing {
        let text = locked_text(survey.locked);
        found.push((AlarmKind::Unreadable, text));
    }
    let lost = match survey.footing {
        Footing::Disk => None,
        Footing::Memory => Some(
            "lies in memory (tmpfs), so what waits is lost when the machine or the pod restarts",
        ),
        Footing::Container => {
            Some("lies in the layer of a container, so what waits is lost with the container")
        }
        Footing::Pod => Some("lies on an emptyDir, so what waits is lost with the pod"),
    };
    if let Some(lost) = lost {
        let text = format!("{dir} {lost}: put it on a volume of its own (docs/events.md)");
        found.push((AlarmKind::NotDurable, text));
    }
    found.extend(of_size(survey));
    found.extend(of_keep(survey));
    found
}

fn locked_text(events: u64) -> String {
    let (events, them) = match events {
        1 => ("1 event".to_owned(), "it"),
        many => (format!("{many} events"), "them"),
    };
    format!(
        "{events} in the spool cannot be read, because the key that sealed {them} is not there: put the former `[state] key` \
         back beside the new one; if it is lost for good, erase them with `keyside events drop --unreadable` (what waits of \
         them becomes dead letters after `[spool] max_age`)"
    )
}

fn of_size(survey: &Survey) -> Option<(AlarmKind, String)> {
    let bytes = survey.numbers.bytes;
    let left = survey.max_size.saturating_sub(bytes);
    // Delivered events make room for new ones.
    let held = bytes.saturating_sub(survey.numbers.kept_bytes);
    let percent = held.saturating_mul(100) / survey.max_size.max(1);
    let remedy = "look for the destination that accepts nothing, or raise `[spool] max_size`";
    if percent >= FULL {
        let text = format!(
            "full ({percent} % of `[spool] max_size` wait or are dead letters), so webhooks get 503 and the provider keeps their events: {remedy}"
        );
        return Some((AlarmKind::Full, text));
    }
    if survey.is_disk_full {
        let text = format!(
            "the disk of {} has {} MiB left, which are kept for deliveries, so webhooks get 503 and the provider keeps their \
             events: free some, give the spool a larger disk, or look for the destination that accepts nothing",
            survey.dir.display(),
            survey.free.unwrap_or_default() >> 20,
        );
        return Some((AlarmKind::DiskFull, text));
    }
    if percent >= NEARLY_FULL {
        let text = format!("{percent} % of `[spool] max_size` wait or are dead letters: {remedy}");
        return Some((AlarmKind::NearlyFull, text));
    }
    let free = survey
        .free
        .filter(|free| *free < left.min(survey.max_size / 10))?;
    let text = format!(
        "the disk of {} has {} MiB left, and `[spool] max_size` allows {} MiB more: free some, or lower max_size",
        survey.dir.display(),
        free >> 20,
        left >> 20
    );
    Some((AlarmKind::DiskNearlyFull, text))
}

fn of_keep(survey: &Survey) -> Option<(AlarmKind, String)> {
    let text = format!(
        "delivered events of the last {} alone are there for `keyside events replay`, because older ones made room for \
         new events: raise `[spool] max_size`, or lower `keep`",
        short(survey.kept_for?)
    );
    Some((AlarmKind::KeepShortened, text))
}

fn of_destination(to: &Surveyed) -> Vec<(AlarmKind, String)> {
    let waiting = to.count(StoredState::Waiting);
    let backlog = backlog(waiting, to.oldest);
    let mut found = Vec::new();
    // An event without its key is told of with the spool.
    let is_damaged = |error: &RecordError| *error != RecordError::NoKey && waiting > 0;
    if let Some(error) = to.unreadable.filter(is_damaged) {
        let text = format!(
            "{backlog}, and some cannot be read ({error}): they become dead letters by themselves; look at the disk"
        );
        found.push((AlarmKind::Unreadable, text));
    }
    if let Some((trouble, age)) = &to.trouble {
        let text = format!("{}: {backlog}", trouble_text(trouble, *age));
        found.push((AlarmKind::Trouble, text));
    } else if !to.is_configured && waiting > 0 {
        let text = format!(
            "the destination is not configured any more, and {backlog}: configure it again, or they become dead letters \
             after `[spool] max_age`; or erase them with `keyside events drop`"
        );
        found.push((AlarmKind::NotConfigured, text));
    } else if let Some(setback) = to.setback {
        let text = format!(
            "{backlog}, and the attempts to deliver {} of them fail again and again (the last: {}): look at the log of what \
             listens there",
            setback.events, setback.outcome
        );
        found.push((AlarmKind::Backlog, text));
    } else if to.oldest.is_some_and(|oldest| oldest >= LONG) {
        let text = format!(
            "{backlog}: the destination accepts events more slowly than they come, or some are tried again; \
             `keyside events list --state waiting --to {}` shows them",
            to.name
        );
        found.push((AlarmKind::Backlog, text));
    }
    let dead = to.count(StoredState::Dead);
    if dead > 0 {
        let text = format!(
            "{dead} dead {}: see why with `keyside events list --state dead --to {}`, then {}",
            if dead == 1 { "letter" } else { "letters" },
            to.name,
            match to.is_configured {
                true => "`keyside events replay` or `keyside events drop`",
                // A replay needs an address.
                false =>
                    "configure the destination again and `keyside events replay`, or `keyside events drop`",
            }
        );
        found.push((AlarmKind::DeadLetters, text));
    }
    found
}

fn backlog(waiting: u64, oldest: Option<Duration>) -> String {
    let events = if waiting == 1 {
        "event waits"
    } else {
        "events wait"
    };
    match oldest {
        Some(age) => format!("{waiting} {events}, the oldest for {}", short(age)),
        None => format!("{waiting} {events}"),
    }
}

fn trouble_text(trouble: &Trouble, age: Duration) -> String {
    let age = short(age);
    let reason = &trouble.reason;
    match trouble.kind {
        TroubleKind::Down => {
            format!("down for {age}: {reason}; nothing is lost before `[spool] max_age`")
        }
        TroubleKind::Failing => format!("event after event fails for {age}: {reason}"),
        TroubleKind::Paused => format!(
            "paused for {age}, because everything is refused: {reason}, then it goes on by itself within 30 s"
        ),
    }
}

/// Returns an age in the largest unit of configurations.
fn short(age: Duration) -> String {
    let seconds = age.as_secs().max(1);
    let unit = [86_400, 3_600, 60]
        .into_iter()
        .find(|unit| seconds >= *unit)
        .unwrap_or(1);
    Written(Duration::from_secs(seconds / unit * unit)).to_string()
}

/// The share of `max_size`, in percent, at which the spool counts as full: a usual event fits, a
/// large event does not.
const FULL: u64 = 99;
/// The share of `max_size`, in percent, at which an operator should look: a fifth is left for the
/// time to act.
const NEARLY_FULL: u64 = 80;
/// The age of a waiting event at which an operator should look: a lane after four failures of an
/// event is as late.
const LONG: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::spool::{Alarm, AttemptOutcome, Numbers, Setback};

    fn survey() -> Survey {
        Survey {
            dir: PathBuf::from("/spool"),
            max_size: 1 << 30,
            kept_for: None,
            numbers: Numbers {
                events: BTreeMap::new(),
                bytes: 0,
                kept_bytes: 0,
                file: 0,
                alarm: Alarm::default(),
            },
            free: Some(1 << 40),
            is_disk_full: false,
            footing: Footing::Disk,
            is_key_missing: false,
            locked: 0,
            destinations: vec![Surveyed {
                id: 0,
                webhook: "acme".to_owned(),
                name: "crm".to_owned(),
                is_configured: true,
                counts: BTreeMap::new(),
                under_way: 0,
                oldest: None,
                unreadable: None,
                trouble: None,
                setback: None,
            }],
        }
    }

    fn with(change: impl FnOnce(&mut Survey)) -> Vec<AlarmKind> {
        let mut survey = survey();
        change(&mut survey);
        let found = alarms(&survey);
        for alarm in &found {
            assert!(alarm.text.contains(':'), "no remedy: {alarm}");
        }
        found.iter().map(|alarm| alarm.kind).collect()
    }

    fn waiting(to: &mut Surveyed, count: u64, seconds: u64) {
        to.counts.insert(StoredState::Waiting, count);
        to.oldest = Some(Duration::from_secs(seconds));
    }

    #[test]
    fn each_thing_that_is_wrong_has_an_alarm() {
        assert_eq!(with(|_| {}), []);
        let full = with(|survey| survey.numbers.bytes = (1 << 30) - 1000);
        assert_eq!(full, [AlarmKind::Full]);
        let nearly = with(|survey| survey.numbers.bytes = 900 << 20);
        assert_eq!(nearly, [AlarmKind::NearlyFull]);
        let kept = with(|survey| {
            survey.numbers.bytes = 1 << 30;
            survey.numbers.kept_bytes = 1 << 29;
        });
        assert_eq!(kept, [], "delivered events make room");
        let shortened = with(|survey| survey.kept_for = Some(Duration::from_secs(60)));
        assert_eq!(shortened, [AlarmKind::KeepShortened]);
        let disk = with(|survey| survey.free = Some(50 << 20));
        assert_eq!(disk, [AlarmKind::DiskNearlyFull]);
        let disk_full = with(|survey| survey.is_disk_full = true);
        assert_eq!(disk_full, [AlarmKind::DiskFull]);
        for footing in [Footing::Memory, Footing::Container, Footing::Pod] {
            let found = with(|survey| survey.footing = footing);
            assert_eq!(found, [AlarmKind::NotDurable]);
        }
        let broken = with(|survey| survey.numbers.alarm.failure = Some("no space".to_owned()));
        assert_eq!(broken, [AlarmKind::Broken]);
        let no_key = with(|survey| survey.is_key_missing = true);
        assert_eq!(no_key, [AlarmKind::KeyMissing]);
        let aside = with(|survey| survey.numbers.alarm.set_aside = Some("/dev/null".into()));
        assert_eq!(aside, [AlarmKind::SetAside]);
        assert_eq!(with(|survey| survey.locked = 1), [AlarmKind::Unreadable]);
        let without_key = with(|survey| {
            survey.locked = 1;
            survey.is_key_missing = true;
        });
        assert_eq!(without_key, [AlarmKind::KeyMissing]);
        let moved_away = with(|survey| survey.numbers.alarm.set_aside = Some("/nowhere".into()));
        assert_eq!(moved_away, []);
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_destination_has_an_alarm() {
        let of =
            |change: &dyn Fn(&mut Surveyed)| with(|survey| change(&mut survey.destinations[0]));
        assert_eq!(of(&|to| waiting(to, 9, 299)), []);
        assert_eq!(of(&|to| waiting(to, 9, 300)), [AlarmKind::Backlog]);
        let setback = of(&|to| {
            waiting(to, 1, 30);
            to.setback = Some(Setback {
                events: 1,
                outcome: AttemptOutcome::TimedOut,
            });
        });
        assert_eq!(setback, [AlarmKind::Backlog]);
        let gone = of(&|to| {
            waiting(to, 1, 1);
            to.is_configured = false;
        });
        assert_eq!(gone, [AlarmKind::NotConfigured]);
        let unreadable = of(&|to| {
            waiting(to, 1, 1);
            to.unreadable = Some(RecordError::Damaged);
        });
        assert_eq!(unreadable, [AlarmKind::Unreadable]);
        let locked = of(&|to| {
            waiting(to, 1, 1);
            to.unreadable = Some(RecordError::NoKey);
        });
        assert_eq!(locked, [], "told of with the spool");
        let dead = of(&|to| {
            to.counts.insert(StoredState::Dead, 2);
        });
        assert_eq!(dead, [AlarmKind::DeadLetters]);
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (0, "1s"),
            (59, "59s"),
            (3599, "59m"),
            (86_399, "23h"),
            (200_000, "2d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_failure_that_says_what_to_do_gets_no_second_remedy() {
        for (has_remedy, count) in [(true, 0), (false, 1)] {
            let mut survey = survey();
            survey.numbers.alarm.failure = Some("a file in the way: move it away".to_owned());
            survey.numbers.alarm.has_remedy = has_remedy;
            let text = alarms(&survey)[0].to_string();
            assert_eq!(
                text.matches("free or mend the disk").count(),
                count,
                "{text}"
            );
        }
    }

    #[test]
    fn dead_letters_of_a_former_destination_are_not_to_be_replayed_before_it_is_back() {
        let mut survey = survey();
        let to = &mut survey.destinations[0];
        to.counts.insert(StoredState::Dead, 1);
        to.is_configured = false;
        let text = alarms(&survey)[0].to_string();
        assert!(text.contains("configure the destination again"), "{text}");
    }
}
