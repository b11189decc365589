//! A range of IP addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::document::Malformed;

/// A range of IP addresses, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// The number of leading bits that all addresses of the network share.
    prefix: u8,
}

impl Network {
    /// Returns true if the network contains an address. An IPv4 address inside IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(given)) => {
                leading_bits(own.to_bits().into(), 32, self.prefix)
                    == leading_bits(given.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(given)) => {
                leading_bits(own.to_bits(), 128, self.prefix)
                    == leading_bits(given.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

fn leading_bits(bits: u128, width: u8, keep: u8) -> u128 {
    // A shift by all 128 bits would overflow, and leaves no bit to compare.
    bits.checked_shr(u32::from(width - keep)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<IpAddr> for Network {
    /// Makes the network of one address.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }
}

impl FromStr for Network {
    type Err = Malformed;

    /// Reads an address, or an address with a prefix length.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| NOT_A_NETWORK)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NOT_A_NETWORK)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(width);
        if prefix > width {
            return Err(NOT_A_NETWORK);
        }
        Ok(Self { address, prefix })
    }
}

const NOT_A_NETWORK: Malformed = Malformed::new(
    "not an address, expected one such as \"192.0.2.1\" or a network such as \"192.0.2.0/24\"",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses() {
        let table = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("::/0", "2001:db8::1", true),
        ];
        for (network, address, expected) in table {
            let network = network.parse::<Network>().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network:?} {address}"
            );
        }
        for wrong in ["", "192.0.2.0/33", "192.0.2.0/", "192.0.2", "x/8", "::/129"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
