//! The rows of the matrix about the value of the new secret.

use std::thread;
use std::time::{Duration, Instant};

use super::{NEW, OLD, ROW, Row, Stand, run, wait};
use crate::support::{eventually, stretched};

const RESET: &str = "secret of one, reset";

/// The new secret may be good, wrong or too weak, and the old secret may end before or after.
fn new_secrets(is_asked_about: bool) -> Vec<Row> {
    let row = |name, ends_with, happens| Row {
        name,
        ends_with,
        happens,
        is_asked_about,
        ..ROW
    };
    vec![
        row("unknown", OLD, |stand| stand.write("token", NEW)),
        row("revoked", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.revoke(NEW);
            stand.write("token", NEW);
        }),
        row("expired", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.expire(NEW, Duration::ZERO);
            stand.write("token", NEW);
        }),
        row("of another app", OLD, |stand| {
            stand.book.issue(NEW, "two");
            stand.write("token", NEW);
        }),
        row("with wider scopes", NEW, |stand| {
            stand.book.issue(NEW, "one");
            let wide = r#""whatsapp_business_messaging","business_management""#;
            stand.book.scope(NEW, wide);
            stand.write("token", NEW);
        }),
        row("without the scope for messages", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.scope(NEW, r#""whatsapp_business_management""#);
            stand.book.forbid(NEW, 10, 0);
            stand.write("token", NEW);
        }),
        row("without the right to the number (10)", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.forbid(NEW, 10, 0);
            stand.write("token", NEW);
        }),
        row("without the right to the number (200)", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.forbid(NEW, 200, 0);
            stand.write("token", NEW);
        }),
        row("blind to the number (100/33)", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.forbid(NEW, 100, 33);
            stand.write("token", NEW);
        }),
        row("good for 1 s more", OLD, |stand| {
            stand.book.issue(NEW, "one");
            stand.book.expire(NEW, Duration::from_secs(1));
            stand.write("token", NEW);
            wait(1200);
        }),
        Row {
            more: "overlap = \"1s\"",
            ..row("good for 1 s more, then the overlap ends", OLD, |stand| {
                stand.book.issue(NEW, "one");
                stand.book.expire(NEW, Duration::from_secs(1));
                stand.write("token", NEW);
                wait(2200);
            })
        },
        row("revoked once it is in use", OLD, |stand| {
            stand.rotate();
            wait(300);
            stand.book.revoke(NEW);
        }),
        row("two that are revoked, one after the other", OLD, |stand| {
            for token in ["EAAFIRSTBAD", "EAASECONDBAD"] {
                stand.book.issue(token, "one");
                stand.book.revoke(token);
                stand.write("token", token);
                wait(250);
            }
        }),
        row("good, the old one revoked at once", NEW, |stand| {
            stand.rotate();
            stand.book.revoke(OLD);
        }),
        row("good, the old one revoked 0.1 s later", NEW, |stand| {
            stand.rotate();
            wait(100);
            stand.book.revoke(OLD);
        }),
    ]
}

#[test]
fn no_new_secret_fails_a_request_if_the_provider_is_asked() {
    run(&new_secrets(true));
    run(&[Row {
        name: "good, and the provider thinks for half a minute",
        happens: |stand| {
            stand.book.think(Duration::from_secs(30));
            stand.rotate();
            wait(6000);
        },
        ..ROW
    }]);
}

#[test]
fn neither_a_reload_nor_a_status_waits_for_a_provider_that_thinks_for_half_a_minute() {
    let row = Row {
        watch: "off",
        ..ROW
    };
    let stand = Stand::start(&row, &[]);
    stand.book.think(Duration::from_secs(30));
    stand.rotate();
    let began = Instant::now();
    thread::scope(|scope| {
        let reload = scope.spawn(|| stand.keyside.reload());
        while !reload.is_finished() {
            let asked = Instant::now();
            stand.keyside.status();
            let took = asked.elapsed();
            assert!(took < stretched(Duration::from_secs(1)), "status: {took:?}");
            wait(100);
        }
        let reloaded = reload.join().unwrap();
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    });
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(8)), "reload: {took:?}");
    let is_new = || stand.token_sent("") == NEW;
    assert!(eventually(Duration::from_secs(8), is_new));
}

#[test]
fn no_new_secret_fails_a_request_if_the_provider_is_not_asked() {
    run(&new_secrets(false));
}

#[test]
fn no_change_of_an_app_secret_fails_a_request() {
    run(&[
        Row {
            name: "both app secrets are good for a while",
            ends_with: OLD,
            happens: |stand| {
                stand.book.set_secrets("one", &["secret of one", RESET]);
                stand.write("app_secret", RESET);
                wait(500);
                stand.book.set_secrets("one", &[RESET]);
            },
            ..ROW
        },
        Row {
            name: "the file 0.1 s after the provider",
            ends_with: OLD,
            happens: |stand| {
                stand.book.set_secrets("one", &[RESET]);
                wait(100);
                stand.write("app_secret", RESET);
            },
            ..ROW
        },
        Row {
            name: "the file 1 s after the provider",
            ends_with: OLD,
            happens: |stand| {
                stand.book.set_secrets("one", &[RESET]);
                wait(1000);
                stand.write("app_secret", RESET);
            },
            ..ROW
        },
        Row {
            name: "the file 0.7 s before the provider",
            ends_with: OLD,
            happens: |stand| {
                stand.write("app_secret", RESET);
                wait(700);
                stand.book.set_secrets("one", &[RESET]);
            },
            ..ROW
        },
        Row {
            name: "token and app secret of another app, together",
            happens: |stand| {
                stand.book.issue(NEW, "two");
                stand.write("token", NEW);
                stand.write("app_secret", "secret of two");
                wait(500);
                stand.book.revoke(OLD);
            },
            ..ROW
        },
        Row {
            name: "token and app secret of another app, 0.3 s apart",
            happens: |stand| {
                stand.book.issue(NEW, "two");
                stand.write("token", NEW);
                wait(300);
                stand.write("app_secret", "secret of two");
                wait(500);
                stand.book.revoke(OLD);
            },
            ..ROW
        },
        Row {
            name: "app secret and token of another app, 0.8 s apart, the provider not asked",
            is_asked_about: false,
            happens: |stand| {
                stand.book.issue(NEW, "two");
                stand.write("app_secret", "secret of two");
                wait(800);
                stand.write("token", NEW);
                wait(500);
                stand.book.revoke(OLD);
            },
            ..ROW
        },
    ]);
}
