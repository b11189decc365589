//! `[admin]` and `[metrics]`: the listeners for operators.

use super::listen::{Addresses, Reach, loopback};
use crate::config::{AdminConfig, MetricsConfig};
use crate::document::Reader;

/// Reads `[admin]`.
pub(super) fn admin(
    mut reader: Reader<'_>,
    addresses: &mut Addresses,
    reach: Reach,
) -> AdminConfig {
    let reach = match reach {
        Reach::Anywhere => Reach::Anywhere,
        Reach::Loopback | Reach::LoopbackOfOperators => Reach::LoopbackOfOperators,
    };
    let listen = addresses.listen(&mut reader, loopback(9900), reach);
    reader.finish();
    AdminConfig { listen }
}

/// Reads `[metrics]`. Other machines may reach the addresses: nothing can be sent or changed there.
pub(super) fn metrics(mut reader: Reader<'_>, addresses: &mut Addresses) -> MetricsConfig {
    let listen = addresses.listen(&mut reader, loopback(9901), Reach::Anywhere);
    reader.finish();
    MetricsConfig { listen }
}
