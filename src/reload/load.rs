//! A load: from a configuration file to a publishable state, or to all faults.

use std::sync::Arc;

use super::aside::{LoadTime, aside};
use super::draft::{Draft, HasKept};
use super::inputs::{FirstConfig, Inputs, Waits, asked_references};
use super::metrics::ReloadMetrics;
use super::routes::OutboundDraft;
use super::{Live, LoadError};
use crate::config::{Config, ConfigFile};
use crate::credential::source::LateReads;

/// Reads all inputs and builds a whole generation aside, for a command that can wait.
///
/// # Errors
/// All faults of the first faulty step, each with the key, file or credential.
pub async fn load(file: &ConfigFile, metrics: &ReloadMetrics) -> Result<Live, LoadError> {
    let inputs = Inputs::read(file, None, Waits::ForAll).await?;
    load_inputs(inputs, None, metrics).await
}

/// Reads all inputs and builds a whole generation aside, for a sidecar. If anything fails, the live
/// state stays live.
///
/// Programs and secret managers that do not answer soon hold up nothing: their credentials stay as
/// they were, and the reads go on.
///
/// # Errors
/// All faults of the first faulty step, each with the key, file or credential.
pub(super) async fn load_in_time(
    file: &ConfigFile,
    before: Arc<Live>,
    metrics: &ReloadMetrics,
) -> Result<(Live, LateReads), LoadError> {
    let mut inputs = Inputs::read(file, Some(&before), Waits::AtReload).await?;
    let late = std::mem::take(&mut inputs.late);
    Ok((load_inputs(inputs, Some(before), metrics).await?, late))
}

/// Builds a whole generation for the start of a sidecar, as [`load_in_time`] does for a reload.
///
/// # Errors
/// All faults of the first faulty step.
pub(super) async fn load_first(
    config: FirstConfig,
    metrics: &ReloadMetrics,
) -> Result<(Live, LateReads), LoadError> {
    let mut inputs = Inputs::at_start(config).await?;
    let late = std::mem::take(&mut inputs.late);
    Ok((load_inputs(inputs, None, metrics).await?, late))
}

/// Builds a live state of a configuration that a command has read and changed. No file is watched
/// for the state.
///
/// # Errors
/// All faults of the first faulty step.
pub async fn load_config(config: Config, metrics: &ReloadMetrics) -> Result<Live, LoadError> {
    let inputs = Inputs::of_config(config).await?;
    load_inputs(inputs, None, metrics).await
}

async fn load_inputs(
    inputs: Inputs,
    before: Option<Arc<Live>>,
    metrics: &ReloadMetrics,
) -> Result<Live, LoadError> {
    let time = LoadTime::after(before.as_ref());
    let metrics = metrics.clone();
    let begin = move || {
        let draft = Draft::new(inputs, before, metrics)?;
        let outbound = draft.routes()?;
        Ok((draft, outbound))
    };
    let (mut draft, outbound) = time.run(begin).await?;
    // At the start there is no older secret to send with: the start does not wait for providers.
    let has_kept = match time {
        LoadTime::Start => HasKept::Nothing,
        LoadTime::Serving => draft.keep_back_refused(&outbound).await,
    };
    let end = move || {
        let live = finish(draft, outbound, has_kept)?;
        live.managers.keep_only(&asked_references(&live.config));
        Ok(live)
    };
    time.run(end).await
}

/// Builds the live state again, without expired previous secrets.
///
/// # Errors
/// Only errors that would have refused the load of `before` as well.
pub(super) async fn drop_expired(
    before: Arc<Live>,
    metrics: &ReloadMetrics,
) -> Result<Live, LoadError> {
    let metrics = metrics.clone();
    aside(move || {
        let draft = Draft::without_expired(before, metrics);
        let outbound = draft.routes()?;
        finish(draft, outbound, HasKept::Nothing)
    })
    .await
}

/// Builds the rest of a draft.
///
/// # Errors
/// If a part of the draft cannot be set up.
pub(super) fn finish(
    draft: Draft,
    outbound: OutboundDraft,
    has_kept: HasKept,
) -> Result<Live, LoadError> {
    let outbound = match has_kept {
        HasKept::Secrets => draft.routes()?,
        HasKept::Nothing => outbound,
    };
    let inbound = draft.webhooks(&outbound)?;
    Ok(draft.into_live(outbound, inbound))
}
