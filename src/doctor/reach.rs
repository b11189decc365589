//! The way to a host: name, connection, TLS. Each step is reported, and the first broken one ends
//! the way.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::handshake::{self, CertificateOwner};
use super::step::{DoctorStep, StepReporter, took};
use crate::provider::Origin;
use crate::tls::Witness;

/// A host to reach.
pub(super) struct FarHost<'h> {
    /// The scheme, name and port.
    pub(super) origin: &'h Origin,
    /// The side that owns the certificate.
    pub(super) owner: CertificateOwner,
}

/// The TLS of a host: the configuration, and the witness of the chain.
pub(super) type WitnessedTls = (Arc<ClientConfig>, Arc<Witness>);

/// The end of a way: the host cannot be reached, as the last reported step says.
#[derive(Debug)]
pub(super) struct BrokenWay;

impl FarHost<'_> {
    /// Resolves the name, and reports the step. `PUBLIC` names are the operator's own: a private
    /// address is told there.
    ///
    /// # Errors
    /// If the name has no address.
    pub(super) async fn resolve(
        &self,
        reporter: &StepReporter,
    ) -> Result<Vec<SocketAddr>, BrokenWay> {
        let host = self.origin.host.trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.origin.port)]);
        }
        let began = Instant::now();
        let lookup = tokio::net::lookup_host((host, self.origin.port));
        let found = match timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(found) => found.map(Iterator::collect::<Vec<_>>),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let (step, result) = judge_lookup(host, found, &took(began));
        reporter.report(step);
        result
    }

    /// Connects to the addresses side by side, and reports the step.
    ///
    /// # Errors
    /// If no address accepts a connection.
    pub(super) async fn connect(
        &self,
        addresses: &[SocketAddr],
        reporter: &StepReporter,
    ) -> Result<TcpStream, BrokenWay> {
        let began = Instant::now();
        let mut attempts = JoinSet::new();
        for address in addresses.iter().copied().take(MAX_ADDRESSES) {
            attempts.spawn(async move {
                let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                (address, connected)
            });
        }
        let mut stream = None;
        let mut failures = Vec::new();
        loop {
            let patience = sleep(match stream {
                Some(_) => GRACE,
                None => CONNECT_TIMEOUT * 2,
            });
            tokio::select! {
                attempt = attempts.join_next() => match attempt {
                    Some(Ok((address, Ok(connected)))) => {
                        stream.get_or_insert((address, connected));
                    }
                    Some(Ok((address, Err(error)))) => failures.push((address, error)),
                    Some(Err(_)) => {}
                    None => break,
                },
                () = patience => break,
            }
        }
        let connected = stream.as_ref().map(|(address, _)| *address);
        reporter.report(judge_connection(connected, &failures, &took(began)));
        stream.map(|(_, stream)| stream).ok_or(BrokenWay)
    }

    /// Completes the TLS handshake, and reports the step.
    ///
    /// # Errors
    /// If the handshake fails.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
        (config, witness): &WitnessedTls,
    ) -> Result<DoctorStep, DoctorStep> {
        let host = self.origin.host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| {
            DoctorStep::fail(
                "tls",
                format!("{host} is no name for a certificate"),
                "name a host",
            )
        })?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let Ok(shaken) = timeout(HANDSHAKE_TIMEOUT, handshake).await else {
            return Err(DoctorStep::fail(
                "tls",
                "the connection is accepted, and the handshake is not answered",
                "look at what listens there: a full queue, a firewall that reads server names, or a port without TLS",
            ));
        };
        let now = SystemTime::now();
        match shaken {
            Ok(stream) => {
                let version = match stream.get_ref().1.protocol_version() {
                    Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
                    _ => "TLS 1.3",
                };
                let chain = witness.chain();
                Ok(handshake::accepted(version, &chain, self.owner, now))
            }
            Err(error) => Err(handshake::refused(
                &host,
                &error,
                &witness.chain(),
                self.owner,
                now,
            )),
        }
    }
}

/// Decides about a look-up.
fn judge_lookup(
    host: &str,
    found: io::Result<Vec<SocketAddr>>,
    took: &str,
) -> (DoctorStep, Result<Vec<SocketAddr>, BrokenWay>) {
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<_> = addresses
                .iter()
                .map(|address| address.ip().to_string())
                .take(MAX_SHOWN)
                .collect();
            let more = match addresses.len().saturating_sub(shown.len()) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let found = format!("{host} is {}{more}, in {took}", shown.join(", "));
            (DoctorStep::ok("dns", found), Ok(addresses))
        }
        Ok(_) => (
            DoctorStep::fail(
                "dns",
                format!("{host} has no address"),
                "add an address record for the name",
            ),
            Err(BrokenWay),
        ),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => (
            DoctorStep::fail(
                "dns",
                "the resolver does not answer",
                "look at the resolver of this machine (/etc/resolv.conf), and at the firewall for port 53",
            ),
            Err(BrokenWay),
        ),
        Err(error) => (
            DoctorStep::fail(
                "dns",
                format!("{host} cannot be resolved: {error}"),
                "look at the name, and at the resolver of this machine (/etc/resolv.conf)",
            ),
            Err(BrokenWay),
        ),
    }
}

