//! Failures of the disk: only events on disk are answered, and the spool recovers.

use super::disk::{Disk, DiskFault, FaultKind};
use super::*;
use crate::spool::SpoolRefusal;

async fn eventually_takes(spool: &Spool, id: &str) {
    for _ in 0..200 {
        if spool.accept(event(id, &[message(id, "1")])).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the spool stays closed: {:?}", spool.numbers().alarm);
}

/// Takes events with a failure at each step in turn, and asserts that the answered ones are there.
async fn fails_at_each_step(kind: FaultKind) {
    let mut refused = 0;
    for step in 0..24 {
        let disk = Disk::default();
        let spool = on(&disk);
        to_app(&spool).await;
        disk.fail(DiskFault {
            at: disk.steps() + 1 + step,
            kind,
        });
        let mut answered = BTreeSet::new();
        for number in 0..12 {
            let id = format!("{step}-{number}");
            match spool.accept(event(&id, &[message(&id, "1")])).await {
                Ok(_) => {
                    answered.insert(id);
                }
                Err(error) => {
                    assert_eq!(error, SpoolRefusal::Broken);
                    refused += 1;
                }
            }
        }
        eventually_takes(&spool, "after").await;
        assert_eq!(spool.numbers().alarm.failure, None);
        assert_eq!(spool.numbers().alarm.set_aside, None);
        let check = |spool: &Spool| {
            let ids: BTreeSet<_> = all(spool).into_iter().map(|event| event.head.id).collect();
            assert!(
                answered.is_subset(&ids),
                "step {step}: {answered:?} {ids:?}"
            );
        };
        check(&spool);
        drop(spool);
        check(&on(&disk.after_power_cut(&mut || false)));
    }
    assert!(refused > 0, "nothing has failed");
}

#[tokio::test]
async fn a_full_disk_answers_nothing_and_loses_nothing() {
    fails_at_each_step(FaultKind::NoSpace).await;
}

/// Events, each of which fails on a full disk, though the file itself can be opened each time.
#[tokio::test]
async fn a_full_disk_stays_an_alarm_until_an_event_is_stored() {
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    for number in 0..3 {
        disk.fail(DiskFault {
            at: disk.steps() + 1,
            kind: FaultKind::NoSpace,
        });
        let id = number.to_string();
        let refused = spool.accept(event(&id, &[message(&id, "1")])).await;
        assert_eq!(refused.unwrap_err(), SpoolRefusal::Broken);
        // The store is open again, and nothing shows yet that an event finds room.
        let reopened = || {
            let alarm = spool.numbers().alarm;
            alarm.failures == number + 1 && alarm.open_since.is_some()
        };
        for _ in 0..200 {
            if reopened() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(reopened());
        let failure = spool.numbers().alarm.failure.unwrap_or_default();
        assert!(failure.contains("the store failed"), "{failure}");
    }
    eventually_takes(&spool, "after").await;
    assert_eq!(spool.numbers().alarm.failure, None);
    assert_eq!(spool.numbers().alarm.failures, 3);
}

#[tokio::test]
async fn a_failed_sync_is_never_taken_for_a_success() {
    fails_at_each_step(FaultKind::Sync).await;
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    accept(&spool, "a").await;
    drop(spool);
    disk.damage(|bytes| bytes.fill(0xA5));
    let spool = on(&disk);
    assert!(spool.numbers().alarm.set_aside.is_some());
    let to = to_app(&spool).await;
    accept(&spool, "b").await;
    assert_eq!(ids(&due(&spool, &to).await), ["b"]);
}

#[tokio::test]
async fn damage_while_running_begins_a_new_file_with_the_same_destinations() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    disk.damage(|bytes| bytes.fill(0xA5));
    disk.fail(DiskFault {
        at: disk.steps() + 1,
        kind: FaultKind::Sync,
    });
    spool
        .accept(event("b", &[message("b", "1")]))
        .await
        .unwrap_err();
    eventually_takes(&spool, "c").await;
    assert!(spool.numbers().alarm.set_aside.is_some());
    assert_eq!(ids(&due(&spool, &to).await), ["c"]);
}

#[tokio::test]
async fn a_damaged_record_becomes_a_dead_letter_and_its_lane_goes_on() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    spool
        .accept(event("a", &[message("XXaXX", "1")]))
        .await
        .unwrap();
    accept(&spool, "b").await;
    spool.close();
    disk.damage(|bytes| {
        let at: Vec<_> = memchr::memmem::find_iter(bytes, b"XXaXX").collect();
        at.into_iter().for_each(|at| bytes[at] = b'Y');
    });
    // The engine verifies its pages after a crash only, so that the record alone tells the damage.
    let spool = on(&disk);
    let to = {
        drop(to);
        to_app(&spool).await
    };
    let deliveries = due(&spool, &to).await;
    assert_eq!(ids(&deliveries), ["b"]);
    let events = all(&spool);
    let why = events[0].at[0].why.clone().unwrap();
    assert!(why.contains("damaged"), "{why}");
}
