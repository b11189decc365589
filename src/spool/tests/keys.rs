//! Events whose sealing key is not there.

use super::*;
use crate::spool::{Erased, SpoolRefusal, StoredState};

fn sealed_with(disk: &Disk, keys: &[[u8; 32]], config: SpoolConfig, clock: SpoolClock) -> Spool {
    let seal = Seal::new(keys).map_or(Sealing::Off, Sealing::On);
    with(disk, Durability::Immediate, config, seal, clock)
}

const LOST: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// A disk with two events of a person under a lost key, and an event of a second person under a new key.
async fn with_a_lost_key(
    disk: &Disk,
    config: SpoolConfig,
    clock: SpoolClock,
) -> (Spool, Arc<Destination>) {
    let before = sealed_with(disk, &[LOST], config.clone(), clock);
    to_app(&before).await;
    accept(&before, "a").await;
    accept(&before, "b").await;
    before.close();
    drop(before);
    let spool = sealed_with(disk, &[NEW], config, clock);
    let to = to_app(&spool).await;
    spool
        .accept(event("c", &[message("c", "2")]))
        .await
        .unwrap();
    (spool, to)
}

#[tokio::test]
async fn an_event_without_its_key_holds_up_no_other_conversation() {
    let disk = Disk::default();
    let (spool, to) = with_a_lost_key(&disk, config(), clock()).await;
    assert_eq!(spool.survey().locked, 2);
    let taken = due(&spool, &to).await;
    assert_eq!(ids(&taken), ["c"]);
    drop(taken);
    // The key comes back beside the new one.
    spool.configure(
        &config(),
        Seal::new(&[NEW, LOST]).map_or(Sealing::Off, Sealing::On),
    );
    assert_eq!(spool.survey().locked, 0);
    let mut got = BTreeSet::new();
    let all = async {
        while got.len() < 3 {
            for delivery in spool.next(&to, 32).await.unwrap() {
                got.insert(delivery.event.head.id.clone());
                spool.settle(delivery, answered(200)).await.unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_event_without_its_key_becomes_a_dead_letter_when_it_is_too_old() {
    let disk = Disk::default();
    let config = SpoolConfig {
        max_age: Duration::ZERO,
        ..config()
    };
    let (spool, to) = with_a_lost_key(&disk, config, clock()).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    spool.expire().await.unwrap();
    let count = |state| spool.numbers().events.get(&(to.id(), state)).copied();
    assert_eq!(count(StoredState::Dead), Some(3));
    assert_eq!(count(StoredState::Waiting), Some(0));
    assert_eq!(
        spool.survey().locked,
        2,
        "they can be read again once the key is back"
    );
}

#[tokio::test]
async fn events_whose_key_is_lost_are_erased_by_an_order_and_no_others() {
    let disk = Disk::default();
    let (spool, to) = with_a_lost_key(&disk, config(), clock()).await;
    let before = spool.numbers().bytes;
    assert_eq!(spool.erase_unreadable().await, Ok(2));
    assert_eq!(spool.survey().locked, 0);
    assert!(spool.numbers().bytes < before);
    assert_counted(&spool);
    assert_eq!(ids(&due(&spool, &to).await), ["c"]);
    assert_eq!(spool.erase_unreadable().await, Ok(0));
}

#[tokio::test]
async fn an_erasure_of_a_person_counts_the_events_that_it_cannot_read() {
    let disk = Disk::default();
    let (spool, _to) = with_a_lost_key(&disk, config(), clock()).await;
    let erased = |events, items| Erased {
        events,
        items,
        unreadable: 2,
    };
    assert_eq!(spool.erase_user("2").await, Ok(erased(1, 1)));
    assert_eq!(spool.erase_user("1").await, Ok(erased(0, 2)));
    assert_eq!(spool.survey().locked, 2, "they stay");
}

#[tokio::test]
async fn nothing_is_erased_while_a_configured_key_cannot_be_had() {
    let disk = Disk::default();
    let (spool, _to) = with_a_lost_key(&disk, config(), clock()).await;
    spool.configure(&config(), Sealing::KeyMissing);
    assert_eq!(spool.erase_unreadable().await, Err(SpoolRefusal::NoKey));
}
