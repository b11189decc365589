//! The environment variables that the `vault` and `bao` commands read.

use zeroize::Zeroizing;

use crate::provider::Origin;

/// Returns the value of a variable, by the end of its name: `ADDR` for `BAO_ADDR` or else
/// `VAULT_ADDR`.
///
/// OpenBao's command looks at its own variable first as well.
pub(super) fn variable(name: &str) -> Option<Zeroizing<String>> {
    ["BAO_", "VAULT_"].iter().find_map(|prefix| {
        std::env::var(format!("{prefix}{name}"))
            .ok()
            .map(Zeroizing::new)
            .filter(|value| !value.trim().is_empty())
    })
}

/// Returns the address of the server for people: scheme, host and port alone.
pub(in crate::credential::source) fn shown_address() -> String {
    let own = variable("ADDR");
    let address = own
        .as_ref()
        .map_or(DEFAULT_ADDRESS, |it| it.trim_end_matches('/'));
    let origin = address.parse().map(|origin: Origin| origin.to_string());
    origin.unwrap_or_else(|_| "the address in VAULT_ADDR".to_owned())
}

/// The address that the `vault` command takes without `VAULT_ADDR`.
pub(super) const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";
