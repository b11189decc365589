//! A draft: all parts of a load before their publication.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::again::{files_of, webhook_values};
use super::authorities::Authorities;
use super::inputs::{Inputs, Oddities};
use super::kept_inputs::KeptInput;
use super::live::{Applications, LoadedServer};
use super::metrics::ReloadMetrics;
use super::refresh::NewValue;
use super::renamed::{EarlierCredentials, earlier_of};
use super::routes::OutboundDraft;
use super::server_tls::ServerCertificates;
use super::shared::shared_server;
use super::signatures::Signings;
use super::state::{apply_sights, state_of};
use super::streams::Publishers;
use super::trust::{StandIns, stand_ins};
use super::verify::{
    CredentialAtVerdict, VerdictEffect, checks, effect_of, guilty, log_verdict, run_checks,
};
use super::{Live, LoadError, webhooks};
use crate::config::{Config, CredentialConfig};
use crate::credential::source::{Findings, Managers, SeenFiles};
use crate::credential::{Credential, KeptBackReason, Previous, Verdict};
use crate::delivery::DeliveryTarget;
use crate::egress::Egress;
use crate::inbound;
use crate::state::State;

/// The values that a generation is built from. Nothing in a draft is visible to requests, so a
/// draft that turns out to be faulty is simply dropped.
///
/// [`Self::routes`] and [`Self::webhooks`] build the two halves, [`Self::keep_back_refused`] asks
/// the providers about new secrets in between, and [`Self::into_live`] makes the draft ready to be
/// published.
pub(super) struct Draft {
    pub(super) config: Arc<Config>,
    pub(super) credentials: BTreeMap<String, Arc<Credential>>,
    earlier: EarlierCredentials,
    pub(super) shared: Option<LoadedServer>,
    pub(super) state: Option<Arc<State>>,
    pub(super) signings: Signings,
    pub(super) publishers: Publishers,
    /// The values of the webhooks' own references.
    pub(super) webhook_values: Arc<[NewValue]>,
    pub(super) metrics: ReloadMetrics,
    /// The live load, if any.
    pub(super) before: Option<Arc<Live>>,
    pub(super) authorities: Arc<Authorities>,
    pub(super) stand_ins: Arc<StandIns>,
    pub(super) server_tls: ServerCertificates,
    pub(super) kept_inputs: Vec<KeptInput>,
    pub(super) warnings: Vec<String>,
    managers: Arc<Managers>,
    pub(super) egress: Egress,
    pub(super) files: Arc<SeenFiles>,
    config_files: Arc<[PathBuf]>,
    oddities: Oddities,
}

/// The result of asking the providers about new secrets.
#[derive(Clone, Copy, Debug)]
pub(super) enum HasKept {
    /// Secrets are kept back, and credentials have changed.
    Secrets,
    /// The providers refused no secret.
    Nothing,
}

/// The inbound half of a draft.
pub(super) struct InboundDraft {
    pub(super) generation: inbound::Generation,
    pub(super) applications: Applications,
    pub(super) targets: Vec<DeliveryTarget>,
}

/// Returns the warnings about the values of secrets: unusual ones, and those left out.
fn value_warnings(credentials: &BTreeMap<String, Arc<Credential>>) -> Vec<String> {
    let of_each = credentials
        .values()
        .flat_map(|credential| credential.doubts().chain(credential.left_out()));
    of_each.collect()
}

