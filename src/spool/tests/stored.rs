//! Storing, repeats, room, and the time for which events are kept.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::boot::BootTime;
use crate::spool::{EventReceipt, Replay, SpoolError, SpoolRefusal, StoredState, StreamAnswer};

#[tokio::test]
async fn an_event_comes_back_as_it_arrived() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    let new = event("a", &[message("a", "1")]);
    let request = new.request.clone();
    spool.accept(new).await.unwrap();
    let deliveries = due(&spool, &to).await;
    assert_eq!(deliveries[0].request, request);
    assert_eq!(deliveries[0].attempt(), 1);
}

#[tokio::test]
async fn an_event_all_of_whose_items_are_known_is_not_stored_again() {
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    spool
        .accept(event("a", &[message("1", "1"), status("2", "1")]))
        .await
        .unwrap();
    let table: [(&[String], EventReceipt); 4] = [
        (&[message("1", "1")], EventReceipt::Known),
        (&[status("2", "1"), message("1", "1")], EventReceipt::Known),
        (
            &[
                message("3", "1"),
                message("1", "1"),
                status("2", "1"),
                message("4", "1"),
            ],
            EventReceipt::Stored {
                seq: 1,
                known: vec![1, 2],
            },
        ),
        (&[message("3", "1")], EventReceipt::Known),
    ];
    for (changes, expected) in table {
        assert_eq!(spool.accept(event("b", changes)).await, Ok(expected));
    }
    assert_eq!(all(&spool)[1].repeats, "1-2");
    // The same event at the same time, many times over.
    let both = (0..50).map(|_| spool.accept(event("c", &[message("9", "9")])));
    let answers = join_all(both.collect()).await;
    assert_eq!(
        answers
            .iter()
            .filter(|one| **one == Ok(EventReceipt::Known))
            .count(),
        49
    );
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pinned: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    // All are polled once before any is waited for.
    std::future::poll_fn(|context| {
        pinned.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pinned.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done
}

#[tokio::test]
async fn items_are_known_for_8_days() {
    let disk = Disk::default();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400 + 3_600);
    let days = |days: u64| {
        let boot = BootTime::new("a", days * 86_400_000);
        let wall = start + Duration::from_secs(days * 86_400);
        SpoolClock::start(Instant::now(), wall, Some(boot))
    };
    let again = || event("a", &[message("1", "1")]);
    let at = |day| {
        with(
            &disk,
            Durability::Immediate,
            config(),
            Sealing::Off,
            days(day),
        )
    };
    let spool = at(0);
    to_app(&spool).await;
    spool.accept(again()).await.unwrap();
    drop(spool);
    for day in [1, 7, 8] {
        let spool = at(day);
        to_app(&spool).await;
        spool.expire().await.unwrap();
        assert_eq!(
            spool.accept(again()).await,
            Ok(EventReceipt::Known),
            "day {day}"
        );
    }
    let spool = at(9);
    to_app(&spool).await;
    spool.expire().await.unwrap();
    assert!(matches!(
        spool.accept(again()).await,
        Ok(EventReceipt::Stored { .. })
    ));
}

#[tokio::test]
async fn a_full_spool_takes_no_event_and_takes_them_again_when_events_are_gone() {
    let disk = Disk::default();
    let small = SpoolConfig {
        max_size: 4096,
        keep: Duration::ZERO,
        ..config()
    };
    let spool = with(&disk, Durability::Immediate, small, Sealing::Off, clock());
    let to = to_app(&spool).await;
    let mut number = 0;
    let refused = loop {
        let id = number.to_string();
        match spool.accept(event(&id, &[message(&id, &id)])).await {
            Ok(_) => number += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, SpoolRefusal::Full);
    assert!(number > 3, "{number}");
    for delivery in due(&spool, &to).await {
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    assert_counted(&spool);
    assert_eq!(spool.numbers().bytes, 0);
    let id = number.to_string();
    spool
        .accept(event(&id, &[message(&id, &id)]))
        .await
        .unwrap();
}

#[tokio::test]
async fn delivered_events_make_room_for_new_ones_and_nothing_else_does() {
    let disk = Disk::default();
    let small = SpoolConfig {
        max_size: 16_384,
        ..config()
    };
    let spool = with(&disk, Durability::Immediate, small, Sealing::Off, clock());
    let to = to_app(&spool).await;
    accept(&spool, "dead").await;
    let too_large = AttemptOutcome::Published(StreamAnswer::TooLarge);
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, too_large).await.unwrap();
    accept(&spool, "waits").await;
    let _waiting = due(&spool, &to).await;
    let new = |number: u32| {
        let id = number.to_string();
        spool.accept(event(&id, &[message(&id, &format!("49{id}"))]))
    };
    for number in 0..200 {
        assert!(new(number).await.is_ok(), "{number}");
        let delivery = due(&spool, &to).await.remove(0);
        spool.settle(delivery, answered(200)).await.unwrap();
        assert!(spool.survey().kept_for.is_none() || number > 10, "{number}");
    }
    assert!(spool.survey().kept_for.is_some());
    let mut refused = None;
    for number in 1000..1100 {
        refused = refused.or(new(number).await.err());
    }
    assert_eq!(refused, Some(SpoolRefusal::Full));
    assert_counted(&spool);
    let numbers = spool.numbers();
    assert_eq!(numbers.kept_bytes, 0);
    let count = |state| numbers.events[&(to.id, state)];
    assert_eq!(count(StoredState::Dead), 1);
    assert_eq!(all(&spool)[1].head.id, "waits");
    assert!(count(StoredState::Waiting) > 10, "{numbers:?}");
}

#[tokio::test(start_paused = true)]
async fn delivered_events_stay_for_replay_and_then_go() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, answered(200)).await.unwrap();
    tokio::time::advance(Duration::from_secs(23 * 3600)).await;
    spool.expire().await.unwrap();
    assert_eq!(spool.replay(0, to.id).await, Ok(Replay::Waits));
    assert_eq!(spool.replay(0, to.id).await, Ok(Replay::Not));
    let delivery = due(&spool, &to).await.remove(0);
    tokio::time::advance(Duration::from_secs(2 * 3600)).await;
    spool.expire().await.unwrap();
    spool.settle(delivery, answered(200)).await.unwrap();
    assert_eq!(all(&spool).len(), 1, "delivered just now");
    tokio::time::advance(Duration::from_secs(25 * 3600)).await;
    spool.expire().await.unwrap();
    assert_eq!(all(&spool).len(), 0);
    let numbers = spool.numbers();
    assert_eq!(numbers.bytes, 0);
    assert!(
        numbers.events.values().all(|count| *count == 0),
        "{numbers:?}"
    );
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_one_process_has_it() {
    let folder = std::env::temp_dir().join(format!("keyside-spool-{}", std::process::id()));
    let config = SpoolConfig {
        dir: folder.join("spool"),
        ..config()
    };
    let spool = Spool::open(config.clone(), Sealing::Off, clock()).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(config.dir.join("spool.redb")), 0o600);
    assert_eq!(mode(config.dir.clone()), 0o700);
    let second = Spool::open(config.clone(), Sealing::Off, clock());
    assert!(
        matches!(second, Err(SpoolError::InUse { .. })),
        "{second:?}"
    );
    drop(spool);
    std::fs::write(config.dir.join("spool.redb"), [0xA5; 100_000]).unwrap();
    let spool = Spool::open(config, Sealing::Off, clock()).unwrap();
    let aside = spool.numbers().alarm.set_aside.unwrap();
    assert!(aside.exists());
    drop(spool);
    std::fs::remove_dir_all(folder).unwrap();
}
