//! Verdicts about TLS: the chain that a server shows, and the reason for which a handshake failed.

use std::io;
use std::time::SystemTime;

use rustls::{AlertDescription, CertificateError, Error};

use super::step::DoctorStep;
use crate::tls::{CertificateFacts, Stage, Validity};

/// The side that a certificate belongs to: who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertificateOwner {
    /// A provider, or what stands between.
    Provider,
    /// The operator of a webhook.
    Operator,
}

/// Returns the verdict on a handshake that succeeded, with the version of TLS.
pub(super) fn accepted(
    version: &str,
    chain: &[CertificateFacts],
    owner: CertificateOwner,
    now: SystemTime,
) -> DoctorStep {
    let Some(leaf) = chain.first() else {
        return DoctorStep::ok("tls", version);
    };
    let validity = validity_of(leaf);
    let days = validity.left(now) / 86_400;
    let found = format!(
        "{version}, `{}` signed by {}, valid for {days} more day{}",
        leaf.subject,
        leaf.issuer,
        if days == 1 { "" } else { "s" }
    );
    match (validity.stage(now), owner) {
        (Stage::Ending, CertificateOwner::Operator) => {
            DoctorStep::warn("tls", found, "renew the certificate")
        }
        _ => DoctorStep::ok("tls", found),
    }
}

/// Returns the verdict on a handshake that failed.
pub(super) fn refused(
    host: &str,
    error: &io::Error,
    chain: &[CertificateFacts],
    owner: CertificateOwner,
    now: SystemTime,
) -> DoctorStep {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let (found, mend) = match inner {
        Some(Error::InvalidCertificate(reason)) => certificate(host, reason, chain, owner, now),
        Some(Error::InvalidMessage(_)) => (
            "the port answers, and does not speak TLS".to_owned(),
            "use the port with TLS, or the name of a host that speaks TLS there".to_owned(),
        ),
        Some(Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        )) => (
            format!("the server ended the handshake: {error}"),
            "look if the server asks for a client certificate, or takes old versions of TLS only"
                .to_owned(),
        ),
        Some(Error::AlertReceived(AlertDescription::UnrecognisedName)) => (
            format!("the server has no certificate for {host}"),
            "give the server a certificate for this name".to_owned(),
        ),
        Some(Error::PeerIncompatible(_)) => (
            format!("the server is too old: {error}"),
            "let the server speak TLS 1.2 or 1.3".to_owned(),
        ),
        _ if error.kind() == io::ErrorKind::UnexpectedEof
            || error.kind() == io::ErrorKind::ConnectionReset =>
        {
            (
                "the connection was cut during the handshake".to_owned(),
                "look at what stands between: a firewall that reads server names, or a port without TLS".to_owned(),
            )
        }
        _ => (
            format!("the handshake failed: {error}"),
            "look at the TLS settings of the server".to_owned(),
        ),
    };
    DoctorStep::fail("tls", found, mend)
}

/// Returns what is wrong with a refused certificate, and what to mend.
fn certificate(
    host: &str,
    reason: &CertificateError,
    chain: &[CertificateFacts],
    owner: CertificateOwner,
    now: SystemTime,
) -> (String, String) {
    let Some(leaf) = chain.first() else {
        return (
            format!("the certificate is refused: {reason}"),
            "replace the certificate of the server".to_owned(),
        );
    };
    let shown = format!("`{}` signed by {}", leaf.subject, leaf.issuer);
    let days = |seconds: i64| seconds / 86_400;
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!(
                "the certificate {shown} expired {} days ago",
                days(now.saturating_sub(leaf.not_after))
            ),
            match owner {
                CertificateOwner::Operator => "renew the certificate",
                CertificateOwner::Provider => {
                    "look at the clock of this machine, and at what stands between it and the provider"
                }
            }
            .to_owned(),
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!(
                "the certificate {shown} is valid in {} days only",
                days(leaf.not_before.saturating_sub(now))
            ),
            "set the clock of this machine, or replace the certificate".to_owned(),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!(
                "the certificate is for {}, and not for {host}",
                shown_names(leaf)
            ),
            match owner {
                CertificateOwner::Operator => {
                    "give the server a certificate for the name in `public_url`, or name the right host there"
                }
                CertificateOwner::Provider => {
                    "look at DNS and at what stands between: another server answers at this address"
                }
            }
            .to_owned(),
        ),
        // `BadSignature`: an unknown authority has the name of a known one, and its signature
        // differs.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => unknown_issuer(&shown, chain, owner),
        other => (
            format!("the certificate {shown} is refused: {other}"),
            "replace the certificate of the server".to_owned(),
        ),
    }
}

fn unknown_issuer(
    shown: &str,
    chain: &[CertificateFacts],
    owner: CertificateOwner,
) -> (String, String) {
    let is_alone = chain.len() == 1;
    let is_self_signed = chain.first().is_some_and(|leaf| leaf.self_signed);
    let found = match (is_self_signed, is_alone) {
        (true, _) => format!("the certificate {shown} is self-signed"),
        (false, true) => {
            format!("the certificate {shown} comes without a chain to a known authority")
        }
        (false, false) => format!("the certificate {shown} leads to no known authority"),
    };
    let mend = match (owner, is_self_signed, is_alone) {
        (CertificateOwner::Provider, ..) => {
            "look who signed it: if a proxy of your own opens TLS, name its authority with `ca = \"FILE\"` in [provider.NAME]"
        }
        (CertificateOwner::Operator, false, true) => {
            "serve the whole chain (`fullchain.pem`), and use a certificate of a public authority"
        }
        (CertificateOwner::Operator, ..) => {
            "use a certificate of a public authority: providers trust no other"
        }
    };
    (found, mend.to_owned())
}