impl Draft {
    /// Begins a draft with what a load has read.
    ///
    /// # Errors
    /// If the shared server or the certificates of the inbound listener cannot be used.
    pub(super) fn new(
        inputs: Inputs,
        before: Option<Arc<Live>>,
        metrics: ReloadMetrics,
    ) -> Result<Self, LoadError> {
        let mut warnings = inputs.warnings();
        let Inputs {
            config,
            config_files,
            findings,
            unchanged,
            oddities,
            mut authorities,
            files,
            managers,
            egress,
            late: _,
            mut remarks,
        } = inputs;
        let live = before.as_deref();
        let server_tls = files_of(&config, &mut authorities, live, &mut remarks)?;
        warnings.extend(server_tls.warnings());
        let stand_ins = stand_ins(&config, &authorities, live, &mut remarks);
        let earlier = earlier_of(&config, live);
        let credentials = assemble_all(&config, &findings, &unchanged, &earlier);
        let shared = shared_server(
            &config,
            &findings,
            &authorities,
            live,
            &metrics,
            &mut remarks,
        )?;
        let signings = Signings::read(&config, &findings, live, &mut remarks);
        let publishers = Publishers::read(&config, &findings, &authorities, live, &mut remarks)?;
        let state = state_of(&config, &findings, live, &mut remarks);
        warnings.extend(value_warnings(&credentials));
        warnings.extend(remarks.warnings);
        if let Some(state) = &state {
            apply_sights(state, credentials.values());
        }
        let webhook_values = webhook_values(&config, &findings, before.as_deref());
        Ok(Self {
            config,
            config_files,
            oddities,
            credentials,
            earlier,
            shared,
            state,
            signings,
            publishers,
            webhook_values,
            metrics,
            before,
            authorities: Arc::new(authorities),
            stand_ins: Arc::new(stand_ins),
            server_tls,
            kept_inputs: remarks.kept,
            warnings,
            managers,
            egress,
            files: Arc::new(files),
        })
    }

    /// Begins a draft that equals `before`, but for previous secrets whose overlap has ended. No
    /// file is read: a secret ends in time, in any state of the files.
    pub(super) fn without_expired(before: Arc<Live>, metrics: ReloadMetrics) -> Self {
        let renewed = |credential: &Arc<Credential>| {
            credential
                .without_expired()
                .map_or_else(|| Arc::clone(credential), Arc::new)
        };
        Self {
            config: Arc::clone(&before.config),
            credentials: before
                .credentials
                .iter()
                .map(|(name, credential)| (name.clone(), renewed(credential)))
                .collect(),
            earlier: before.credentials.clone(),
            shared: before.shared.clone(),
            state: before.state.clone(),
            signings: before.signings.clone(),
            publishers: before.publishers.clone(),
            webhook_values: Arc::clone(&before.webhook_values),
            metrics,
            authorities: Arc::clone(&before.authorities),
            stand_ins: Arc::clone(&before.stand_ins),
            server_tls: before.server_tls.clone(),
            kept_inputs: before.kept_inputs.clone(),
            warnings: before.warnings.clone(),
            managers: Arc::clone(&before.managers),
            egress: before.egress.clone(),
            files: before.files.load_full(),
            config_files: Arc::clone(&before.config_files),
            oddities: before.oddities.clone(),
            before: Some(before),
        }
    }

    /// Begins a draft that equals `before`, with more previous secret sets.
    pub(super) fn with_previous(
        before: Arc<Live>,
        mut more: BTreeMap<String, Vec<Previous>>,
        metrics: ReloadMetrics,
    ) -> Self {
        let mut draft = Self::without_expired(before, metrics);
        for (name, credential) in &mut draft.credentials {
            let sets = more.remove(name).unwrap_or_default();
            if let Some(complete) = credential.with_previous(sets) {
                *credential = Arc::new(complete);
            }
        }
        draft
    }

    /// Begins a draft that equals `before`, but for the credentials with these names, which are
    /// assembled from `findings`.
    pub(super) fn reassembled(
        before: &Arc<Live>,
        names: &BTreeSet<String>,
        findings: &Findings,
        metrics: ReloadMetrics,
    ) -> Self {
        let mut draft = Self::without_expired(Arc::clone(before), metrics);
        for (name, credential) in &before.credentials {
            if let Some(config) = before.config.credentials.get(name)
                && names.contains(name)
            {
                let credential = assemble(name, config, findings, Some(credential));
                if let Some(state) = &draft.state {
                    apply_sights(state, std::iter::once(&credential));
                }
                draft.credentials.insert(name.clone(), credential);
            }
        }
        draft
    }

    /// Builds the inbound half: webhooks and the connections to applications.
    ///
    /// # Errors
    /// If a verifier or the connection to an application cannot be set up.
    pub(super) fn webhooks(&self, outbound: &OutboundDraft) -> Result<InboundDraft, LoadError> {
        webhooks::build(self, &outbound.generation.policy)
    }

