//! The age of what waits: what becomes too old, and what neither an order nor a wrong clock lets
//! grow old.

use super::*;
use crate::boot::BootTime;
use crate::spool::{EventReceipt, Replay, StoredState, StreamAnswer};

#[tokio::test(start_paused = true)]
async fn a_waiting_event_older_than_max_age_becomes_a_dead_letter() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    tokio::time::advance(Duration::from_secs(8 * 24 * 3600)).await;
    accept(&spool, "b").await;
    spool.expire().await.unwrap();
    let dead = Filter {
        state: Some(StoredState::Dead),
        ..Filter::default()
    };
    assert_eq!(matching(&spool, &dead)[0].head.id, "a");
    assert_eq!(ids(&due(&spool, &to).await), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_event_has_the_whole_of_max_age_once_more() {
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let disk = Disk::default();
    let start = SystemTime::now();
    let spool = with(
        &disk,
        Durability::Immediate,
        config(),
        Sealing::Off,
        clock_at(start),
    );
    let to = to_app(&spool).await;
    let too_large = AttemptOutcome::Published(StreamAnswer::TooLarge);
    accept(&spool, "a").await;
    let delivery = due(&spool, &to).await.remove(0);
    assert_eq!(delivery.ordered_ms(), None);
    spool.settle(delivery, too_large).await.unwrap();
    tokio::time::advance(days(10)).await;
    assert_eq!(spool.replay(0, to.id).await, Ok(Replay::Waits));
    spool.expire().await.unwrap();
    let oldest = spool.oldest(&to).unwrap().unwrap();
    assert_eq!(oldest.age, Duration::ZERO, "it waits since the replay");
    let delivery = due(&spool, &to).await.remove(0);
    assert_eq!(delivery.event.head.id, "a");
    let ordered_ms = delivery.ordered_ms();
    assert!(ordered_ms > Some(delivery.event.head.received_ms));
    // A failed attempt and a restart change nothing.
    spool.settle(delivery, answered(503)).await.unwrap();
    drop((to, spool));
    let clock = clock_at(start + days(10));
    let spool = with(&disk, Durability::Immediate, config(), Sealing::Off, clock);
    let to = to_app(&spool).await;
    tokio::time::advance(days(6)).await;
    spool.expire().await.unwrap();
    let delivery = due(&spool, &to).await.remove(0);
    assert_eq!(delivery.ordered_ms(), ordered_ms);
    drop(delivery);
    // Behind the replayed event, an event with too long a wait is found, and so is the replayed
    // event in the end.
    accept(&spool, "b").await;
    tokio::time::advance(days(2)).await;
    spool.expire().await.unwrap();
    let dead = Filter {
        state: Some(StoredState::Dead),
        ..Filter::default()
    };
    let of = |events: Vec<Listed>| -> Vec<String> {
        events.into_iter().map(|event| event.head.id).collect()
    };
    assert_eq!(of(matching(&spool, &dead)), ["a"]);
    spool.replay(0, to.id).await.unwrap();
    tokio::time::advance(days(6)).await;
    spool.expire().await.unwrap();
    assert_eq!(of(matching(&spool, &dead)), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_destination_gets_events_older_than_max_age() {
    let disk = Disk::default();
    let config = SpoolConfig {
        keep: Duration::from_secs(30 * 24 * 3600),
        ..config()
    };
    let spool = with(&disk, Durability::Immediate, config, Sealing::Off, clock());
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, answered(200)).await.unwrap();
    tokio::time::advance(Duration::from_secs(10 * 24 * 3600)).await;
    let mut late = destination("late");
    late.from = Duration::from_secs(20 * 24 * 3600);
    let both = vec![destination("app"), late];
    let destinations = spool.set_destinations(both).await.unwrap();
    spool.expire().await.unwrap();
    assert_eq!(ids(&due(&spool, &destinations[1]).await), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_clock_far_ahead_ends_nothing_that_waits_or_is_dead() {
    let disk = Disk::default();
    let start = SystemTime::now();
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let at = |day| {
        let clock = clock_at(start + days(day));
        with(&disk, Durability::Immediate, config(), Sealing::Off, clock)
    };
    let spool = at(0);
    let to = to_app(&spool).await;
    accept(&spool, "dead").await;
    let too_large = AttemptOutcome::Published(StreamAnswer::TooLarge);
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, too_large).await.unwrap();
    accept(&spool, "waits").await;
    drop((to, spool));
    // A wrong clock, the same once more, and the right clock.
    for day in [400, 401, 1] {
        let spool = at(day);
        let to = to_app(&spool).await;
        spool.expire().await.unwrap();
        assert_eq!(ids(&due(&spool, &to).await), ["waits"], "day {day}");
        let numbers = spool.numbers();
        assert_eq!(numbers.events[&(to.id, StoredState::Dead)], 1, "day {day}");
        let again = spool.accept(event("b", &[message("waits", "1")])).await;
        assert_eq!(again, Ok(EventReceipt::Known), "day {day}");
    }
    let spool = at(400);
    let to = to_app(&spool).await;
    tokio::time::advance(days(8)).await;
    spool.expire().await.unwrap();
    assert!(due(&spool, &to).await.is_empty(), "a week has passed");
}

const TOO_LARGE: AttemptOutcome = AttemptOutcome::Published(StreamAnswer::TooLarge);

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// Stores events, and makes dead letters of all that wait.
async fn kill(spool: &Spool, to: &Arc<Destination>, ids: std::ops::Range<u64>) {
    for id in ids {
        accept(spool, &id.to_string()).await;
        for delivery in due(spool, to).await {
            spool.settle(delivery, TOO_LARGE).await.unwrap();
        }
    }
}

async fn replay(spool: &Spool, to: &Arc<Destination>, seqs: std::ops::Range<u64>) {
    let count = seqs.end - seqs.start;
    let wanted: Vec<_> = seqs.map(|seq| (seq, to.id)).collect();
    assert_eq!(spool.replay_all(&wanted).await, Ok(count));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_event_is_found_behind_any_number_of_replayed_ones() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    kill(&spool, &to, 0..600).await;
    let age = || spool.oldest(&to).unwrap().map(|oldest| oldest.age);
    assert_eq!(age(), None);
    // The first to be replayed stand behind the last.
    replay(&spool, &to, 300..600).await;
    tokio::time::advance(days(1)).await;
    replay(&spool, &to, 0..300).await;
    assert_eq!(age(), Some(days(1)));
    tokio::time::advance(days(1)).await;
    accept(&spool, "new").await;
    assert_eq!(age(), Some(days(2)));
    let mut taken = 0;
    while taken < 600 {
        for delivery in due(&spool, &to).await {
            taken += u64::from(delivery.event.head.id != "new");
            match delivery.event.head.id.as_str() {
                "new" => drop(delivery),
                _ => drop(spool.settle(delivery, answered(200)).await.unwrap()),
            }
        }
    }
    tokio::time::advance(days(3)).await;
    assert!(
        age() >= Some(days(3)) && age() < Some(days(4)),
        "{:?}",
        age()
    );
}

#[tokio::test(start_paused = true)]
async fn many_old_events_become_dead_letters_in_few_transactions() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    kill(&spool, &to, 0..600).await;
    replay(&spool, &to, 0..300).await;
    for id in 600..900_u64 {
        accept(&spool, &id.to_string()).await;
    }
    tokio::time::advance(days(4)).await;
    replay(&spool, &to, 300..600).await;
    tokio::time::advance(days(4)).await;
    let before = disk.syncs();
    spool.expire().await.unwrap();
    let syncs = disk.syncs() - before;
    assert!(syncs < 40, "{syncs} syncs for 600 events");
    let numbers = spool.numbers().events;
    assert_eq!(numbers[&(to.id, StoredState::Waiting)], 300);
    assert_eq!(numbers[&(to.id, StoredState::Dead)], 600);
    tokio::time::advance(days(4)).await;
    spool.expire().await.unwrap();
    assert_eq!(spool.numbers().events[&(to.id, StoredState::Waiting)], 0);
    assert_eq!(spool.oldest(&to).unwrap(), None);
    assert_counted(&spool);
}

/// A spool with an event of four days ago and an event of now, at a start with a clock that is five
/// days ahead. The run of the machine goes on where `boot` says so.
async fn five_days_ahead(disk: &Disk, boot: Option<BootTime>) -> Spool {
    let wall = SystemTime::now();
    let at = |wall, boot| {
        let clock = SpoolClock::start(Instant::now(), wall, boot);
        with(disk, Durability::Immediate, config(), Sealing::Off, clock)
    };
    for (id, age) in [("a", 0), ("b", 4)] {
        let spool = at(wall + days(age), up("a", age * 86_400 + 100));
        to_app(&spool).await;
        accept(&spool, id).await;
    }
    at(wall + days(9), boot)
}

fn up(id: &str, seconds: u64) -> Option<BootTime> {
    Some(BootTime::new(id, seconds * 1000))
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_days_ahead_at_a_start_ends_and_ages_nothing() {
    let same_run = || up("a", 4 * 86_400 + 160);
    for (name, boot) in [
        ("in the same run of the machine", same_run()),
        ("after a start of the machine", up("b", 10)),
        ("without a name of the run", None),
    ] {
        let disk = Disk::default();
        let spool = five_days_ahead(&disk, boot).await;
        let to = to_app(&spool).await;
        for minutes in [1, 10, 60] {
            tokio::time::advance(Duration::from_secs(minutes * 60)).await;
            spool.expire().await.unwrap();
            let count = spool.numbers().events[&(to.id, StoredState::Waiting)];
            assert_eq!(count, 2, "{name}, {minutes}");
            let oldest = spool.oldest(&to).unwrap().unwrap().age;
            let expected = days(4)..days(4) + Duration::from_secs(2 * 3600);
            assert!(expected.contains(&oldest), "{name}, {minutes}: {oldest:?}");
        }
        // Time that passes ages both.
        tokio::time::advance(days(4)).await;
        spool.expire().await.unwrap();
        let count = spool.numbers().events[&(to.id, StoredState::Waiting)];
        assert_eq!(count, 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_destination_gets_the_events_of_its_time_at_a_start_with_a_clock_ahead() {
    let disk = Disk::default();
    let spool = five_days_ahead(&disk, up("b", 10)).await;
    let mut late = destination("late");
    late.from = days(1);
    let both = vec![destination("app"), late];
    let destinations = spool.set_destinations(both).await.unwrap();
    assert_eq!(ids(&due(&spool, &destinations[1]).await), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn numbers_of_orders_that_an_older_version_has_left_wrong_age_nothing() {
    let disk = Disk::default();
    let start = SystemTime::now();
    let at = |day| {
        let clock = clock_at(start + days(day));
        with(&disk, Durability::Immediate, config(), Sealing::Off, clock)
    };
    let spool = at(0);
    let to = to_app(&spool).await;
    kill(&spool, &to, 0..2).await;
    tokio::time::advance(days(1)).await;
    replay(&spool, &to, 0..1).await;
    let ordered_ms = spool.oldest(&to).unwrap().unwrap().since_ms;
    // An older version has delivered two events of an order, and has taken an order.
    let left = ordered_ms - 20 * 3_600_000;
    let changes = [((to.id, left), 2), ((to.id, ordered_ms), -1)];
    spool
        .store
        .run(0, move |ledger| ledger.change_orders(&changes))
        .await
        .unwrap();
    tokio::time::advance(days(1)).await;
    drop((to, spool));
    let spool = at(2);
    let to = to_app(&spool).await;
    spool.recount_orders().await.unwrap();
    let oldest = spool.oldest(&to).unwrap().unwrap();
    assert_eq!(oldest.since_ms, ordered_ms);
    for delivery in due(&spool, &to).await {
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    assert_eq!(spool.oldest(&to).unwrap(), None);
    // Right numbers stay as they are.
    let before = disk.syncs();
    spool.recount_orders().await.unwrap();
    assert_eq!(disk.syncs(), before);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_the_oldest_where_nothing_waits() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    let changes = [((to.id, 1), 1)];
    spool
        .store
        .run(0, move |ledger| ledger.change_orders(&changes))
        .await
        .unwrap();
    assert_eq!(spool.oldest(&to).unwrap(), None);
    assert_eq!(spool.survey().destinations[0].oldest, None);
}

#[tokio::test(start_paused = true)]
async fn the_thread_of_requests_never_reads_the_disk_for_what_time_asks_for() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    kill(&spool, &to, 0..600).await;
    replay(&spool, &to, 0..300).await;
    let mut late = destination("late");
    late.from = days(10);
    disk.take_readers();
    let both = vec![destination("app"), late];
    spool.set_destinations(both).await.unwrap();
    spool.recount_orders().await.unwrap();
    tokio::time::advance(days(8)).await;
    spool.expire().await.unwrap();
    assert_eq!(spool.numbers().events[&(1, StoredState::Dead)], 600);
    let readers = disk.take_readers();
    assert!(!readers.is_empty());
    assert!(!readers.contains(&std::thread::current().id()));
}
