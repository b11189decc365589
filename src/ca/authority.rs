//! The authority and its certificate: made new, or kept while it is good.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::error::CaError;

/// An authority that can sign.
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    key_pem: Zeroizing<String>,
    ends: OffsetDateTime,
}

/// A certificate of the authority, with its key.
pub(super) struct Leaf {
    pub(super) pem: String,
    pub(super) key_pem: Zeroizing<String>,
    pub(super) ends: OffsetDateTime,
}

/// The reason for a new authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewReason {
    /// There was none.
    First,
    /// The files of the authority before are damaged, or do not belong together.
    Damaged,
    /// The authority before has ended, or ends soon.
    Ends,
    /// The authority before may not vouch for these hosts.
    Hosts(Vec<String>),
}

impl fmt::Display for NewReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("there was none"),
            Self::Damaged => f.write_str(
                "the files of the authority before are damaged, or do not belong together",
            ),
            Self::Ends => f.write_str("the authority before has ended, or ends soon"),
            Self::Hosts(hosts) => write!(
                f,
                "the authority before may not vouch for {}",
                hosts.join(", ")
            ),
        }
    }
}

/// The authority of an earlier run, as found in its files.
pub(super) enum Existing {
    /// No file.
    Missing,
    /// Files that are not a certificate and its key.
    Damaged,
    /// A certificate and its key.
    Found(Box<(Facts, Authority)>),
}

/// The facts by which an authority is judged.
#[derive(Debug)]
pub(super) struct Facts {
    begins: OffsetDateTime,
    ends: OffsetDateTime,
    /// The permitted names.
    hosts: Vec<String>,
}

impl Existing {
    /// Reads the content of both files; empty for a missing file.
    pub(super) fn read(pem: &[u8], key: &[u8]) -> Self {
        if pem.is_empty() && key.is_empty() {
            return Self::Missing;
        }
        found(pem, key).unwrap_or(Self::Damaged)
    }

    /// Returns the authority if it is good for these hosts.
    ///
    /// # Errors
    /// The reason for a new authority.
    pub(super) fn judge(
        self,
        hosts: &[String],
        now: OffsetDateTime,
    ) -> Result<Authority, NewReason> {
        match self {
            Self::Missing => Err(NewReason::First),
            Self::Damaged => Err(NewReason::Damaged),
            Self::Found(found) => {
                let (facts, authority) = *found;
                facts.concern(hosts, now).map_or(Ok(authority), Err)
            }
        }
    }
}

impl Facts {
    /// Returns the reason for a new authority, if there is one.
    fn concern(&self, hosts: &[String], now: OffsetDateTime) -> Option<NewReason> {
        if now < self.begins || now + MIN_LEFT > self.ends {
            return Some(NewReason::Ends);
        }
        let is_permitted = |host: &String| {
            let within = |name: &String| {
                let rest = host.strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            self.hosts.iter().any(within)
        };
        let others: Vec<_> = hosts
            .iter()
            .filter(|host| !is_permitted(host))
            .cloned()
            .collect();
        (!others.is_empty()).then_some(NewReason::Hosts(others))
    }
}

/// Reads an authority; `None` for damaged files.
fn found(pem: &[u8], key: &[u8]) -> Option<Existing> {
    let der = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let key_pem = Zeroizing::new(std::str::from_utf8(key).ok()?.to_owned());
    let key = KeyPair::from_pem(&key_pem).ok()?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return None;
    }
    let constraints = certificate.name_constraints().ok()??;
    let permitted = constraints.value.permitted_subtrees.iter().flatten();
    let hosts = permitted.filter_map(|subtree| match subtree.base {
        GeneralName::DNSName(name) => Some(name.to_owned()),
        _ => None,
    });
    let facts = Facts {
        begins: certificate.validity().not_before.to_datetime(),
        ends: certificate.validity().not_after.to_datetime(),
        hosts: hosts.collect(),
    };
    let text = std::str::from_utf8(pem).ok()?;
    let authority = Authority {
        pem: text.get(text.find("-----BEGIN")?..)?.to_owned(),
        ends: facts.ends,
        issuer: Issuer::new(issuer_params(&key), key),
        key_pem,
    };
    Some(Existing::Found(Box::new((facts, authority))))
}

