//! Order: strictly by arrival in a lane, messages before statuses across lanes, nobody waits for
//! others.

use std::collections::HashMap;

use super::*;
use crate::spool::{AttemptVerdict, StoredState};

/// The position of the next event of each lane, and the number of events that are over.
#[derive(Debug, Default)]
struct Log {
    next: HashMap<String, usize>,
    over: usize,
}

#[tokio::test(start_paused = true)]
async fn fifty_lanes_with_failures_of_all_kinds_stay_in_order_at_each_destination() {
    let disk = Disk::default();
    let spool = Arc::new(on(&disk));
    let configs = vec![destination("app"), destination("crm")];
    let destinations = spool.set_destinations(configs).await.unwrap();
    let mut random = Random::seeded(7);
    let mut lanes: HashMap<String, Vec<String>> = HashMap::new();
    for number in 0..EVENTS {
        let id = format!("e{number}");
        let mut changes = Vec::new();
        // Every tenth event is a batch of several lanes.
        for part in 0..if number % 10 == 0 { 3 } else { 1 } {
            let user = random.below(50).to_string();
            let item = format!("{id}-{part}");
            let lane = lanes.entry(user.clone()).or_default();
            if lane.last() != Some(&id) {
                lane.push(id.clone());
            }
            changes.push(match random.below(3) {
                0 => message(&item, &user),
                _ => status(&item, &user),
            });
        }
        spool.accept(event(&id, &changes)).await.unwrap();
    }
    let lanes = Arc::new(lanes);
    let applications = destinations.into_iter().zip([1, 2]).map(|(to, seed)| {
        tokio::spawn(deliver_all(
            Arc::clone(&spool),
            to,
            Arc::clone(&lanes),
            seed,
        ))
    });
    for application in applications.collect::<Vec<_>>() {
        application.await.unwrap();
    }
}

async fn deliver_all(
    spool: Arc<Spool>,
    to: Arc<Destination>,
    lanes: Arc<HashMap<String, Vec<String>>>,
    seed: u64,
) {
    let mut random = Random::seeded(seed);
    let mut log = Log::default();
    while log.over < EVENTS {
        let mut deliveries = spool.next(&to, 32).await.unwrap();
        while !deliveries.is_empty() {
            // Outcomes come back in any order.
            let index = random.below(deliveries.len() as u64) as usize;
            let delivery = deliveries.swap_remove(index);
            let id = delivery.event.head.id.clone();
            let users = delivery.event.head.users.clone();
            for user in &users {
                let next = log.next.get(user).copied().unwrap_or(0);
                assert_eq!(lanes[user][next], id, "lane {user} at {}", to.name());
            }
            let outcome = match random.below(12) {
                0 => answered(500),
                1 => answered(422),
                2 => AttemptOutcome::TimedOut,
                3 => AttemptOutcome::Unreachable,
                4 => AttemptOutcome::Interrupted,
                5 => answered(429),
                6 => answered(404),
                _ => answered(200),
            };
            let settled = spool.settle(delivery, outcome).await.unwrap();
            if matches!(settled.verdict, AttemptVerdict::Done | AttemptVerdict::Dead) {
                log.over += 1;
                for user in users {
                    *log.next.entry(user).or_default() += 1;
                }
            }
        }
    }
}

#[tokio::test]
async fn messages_go_before_statuses_but_not_within_a_lane() {
    let disk = Disk::default();
    let spool = on(&disk);
    let mut config = destination("app");
    config.lanes = 1;
    let to = spool
        .set_destinations(vec![config])
        .await
        .unwrap()
        .remove(0);
    spool
        .accept(event("s1", &[status("s1", "1")]))
        .await
        .unwrap();
    spool
        .accept(event("s2", &[status("s2", "2")]))
        .await
        .unwrap();
    spool
        .accept(event("m1", &[message("m1", "3")]))
        .await
        .unwrap();
    spool
        .accept(event("m2", &[message("m2", "2")]))
        .await
        .unwrap();
    let mut order = Vec::new();
    for _ in 0..4 {
        let delivery = due(&spool, &to).await.remove(0);
        order.push(delivery.event.head.id.clone());
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    assert_eq!(order, ["m1", "s2", "m2", "s1"]);
}

#[tokio::test]
async fn a_lane_that_fails_holds_no_other_lane_up() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    for (id, user) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        spool.accept(event(id, &[message(id, user)])).await.unwrap();
    }
    let mut delivered = Vec::new();
    for _ in 0..2 {
        for delivery in due(&spool, &to).await {
            let id = delivery.event.head.id.clone();
            let status = if id == "a1" { 400 } else { 200 };
            spool.settle(delivery, answered(status)).await.unwrap();
            delivered.push(id);
        }
    }
    assert_eq!(delivered[..3], ["a1", "b1", "b2"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_lets_its_lane_go_on() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    spool
        .accept(event("a1", &[message("a1", "a")]))
        .await
        .unwrap();
    spool
        .accept(event("a2", &[message("a2", "a")]))
        .await
        .unwrap();
    for _ in 0..3 {
        let delivery = spool.next(&to, 1).await.unwrap().remove(0);
        assert_eq!(delivery.event.head.id, "a1");
        spool.settle(delivery, answered(422)).await.unwrap();
    }
    let delivery = spool.next(&to, 1).await.unwrap().remove(0);
    assert_eq!(delivery.event.head.id, "a2");
    let dead = Filter {
        state: Some(StoredState::Dead),
        ..Filter::default()
    };
    assert_eq!(
        matching(&spool, &dead)[0].at[0].why.as_deref(),
        Some("refused: status 422")
    );
}

#[tokio::test]
async fn a_destination_that_is_down_holds_no_other_destination_up() {
    let disk = Disk::default();
    let spool = on(&disk);
    let configs = vec![destination("app"), destination("crm")];
    let destinations = spool.set_destinations(configs).await.unwrap();
    let of = |name| destinations.iter().find(|one| one.name() == name).unwrap();
    for number in 0..20 {
        let id = number.to_string();
        spool
            .accept(event(&id, &[message(&id, &id)]))
            .await
            .unwrap();
    }
    for delivery in due(&spool, of("crm")).await {
        spool
            .settle(delivery, AttemptOutcome::Unreachable)
            .await
            .unwrap();
    }
    let deliveries = due(&spool, of("app")).await;
    assert_eq!(deliveries.len(), 20);
    for delivery in deliveries {
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    // A probe goes out to the one that is down, and with its success everything else.
    let mut probe = due(&spool, of("crm")).await;
    assert_eq!(probe.len(), 1);
    spool.settle(probe.remove(0), answered(200)).await.unwrap();
    assert_eq!(due(&spool, of("crm")).await.len(), 19);
}

#[tokio::test]
async fn a_destination_gets_no_more_than_its_rate() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_paced(&spool, Duration::from_millis(20)).await;
    for number in 0..10 {
        let id = number.to_string();
        spool
            .accept(event(&id, &[message(&id, &id)]))
            .await
            .unwrap();
    }
    let start = Instant::now();
    for _ in 0..10 {
        let delivery = spool.next(&to, 1).await.unwrap().remove(0);
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    assert!(
        start.elapsed() >= Duration::from_millis(9 * 20 - 100),
        "{:?}",
        start.elapsed()
    );
}

/// The number of events: six of each lane, whose deliveries take less than a second of a
/// processor.
const EVENTS: usize = 320;
