//! Power cuts: whatever was answered is there afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::Durability;

use super::disk::{Disk, DiskFault, FaultKind};
use super::*;
use crate::spool::{AttemptVerdict, EventReceipt, StoredState};

/// The promises of the spool before the power went.
#[derive(Debug, Default)]
struct Promised {
    /// Events that were answered.
    accepted: BTreeSet<String>,
    /// Events whose delivery was noted.
    settled: BTreeSet<String>,
}

/// The promises that a spool kept or broke.
#[derive(Debug)]
struct Kept {
    broken: Vec<String>,
    /// The number of events that were answered.
    answered: usize,
    /// True if the power went before the end.
    was_cut: bool,
}

/// The circumstances of power cuts.
#[derive(Clone, Copy, Debug)]
struct Trial {
    durability: Durability,
    /// The number of events from each provider.
    events: u64,
    /// The number of steps of the disk within which the power goes.
    steps: u64,
}

/// Runs a spool until the power goes at a random step, and looks at what is left.
fn kept_promises(seed: u64, trial: Trial) -> Kept {
    let mut random = Random::seeded(seed);
    let disk = Disk::default();
    let cut = disk.steps() + 20 + random.below(trial.steps);
    disk.fail(DiskFault {
        at: cut,
        kind: FaultKind::PowerCut,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let promised = runtime.block_on(run_until_cut(seed, &disk, trial));
    let after = disk.after_power_cut(&mut || random.below(2) == 0);
    Kept {
        broken: runtime.block_on(check(&after, &promised)),
        answered: promised.accepted.len(),
        was_cut: disk.steps() >= cut,
    }
}

async fn run_until_cut(seed: u64, disk: &Disk, trial: Trial) -> Promised {
    let promised = Arc::new(Mutex::new(Promised::default()));
    let medium = Medium::Disk(disk.clone(), trial.durability);
    let Ok(spool) = Spool::on(medium, config(), Sealing::Off, clock()) else {
        return Promised::default();
    };
    let spool = Arc::new(spool);
    // A disk without power at the opening stays so.
    let setting = spool.set_destinations(vec![destination("app")]);
    let set = tokio::time::timeout(Duration::from_secs(1), setting).await;
    let Ok(Ok(mut destinations)) = set else {
        return Promised::default();
    };
    let to = destinations.remove(0);
    let application = tokio::spawn(deliver(Arc::clone(&spool), to, Arc::clone(&promised), seed));
    let providers = (0..8).map(|provider| {
        let spool = Arc::clone(&spool);
        let promised = Arc::clone(&promised);
        tokio::spawn(async move {
            for number in 0..trial.events {
                let id = format!("{provider}-{number}");
                let user = (number % 5).to_string();
                let accepted = spool.accept(event(&id, &[message(&id, &user)])).await;
                match accepted {
                    Ok(EventReceipt::Stored { .. }) => promised.lock().accepted.insert(id),
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => break,
                };
            }
        })
    });
    for provider in providers.collect::<Vec<_>>() {
        provider.await.unwrap();
    }
    application.abort();
    application.await.ok();
    spool.close();
    drop(spool);
    Arc::try_unwrap(promised).unwrap().into_inner()
}

/// Delivers events with outcomes of all kinds.
async fn deliver(
    spool: Arc<Spool>,
    to: Arc<Destination>,
    promised: Arc<Mutex<Promised>>,
    seed: u64,
) {
    let mut random = Random::seeded(seed + 1);
    while let Ok(deliveries) = spool.next(&to, 8).await {
        for delivery in deliveries {
            let id = delivery.event.head.id.clone();
            let outcome = match random.below(8) {
                0 => answered(500),
                1 => answered(400),
                _ => answered(200),
            };
            let Ok(settled) = spool.settle(delivery, outcome).await else {
                return;
            };
            if settled.verdict == AttemptVerdict::Done {
                promised.lock().settled.insert(id);
            }
        }
    }
}

async fn check(disk: &Disk, promised: &Promised) -> Vec<String> {
    // Whatever was put off before the cut is due.
    let later = SystemTime::now() + Duration::from_secs(4 * 3600);
    let spool = with(
        disk,
        Durability::Immediate,
        config(),
        Sealing::Off,
        clock_at(later),
    );
    assert_eq!(
        spool.numbers().alarm.set_aside,
        None,
        "a power cut damages nothing"
    );
    let to = to_app(&spool).await;
    assert_counted(&spool);
    let mut broken: Vec<String> = Vec::new();
    let stored = all(&spool);
    let ids: BTreeSet<_> = stored.iter().map(|event| event.head.id.clone()).collect();
    broken.extend(
        promised
            .accepted
            .difference(&ids)
            .map(|id| format!("lost {id}")),
    );
    for event in &stored {
        let is_waiting = event.at.iter().any(|at| at.state == StoredState::Waiting);
        if is_waiting && promised.settled.contains(&event.head.id) {
            broken.push(format!("{} waits again", event.head.id));
        }
    }
    for event in stored.iter().rev().take(10) {
        let again = super::event(&event.head.id, &[message(&event.head.id, "1")]);
        if spool.accept(again).await != Ok(EventReceipt::Known) {
            broken.push(format!("{} is not known", event.head.id));
        }
    }
    // Whatever waits can be delivered.
    let waiting = Filter {
        state: Some(StoredState::Waiting),
        ..Filter::default()
    };
    let all_delivered = async {
        while !matching(&spool, &waiting).is_empty() {
            for delivery in spool.next(&to, 32).await.unwrap() {
                spool.settle(delivery, answered(200)).await.unwrap();
            }
        }
    };
    // Far more than a busy machine needs for a look at the disk.
    tokio::time::timeout(Duration::from_secs(20), all_delivered)
        .await
        .ok();
    broken.extend(
        matching(&spool, &waiting)
            .iter()
            .map(|one| format!("{} stays", one.head.id)),
    );
    broken
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_that_was_answered() {
    let trial = Trial {
        durability: Durability::Immediate,
        events: 100,
        steps: 600,
    };
    let mut answered = 0;
    for seed in 0..cases() {
        let kept = kept_promises(seed, trial);
        assert!(kept.broken.is_empty(), "seed {seed}: {kept:?}");
        assert!(kept.was_cut, "seed {seed}: the power went after the end");
        answered += kept.answered;
    }
    assert!(answered > 0);
}

/// The negative control: a store that does not sync must fail the same test. Such a store writes
/// when it is closed, and each commit costs more than the commit before: few events show the loss.
#[test]
fn a_store_without_syncs_loses_what_was_answered() {
    let trial = Trial {
        durability: Durability::None,
        events: 20,
        steps: 40,
    };
    assert!((0..10).any(|seed| {
        let kept = kept_promises(seed, trial);
        kept.broken
            .iter()
            .any(|promise| promise.starts_with("lost"))
    }));
}

/// The number of power cuts; more for a long run with `SPOOL_POWER_CUTS`.
fn cases() -> u64 {
    let asked = std::env::var("SPOOL_POWER_CUTS").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(20)
}