impl Authority {
    /// Makes an authority for these hosts and the names below them.
    pub(super) fn new(hosts: &[String], now: OffsetDateTime) -> Result<Self, CaError> {
        let key = KeyPair::generate()?;
        let mut params = issuer_params(&key);
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + CA_LIFE;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let names = hosts.iter().cloned().map(GeneralSubtree::DnsName);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.collect(),
            // Names of a kind without any permission would be free: no certificate may be for an
            // address.
            excluded_subtrees: vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
        });
        let key_pem = Zeroizing::new(key.serialize_pem());
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            ends: params.not_after,
            issuer: Issuer::new(params, key),
            key_pem,
        })
    }

    /// Returns the certificate in PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the key in PEM.
    pub(super) fn key_pem(&self) -> Zeroizing<String> {
        self.key_pem.clone()
    }

    /// Returns the end of the authority.
    pub(super) fn ends(&self) -> OffsetDateTime {
        self.ends
    }

    /// Issues a certificate for these hosts, with a new key.
    pub(super) fn issue(&self, hosts: &[String], now: OffsetDateTime) -> Result<Leaf, CaError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.not_before = now - CLOCK_SKEW;
        params.not_after = self.ends.min(now + LEAF_LIFE);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "Keyside alias mode");
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            pem: certificate.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
            ends: params.not_after,
        })
    }
}

/// Returns the parameters of an authority that follow from its key alone.
fn issuer_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = rcgen::DistinguishedName::new();
    let digest = Sha256::digest(key.subject_public_key_info());
    let short: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{COMMON_NAME}{short}"));
    params
}

/// The beginning of an authority's common name. The beginning of a digest over the key follows: two
/// authorities of Keyside never have one name.
pub(super) const COMMON_NAME: &str = "Keyside alias CA ";
/// The life of an authority. Applications must be told about a new one, so it lasts for several
/// certificates.
const CA_LIFE: Duration = Duration::days(5 * 365);
/// The life of a certificate. Apple's systems take at most 825 days from an authority that a user
/// has added.
const LEAF_LIFE: Duration = Duration::days(365);
/// The shortest time that an authority must have left to stay: a certificate near its end is
/// renewed by then.
const MIN_LEFT: Duration = Duration::days(90);
/// The time by which the clocks of applications may be slow: a wrong time zone is less than a day.
const CLOCK_SKEW: Duration = Duration::days(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn an_authority_stays_while_it_is_good_for_the_hosts() {
        let begins = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let facts = Facts {
            begins,
            ends: begins + Duration::days(1000),
            hosts: hosts(&["graph.facebook.com", "api.twilio.com"]),
        };
        let others = |names: &[&str]| Some(NewReason::Hosts(hosts(names)));
        for (names, day, expected) in [
            (&["graph.facebook.com"][..], 1, None),
            (&["api.twilio.com", "graph.facebook.com"], 910, None),
            (&["a.graph.facebook.com"], 1, None),
            (
                &["xgraph.facebook.com"],
                1,
                others(&["xgraph.facebook.com"]),
            ),
            (&["facebook.com"], 1, others(&["facebook.com"])),
            (&["graph.facebook.com", "a.test"], 1, others(&["a.test"])),
            (&["graph.facebook.com"], 911, Some(NewReason::Ends)),
            (&["graph.facebook.com"], 2000, Some(NewReason::Ends)),
            (&["graph.facebook.com"], -1, Some(NewReason::Ends)),
        ] {
            let found = facts.concern(&hosts(names), begins + Duration::days(day));
            assert_eq!(found, expected, "{names:?} on day {day}");
        }
    }

    #[test]
    fn an_authority_is_read_back_and_damage_is_seen() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let made = Authority::new(&hosts(&["graph.test"]), now).unwrap();
        let other = Authority::new(&hosts(&["graph.test"]), now).unwrap();
        let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let pem = bytes(&format!("# a line\n{}", made.pem()));
        let key = bytes(&made.key_pem());
        let read = Existing::read(&pem, &key);
        let again = read.judge(&hosts(&["graph.test"]), now).unwrap();
        assert_eq!(again.pem(), made.pem());
        assert_eq!(again.ends(), made.ends());
        for (name, pem, key, expected) in [
            ("nothing", bytes(""), bytes(""), NewReason::First),
            ("no key", pem.clone(), bytes(""), NewReason::Damaged),
            ("no certificate", bytes(""), key.clone(), NewReason::Damaged),
            (
                "another key",
                pem,
                bytes(&other.key_pem()),
                NewReason::Damaged,
            ),
            ("no PEM", bytes("x"), key, NewReason::Damaged),
        ] {
            let judged = Existing::read(&pem, &key).judge(&hosts(&["graph.test"]), now);
            assert_eq!(judged.err(), Some(expected), "{name}");
        }
    }
}
