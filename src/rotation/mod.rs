//! A new token for an old one, in Meta's own way: exchanged, proved, put where it is read from, and only when it is in
//! use the old one revoked. Until that last step the old one is good, and whatever fails before it leaves it in use.
//!
//! `keyside rotate` does it for a user, [`renew`] by itself.

use std::fmt;
use std::sync::Arc;

mod renewal;

pub use renewal::renew;

use crate::config::Reference;
use crate::credential::source::{Findings, Found, check_replaceable, replace};
use crate::credential::{Credential, Facts, Sent, Slot, Verdict};
use crate::health::{self, Question};
use crate::outbound::policy::Route;
use crate::reload::Live;
use crate::secret::{Fingerprint, Secret};

/// The secret that is rotated.
pub const TOKEN: &str = "token";

/// The rotation of one credential's token, whose old one is known to be good.
pub struct Rotation<'l> {
    live: &'l Live,
    place: Place<'l>,
    facts: Facts,
    old: Arc<Secret>,
    /// Where the token is read from, and written to.
    pub home: Reference,
}

/// A token that was got in exchange, and is good.
pub struct New {
    token: Arc<Secret>,
    /// The credential as it is with it.
    credential: Credential,
}

impl New {
    /// How it is shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.token.fingerprint()
    }
}