    /// Asks the providers about every credential that nothing is known of yet, and keeps back the
    /// secrets that a provider refuses. A credential without earlier secrets has nothing else to
    /// send with.
    ///
    /// After secrets are kept back, [`Self::routes`] must be built again.
    pub(super) async fn keep_back_refused(&mut self, outbound: &OutboundDraft) -> HasKept {
        let generation = &outbound.generation;
        let unknown = checks(&self.config, generation)
            .filter(|check| check.credential.verification().is_none())
            .map(|check| {
                let before = self.usable_before(&check.credential.name);
                check.beside(before)
            })
            .collect::<Vec<_>>();
        let mut has_kept = HasKept::Nothing;
        for (candidate, verification) in run_checks(unknown.into_iter()).await {
            // The secrets in use are not kept back in favour of themselves.
            let before = self
                .usable_before(&candidate.name)
                .filter(|before| !candidate.newest().is_same_as(before.newest()));
            match (&verification.verdict, before) {
                (Verdict::Refused(refusal), Some(before)) => {
                    let reason = KeptBackReason::Refused {
                        refusal: refusal.clone(),
                        fingerprint: guilty(&candidate, refusal),
                    };
                    let kept = Arc::new(before.keep(&candidate, reason));
                    self.credentials.insert(candidate.name.clone(), kept);
                    has_kept = HasKept::Secrets;
                }
                (verdict, _) => {
                    log_verdict(&candidate, generation, verdict);
                    let new = CredentialAtVerdict {
                        is_refused: false,
                        has_alternative: candidate.alternative_to(candidate.in_use()).is_some(),
                    };
                    if effect_of(verdict, new) == VerdictEffect::Refuse {
                        candidate.acceptance().note_refusal();
                    }
                    candidate.keep_verification(verification);
                }
            }
        }
        has_kept
    }

    /// Returns the credential of the load before, if it has secrets for the provider of the draft's
    /// credential.
    fn usable_before(&self, name: &str) -> Option<Arc<Credential>> {
        let now = self.credentials.get(name)?;
        let before = self.earlier.get(name)?;
        // Without a route, nothing was needed.
        let is_usable = before.provider.name == now.provider.name
            && before.has_route()
            && before.missing().next().is_none();
        is_usable.then(|| Arc::clone(before))
    }

    /// Returns the live load, if any.
    pub(super) fn before(&self) -> Option<&Live> {
        self.before.as_deref()
    }

    /// Puts the halves together.
    pub(super) fn into_live(self, outbound: OutboundDraft, inbound: InboundDraft) -> Live {
        Live {
            config: self.config,
            credentials: self.credentials,
            generation: Arc::new(outbound.generation),
            inbound: Arc::new(inbound.generation),
            server_tls: self.server_tls,
            kept_inputs: self.kept_inputs,
            warnings: self.warnings,
            managers: self.managers,
            egress: self.egress,
            shared: self.shared,
            state: self.state,
            signings: self.signings,
            publishers: self.publishers,
            webhook_values: self.webhook_values,
            targets: inbound.targets,
            changed_limits: outbound.changed_limits,
            upstreams: outbound.upstreams,
            applications: inbound.applications,
            authorities: self.authorities,
            stand_ins: self.stand_ins,
            files: ArcSwap::from(self.files),
            config_files: self.config_files,
            oddities: self.oddities,
        }
    }
}

/// Assembles every credential, but for the `unchanged` ones among the `earlier` ones.
fn assemble_all(
    config: &Config,
    findings: &Findings,
    unchanged: &BTreeSet<String>,
    earlier: &EarlierCredentials,
) -> BTreeMap<String, Arc<Credential>> {
    let credentials = config.credentials.iter().map(|(name, config)| {
        let before = earlier.get(name);
        let credential = match before.filter(|_| unchanged.contains(name)) {
            Some(unchanged) => Arc::clone(unchanged),
            None => assemble(name, config, findings, before.map(Arc::as_ref)),
        };
        (name.clone(), credential)
    });
    credentials.collect()
}

/// Assembles a credential. Secrets that cannot be used keep the secrets `before` in use, and stop
/// no other credential.
fn assemble(
    name: &str,
    config: &CredentialConfig,
    findings: &Findings,
    before: Option<&Credential>,
) -> Arc<Credential> {
    let candidate = Credential::assemble(name, config, findings, before);
    Arc::new(webhooks::without_unfit_keys(candidate).or_kept(before))
}
