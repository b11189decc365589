//! Events whose sealing key is not there.

use super::*;
use crate::spool::{RecordError, SpoolRefusal, StoredState};

fn sealed_with(disk: &Disk, keys: &[[u8; 32]], config: SpoolConfig, clock: SpoolClock) -> Spool {
    let seal = Seal::new(keys).map_or(Sealing::Off, Sealing::On);
    with(disk, Durability::Immediate, config, seal, clock)
}

const LOST: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// A disk with two events of a person under a lost key, and an event of a second person under a new
/// key.
async fn with_a_lost_key(
    disk: &Disk,
    config: SpoolConfig,
    clock: SpoolClock,
) -> (Spool, Arc<Destination>) {
    let before = sealed_with(disk, &[LOST], config.clone(), clock.clone());
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
    for (user, events, items) in [("2", 1, 1), ("1", 0, 2)] {
        let erased = spool.erase_user(user).await.unwrap();
        assert_eq!((erased.events, erased.items), (events, items));
        assert_eq!(erased.unreadable, 2);
        let seqs: Vec<_> = erased.unread.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [0, 1]);
        let why = erased.unread.iter().map(|event| event.why);
        assert!(why.into_iter().all(|why| why == RecordError::NoKey));
    }
    assert_eq!(spool.survey().locked, 2, "they stay");
}

#[tokio::test]
async fn nothing_is_erased_while_a_configured_key_cannot_be_had() {
    let disk = Disk::default();
    let (spool, _to) = with_a_lost_key(&disk, config(), clock()).await;
    spool.configure(&config(), Sealing::KeyMissing);
    assert_eq!(spool.erase_unreadable().await, Err(SpoolRefusal::NoKey));
}

#[tokio::test]
async fn an_event_with_a_damaged_body_is_named_by_an_erasure_and_goes_with_the_unreadable() {
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    // The head names the person of a message, and the body alone the person of a call.
    let call = r#"{"field":"calls","value":{"calls":[{"id":"XXbXX","from":"4915112"}]}}"#;
    let new = event("b", &[call.to_owned()]);
    spool.accept(new).await.unwrap();
    let new = event("a", &[message("XXaXX", "4915112")]);
    spool.accept(new).await.unwrap();
    accept(&spool, "c").await;
    spool.close();
    disk.damage(|bytes| {
        for text in [b"XXaXX", b"XXbXX"] {
            let places: Vec<_> = memchr::memmem::find_iter(bytes, text).collect();
            assert!(!places.is_empty());
            places.into_iter().for_each(|at| bytes[at] = b'Y');
        }
    });
    let spool = on(&disk);
    to_app(&spool).await;
    let erased = spool.erase_user("4915112").await.unwrap();
    assert_eq!((erased.events, erased.unreadable), (1, 1));
    let unread = &erased.unread[0];
    assert_eq!(unread.id.as_deref(), Some("b"));
    assert_eq!(unread.why, RecordError::Damaged);
    assert!(unread.received_ms.is_some());
    assert_eq!(spool.erase_unreadable().await, Ok(1));
    let erased = spool.erase_user("4915112").await.unwrap();
    assert_eq!((erased.events, erased.unreadable), (0, 0));
    assert_counted(&spool);
    assert_eq!(all(&spool).len(), 1);
}

#[tokio::test]
async fn an_event_whose_row_cannot_be_read_is_erased_from_every_queue() {
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    accept(&spool, "broken").await;
    accept(&spool, "b").await;
    spool.close();
    drop(spool);
    // Ahead of the head stand a kind, a sum of 8 bytes, and the states behind their number.
    let head = br#"{"webhook":"acme","id":"broken""#;
    disk.damage(|bytes| {
        let places: Vec<_> = memchr::memmem::find_iter(bytes, head).collect();
        assert!(!places.is_empty());
        for at in places {
            let count = at - 9 - 5 - 2;
            bytes[count..count + 2].fill(0xFF);
        }
    });
    let spool = on(&disk);
    to_app(&spool).await;
    assert_eq!(spool.erase_user("2").await.unwrap().unreadable, 1);
    assert_eq!(spool.erase_unreadable().await, Ok(1));
    assert_eq!(spool.erase_user("2").await.unwrap().unreadable, 0);
    assert_counted(&spool);
}