/// Decides about the attempts to connect.
fn judge_connection(
    connected: Option<SocketAddr>,
    failures: &[(SocketAddr, io::Error)],
    took: &str,
) -> DoctorStep {
    let shown = failures
        .iter()
        .take(MAX_SHOWN)
        .map(|(address, error)| format!("{address}: {}", reason(error)))
        .collect::<Vec<_>>()
        .join("; ");
    match connected {
        Some(address) if failures.is_empty() => {
            DoctorStep::ok("tcp", format!("{address} answers, in {took}"))
        }
        Some(address) => DoctorStep::warn(
            "tcp",
            format!("{address} answers; {shown}"),
            "Keyside goes on with what answers; mend the route to the other addresses, or take them out of DNS",
        ),
        None if failures.is_empty() => DoctorStep::fail(
            "tcp",
            "no address answers in time",
            "let the firewall pass connections to this host and port",
        ),
        None => {
            let is_refused = failures
                .iter()
                .any(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused);
            let mend = if is_refused {
                "nothing listens at the port, or a firewall refuses: start what should listen, or open the firewall"
            } else {
                "let the firewall pass connections to this host and port, and look at the route"
            };
            DoctorStep::fail("tcp", shown, mend)
        }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        _ => error.to_string(),
    }
}

/// The longest look-up of a name: resolvers ask a second server after 5 s, and a request waits 5 s
/// for all of its connection.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest wait for a connection: two lost packets (1 s and 3 s) are made up for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest TLS handshake, which is two round trips: as long as the wait for the connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(4);
/// The wait for further addresses behind the first that answers: longer than a round trip around
/// the earth.
const GRACE: Duration = Duration::from_millis(500);
/// The addresses of a host that are tried: large providers have four of each family.
const MAX_ADDRESSES: usize = 8;
/// The addresses that are shown: one line of a terminal.
const MAX_SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::step::StepOutcome;
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_look_up_shows_some_addresses_or_the_resolver_to_mend() {
        let many = (1..=6)
            .map(|last| address(&format!("192.0.2.{last}:443")))
            .collect();
        for (found, outcome, words) in [
            (
                Ok(vec![address("192.0.2.1:443")]),
                StepOutcome::Ok,
                "x.test is 192.0.2.1, in 3 ms",
            ),
            (Ok(many), StepOutcome::Ok, "192.0.2.4 and 2 more"),
            (Ok(vec![]), StepOutcome::Fail, "no address"),
            (
                Err(io::ErrorKind::TimedOut.into()),
                StepOutcome::Fail,
                "resolver does not answer",
            ),
            (
                Err(io::Error::other("unknown name")),
                StepOutcome::Fail,
                "unknown name",
            ),
        ] {
            let (step, result) = judge_lookup("x.test", found, "3 ms");
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains(words), "{step:?}");
            assert_eq!(result.is_ok(), outcome == StepOutcome::Ok);
        }
    }

    #[test]
    fn a_connection_is_well_broken_or_broken_in_part() {
        let good = Some(address("192.0.2.1:443"));
        let failure = |kind: io::ErrorKind| vec![(address("[2001:db8::1]:443"), kind.into())];
        for (connected, failures, outcome, found, mend) in [
            (
                good,
                vec![],
                StepOutcome::Ok,
                "192.0.2.1:443 answers, in 3 ms",
                "",
            ),
            (
                good,
                failure(io::ErrorKind::TimedOut),
                StepOutcome::Warn,
                "[2001:db8::1]:443: no answer",
                "route to the other",
            ),
            (
                None,
                failure(io::ErrorKind::ConnectionRefused),
                StepOutcome::Fail,
                "refused",
                "nothing listens",
            ),
            (
                None,
                failure(io::ErrorKind::TimedOut),
                StepOutcome::Fail,
                "no answer",
                "firewall",
            ),
            (None, vec![], StepOutcome::Fail, "in time", "firewall"),
        ] {
            let step = judge_connection(connected, &failures, "3 ms");
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains(found), "{step:?}");
            assert!(step.mend.unwrap_or_default().contains(mend));
        }
    }
}
