//! Dialling: the way to an upstream, up to the first byte of a request.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::CertificateError;
use rustls_pki_types::{ServerName, UnixTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::addresses::LastAddresses;
use super::descriptors::{is_out_of_descriptors, with_descriptor};
use super::error::UpstreamError;
use super::io::Io;
use super::own::OwnAddresses;
use super::place::UpstreamPlace;
use super::places::UpstreamPlaces;
use super::proxy_error::{ProxyFailure, ProxyFault};
use super::race::first_to_connect;
use super::tunnel;
use crate::egress::{Egress, Proxy, WayOut};
use crate::provider::Origin;
use crate::tls;

/// Opens connections to one upstream.
#[derive(Clone, Debug)]
pub(super) enum Dialer {
    /// An upstream with a host and a port.
    Origin(OriginDialer),
    /// An application at a Unix socket.
    Unix(PathBuf),
}

/// Opens connections to an origin, straight or through a proxy.
#[derive(Clone, Debug)]
pub(super) struct OriginDialer {
    origin: Origin,
    tls: Option<TlsTerms>,
    way: WayOut,
    /// The addresses of the origin, or of the proxy.
    addresses: Arc<LastAddresses>,
    own: OwnAddresses,
}

/// The terms of a TLS connection.
#[derive(Clone, Debug)]
struct TlsTerms {
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
}

impl Dialer {
    /// A dialer for `origin`; an origin without TLS ignores `tls`.
    ///
    /// # Errors
    /// A host that is neither a DNS name nor an address.
    pub(super) fn origin(
        origin: Origin,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, UpstreamError> {
        let tls = origin
            .tls
            .then(|| TlsTerms::new(tls, &origin.host))
            .transpose()?;
        Ok(Self::Origin(OriginDialer {
            origin,
            tls,
            way: WayOut::Straight,
            addresses: Arc::default(),
            own: OwnAddresses::default(),
        }))
    }

    /// Refuses to connect to Keyside's own addresses.
    pub(super) fn apart_from(mut self, addresses: OwnAddresses) -> Self {
        if let Self::Origin(dialer) = &mut self {
            dialer.own = addresses;
        }
        self
    }

    /// Takes the way out that leads to the origin.
    pub(super) fn through(mut self, egress: &Egress) -> Self {
        if let Self::Origin(dialer) = &mut self {
            dialer.way = egress.way_to(&dialer.origin);
        }
        self
    }

    /// Returns the fault of a name that leads back to Keyside. Names behind a proxy are the proxy's
    /// to resolve.
    pub(super) async fn leads_back(&self) -> Option<String> {
        match self {
            Self::Origin(dialer) if dialer.way == WayOut::Straight => {
                dialer.own.fault_of(&dialer.origin).await
            }
            Self::Origin(_) | Self::Unix(_) => None,
        }
    }

    /// Has the next connection, which is opened ahead of use, look the name up.
    pub(super) fn renew_addresses(&self) {
        if let Self::Origin(dialer) = self {
            dialer.addresses.renew();
        }
    }

    /// Opens a connection and completes the TLS handshake. The connection has one of `places`.
    ///
    /// # Errors
    /// `Unreachable`, `Proxy`, `Tls`, `TimedOut` or `NoPlace`; in each case the upstream has seen
    /// no byte of a request.
    pub(super) async fn dial(
        &self,
        places: &UpstreamPlaces,
    ) -> Result<(Io, UpstreamPlace), UpstreamError> {
        match timeout(CONNECT_TIMEOUT, self.connect(places)).await {
            Ok(result) => result,
            Err(_) => Err(UpstreamError::TimedOut {
                what: "connecting",
                written: false,
            }),
        }
    }

    async fn connect(&self, places: &UpstreamPlaces) -> Result<(Io, UpstreamPlace), UpstreamError> {
        match self {
            Self::Unix(path) => {
                let place = places.take().ok_or(UpstreamError::NoPlace)?;
                let connected = with_descriptor(|| UnixStream::connect(path.clone())).await;
                connected
                    .map(|stream| (Io::Unix(stream), place))
                    .map_err(|error| unreachable(&error))
            }
            Self::Origin(dialer) => match &dialer.way {
                WayOut::Straight => dialer.connect_straight(places).await,
                WayOut::Through(proxy) => dialer.connect_through(proxy, places).await,
                WayOut::Closed(reason) => Err(UpstreamError::Unreachable(format!(
                    "there is no way out: {reason}"
                ))),
            },
        }
    }
}

impl OriginDialer {
    async fn connect_straight(
        &self,
        places: &UpstreamPlaces,
    ) -> Result<(Io, UpstreamPlace), UpstreamError> {
        let (host, port) = (&self.origin.host, self.origin.port);
        let (stream, place) = self.connect_tcp(host, port, places).await?;
        let io = match &self.tls {
            None => Io::Plain(stream),
            Some(terms) => Io::Tls(Box::new(terms.handshake(stream).await.map_err(tls_fault)?)),
        };
        Ok((io, place))
    }

    /// Connects through a proxy. Proxy and upstream have separate times: the proxy has four fifths
    /// of [`CONNECT_TIMEOUT`], so a silent proxy is named before a silent upstream would be.
    async fn connect_through(
        &self,
        proxy: &Arc<Proxy>,
        places: &UpstreamPlaces,
    ) -> Result<(Io, UpstreamPlace), UpstreamError> {
        let target = format!("{}:{}", self.origin.host, self.origin.port);
        let deadline = Instant::now() + CONNECT_TIMEOUT * 4 / 5;
        let tunnel = timeout_at(deadline, self.tunnel(proxy, &target, places)).await;
        let failure = |fault| {
            UpstreamError::Proxy(Box::new(ProxyFailure {
                proxy: Arc::clone(proxy),
                target: target.clone(),
                fault,
            }))
        };
        let (tunnel, place) = match tunnel {
            Ok(Ok(opened)) => opened,
            Ok(Err(TunnelError::NoPlace)) => return Err(UpstreamError::NoPlace),
            Ok(Err(TunnelError::Proxy(fault))) => return Err(failure(fault)),
            Err(_) => return Err(failure(ProxyFault::Silent)),
        };
        let opened_tls = |error: io::Error| {
            UpstreamError::Tls(format!(
                "{} (through the proxy {proxy}: if it opens TLS, `ca` of the provider must name its authority)",
                tls_reason(&error)
            ))
        };
        let io = match (tunnel, &self.tls) {
            (Tunnel::Plain(stream), None) => Io::Plain(stream),
            (Tunnel::Tls(stream), None) => Io::Tls(stream),
            (Tunnel::Plain(stream), Some(terms)) => {
                Io::Tls(Box::new(terms.handshake(stream).await.map_err(opened_tls)?))
            }
            (Tunnel::Tls(stream), Some(terms)) => {
                let inner = terms.handshake(*stream).await.map_err(opened_tls)?;
                Io::TlsInTls(Box::new(inner))
            }
        };
        Ok((io, place))
    }

    /// Opens a tunnel to `target`.
    async fn tunnel(
        &self,
        proxy: &Proxy,
        target: &str,
        places: &UpstreamPlaces,
    ) -> Result<(Tunnel, UpstreamPlace), TunnelError> {
        let connected = self.connect_tcp(proxy.host(), proxy.port(), places).await;
        let (mut stream, place) = connected.map_err(|error| match error {
            UpstreamError::NoPlace => TunnelError::NoPlace,
            UpstreamError::Unreachable(reason) => {
                TunnelError::Proxy(ProxyFault::Unreachable(reason))
            }
            other => TunnelError::Proxy(ProxyFault::Unreachable(other.to_string())),
        })?;
        if !proxy.is_tls() {
            tunnel::open(&mut stream, proxy, target).await?;
            return Ok((Tunnel::Plain(stream), place));
        }
        let fault = |reason: String| TunnelError::Proxy(ProxyFault::Tls(reason));
        let config = tls::proxy_config().map_err(|error| fault(error.to_string()))?;
        let terms =
            TlsTerms::new(config, proxy.host()).map_err(|error| fault(error.to_string()))?;
        let secured = terms.handshake(stream).await;
        let mut stream = secured.map_err(|error| fault(tls_reason(&error)))?;
        tunnel::open(&mut stream, proxy, target).await?;
        Ok((Tunnel::Tls(Box::new(stream)), place))
    }

    /// Connects to the host that is the next on the way.
    async fn connect_tcp(
        &self,
        host: &str,
        port: u16,
        places: &UpstreamPlaces,
    ) -> Result<(TcpStream, UpstreamPlace), UpstreamError> {
        let found = self.addresses.of(host, port, places).await?;
        let addresses = self.own.without_own(host, found)?;
        let connect = |address| {
            let place = places.take();
            async move {
                let place = place.ok_or(Errno::MFILE)?;
                let stream = with_descriptor(|| TcpStream::connect(address)).await?;
                Ok((stream, place))
            }
        };
        let (stream, place) = first_to_connect(addresses, connect)
            .await
            .map_err(|error| unreachable(&error))
            .inspect_err(|_| self.addresses.distrust())?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(&error))?;
        Ok((stream, place))
    }
}

/// The stream of a tunnel.
enum Tunnel {
    Plain(TcpStream),
    /// The connection to the proxy is under TLS itself.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The reason why there is no tunnel.
enum TunnelError {
    NoPlace,
    Proxy(ProxyFault),
}

impl From<ProxyFault> for TunnelError {
    fn from(fault: ProxyFault) -> Self {
        Self::Proxy(fault)
    }
}

impl TlsTerms {
    fn new(config: Arc<rustls::ClientConfig>, host: &str) -> Result<Self, UpstreamError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| UpstreamError::Unreachable("its host name is not valid".to_owned()))?;
        Ok(Self { config, name })
    }

    async fn handshake<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the argument of `map_err`")]
fn tls_fault(error: io::Error) -> UpstreamError {
    UpstreamError::Tls(tls_reason(&error))
}

/// Returns the reason of a failed handshake, in words: rustls has none for a signature of an
/// unknown kind, and tells the times of a certificate together with the present time, which would
/// make a new reason of each failure.
fn tls_reason(error: &io::Error) -> String {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            certificate_reason(reason).unwrap_or_else(|| error.to_string())
        }
        _ => error.to_string(),
    }
}

