//! The course of a destination: filters, pace, attempts, and troubles.

use super::*;
use crate::spool::{Look, LookBounds, Setback, SpoolRefusal};

#[tokio::test]
async fn the_retry_schedule_survives_a_restart() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    let delivery = due(&spool, &to).await.remove(0);
    let asked = AttemptOutcome::Answered {
        status: 503,
        retry_after: Some(Duration::from_secs(3600)),
    };
    spool.settle(delivery, asked).await.unwrap();
    drop(spool);
    let spool = on(&disk);
    let to = to_app(&spool).await;
    assert!(due(&spool, &to).await.is_empty());
    drop(spool);
    // The wall clock was set a year back meanwhile: the wait is an hour, and no year.
    let back = SystemTime::now() - Duration::from_secs(365 * 86_400);
    let spool = with(
        &disk,
        Durability::Immediate,
        config(),
        Sealing::Off,
        clock_at(back),
    );
    let to = to_app(&spool).await;
    assert!(due(&spool, &to).await.is_empty());
    drop(spool);
    let later = SystemTime::now() + Duration::from_secs(3601);
    let spool = with(
        &disk,
        Durability::Immediate,
        config(),
        Sealing::Off,
        clock_at(later),
    );
    let to = to_app(&spool).await;
    assert_eq!(due(&spool, &to).await[0].attempt(), 2);
}

#[tokio::test]
async fn destinations_have_their_own_filters_and_a_new_one_its_own_beginning() {
    let disk = Disk::default();
    let spool = on(&disk);
    let early = spool.accept(event("a", &[message("a", "1")])).await;
    assert_eq!(early, Err(SpoolRefusal::NoDestination));
    let mut flows = destination("flows");
    flows.fields = BTreeSet::from(["flows".to_owned()]);
    let mut other = destination("other");
    other.senders = BTreeSet::from(["1".to_owned()]);
    let configs = vec![destination("app"), flows, other];
    spool.set_destinations(configs.clone()).await.unwrap();
    accept(&spool, "a").await;
    assert_eq!(all(&spool)[0].at.len(), 1);
    let mut late = destination("late");
    late.from = Duration::from_secs(3600);
    let begun = [configs, vec![destination("new"), late]].concat();
    let destinations = spool.set_destinations(begun.clone()).await.unwrap();
    let of = |name| destinations.iter().find(|one| one.name() == name).unwrap();
    assert_eq!(ids(&due(&spool, of("late")).await), ["a"]);
    assert!(due(&spool, of("new")).await.is_empty());
    // A reload with the same destinations begins nothing anew.
    spool.set_destinations(begun).await.unwrap();
    assert_eq!(all(&spool)[0].at.len(), 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_as_a_whole_goes_to_every_destination() {
    let disk = Disk::default();
    let spool = on(&disk);
    let mut flows = destination("flows");
    flows.fields = BTreeSet::from(["flows".to_owned()]);
    let mut other = destination("other");
    other.senders = BTreeSet::from(["1".to_owned()]);
    let filtering = vec![flows, other];
    spool.set_destinations(filtering.clone()).await.unwrap();
    let odd = NewEvent {
        contents: EventContents::read(b"{\"entry\":5}"),
        ..event("odd", &[])
    };
    let ready = spool.prepare(odd).unwrap();
    assert!(ready.is_wanted());
    spool.store(ready).await.unwrap();
    let whole = spool.prepare(event("whole", &[message("a", "1")])).unwrap();
    assert!(!whole.is_wanted());
    spool.store(whole).await.unwrap();
    let mut late = filtering[0].clone();
    late.name = "late".to_owned();
    late.from = Duration::from_secs(3600);
    let all_of = [filtering, vec![late]].concat();
    for to in spool.set_destinations(all_of).await.unwrap() {
        assert_eq!(ids(&due(&spool, &to).await), ["odd"], "{}", to.name());
    }
}

#[tokio::test]
async fn a_new_pace_holds_at_once_and_a_new_address_forgets_what_the_old_one_answered() {
    let disk = Disk::default();
    let spool = on(&disk);
    let mut slow = destination("app");
    slow.interval = Some(Duration::from_secs(3600));
    let to = spool.set_destinations(vec![slow]).await.unwrap().remove(0);
    accept(&spool, "a").await;
    spool
        .accept(event("b", &[message("b", "2")]))
        .await
        .unwrap();
    let first = due(&spool, &to).await;
    assert_eq!(ids(&first), ["a"]);
    assert_eq!(ids(&due(&spool, &to).await), [""; 0]);
    to_app(&spool).await;
    let second = due(&spool, &to).await;
    assert_eq!(ids(&second), ["b"]);
    // The first event waits as long as the answer asked; the second is paused with its destination.
    let asked = AttemptOutcome::Answered {
        status: 429,
        retry_after: Some(Duration::from_secs(3600)),
    };
    for (delivery, outcome) in first
        .into_iter()
        .zip([asked])
        .chain(second.into_iter().zip([answered(404)]))
    {
        spool.settle(delivery, outcome).await.unwrap();
    }
    assert_eq!(ids(&due(&spool, &to).await), [""; 0]);
    to.begin_anew();
    let mut again = due(&spool, &to).await;
    again.sort_by_key(|delivery| delivery.event.seq);
    assert_eq!(ids(&again), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_trouble_ends_with_the_last_event_that_waits() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    let fail = async |id: &str| {
        spool.accept(event(id, &[message(id, id)])).await.unwrap();
        let delivery = due(&spool, &to).await.remove(0);
        let seq = delivery.event.seq;
        let failed = spool.settle(delivery, AttemptOutcome::Unreachable).await;
        failed.unwrap();
        assert!(to.trouble().is_some(), "{id}");
        seq
    };
    let first = fail("a").await;
    spool
        .accept(event("b", &[message("b", "b")]))
        .await
        .unwrap();
    spool.erase(&[first]).await.unwrap();
    assert!(to.trouble().is_some(), "an event waits");
    spool.erase(&[first + 1]).await.unwrap();
    assert_eq!(to.trouble(), None, "erased");
    fail("c").await;
    tokio::time::advance(Duration::from_secs(8 * 24 * 3600)).await;
    spool.expire().await.unwrap();
    assert_eq!(to.trouble(), None, "too old");
}

#[tokio::test]
async fn an_event_that_is_erased_under_way_leaves_no_trouble() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    for outcome in [answered(500), AttemptOutcome::Unreachable] {
        accept(&spool, &outcome.to_string()).await;
        let delivery = due(&spool, &to).await.remove(0);
        spool.erase(&[delivery.event.seq]).await.unwrap();
        spool.settle(delivery, outcome).await.unwrap();
        assert_eq!(spool.survey().destinations[0].setback, None);
    }
    assert!(to.trouble().is_some(), "the failure of a moment ago");
    // The next probe finds no event.
    for _ in 0..50 {
        assert!(due(&spool, &to).await.is_empty());
        if to.trouble().is_none() {
            break;
        }
    }
    assert_eq!(to.trouble(), None, "erased under way");
    assert_counted(&spool);
}

#[tokio::test]
async fn an_event_that_fails_again_and_again_is_told_of() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    accept(&spool, "a").await;
    for failed in 0..3 {
        assert_eq!(spool.survey().destinations[0].setback, None, "{failed}");
        let mut delivery = due(&spool, &to).await;
        while delivery.is_empty() {
            // The wait before the next attempt.
            to.begin_anew();
            delivery = due(&spool, &to).await;
        }
        spool
            .settle(delivery.remove(0), answered(500))
            .await
            .unwrap();
    }
    let setback = spool.survey().destinations[0].setback;
    let expected = Setback {
        events: 1,
        outcome: answered(500),
    };
    assert_eq!(setback, Some(expected));
    assert_eq!(
        to.trouble(),
        None,
        "one event is no fault of its destination"
    );
    to.begin_anew();
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, answered(200)).await.unwrap();
    assert_eq!(spool.survey().destinations[0].setback, None);
}

