//! The inbound half of the demo: messages of users on their way to the application.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use keyside_sandbox::{App, Attempt, AttemptResult, Sandbox, Signing, new_app_secret};
use tokio::time::{Instant, sleep};

use super::DemoResult;
use super::folder::DemoFolder;
use super::receiver::{ReceivedEvent, Receiver};
use crate::config::ListenAddress;

/// Returns the callback URL that the provider is configured with.
pub(super) fn callback(addresses: &[ListenAddress]) -> DemoResult<String> {
    match addresses.first() {
        Some(ListenAddress::Tcp(address)) => Ok(format!("http://{address}/webhooks/whatsapp")),
        _ => Err("the sidecar listens on no TCP address for webhooks".into()),
    }
}

/// Shows the handshake, with a wrong and with the right verify token. Returns true if all went
/// well.
pub(super) async fn show_handshake(
    callback: &str,
    sandbox: &Sandbox,
    folder: &DemoFolder,
) -> DemoResult<bool> {
    say!(
        "5. Now the other direction. The provider checks that the callback URL belongs to the app:\n"
    );
    say!("   GET {callback}?hub.mode=subscribe&hub.challenge=...&hub.verify_token=...\n");
    let app = App {
        name: APP.to_owned(),
        callback: callback.to_owned(),
        secret: folder.read("app_secret")?,
        verify_token: folder.read("verify_token")?,
    };
    let wrong = App {
        verify_token: "a guess".to_owned(),
        ..app.clone()
    };
    let is_refused = sandbox.subscribe(wrong).await.is_err();
    let is_accepted = sandbox.subscribe(app).await.is_ok();
    let refused = if is_refused {
        "403"
    } else {
        "200, which is wrong"
    };
    let accepted = if is_accepted {
        "200 and the challenge"
    } else {
        "refused, which is wrong"
    };
    say!("   with a wrong verify token:   {refused}");
    say!("   with the right one:          {accepted}\n");
    Ok(is_refused && is_accepted)
}

/// Shows a genuine and a forged event. Returns true if all went well.
pub(super) async fn show_forgery(sandbox: &Sandbox, receiver: &Receiver) -> DemoResult<bool> {
    say!(
        "6. A user writes a message, and a stranger forges one. Only the provider can sign events:\n"
    );
    let before = AttemptsBefore::of(sandbox, receiver);
    sandbox.receive_text("15550001234", "Hello, is the café open?");
    wait_for(|| before.attempts_since(sandbox).len() == 1).await;
    sandbox.forge_text("15550009999", "Send the money to this account");
    let has_arrived = || !before.events_since(receiver).is_empty();
    wait_for(|| before.attempts_since(sandbox).len() == 2 && has_arrived()).await;
    let attempts = before.attempts_since(sandbox);
    let results: Vec<_> = attempts.iter().map(result).collect();
    let events = before.events_since(receiver);
    say!(
        "   genuine: {}",
        results.first().map_or("-", String::as_str)
    );
    say!("   forged:  {}", results.get(1).map_or("-", String::as_str));
    for event in &events {
        say!("   the application got: {}", event.body);
    }
    say!();
    let is_genuine = events
        .first()
        .is_some_and(|event| event.body.contains("caf\\u00e9"));
    Ok(results == ["200", "401"] && events.len() == 1 && is_genuine)
}

/// Shows a change of the app secret under load. Returns true if no event was lost or refused.
pub(super) async fn show_secret_change(
    sandbox: &Sandbox,
    receiver: &Receiver,
    folder: &DemoFolder,
) -> DemoResult<bool> {
    say!(
        "7. The app secret is replaced while users write {RATE} messages a second. For a while the provider signs\n   \
         with both secrets:\n"
    );
    let before = AttemptsBefore::of(sandbox, receiver);
    let total = RATE.get() * 3;
    sandbox.receive_texts("15550001234", "Message {n}", total, RATE);
    sleep(Duration::from_millis(500)).await;
    // The sidecar comes first, since it must accept the new secret before the provider signs with
    // it.
    let old = folder.read("app_secret")?;
    let new = new_app_secret();
    folder.replace("app_secret.old", &old)?;
    folder.replace("app_secret", &new)?;
    sleep(Duration::from_millis(700)).await;
    sandbox.change_app_secret(APP, Some(new), Signing::Both);
    sleep(Duration::from_millis(1000)).await;
    sandbox.change_app_secret(APP, None, Signing::New);
    let expected = usize::try_from(total)?;
    let arrived = || {
        before
            .events_since(receiver)
            .into_iter()
            .map(|event| event.id)
            .collect::<HashSet<_>>()
            .len()
    };
    // An attempt is recorded a moment after the event has arrived.
    let recorded = || before.attempts_since(sandbox).len();
    wait_for(|| arrived() >= expected && recorded() >= expected).await;
    let attempts = before.attempts_since(sandbox);
    let refused = attempts
        .iter()
        .filter(|attempt| result(attempt) != "200")
        .count();
    let with_old = attempts
        .iter()
        .filter(|attempt| attempt.secret == "old")
        .count();
    say!(
        "   {total} events sent, {} arrived, {refused} refused; {with_old} signed with the old secret, {} with the new one\n",
        arrived(),
        attempts.len() - with_old
    );
    Ok(arrived() == expected && refused == 0 && with_old > 0)
}

/// The attempts and events before a part of the demo.
struct AttemptsBefore {
    attempts: usize,
    events: usize,
}

impl AttemptsBefore {
    fn of(sandbox: &Sandbox, receiver: &Receiver) -> Self {
        Self {
            attempts: sandbox.attempts().len(),
            events: receiver.events().len(),
        }
    }

    fn attempts_since(&self, sandbox: &Sandbox) -> Vec<Attempt> {
        sandbox.attempts().split_off(self.attempts)
    }

    fn events_since(&self, receiver: &Receiver) -> Vec<ReceivedEvent> {
        receiver.events().split_off(self.events)
    }
}

/// Returns the status of an attempt, or the reason for having none.
fn result(attempt: &Attempt) -> String {
    match &attempt.result {
        AttemptResult::Answered(status) => status.to_string(),
        AttemptResult::Unanswered(reason) => reason.clone(),
    }
}

/// Waits until a condition holds, for at most a minute: far more than a machine that is busy needs.
async fn wait_for(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() && Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
    }
}

/// The name of the app in the sandbox.
const APP: &str = "demo";

/// The events per second during the change of the app secret: enough for several to be under way at
/// any moment.
const RATE: NonZeroU32 = NonZeroU32::new(200).unwrap();
