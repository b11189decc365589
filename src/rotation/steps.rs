//! The steps of a rotation.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::decision::Held;
use super::error::RotationError;
use super::journal::{Journal, JournalPlace};
use super::notes::on_file_thread;
use super::obstacle::{Obstacle, SourceVerdict, WriteFault};
use super::record::{Author, Record, RotationOrigin, RotationStep};
use super::routes::TokenRoutes;
use super::target::{RotationTarget, must_be_exchangeable};
use super::tokens::{credential_with, verify};
use crate::audit::Audit;
use crate::credential::source::PlaceError;
use crate::credential::{Credential, SecretSet, TokenFacts, Verdict};
use crate::health::{self, ProviderQuery, TokenLifetime};
use crate::reload::Live;
use crate::secret::{Fingerprint, Secret};

/// The process that works on a rotation.
#[derive(Clone)]
pub struct RotationWorker {
    /// The work that the rotation belongs to.
    pub author: Author,
    /// The worker as the audit file names it.
    pub name: String,
    /// The audit file.
    pub audit: Audit,
}

/// A rotation of one secret. The lock on the journal lasts as long as the rotation.
pub struct Rotation<'l> {
    pub(super) live: &'l Live,
    pub(super) routes: TokenRoutes<'l>,
    /// The secret to rotate.
    pub target: RotationTarget,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) worker: RotationWorker,
    /// The provider's facts about the secret in use.
    facts: TokenFacts,
    /// True if an earlier process began the rotation.
    is_taken_up: bool,
    /// The secret that the place holds, and that is to stay alive.
    pub(super) kept: Option<Arc<Secret>>,
}

impl<'l> Rotation<'l> {
    /// Opens the journal of a secret.
    ///
    /// # Errors
    /// If another process works on the rotation, or the journal cannot be used.
    pub async fn open(
        live: &'l Live,
        target: RotationTarget,
        place: JournalPlace,
        worker: RotationWorker,
    ) -> Result<Self, RotationError> {
        let routes = TokenRoutes::of(live, &target).map_err(RotationError::Unchanged)?;
        let journal = on_file_thread(move || Journal::open(&place))
            .await
            .map_err(RotationError::Unchanged)?;
        Ok(Self {
            live,
            routes,
            target,
            is_taken_up: journal.record().is_some(),
            journal: Arc::new(Mutex::new(journal)),
            worker,
            facts: TokenFacts::default(),
            kept: None,
        })
    }

    /// Ends the work on a thread that may wait for a disk, which an empty journal takes to remove.
    pub(super) async fn close(self) {
        let journal = self.journal;
        let end = move || {
            drop(journal);
            Ok::<(), Obstacle>(())
        };
        on_file_thread(end).await.ok();
    }

