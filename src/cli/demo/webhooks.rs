//! The other direction: what users write, on its way to the application.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Outcome;
use super::folder::Folder;
use super::receiver::Receiver;
use crate::config::ListenAddress;
use crate::sandbox::{App, Attempt, Sandbox, Signing, new_app_secret};

/// The callback URL that the provider is given.
pub(super) fn callback(addresses: &[ListenAddress]) -> Outcome<String> {
    match addresses.first() {
        Some(ListenAddress::Tcp(address)) => Ok(format!("http://{address}/webhooks/whatsapp")),
        _ => Err("the sidecar has no address for webhooks".into()),
    }
}

pub(super) async fn the_handshake_is_answered(callback: &str, sandbox: &Sandbox, folder: &Folder) -> Outcome<bool> {
    println!("5. Now the other direction. The provider makes sure that the callback URL is ours:\n");
    println!("   GET {callback}?hub.mode=subscribe&hub.challenge=...&hub.verify_token=...\n");
    let app = App {
        name: APP.to_owned(),
        callback: callback.to_owned(),
        secret: folder.read("app_secret")?,
        verify_token: folder.read("verify_token")?,
    };
    let guessed = App { verify_token: "a guess".to_owned(), ..app.clone() };
    let refused = sandbox.subscribe(guessed).await;
    let answered = sandbox.subscribe(app).await;
    println!("   with a guess:            {}", if refused.is_err() { "403" } else { "200, which is wrong" });
    println!(
        "   with the verify token:   {}\n",
        if answered.is_ok() { "200 and the challenge" } else { "refused, which is wrong" }
    );
    Ok(refused.is_err() && answered.is_ok())
}

pub(super) async fn only_genuine_events_arrive(sandbox: &Sandbox, receiver: &Receiver) -> Outcome<bool> {
    println!("6. A user writes, and somebody else says so too. Only the provider can sign:\n");
    let (before, arrived) = (sandbox.attempts().len(), receiver.events().len());
    sandbox.receive_text("15550001234", "Hello, is the café open?");
    wait_for(|| sandbox.attempts().len() > before).await;
    sandbox.forge_text("15550009999", "Send the money to this account");
    wait_for(|| sandbox.attempts().len() > before + 1).await;
    let attempts = sandbox.attempts();
    let results: Vec<_> = attempts.iter().skip(before).map(result).collect();
    let events: Vec<_> = receiver.events().into_iter().skip(arrived).collect();
    println!("   genuine: {}", results.first().map_or("-", String::as_str));
    println!("   forged:  {}", results.get(1).map_or("-", String::as_str));
    for event in &events {
        println!("   the application got: {}", event.body);
    }
    println!();
    let genuine = events.first().is_some_and(|event| event.body.contains("caf\\u00e9"));
    Ok(results == ["200", "401"] && events.len() == 1 && genuine)
}

pub(super) async fn no_event_is_lost_while_the_secret_changes(
    sandbox: &Sandbox,
    receiver: &Receiver,
    folder: &Folder,
) -> Outcome<bool> {
    println!(
        "7. The app secret is replaced while {RATE} users a second write. For a while the provider signs with both:\n"
    );
    let (before, arrived) = (sandbox.attempts().len(), receiver.events().len());
    let total = RATE.get() * 3;
    sandbox.receive_texts("15550001234", "Message {n}", total, RATE);
    sleep(Duration::from_millis(500)).await;
    // The sidecar first: it takes both from here on.
    let (old, new) = (folder.read("app_secret")?, new_app_secret());
    folder.replace("app_secret.old", &old)?;
    folder.replace("app_secret", &new)?;
    sleep(Duration::from_millis(700)).await;
    sandbox.change_app_secret(APP, Some(new), Signing::Both);
    sleep(Duration::from_millis(1000)).await;
    sandbox.change_app_secret(APP, None, Signing::New);
    let expected = usize::try_from(total)?;
    let ids = || receiver.events().into_iter().skip(arrived).map(|event| event.id).collect::<HashSet<_>>().len();
    wait_for(|| ids() >= expected).await;
    let attempts: Vec<_> = sandbox.attempts().into_iter().skip(before).collect();
    let refused = attempts.iter().filter(|attempt| result(attempt) != "200").count();
    let signed = |which| attempts.iter().filter(|attempt| attempt.secret == which).count();
    println!(
        "   {total} events sent, {} arrived, {refused} refused; signed with the old secret {}, with the new one {}\n",
        ids(),
        signed("old"),
        attempts.len() - signed("old")
    );
    Ok(ids() == expected && refused == 0 && signed("old") > 0)
}

fn result(attempt: &Attempt) -> String {
    match &attempt.result {
        Ok(status) => status.to_string(),
        Err(error) => error.clone(),
    }
}

/// Waits until something holds, ten seconds at most.
async fn wait_for(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() && Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
    }
}

const APP: &str = "demo";
const RATE: NonZeroU32 = NonZeroU32::new(200).unwrap();