/// Returns the reason for the refusal of a certificate where the words of rustls do not serve.
fn certificate_reason(reason: &CertificateError) -> Option<String> {
    match reason {
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Some(UNKNOWN_SIGNATURE.to_owned())
        }
        CertificateError::ExpiredContext { not_after, .. } => Some(format!(
            "its certificate has expired: it ended at {}",
            shown_moment(*not_after)?
        )),
        CertificateError::NotValidYetContext { not_before, .. } => Some(format!(
            "its certificate is not valid yet: it begins at {}",
            shown_moment(*not_before)?
        )),
        _ => None,
    }
}

fn shown_moment(moment: UnixTime) -> Option<String> {
    let seconds = i64::try_from(moment.as_secs()).ok()?;
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    moment.format(&Rfc3339).ok()
}

fn unreachable(error: &io::Error) -> UpstreamError {
    if is_out_of_descriptors(error) {
        return UpstreamError::NoPlace;
    }
    UpstreamError::Unreachable(error.to_string())
}

/// The refusal of a certificate with an old or rare signature.
const UNKNOWN_SIGNATURE: &str = "the certificate has a signature of a kind that is not accepted, such as SHA-1 or a curve that the key does not have: \
     expected RSA or ECDSA with SHA-256 or better";
/// Longest dialling: look-up, TCP and TLS together, as Envoy's default connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_out_of_its_time_is_refused_with_the_same_words_at_each_failure() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let reason = |reason| {
            let inner = rustls::Error::InvalidCertificate(reason);
            tls_reason(&io::Error::new(io::ErrorKind::InvalidData, inner))
        };
        for later in [1, 2, 100_000] {
            let ended = reason(CertificateError::ExpiredContext {
                time: at(1_796_058_775 + later),
                not_after: at(1_796_058_775),
            });
            assert_eq!(
                ended,
                "its certificate has expired: it ended at 2026-11-30T17:12:55Z"
            );
            let early = reason(CertificateError::NotValidYetContext {
                time: at(1_796_058_775 - later),
                not_before: at(1_796_058_775),
            });
            assert_eq!(
                early,
                "its certificate is not valid yet: it begins at 2026-11-30T17:12:55Z"
            );
        }
    }
}