    /// Returns the record of a rotation that was cut off.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        self.journal.lock().record().cloned()
    }

    /// Returns the journal as messages name it.
    #[must_use]
    pub fn journal(&self) -> String {
        self.journal.lock().to_string()
    }

    /// True if the journal outlives the process.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.journal.lock().is_kept()
    }

    /// Returns the id of the token's app, if the provider gave the id.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.facts.app
    }

    /// Returns what is known of a secret that a user gave.
    #[must_use]
    pub fn proof(&self) -> &'static str {
        if self.routes.can_ask() {
            "which the provider accepts"
        } else if self.routes.has_route() {
            "of the right form; the provider has no request that proves it"
        } else {
            "of the right form; no route sends with the credential, so no request proves it"
        }
    }

    /// Checks that the secret can be exchanged, that the place can be written and holds the secret
    /// in use, and that the provider accepts it.
    ///
    /// # Errors
    /// If a check fails. Nothing was changed.
    pub async fn check_exchange(&mut self) -> Result<(), RotationError> {
        self.current()?;
        must_be_exchangeable(&self.target, self.live).map_err(RotationError::Unchanged)?;
        self.check_place().await.map_err(RotationError::Unchanged)?;
        match self.verify_current().await {
            Verdict::Proved(facts) => self.facts = facts,
            verdict => {
                return Err(RotationError::Unchanged(Obstacle::Source(Box::new(
                    SourceVerdict {
                        source: self.target.source.clone(),
                        secret: self.target.current(),
                        verdict,
                    },
                ))));
            }
        }
        Ok(())
    }

    /// Exchanges the old token for a new one, and proves the new one.
    ///
    /// # Errors
    /// If there is no new token, or no proof of it.
    pub async fn exchange(&mut self, revoke_at: Option<SystemTime>) -> Result<(), RotationError> {
        let record = self.first_record(
            RotationOrigin::Exchanged,
            RotationStep::Exchanging,
            revoke_at,
        );
        self.write_journal(record)
            .await
            .map_err(RotationError::Unchanged)?;
        let lifetime = match self.facts.expires {
            Some(_) => TokenLifetime::SixtyDays,
            None => TokenLifetime::Endless,
        };
        let current = self.current()?;
        let credential = self.credential_with(&current)?;
        let query = self.query(credential.newest())?;
        let token = match health::exchange_token(&query, self.app(), lifetime).await {
            Ok(token) => Arc::new(token),
            Err(error) => {
                let is_lost = error.may_be_done();
                if is_lost {
                    self.record_lost_exchange();
                }
                self.drop_journal().await;
                return Err(if is_lost {
                    RotationError::ExchangeLost(error)
                } else {
                    RotationError::Unchanged(Obstacle::Exchange(error))
                });
            }
        };
        // Taking the new token back would revoke the token in use.
        if token.same_as(&current) {
            self.drop_journal().await;
            return Err(RotationError::Unchanged(Obstacle::SameToken));
        }
        let noted = self
            .change_record(|record| {
                record.new = Some(Arc::clone(&token));
                record.step = RotationStep::Placing;
            })
            .await;
        if let Err(obstacle) = noted {
            // The journal may lack the token: nobody but this process can revoke it.
            self.journal.lock().keep_in_memory(Arc::clone(&token));
            return Err(self.take_back(obstacle, None).await);
        }
        self.record_event("exchanged", &token);
        self.prove_new(&token).await
    }

    /// Takes a secret that a user gave, and proves it.
    ///
    /// # Errors
    /// If the place cannot be written, or the provider refuses the secret.
    pub async fn adopt(&mut self, new: Arc<Secret>) -> Result<(), RotationError> {
        let is_held = |held: &Arc<Secret>| held.same_as(&new);
        if self.target.current.as_ref().is_some_and(is_held) {
            return Err(RotationError::Unchanged(Obstacle::Same));
        }
        let credential = self.credential_of(&new)?;
        self.check_place().await.map_err(RotationError::Unchanged)?;
        self.prove_given(&credential).await?;
        let mut record = self.first_record(RotationOrigin::Given, RotationStep::Placing, None);
        record.new = Some(new);
        self.write_journal(record)
            .await
            .map_err(RotationError::Unchanged)
    }

    /// Proves the secret of a user in its credential, as far as the provider can be asked.
    pub(super) async fn prove_given(
        &mut self,
        credential: &Credential,
    ) -> Result<(), RotationError> {
        let verdict = verify(&self.routes, credential).await;
        match verdict {
            Verdict::Proved(facts) => self.facts = facts,
            Verdict::Unproved(_) if !self.routes.can_ask() => {}
            verdict => {
                let place = self.target.place.clone();
                let obstacle = if self.is_refused_as_key(&verdict, credential) {
                    Obstacle::Early(Box::new(place), Box::new(verdict))
                } else {
                    Obstacle::New(Box::new(verdict))
                };
                return Err(RotationError::Unchanged(obstacle));
            }
        }
        Ok(())
    }

    /// Writes the new secret to its place, unless the place holds another than the old one.
    ///
    /// # Errors
    /// If the place does not hold the new secret afterwards.
    pub async fn store(&mut self) -> Result<(), RotationError> {
        let Some(Record {
            old,
            new: Some(new),
            ..
        }) = self.record()
        else {
            return Err(self.unfinished(Obstacle::NotInUse));
        };
        let place = self.target.place.clone();
        let old = old.as_deref();
        let found = match self.held(old, Some(&new)).await {
            Ok((Held::Nothing, found)) if self.may_fill() => Some(found),
            _ => None,
        };
        let expected = match &found {
            Some(found) => found.as_deref(),
            None => old,
        };
        let written = self.write(RotationStep::Placing, expected, &new);
        let error = match written.await? {
            Ok(()) => return self.note_placed(&new).await,
            // The answer to the write is lost, so the place is read: the value shows if the write
            // went through.
            Err(error @ PlaceError::Unknown(_)) => match self.held(old, Some(&new)).await {
                Ok((Held::New, _)) => return self.note_placed(&new).await,
                Ok((Held::Old | Held::Other | Held::Nothing, _)) => error,
                Ok((Held::Hidden, _)) | Err(_) => {
                    return Err(
                        self.unfinished(Obstacle::Write(Box::new(WriteFault { place, error })))
                    );
                }
            },
            // An earlier program may have put the new secret in place, and the place cannot be
            // read.
            Err(error) if self.is_taken_up && place.is_hidden() => {
                return Err(self.unfinished(Obstacle::Write(Box::new(WriteFault { place, error }))));
            }
            Err(error) => error,
        };
        Err(self
            .take_back(Obstacle::Write(Box::new(WriteFault { place, error })), None)
            .await)
    }

    /// True if the rotation may write to an empty place: a user asks for it, or nobody can have
    /// taken a secret out since the rotation began.
    fn may_fill(&self) -> bool {
        self.worker.author == Author::Command
            || self.is_taken_up
            || self.target.is_written_elsewhere()
    }

    pub(super) async fn note_placed(&mut self, new: &Arc<Secret>) -> Result<(), RotationError> {
        self.kept = Some(Arc::clone(new));
        self.record_event("placed", new);
        let noted = self
            .change_record(|record| record.step = RotationStep::Placed)
            .await;
        noted.map_err(|obstacle| self.unfinished(obstacle))
    }

    /// True if a route sends with the credential: else its secrets serve webhooks alone.
    #[must_use]
    pub fn has_route(&self) -> bool {
        self.routes.has_route()
    }

    /// Returns the fingerprint of the secret to end.
    #[must_use]
    pub fn old(&self) -> Option<Fingerprint> {
        self.record()?.old.map(|secret| shown(&secret))
    }

    /// Returns the fingerprint of the secret that is to stay alive: the new one, until the rotation
    /// is at its end.
    #[must_use]
    pub fn kept(&self) -> Option<Fingerprint> {
        let record = self.record();
        let new = record.as_ref().and_then(|record| record.new.as_ref());
        self.kept.as_ref().or(new).map(|secret| shown(secret))
    }

    /// Proves the new secret, which is in the journal.
    async fn prove_new(&mut self, new: &Arc<Secret>) -> Result<(), RotationError> {
        let credential = match self.credential_with(new) {
            Ok(credential) => credential,
            Err(RotationError::Unchanged(obstacle)) => {
                return Err(self.take_back(obstacle, None).await);
            }
            Err(error) => return Err(error),
        };
        match verify(&self.routes, &credential).await {
            Verdict::Proved(_) => Ok(()),
            verdict @ Verdict::Refused(_) => {
                let obstacle = Obstacle::New(Box::new(verdict));
                Err(self.take_back(obstacle, None).await)
            }
            // A provider that does not answer revokes nothing either.
            verdict @ Verdict::Unproved(_) => {
                Err(self.unfinished(Obstacle::New(Box::new(verdict))))
            }
        }
    }

    /// Checks that the place can be written, and holds the secret in use.
    async fn check_place(&self) -> Result<(), Obstacle> {
        let place = &self.target.place;
        match place.can_write(&self.live.managers).await {
            Ok(()) | Err(PlaceError::Unknown(_)) => {}
            Err(error) => {
                return Err(Obstacle::NotWritable(Box::new(WriteFault {
                    place: place.clone(),
                    error,
                })));
            }
        }
        match self.held(self.target.current.as_deref(), None).await? {
            (Held::Other | Held::New, _) => Err(Obstacle::HoldsOther(place.to_string())),
            _ => Ok(()),
        }
    }

    async fn verify_current(&self) -> Verdict {
        let credential = self.current();
        match credential.and_then(|current| self.credential_with(&current)) {
            Ok(credential) => verify(&self.routes, &credential).await,
            Err(error) => Verdict::Unproved(error.to_string()),
        }
    }

    /// Returns a query to the provider with a secret set.
    pub(super) fn query<'q>(
        &'q self,
        secrets: SecretSet<'q>,
    ) -> Result<ProviderQuery<'q>, RotationError> {
        let query = self.routes.query(secrets);
        query.ok_or_else(|| self.unfinished(Obstacle::NoRoute(self.target.credential.clone())))
    }

    /// Returns the app of a credential's token.
    pub(super) async fn app_of(&self, credential: &Credential) -> Result<String, RotationError> {
        if !self.facts.app.is_empty() {
            return Ok(self.facts.app.clone());
        }
        match verify(&self.routes, credential).await {
            Verdict::Proved(facts) => Ok(facts.app),
            verdict => Err(self.unfinished(Obstacle::New(Box::new(verdict)))),
        }
    }

    /// Returns the secret in the source.
    fn current(&self) -> Result<Arc<Secret>, RotationError> {
        let current = self.target.current.clone();
        current
            .ok_or_else(|| RotationError::Unchanged(Obstacle::Faults(self.target.faults.clone())))
    }

    /// Returns the credential with the given secret. The form of the given secret is no fault of
    /// the source.
    pub(super) fn credential_of(&self, new: &Arc<Secret>) -> Result<Credential, RotationError> {
        self.credential_with(new).map_err(|error| match error {
            RotationError::Unchanged(Obstacle::Faults(faults)) => {
                let own = faults
                    .iter()
                    .find(|fault| fault.secret == self.target.secret);
                RotationError::Unchanged(match own {
                    Some(own) => Obstacle::NewForm(own.problem.clone()),
                    None => Obstacle::Faults(faults),
                })
            }
            error => error,
        })
    }

    /// True if the provider refuses the new secret as the key of the proof of requests, and for
    /// nothing else.
    fn is_refused_as_key(&self, verdict: &Verdict, credential: &Credential) -> bool {
        let key = credential.proof_key();
        let own = Some(self.target.secret.as_str());
        matches!(verdict, Verdict::Refused(refusal) if key == own && refusal.secret.as_deref() == own)
    }

    pub(super) fn credential_with(
        &self,
        secret: &Arc<Secret>,
    ) -> Result<Credential, RotationError> {
        credential_with(self.live, &self.routes, &self.target, secret)
            .map_err(RotationError::Unchanged)
    }

    /// Makes the error of a rotation that can be gone on with.
    #[must_use]
    pub fn unfinished(&self, obstacle: Obstacle) -> RotationError {
        RotationError::Unfinished {
            obstacle,
            name: self.target.name.clone(),
            journal: self.journal(),
        }
    }
}

/// Returns the fingerprint of a secret that a provider made.
pub(super) fn shown(secret: &Secret) -> Fingerprint {
    secret.fingerprint().of_random_key()
}
