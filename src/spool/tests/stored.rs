//! Storing and expiry, and the orders of operators.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::boot::BootTime;
use crate::spool::{
    Erased, EventReceipt, Look, LookBounds, RecordError, Replay, Setback, SpoolError, SpoolRefusal,
    StoredState, StreamAnswer, TroubleKind,
};

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
async fn the_events_of_a_person_are_erased_everywhere() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    for (id, user) in [("a", "491"), ("b", "492"), ("c", "491"), ("d", "491")] {
        spool.accept(event(id, &[message(id, user)])).await.unwrap();
    }
    let mut deliveries = due(&spool, &to).await;
    let first = deliveries.remove(0);
    assert_eq!(first.event.head.id, "a");
    spool.settle(first, answered(200)).await.unwrap();
    assert_eq!(
        spool.erase_user("491").await,
        Ok(Erased {
            events: 3,
            items: 3,
            ..Erased::default()
        })
    );
    assert_counted(&spool);
    let left = all(&spool);
    assert_eq!(
        left.iter()
            .map(|one| one.head.id.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    let again = spool.accept(event("c", &[message("c", "491")])).await;
    assert!(
        matches!(again, Ok(EventReceipt::Stored { .. })),
        "its items are forgotten: {again:?}"
    );
    drop(deliveries);
    assert_eq!(ids(&due(&spool, &to).await), ["c", "b"]);
}

#[tokio::test]
async fn the_items_of_a_person_are_forgotten_after_the_event_is_gone() {
    let disk = Disk::default();
    let short = SpoolConfig {
        keep: Duration::ZERO,
        ..config()
    };
    let spool = with(&disk, Durability::Immediate, short, Sealing::Off, clock());
    let to = to_app(&spool).await;
    for (id, user) in [("a", "491"), ("b", "492")] {
        spool.accept(event(id, &[message(id, user)])).await.unwrap();
    }
    for delivery in due(&spool, &to).await {
        spool.settle(delivery, answered(200)).await.unwrap();
    }
    assert_eq!(all(&spool).len(), 0);
    assert_eq!(
        spool.erase_user("491").await,
        Ok(Erased {
            events: 0,
            items: 1,
            ..Erased::default()
        })
    );
    for (id, user, is_known) in [("a", "491", false), ("b", "492", true)] {
        let again = spool.accept(event(id, &[message(id, user)])).await;
        assert_eq!(
            again == Ok(EventReceipt::Known),
            is_known,
            "{id}: {again:?}"
        );
    }
}

#[tokio::test]
async fn a_survey_names_every_destination_and_what_is_wrong_with_it() {
    let disk = Disk::default();
    let sealed = with(
        &disk,
        Durability::Immediate,
        config(),
        Sealing::On(Seal::new(&[[3; 32]]).unwrap()),
        clock(),
    );
    let both = vec![destination("app"), destination("crm")];
    let destinations = sealed.set_destinations(both).await.unwrap();
    accept(&sealed, "a").await;
    let delivery = due(&sealed, &destinations[0]).await.remove(0);
    sealed.settle(delivery, answered(404)).await.unwrap();
    let survey = sealed.survey();
    let [app, crm] = &survey.destinations[..] else {
        panic!("{survey:?}")
    };
    assert_eq!(
        (app.name.as_str(), app.count(StoredState::Waiting)),
        ("app", 1)
    );
    assert!(app.oldest.is_some() && app.unreadable.is_none());
    let trouble = app.trouble.as_ref().map(|(trouble, _)| trouble.kind);
    assert_eq!(trouble, Some(TroubleKind::Paused));
    assert!(crm.is_configured && crm.trouble.is_none());
    drop(sealed);
    // The key is missing, and a destination left the configuration.
    let spool = on(&disk);
    to_app(&spool).await;
    let survey = spool.survey();
    let found = survey.destinations.iter();
    let found: Vec<_> = found
        .map(|one| (one.is_configured, one.unreadable))
        .collect();
    let no_key = Some(RecordError::NoKey);
    assert_eq!(found, [(true, no_key), (false, no_key)]);
}

/// A filter with one condition.
fn only(set: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    set(&mut filter);
    filter
}

#[tokio::test]
async fn lists_are_read_by_state_webhook_destination_time_text_person_and_id() {
    let disk = Disk::default();
    let spool = on(&disk);
    let to = to_app(&spool).await;
    for (id, user) in [("a", "491"), ("b", "492")] {
        spool.accept(event(id, &[message(id, user)])).await.unwrap();
    }
    let delivery = due(&spool, &to).await.remove(0);
    spool.settle(delivery, answered(200)).await.unwrap();
    let future = clock().now().wall_ms + 60_000;
    let table: [(Filter, &[&str]); 11] = [
        (
            only(|filter| filter.state = Some(StoredState::Waiting)),
            &["b"],
        ),
        (
            only(|filter| filter.state = Some(StoredState::Delivered)),
            &["a"],
        ),
        (only(|filter| filter.state = Some(StoredState::Dead)), &[]),
        (
            only(|filter| filter.webhook = Some("acme".to_owned())),
            &["a", "b"],
        ),
        (only(|filter| filter.webhook = Some("x".to_owned())), &[]),
        (only(|filter| filter.to = BTreeSet::from([99])), &[]),
        (only(|filter| filter.since_ms = Some(future)), &[]),
        (only(|filter| filter.until_ms = Some(future)), &["a", "b"]),
        (
            only(|filter| filter.text = Some("\"492\"".to_owned())),
            &["b"],
        ),
        (only(|filter| filter.user = Some("491".to_owned())), &["a"]),
        (
            only(|filter| filter.ids = BTreeSet::from(["b".to_owned()])),
            &["b"],
        ),
    ];
    for (filter, expected) in table {
        let found = matching(&spool, &filter);
        let found: Vec<_> = found.iter().map(|event| event.head.id.as_str()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    let page = spool.list(&Filter::default(), 0, 1).unwrap();
    assert_eq!((page.events.len(), page.next), (1, Some(1)));
    assert!(spool.oldest(&to).unwrap().is_some());
    assert_eq!(spool.numbers().events[&(to.id, StoredState::Waiting)], 1);
}

#[tokio::test]
async fn a_sealed_spool_shows_nothing_of_a_person() {
    let disk = Disk::default();
    let seal = || Sealing::On(Seal::new(&[[3; 32]]).unwrap());
    let spool = with(&disk, Durability::Immediate, config(), seal(), clock());
    to_app(&spool).await;
    let secret = "4915112345678";
    spool
        .accept(event("a", &[message("wamid.secret", secret)]))
        .await
        .unwrap();
    drop(spool);
    disk.damage(|bytes| {
        for text in [secret, "wamid.secret"] {
            assert_eq!(memchr::memmem::find(bytes, text.as_bytes()), None);
        }
    });
    let spool = with(&disk, Durability::Immediate, config(), seal(), clock());
    assert_eq!(all(&spool)[0].head.users, [secret]);
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

#[tokio::test]
async fn the_events_that_name_a_person_anywhere_are_erased() {
    let disk = Disk::default();
    let spool = on(&disk);
    to_app(&spool).await;
    let elsewhere =
        |field: &str, value: &str| format!(r#"{{"field":"{field}","value":{{{value}}}}}"#);
    for (id, change) in [
        (
            "call",
            elsewhere("calls", r#""calls":[{"from":"4915112"}]"#),
        ),
        (
            "sync",
            elsewhere(
                "smb_app_state_sync",
                r#""contact":{"phone_number":"+4915112"}"#,
            ),
        ),
        ("message", message("m", "4915112")),
        ("other", message("o", "4915113")),
    ] {
        spool.accept(event(id, &[change])).await.unwrap();
    }
    let of_person = only(|filter| filter.user = Some("4915112".to_owned()));
    assert_eq!(matching(&spool, &of_person).len(), 3);
    assert_eq!(spool.erase_user("4915112").await.unwrap().events, 3);
    let left: Vec<_> = all(&spool).into_iter().map(|event| event.head.id).collect();
    assert_eq!(left, ["other"]);
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
