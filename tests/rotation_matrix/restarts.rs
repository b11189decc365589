//! A new value with the need of a restart: a service manager with own sockets restarts without a
//! failed request.

use std::time::Duration;

use rustix::process::Signal;

use super::{BREAKS, NEW, ROW, Row, Stand, load, messages_with_each};
use crate::support::client::get;
use crate::support::load::Failure;
use crate::support::{MESSAGES, eventually};

/// systemd copies a credential when the service starts.
const COPIED: Row = Row {
    token: "systemd:token",
    watch: "off",
    is_activated: true,
    ..ROW
};

#[test]
fn a_restart_for_a_credential_of_systemd_fails_no_request_but_those_of_a_broken_credential() {
    for break_it in BREAKS {
        let mut stand = Stand::start(&COPIED, &[]);
        let address = stand.keyside.outbound();
        let (sent, failures) = load(&messages_with_each()).during_at(address, || {
            break_it(&stand);
            stand.rotate();
            stand.keyside.end(Signal::TERM);
            stand.keyside.begin();
        });
        // The secret of before is gone with the process: 503 without a secret, 401 or 400 with an
        // unknown one.
        let is_of_broken = |failure: &&Failure| failure.request == 2;
        let of_others = failures.iter().find(|failure| !is_of_broken(failure));
        assert!(of_others.is_none(), "{of_others:?} of {sent}");
        assert_eq!(stand.token_sent(""), NEW);
        let ready = stand.keyside.ask_admin(&get("/readyz"));
        assert_eq!(ready.status, 200, "{}", ready.text());
        let broken = format!("/broken{MESSAGES}");
        assert_ne!(stand.keyside.post(&broken, "{}").status, 200);
        stand.write("broken", "EAABROKENTOKEN");
        stand.hang_up();
        let is_back = || stand.keyside.post(&broken, "{}").status == 200;
        assert!(eventually(Duration::from_secs(5), is_back));
    }
}
