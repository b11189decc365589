//! The authorities of providers whose file cannot be used: only the routes of these providers are
//! concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::Live;
use super::authorities::{Authorities, pem_of};
use super::kept_inputs::{InPlace, InputUse, kept};
use super::remarks::Remarks;
use crate::config::Config;
use crate::provider::{Ca, Provider};

/// The substitute for the unusable authorities of a provider.
#[derive(Clone, Debug)]
pub(super) enum StandIn {
    /// The authorities with which the load before reached the same hosts.
    Before {
        /// The earlier authorities.
        ca: Ca,
        /// The content of the file, if the authorities are those of a file.
        pem: Option<Vec<u8>>,
    },
    /// No authorities, for this reason: nothing is sent.
    Nothing(Arc<str>),
}

/// The stand-ins by the names of the providers.
pub(super) type StandIns = BTreeMap<String, StandIn>;

/// Finds a stand-in for each provider whose file of authorities cannot be used, and notes the file.
pub(super) fn stand_ins(
    config: &Config,
    contents: &Authorities,
    before: Option<&Live>,
    remarks: &mut Remarks,
) -> StandIns {
    let mut all = StandIns::new();
    let mut seen = BTreeSet::new();
    for credential in config.credentials.values() {
        let provider = &credential.provider;
        let Ca::File(path) = &provider.ca else {
            continue;
        };
        if !seen.insert(provider.name.as_str()) || is_known_to_be_good(path, contents, before) {
            continue;
        }
        if let Err(unusable) = pem_of(contents, path) {
            let stand_in = stand_in(provider, &unusable.problem, before);
            let in_place = match &stand_in {
                StandIn::Before { .. } => InPlace::Before,
                StandIn::Nothing(_) => InPlace::Nothing(WAITS),
            };
            let serves = InputUse::Provider(provider.name.clone());
            remarks.kept.push(kept(serves, unusable, in_place, before));
            all.insert(provider.name.clone(), stand_in);
        }
    }
    all
}

/// True for the content with which the load before has made connections.
fn is_known_to_be_good(path: &Path, contents: &Authorities, before: Option<&Live>) -> bool {
    let Some(live) = before else {
        return false;
    };
    let is_same = matches!(
        (live.authorities.get(path), contents.get(path)),
        (Some(Ok(before)), Some(Ok(now))) if before == now
    );
    let mut providers = live.config.credentials.values().map(|it| &it.provider);
    let is_of_path = |provider: &&Arc<Provider>| {
        matches!(&provider.ca, Ca::File(own) if own == path)
            && !live.stand_ins.contains_key(&provider.name)
    };
    is_same && providers.any(|provider| is_of_path(&provider))
}

fn stand_in(provider: &Provider, problem: &str, before: Option<&Live>) -> StandIn {
    let earlier = before.and_then(|live| earlier_authorities(provider, live));
    earlier.unwrap_or_else(|| {
        let reason = format!("provider.{}.ca: {problem}", provider.name);
        StandIn::Nothing(reason.into())
    })
}

/// Returns the authorities with which a load reached the provider of the same name at the same
/// hosts. Earlier authorities say nothing about other hosts.
fn earlier_authorities(provider: &Provider, live: &Live) -> Option<StandIn> {
    let mut providers = live.config.credentials.values().map(|it| &it.provider);
    let earlier = providers.find(|earlier| earlier.name == provider.name)?;
    if !has_same_hosts(earlier, provider) {
        return None;
    }
    match live.stand_ins.get(&provider.name) {
        Some(before @ StandIn::Before { .. }) => return Some(before.clone()),
        Some(StandIn::Nothing(_)) => return None,
        None => {}
    }
    let pem = match &earlier.ca {
        Ca::File(path) => Some(live.authorities.get(path)?.as_ref().ok()?.clone()),
        Ca::Bundled | Ca::System => None,
    };
    Some(StandIn::Before {
        ca: earlier.ca.clone(),
        pem,
    })
}

fn has_same_hosts(one: &Provider, other: &Provider) -> bool {
    let issuer = |provider: &Provider| {
        let exchange = provider.exchange();
        exchange.and_then(|exchange| exchange.upstream.clone())
    };
    one.upstream == other.upstream
        && one.media_upstream == other.media_upstream
        && one.upstreams == other.upstreams
        && issuer(one) == issuer(other)
}

/// The effect of authorities without a substitute.
const WAITS: &str = "its routes send nothing until the file can be used";
