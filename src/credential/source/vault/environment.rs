//! The environment variables that the `vault` and `bao` commands read.

use zeroize::Zeroizing;

/// Returns the value of a variable, by the end of its name: `ADDR` for `BAO_ADDR` or else `VAULT_ADDR`.
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

/// The address that the `vault` command takes without `VAULT_ADDR`.
pub(super) const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";
