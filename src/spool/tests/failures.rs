//! Failures of the disk: only events on disk are answered, and the spool recovers.

use super::disk::{Disk, DiskFault, FaultKind};
use super::*;
use crate::spool::EventReceipt;
use crate::spool::SpoolRefusal;
use crate::spool::footing::DiskSpace;

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
async fn a_disk_that_is_full_at_the_start_closes_the_store_until_there_is_room() {
    for step in 0..12 {
        let disk = Disk::default();
        disk.fail(DiskFault {
            at: disk.steps() + 1 + step,
            kind: FaultKind::NoSpace,
        });
        let spool = on(&disk);
        // The writer finds room at a later attempt.
        let to = to_app(&spool).await;
        assert!(spool.numbers().alarm.failures > 0, "{step}");
        accept(&spool, "a").await;
        assert_eq!(spool.numbers().alarm.failure, None, "{step}");
        assert_eq!(ids(&due(&spool, &to).await), ["a"], "{step}");
    }
}

#[tokio::test]
async fn a_read_only_volume_at_the_start_closes_the_store_that_is_there() {
    let read_only = |disk: &Disk| {
        disk.fail(DiskFault {
            at: disk.steps() + 1,
            kind: FaultKind::ReadOnly,
        });
    };
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    accept(&spool, "a").await;
    drop(spool);
    read_only(&disk);
    let spool = Arc::new(on(&disk));
    let refused = spool.accept(event("b", &[message("b", "1")])).await;
    assert_eq!(refused, Err(SpoolRefusal::Broken));
    // The writer notes the failure on a thread of the store.
    let noted = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Some(failure) = spool.numbers().alarm.failure {
                return failure;
            }
        }
    };
    let failure = tokio::time::timeout(Duration::from_secs(5), noted).await;
    assert!(failure.is_ok_and(|failure| failure.contains("read-only")));
    disk.mend();
    let to = to_app(&spool).await;
    assert_eq!(ids(&due(&spool, &to).await), ["a"]);
    // An empty volume is a mistake of the configuration.
    let empty = Disk::default();
    read_only(&empty);
    let medium = Medium::Disk(empty, Durability::Immediate);
    assert!(Spool::on(medium, config(), Sealing::Off, clock()).is_err());
}

#[tokio::test]
async fn a_spool_whose_disk_never_opens_ends_at_once() {
    let disk = Disk::default();
    disk.fail(DiskFault {
        at: disk.steps() + 1,
        kind: FaultKind::PowerCut,
    });
    let spool = Arc::new(on(&disk));
    let refused = spool.accept(event("a", &[message("a", "1")])).await;
    assert_eq!(refused, Err(SpoolRefusal::Broken));
    let setting = {
        let spool = Arc::clone(&spool);
        tokio::spawn(async move { spool.set_destinations(vec![destination("app")]).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!setting.is_finished());
    spool.close();
    assert_eq!(setting.await.unwrap().unwrap_err(), SpoolRefusal::Closed);
}

#[tokio::test]
async fn new_events_leave_room_on_the_disk_for_the_outcomes_of_deliveries() {
    const MIB: u64 = 1 << 20;
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    // The file has the room of a few events in free pages.
    for number in 0..8 {
        let id = number.to_string();
        let text = "z".repeat(256 << 10);
        spool
            .accept(event(&id, &[message(&id, "1"), message(&text, "2")]))
            .await
            .unwrap();
    }
    disk.set_space(DiskSpace {
        free: 6 * MIB,
        size: 1024 * MIB,
    });
    let refused = spool.accept(event("late", &[message("late", "1")])).await;
    assert_eq!(refused, Err(SpoolRefusal::DiskFull));
    assert!(spool.survey().is_disk_full);
    // Known items need no room, and the provider need not send again.
    let again = spool.accept(event("7", &[message("7", "1")])).await;
    assert_eq!(again, Ok(EventReceipt::Known));
    while let Some(delivery) = due(&spool, &to).await.pop() {
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    // Delivered events make room.
    accept(&spool, "after").await;
    assert!(!spool.survey().is_disk_full);
    assert_counted(&spool);
}

#[tokio::test]
async fn a_closed_store_blames_no_destination() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, answered(404)).await.unwrap();
    assert!(spool.survey().destinations[0].trouble.is_some());
    disk.fail(DiskFault {
        at: disk.steps() + 1,
        kind: FaultKind::PowerCut,
    });
    let refused = spool.accept(event("b", &[message("b", "1")])).await;
    assert_eq!(refused, Err(SpoolRefusal::Broken));
    // The order is dropped, which refuses the event, before the failure is noted.
    let is_noted = async {
        while !spool.survey().numbers.alarm.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), is_noted)
        .await
        .expect("the failure is noted");
    assert_eq!(spool.survey().destinations[0].trouble, None);
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
