//! Ways in which the value at a source changes.

use super::{BREAKS, NEW, OLD, ROW, Row, Stand, load, messages_with_each, mount, run, wait};
use crate::support::load::Failure;

#[test]
fn a_file_that_changes_in_any_way_fails_no_request() {
    run(&[
        Row {
            name: "renamed over the file",
            happens: Stand::rotate,
            ..ROW
        },
        Row {
            name: "overwritten in halves, 0.7 s apart, the provider asked",
            happens: overwrite_in_halves,
            ..ROW
        },
        Row {
            name: "overwritten in halves, 0.7 s apart, the provider not asked",
            happens: overwrite_in_halves,
            is_asked_about: false,
            ..ROW
        },
        Row {
            name: "empty for 0.7 s, then filled",
            happens: |stand| {
                stand.overwrite("token", "");
                wait(700);
                stand.book.issue(NEW, "one");
                stand.overwrite("token", NEW);
            },
            ..ROW
        },
        Row {
            name: "`..data` swapped by the kubelet, the old folder removed",
            token: "file:@DIR@/volume/token",
            happens: |stand| {
                stand.book.issue(NEW, "one");
                mount(stand.keyside.dir(), 1, NEW);
            },
            ..ROW
        },
        Row {
            name: "a file of systemd's credentials replaced",
            token: "systemd:token",
            happens: Stand::rotate,
            ..ROW
        },
        Row {
            name: "a program prints another value",
            token: "exec:@DIR@/print",
            watch: "off",
            refresh: "300ms",
            happens: |stand| {
                stand.rotate();
                wait(500);
            },
            ..ROW
        },
        Row {
            name: "a key of a Secret of Kubernetes changes",
            token: "k8s:acme#token",
            watch: "off",
            refresh: "300ms",
            happens: |stand| {
                stand.book.issue(NEW, "one");
                stand.cluster.put("token", NEW);
                wait(700);
            },
            ..ROW
        },
    ]);
}

fn overwrite_in_halves(stand: &Stand) {
    stand.book.issue(NEW, "one");
    stand.overwrite("token", &NEW[..6]);
    wait(700);
    stand.overwrite("token", NEW);
}

/// The environment of a process cannot change.
#[test]
fn a_dead_token_of_the_environment_gets_the_providers_answer_until_a_restart() {
    let row = Row {
        token: "env:ACME_TOKEN",
        hold: "500ms",
        ..ROW
    };
    for break_it in BREAKS {
        let stand = Stand::start(&row, &[]);
        let (_, failures) = load(&messages_with_each()).during(&stand.keyside, || {
            break_it(&stand);
            stand.book.revoke(OLD);
            wait(1000);
        });
        assert!(!failures.is_empty());
        let is_own = |failure: &Failure| failure.request == 0 && failure.text.contains("190");
        assert!(failures.iter().all(is_own), "{failures:?}");
        let log = stand.keyside.log();
        assert!(log.contains("restart"), "{log}");
    }
}

#[test]
fn two_sidecars_with_one_file_fail_no_request() {
    let requests = messages_with_each();
    for break_it in BREAKS {
        let first = Stand::start(&ROW, &[]);
        let second = first.second();
        let (_, failed) = load(&requests).during(&first.keyside, || {
            let (_, failed) = load(&requests).during(&second, || {
                break_it(&first);
                first.rotate();
                wait(100);
                first.book.revoke(OLD);
            });
            assert!(failed.is_empty(), "{:?}", failed.first());
        });
        assert!(failed.is_empty(), "{:?}", failed.first());
        assert_eq!(first.token_sent(""), NEW);
    }
}