fn shown_names(leaf: &CertificateFacts) -> String {
    match leaf.names.split_at_checked(MAX_NAMES) {
        _ if leaf.names.is_empty() => format!("`{}`", leaf.subject),
        Some((first, rest)) if !rest.is_empty() => {
            format!("{} and {} more names", first.join(", "), rest.len())
        }
        _ => leaf.names.join(", "),
    }
}

fn validity_of(leaf: &CertificateFacts) -> Validity {
    Validity {
        path: std::path::PathBuf::new(),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
    }
}

/// The names of a certificate that are shown: certificates of large providers have dozens.
const MAX_NAMES: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::step::StepOutcome;
    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_000 * DAY;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW as u64)
    }

    fn leaf() -> CertificateFacts {
        CertificateFacts {
            subject: "hooks.test".to_owned(),
            issuer: "Test CA".to_owned(),
            self_signed: false,
            names: vec!["hooks.test".to_owned()],
            not_before: NOW - 60 * DAY,
            not_after: NOW + 30 * DAY,
        }
    }

    #[test]
    fn an_accepted_chain_says_who_signed_and_warns_the_operator_near_the_end() {
        for (left, owner, outcome, words) in [
            (
                30,
                CertificateOwner::Operator,
                StepOutcome::Ok,
                "30 more days",
            ),
            (
                1,
                CertificateOwner::Operator,
                StepOutcome::Warn,
                "1 more day",
            ),
            (
                1,
                CertificateOwner::Provider,
                StepOutcome::Ok,
                "signed by Test CA",
            ),
        ] {
            let leaf = CertificateFacts {
                not_after: NOW + left * DAY,
                ..leaf()
            };
            let step = accepted("TLS 1.3", &[leaf], owner, now());
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains(words), "{step:?}");
        }
    }

    fn invalid(reason: CertificateError) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            Error::InvalidCertificate(reason),
        )
    }

    fn broken(error: Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn a_refused_chain_says_what_is_wrong_and_what_to_mend() {
        use CertificateError::{
            BadSignature, Expired, NotValidForName, NotValidYet, Revoked, UnknownIssuer,
        };
        let changed = |change: fn(&mut CertificateFacts)| {
            let mut leaf = leaf();
            change(&mut leaf);
            vec![leaf]
        };
        let alone = vec![leaf()];
        let two = vec![leaf(), leaf()];
        let own = changed(|leaf| leaf.self_signed = true);
        let old = changed(|leaf| leaf.not_after = NOW - 3 * DAY);
        let early = changed(|leaf| leaf.not_before = NOW + 2 * DAY);
        let many =
            changed(|leaf| leaf.names = "a b c d e f".split(' ').map(str::to_owned).collect());
        let ours = CertificateOwner::Operator;
        let theirs = CertificateOwner::Provider;
        for (reason, chain, owner, found, mend) in [
            (Expired, &old, ours, "expired 3 days", "renew"),
            (Expired, &old, theirs, "expired", "clock"),
            (NotValidYet, &early, ours, "in 2 days only", "clock"),
            (NotValidForName, &alone, ours, "not for x.test", "host"),
            (NotValidForName, &many, ours, "d and 2 more", "host"),
            (NotValidForName, &alone, theirs, "x.test", "DNS"),
            (UnknownIssuer, &alone, ours, "without a chain", "full"),
            (UnknownIssuer, &two, ours, "no known auth", "public"),
            (BadSignature, &two, ours, "no known auth", "public"),
            (UnknownIssuer, &own, ours, "self-signed", "public"),
            (UnknownIssuer, &two, theirs, "by Test CA", "ca = "),
            (Revoked, &alone, ours, "refused", "replace"),
            (Revoked, &Vec::new(), ours, "refused", "replace"),
        ] {
            let step = refused("x.test", &invalid(reason), chain, owner, now());
            assert_eq!(step.outcome, StepOutcome::Fail);
            assert!(step.found.contains(found), "{step:?}");
            assert!(step.mend.as_ref().unwrap().contains(mend), "{step:?}");
        }
    }

    #[test]
    fn a_handshake_without_a_certificate_says_what_stands_there() {
        let plain = Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let unnamed = Error::AlertReceived(AlertDescription::UnrecognisedName);
        let client = Error::AlertReceived(AlertDescription::CertificateRequired);
        for (error, found, mend) in [
            (broken(plain), "does not speak TLS", "port with TLS"),
            (broken(unnamed), "no certificate for x.test", "name"),
            (broken(client), "ended the handshake", "client"),
            (io::ErrorKind::UnexpectedEof.into(), "cut", "firewall"),
            (io::ErrorKind::Other.into(), "failed", "TLS settings"),
        ] {
            let owner = CertificateOwner::Operator;
            let step = refused("x.test", &error, &[], owner, now());
            assert!(step.found.contains(found), "{step:?}");
            assert!(step.mend.as_ref().unwrap().contains(mend), "{step:?}");
        }
    }
}
