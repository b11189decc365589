//! The way out of a load.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::inputs::asked_references;
use super::kept_inputs::InputUse;
use super::remarks::Remarks;
use super::{Live, LoadError};
use crate::config::{Config, EgressConfig, ProxyChoice, Reference};
use crate::credential::source::{Managers, SeenFiles, read_all};
use crate::egress::Egress;

/// The way out of a load, with what the load has to know of its source.
pub(super) struct LoadedEgress {
    pub(super) egress: Egress,
    pub(super) remarks: Remarks,
    /// The file with the proxy's URL, for the watch.
    pub(super) files: SeenFiles,
}

impl LoadedEgress {
    /// Reads the way out. The secret managers take it at once: a load asks them next.
    ///
    /// A reference without a usable URL is an ordinary outage: the way of the load before stays, or
    /// there is no way out. A start that went past the proxy would break the rules of the site.
    ///
    /// # Errors
    /// A variable of the environment with another value than the URL of a proxy.
    pub(super) async fn read(
        config: &EgressConfig,
        before: Option<&Live>,
        managers: &Arc<Managers>,
    ) -> Result<Self, LoadError> {
        let loaded = match &config.proxy {
            ProxyChoice::Off => Self::of(Egress::straight()),
            ProxyChoice::Environment => Egress::of_environment(variable, &config.no_proxy)
                .map(Self::of)
                .map_err(|error| LoadError::Egress(error.to_string()))?,
            ProxyChoice::Reference(reference) => {
                Self::of_reference(reference, config, before, managers).await?
            }
        };
        managers.take_way_out(&loaded.egress);
        Ok(loaded)
    }

    async fn of_reference(
        reference: &Reference,
        config: &EgressConfig,
        before: Option<&Live>,
        managers: &Arc<Managers>,
    ) -> Result<Self, LoadError> {
        let shown = reference.to_string();
        let mut read = read_all(BTreeSet::from([reference.clone()]), managers).await;
        let mut loaded = Self {
            files: read.files,
            ..Self::of(Egress::straight())
        };
        let problem = match read.findings.remove(reference) {
            Some(Ok(found)) => {
                match Egress::of_reference(&shown, &found.secret, &config.no_proxy) {
                    Ok(egress) => return Ok(Self { egress, ..loaded }),
                    Err(error) => error.to_string(),
                }
            }
            Some(Err(error)) => error.to_string(),
            None => return Err(LoadError::Interrupted),
        };
        match before.filter(|before| before.egress.problem().is_none()) {
            Some(live) => {
                let remarks = &mut loaded.remarks;
                remarks.keep(InputUse::Proxy, reference, &problem, live);
                loaded.egress = if live.config.egress.reference() == Some(reference) {
                    live.egress.with_bypass(&config.no_proxy)
                } else {
                    // The new `no_proxy` may belong to the new proxy, so the earlier list stays
                    // with the earlier proxy.
                    live.egress.clone()
                };
            }
            None => {
                let reason = format!("egress.proxy: `{shown}`: {problem}");
                let waits = "nothing but the hosts of no_proxy is reached";
                let remarks = &mut loaded.remarks;
                remarks.miss(InputUse::Proxy, reference, &problem, waits, before);
                loaded.egress = Egress::closed(&shown, &reason, &config.no_proxy);
            }
        }
        Ok(loaded)
    }

    fn of(egress: Egress) -> Self {
        Self {
            egress,
            remarks: Remarks::default(),
            files: SeenFiles::default(),
        }
    }
}

/// Returns a warning about secret managers whose SDKs read the proxy from the environment alone.
pub(super) fn sdk_warning(config: &Config) -> Option<String> {
    let reference = config.egress.reference()?;
    let is_sdk = |reference: &Reference| {
        matches!(reference, Reference::Gcp { .. } | Reference::Azure { .. })
    };
    asked_references(config).iter().any(is_sdk).then(|| {
        format!(
            "egress.proxy: `{reference}`: the SDKs behind gcp-sm: and azure-kv: do not take it; expected the same proxy in \
             HTTPS_PROXY as well"
        )
    })
}

fn variable(name: &str) -> Option<String> {
    // A value that is not UTF-8 is no URL, and must not count as none.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