/// A look that finds no room for the event costs no turn: the look with enough room finds the event
/// due.
#[tokio::test]
async fn a_look_without_room_costs_a_paced_destination_no_turn() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_paced(&spool, Duration::from_secs(60)).await;
    spool
        .accept(event("a", &[message("a", "1")]))
        .await
        .unwrap();
    let look = async |bytes| {
        let bounds = LookBounds { events: 1, bytes };
        spool.look(&to, bounds).await.unwrap()
    };
    let Look::TooLarge(size) = look(10).await else {
        panic!("an event was read");
    };
    let found = look(size).await;
    assert!(matches!(found, Look::Events(_)), "{found:?}");
}

#[tokio::test]
async fn a_look_takes_what_has_room_and_reads_no_larger_event() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    for id in ["a", "b", "c"] {
        spool.accept(event(id, &[message(id, id)])).await.unwrap();
    }
    let look = async |events, bytes| {
        let bounds = LookBounds { events, bytes };
        spool.look(&to, bounds).await.unwrap()
    };
    let Look::TooLarge(size) = look(32, 10).await else {
        panic!("an event was read");
    };
    for (events, bytes, taken) in [
        (32, size, 1),
        (32, 2 * size, 2),
        (2, usize::MAX, 2),
        (32, usize::MAX, 3),
    ] {
        match look(events, bytes).await {
            Look::Events(found) => assert_eq!(found.len(), taken, "{events} {bytes}"),
            other => panic!("{other:?}"),
        }
    }
}
