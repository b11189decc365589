//! A new value with the need of a restart: a service manager with own sockets restarts without a failed request.

use rustix::process::Signal;

use super::{BREAKS, NEW, ROW, Row, Stand, load};
use crate::support::MESSAGES;
use crate::support::client::post;

/// systemd copies a credential when the service starts.
const COPIED: Row = Row {
    token: "systemd:token",
    watch: "off",
    is_activated: true,
    ..ROW
};

#[test]
fn a_restart_for_a_credential_of_systemd_fails_no_request() {
    for break_it in BREAKS {
        let mut stand = Stand::start(&COPIED, &[]);
        let requests = ["", "/other"].map(|path| post(&format!("{path}{MESSAGES}"), "{}"));
        let address = stand.keyside.outbound();
        let (sent, failures) = load(&requests).during_at(address, || {
            break_it(&stand);
            stand.rotate();
            stand.keyside.end(Signal::TERM);
            stand.keyside.begin();
        });
        assert!(
            failures.is_empty(),
            "{} of {sent}: {:?}",
            failures.len(),
            failures.first()
        );
        assert_eq!(stand.token_sent(""), NEW);
    }
}
