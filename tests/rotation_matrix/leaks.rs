//! Leaks, with the end of the old secret before the arrival of a new secret, and signals.

use super::{NEW, OLD, ROW, Row, Stand, run, wait};

#[test]
fn a_leak_fails_no_request_within_the_hold() {
    fn leak(stand: &Stand, gap: u64) {
        stand.book.revoke(OLD);
        wait(gap);
        stand.rotate();
    }
    run(&[
        Row {
            name: "a new token 0.3 s after the end of the old one",
            happens: |stand| leak(stand, 300),
            ..ROW
        },
        Row {
            name: "a new token 2 s after the end of the old one",
            happens: |stand| leak(stand, 2000),
            ..ROW
        },
        Row {
            name: "the provider not asked",
            is_asked_about: false,
            happens: |stand| leak(stand, 500),
            ..ROW
        },
        Row {
            name: "files not watched, and no signal",
            watch: "off",
            happens: |stand| leak(stand, 500),
            ..ROW
        },
        Row {
            name: "a wrong token first, and the right one 0.5 s later",
            happens: |stand| {
                stand.book.revoke(OLD);
                wait(300);
                stand.write("token", "EAAWRONGTOKEN");
                wait(500);
                stand.rotate();
            },
            ..ROW
        },
        Row {
            name: "a wrong token first, the provider not asked",
            is_asked_about: false,
            happens: |stand| {
                stand.book.revoke(OLD);
                wait(300);
                stand.write("token", "EAAWRONGTOKEN");
                wait(500);
                stand.rotate();
            },
            ..ROW
        },
        Row {
            name: "a gap of 2 s with a hold of 0.5 s",
            hold: "500ms",
            outlasts_hold: true,
            happens: |stand| leak(stand, 2000),
            ..ROW
        },
        Row {
            name: "a program",
            token: "exec:@DIR@/print",
            watch: "off",
            refresh: "1h",
            happens: |stand| {
                leak(stand, 500);
                wait(1500);
            },
            ..ROW
        },
        Row {
            name: "a Secret of Kubernetes",
            token: "k8s:acme#token",
            watch: "off",
            refresh: "1h",
            happens: |stand| {
                stand.book.revoke(OLD);
                wait(500);
                stand.book.issue(NEW, "one");
                stand.cluster.put("token", NEW);
                wait(1500);
            },
            ..ROW
        },
    ]);
}

#[test]
fn no_signal_fails_a_request() {
    run(&[
        Row {
            name: "one signal",
            watch: "off",
            happens: |stand| {
                stand.rotate();
                stand.hang_up();
            },
            ..ROW
        },
        Row {
            name: "a signal in a leak",
            watch: "off",
            happens: |stand| {
                stand.book.revoke(OLD);
                wait(500);
                stand.rotate();
                stand.hang_up();
            },
            ..ROW
        },
        Row {
            name: "1,000 signals and 100 changes in 1.5 s",
            watch: "off",
            happens: |stand| {
                for signal in 0..1000 {
                    if signal % 10 == 0 {
                        let token = format!("EAANUMBER{signal}");
                        stand.book.issue(&token, "one");
                        stand.write("token", &token);
                        wait(15);
                    }
                    stand.hang_up();
                }
                stand.rotate();
                stand.hang_up();
            },
            ..ROW
        },
    ]);
}
