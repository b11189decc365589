//! The questions and orders of operators: lists, the state, the erasure of a person's events.

use super::*;
use crate::spool::{Erased, EventReceipt, RecordError, StoredState, TroubleKind};

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
