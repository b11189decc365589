//! The rooms of bodies and of kept answers.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

const MIB: u64 = 1 << 20;

fn held(budget: &Arc<MemoryBudget>, holder: Holder, bytes: u64) -> Option<Reservation> {
    let mut reservation = budget.reserve(holder);
    reservation.grow_to(bytes).then_some(reservation)
}

/// Takes reservations of `bytes` until there is no more room, and returns them.
fn fill(budget: &Arc<MemoryBudget>, holder: Holder, bytes: u64) -> Vec<Reservation> {
    std::iter::from_fn(|| held(budget, holder, bytes)).collect()
}

fn all(budget: &MemoryBudget) -> u64 {
    let events = budget.events.sizes();
    let sends = budget.sends.sizes();
    events.large + events.small + sends.large + sends.small
}

#[test]
fn a_dropped_reservation_gives_its_bytes_back() {
    let budget = Arc::new(MemoryBudget::new(4 * MIB));
    let mut reservations: Vec<_> = (0..4).map(|_| budget.reserve(Holder::Event)).collect();
    for reservation in &mut reservations {
        assert!(reservation.grow_to(1000));
        assert!(reservation.grow_to(MIB));
        assert!(reservation.grow_to(1), "a smaller number changes nothing");
    }
    assert!(held(&budget, Holder::Event, MIB).is_none());
    reservations[0].shrink_to(1000);
    assert_eq!(all(&budget), 3 * MIB + 1000);
    drop(reservations);
    assert!(held(&budget, Holder::Event, 4 * MIB).is_some());
    assert_eq!(all(&budget), 0);
}

#[test]
fn neither_events_nor_sends_nor_large_bodies_take_all_room() {
    const EVENTS: u64 = 6 * MIB;
    const PIECE: u64 = 12 * 1024;
    let event = Holder::Event;
    let send = Holder::Send;
    for order in [
        [(event, MIB), (event, PIECE), (send, MIB), (send, PIECE)],
        [(send, PIECE), (send, MIB), (event, PIECE), (event, MIB)],
        [(send, MIB), (send, PIECE), (event, MIB), (event, PIECE)],
        [(event, PIECE), (send, PIECE), (event, MIB), (send, MIB)],
    ] {
        let budget = Arc::new(MemoryBudget::new(EVENTS));
        let mut taken = [0; 4];
        let mut reservations = Vec::new();
        for (place, (holder, bytes)) in order.into_iter().enumerate() {
            let filled = fill(&budget, holder, bytes);
            taken[place] = filled.len() as u64 * bytes;
            reservations.extend(filled);
            if bytes == PIECE {
                let least = ROOM_FOR_SMALL - PIECE;
                assert!(taken[place] >= least, "{holder:?}: {taken:?}");
            }
        }
        assert!(
            all(&budget) <= EVENTS + ROOM_FOR_SENDS + 2 * ROOM_FOR_SMALL,
            "{order:?}: {taken:?}"
        );
    }
    // Events of any size leave room for large sends, and small sends leave room for an answer of 8
    // MiB.
    let budget = Arc::new(MemoryBudget::new(EVENTS));
    let _events = [fill(&budget, event, MIB), fill(&budget, event, PIECE)];
    assert!(held(&budget, send, ROOM_FOR_SENDS).is_some());
    let _sends = fill(&budget, send, PIECE);
    assert!(held(&budget, send, 8 * MIB).is_some());
    budget.set_max_events(EVENTS + MIB);
    assert!(
        held(&budget, event, MIB).is_some(),
        "a reload makes more room"
    );
}

#[test]
fn bytes_keep_their_reservation_until_the_last_copy_is_dropped() {
    let budget = Arc::new(MemoryBudget::new(0));
    let bytes = budget.count(Bytes::from(vec![b'x'; SMALL + 1]));
    let copy = bytes.slice(1..2);
    drop(bytes);
    assert_eq!(all(&budget), SMALL as u64 + 1);
    drop(copy);
    assert_eq!(all(&budget), 0);
}

#[tokio::test(start_paused = true)]
async fn answers_that_pass_through_leave_room_for_one_that_is_read_whole() {
    let budget = Arc::new(MemoryBudget::new(0));
    let mut passing = Vec::new();
    let within = Duration::from_secs(1);
    while let Ok(one) = timeout(within, budget.wait_to_pass(MIB)).await {
        passing.push(one);
    }
    assert_eq!(all(&budget), ROOM_FOR_SENDS - LARGEST_ANSWER);
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { budget.wait_to_pass(MIB).await }
    });
    let whole = timeout(within, budget.wait_for(LARGEST_ANSWER))
        .await
        .expect("room for an answer");
    passing.pop();
    tokio::time::sleep(within).await;
    assert!(!waiting.is_finished(), "no room is left beside the answer");
    drop(whole);
    timeout(within, waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_wait_for_room_in_the_order_of_their_arrival() {
    let budget = Arc::new(MemoryBudget::new(0));
    let first = budget.wait_for(ROOM_FOR_SENDS).await;
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let waiting: Vec<_> = [ROOM_FOR_SENDS, MIB, MIB]
        .into_iter()
        .enumerate()
        .map(|(number, bytes)| {
            let budget = Arc::clone(&budget);
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                let reservation = budget.wait_for(bytes).await;
                order.lock().push(number);
                drop(reservation);
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(order.lock().is_empty());
    drop(first);
    for task in waiting {
        timeout(Duration::from_secs(1), task)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(*order.lock(), [0, 1, 2]);
    assert_eq!(all(&budget), 0);
}

#[test]
fn kept_answers_take_what_bodies_leave_and_give_it_back_at_once() {
    let budget = Arc::new(MemoryBudget::new(6 * MIB));
    let asked = Arc::new(AtomicU64::new(0));
    budget.keep_answers({
        let (asked, budget) = (Arc::clone(&asked), Arc::downgrade(&budget));
        move |bytes| {
            asked.store(bytes, Ordering::Relaxed);
            budget.upgrade().unwrap().set_kept(bytes);
        }
    });
    assert_eq!(budget.room_for_kept(), MAX_KEPT);
    budget.set_kept(MAX_KEPT);
    let _answer = held(&budget, Holder::Send, 2 * MIB).expect("room");
    assert_eq!(
        asked.swap(0, Ordering::Relaxed),
        0,
        "there is room for both"
    );
    let event = held(&budget, Holder::Event, 6 * MIB).expect("room");
    assert_eq!(asked.swap(0, Ordering::Relaxed), 11 * MIB);
    let _all = held(&budget, Holder::Send, 10 * MIB).expect("kept answers stop no body");
    assert_eq!(asked.swap(0, Ordering::Relaxed), ROOM_FOR_KEPT);
    assert_eq!(budget.report().kept_answers, ROOM_FOR_KEPT);
    drop(event);
    assert_eq!(budget.room_for_kept(), 7 * MIB);
    let _small = fill(&budget, Holder::Event, 1000);
    assert_eq!(asked.load(Ordering::Relaxed), 0, "their own room stays");
}