impl<'l> Rotation<'l> {
    /// Makes sure that the token can be rotated, and is good.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn begin(live: &'l Live, name: &str) -> Result<Self, RotationError> {
        let cannot = |reason: String| RotationError(format!("{reason}; nothing was changed"));
        let (old, home) = rotatable(live, name).map_err(cannot)?;
        let place = Place::of(live, name).ok_or_else(|| cannot(format!("no route sends with `{name}`")))?;
        match place.ask(place.route.credential.newest()).await {
            Verdict::Proved(facts) => Ok(Self { live, place, facts, old, home }),
            other => Err(cannot(format!("the token in use is {other}"))),
        }
    }

    /// The app that the token is of.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.facts.app
    }

    /// How the old token is shown.
    #[must_use]
    pub fn old(&self) -> Fingerprint {
        self.old.fingerprint()
    }

    /// Exchanges the token for a new one, which is proved.
    ///
    /// # Errors
    /// Why there is no new one. None is left behind.
    pub async fn exchange(&self) -> Result<New, RotationError> {
        let unchanged = |reason: String| RotationError(format!("{reason}; nothing was changed"));
        let old = self.place.route.credential.newest();
        let exchanged = health::exchange(&self.place.question(old), self.app(), self.facts.expires.is_some()).await;
        let token = Arc::new(exchanged.map_err(unchanged)?);
        // Whoever takes back the new one would then revoke the one in use.
        if token.same_as(&self.old) {
            return Err(unchanged("the provider gave the same token back".to_owned()));
        }
        let new = match self.with(&token) {
            Ok(credential) => New { token, credential },
            Err(reason) => return Err(self.take_back(&token, &reason).await),
        };
        match self.place.ask(new.credential.newest()).await {
            Verdict::Proved(_) => Ok(new),
            other => Err(self.take_back(&new.token, &format!("the new token is {other}")).await),
        }
    }

    /// Puts the new token where it is read from.
    ///
    /// # Errors
    /// Why it is not there. The new token is revoked.
    pub async fn put(&self, new: &New) -> Result<(), RotationError> {
        match self.write(&new.token).await {
            Ok(()) => Ok(()),
            Err(problem) => Err(self.take_back(&new.token, &format!("{}: {problem}", self.home)).await),
        }
    }

    /// Puts the old token back and revokes the new one, which did not come into use for this reason.
    pub async fn undo(&self, new: &New, reason: &str) -> RotationError {
        match self.write(&self.old).await {
            Ok(()) => {
                self.take_back(&new.token, &format!("{reason}; the old token is good and is back in {}", self.home))
                    .await
            }
            // Revoked, it would be what is read next.
            Err(problem) => RotationError(format!(
                "{reason}; the old token is good, but could not be written back to {}: {problem}; the new one is there \
                 and is good too",
                self.home
            )),
        }
    }

    /// Revokes the old token and makes sure that it is dead.
    ///
    /// # Errors
    /// Why it may be alive.
    pub async fn revoke(&self, new: &New) -> Result<(), RotationError> {
        let question = self.place.question(new.credential.newest());
        revoke(&question, self.app(), &self.old).await
    }

    /// Revokes a new token that will not be used.
    async fn take_back(&self, new: &Secret, reason: &str) -> RotationError {
        let question = self.place.question(self.place.route.credential.newest());
        match health::revoke(&question, self.app(), new).await {
            Ok(()) => RotationError(format!("{reason}; the old token goes on, and the new one was revoked")),
            Err(problem) => RotationError(format!(
                "{reason}; the old token goes on, and the new one, {}, could not be revoked ({problem}): revoke it by hand",
                new.fingerprint()
            )),
        }
    }

    async fn write(&self, token: &Secret) -> Result<(), String> {
        match &self.home {
            Reference::File(path) => replace(path, token).map_err(|error| format!("cannot be written: {error}")),
            home => self.live.managers.write(home, token).await.map_err(|error| error.to_string()),
        }
    }

    /// The credential as it is with another token.
    fn with(&self, token: &Arc<Secret>) -> Result<Credential, String> {
        let credential = &self.place.route.credential;
        let name = &credential.name;
        let config =
            self.live.config.credentials.get(name).ok_or_else(|| format!("there is no credential `{name}`"))?;
        let found = |secret| Ok(Found { secret, since: None, warnings: Vec::new() });
        let held = credential.slots().values().flat_map(Slot::held);
        let mut findings: Findings = held.map(|held| (held.reference.clone(), found(held.shared()))).collect();
        findings.insert(self.home.clone(), found(Arc::clone(token)));
        let credential = Credential::assemble(name, config, &findings, None);
        match credential.faults() {
            [] => Ok(credential),
            faults => Err(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// Revokes `old` with a newer token of the same app, and makes sure that it is dead.
async fn revoke(question: &Question<'_>, app: &str, old: &Secret) -> Result<(), RotationError> {
    let by_hand = |reason: String| {
        RotationError(format!("the new token is in use, but {reason}: revoke {} by hand", old.fingerprint()))
    };
    health::revoke(question, app, old).await.map_err(by_hand)?;
    match health::is_valid(question, old).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(by_hand("the old one is still good".to_owned())),
        Err(reason) => Err(by_hand(format!("nothing proves that the old one is dead ({reason})"))),
    }
}

/// The token and where it comes from, where it is such as can be rotated.
fn rotatable(live: &Live, name: &str) -> Result<(Arc<Secret>, Reference), String> {
    let credential = live.credentials.get(name).ok_or_else(|| format!("there is no credential `{name}`"))?;
    if !credential.provider.is_asked_as_graph() {
        return Err(format!("`{name}` is for {}; only tokens of Meta's can be exchanged", credential.provider.title));
    }
    if credential.current("app_secret").is_none() {
        return Err(format!("`{name}` has no app_secret, without which Meta exchanges no token"));
    }
    let held = credential.slots().get(TOKEN).map(|slot| &slot.current);
    let why_not = || credential.faults().first().map_or_else(|| format!("`{name}` has no token"), ToString::to_string);
    let held = held.ok_or_else(why_not)?;
    match &held.reference {
        // Before there is a new token that would then have no place.
        home @ Reference::File(path) => {
            check_replaceable(path).map_err(|error| format!("{home}: cannot be written: {error}"))?;
        }
        Reference::Vault { .. } => {}
        home => return Err(format!("the token of `{name}` comes from {home}; only files and Vault can be written")),
    }
    Ok((held.shared(), held.reference.clone()))
}

/// Where the provider is asked about a credential.
struct Place<'l> {
    route: &'l Route,
    senders: Vec<&'l str>,
}

impl<'l> Place<'l> {
    /// `None` where no route sends with it.
    fn of(live: &'l Live, name: &str) -> Option<Self> {
        let routes = || live.generation.policy.routes().iter().filter(|route| route.credential.name == name);
        let senders = routes().flat_map(|route| &route.senders).map(String::as_str).collect();
        Some(Self { route: routes().next()?, senders })
    }

    async fn ask(&self, sent: Sent<'_>) -> Verdict {
        let Route { upstream, host, .. } = self.route;
        health::ask(sent, health::Place { upstream, host, issuer: self.route.issuer() }, &self.senders).await
    }

    fn question<'q>(&'q self, sent: Sent<'q>) -> Question<'q> {
        Question { sent, upstream: &self.route.upstream, host: &self.route.host }
    }
}

/// Why a rotation ended, what is in use now, and what is to be done.
#[derive(Debug)]
pub struct RotationError(String);

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RotationError {}
