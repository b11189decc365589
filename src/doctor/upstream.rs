//! The way to a provider: name, route out, connection, TLS, clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, header};
use tokio::sync::watch;
use tokio::time::Instant;

use super::ask::ask;
use super::clock;
use super::handshake::{self, CertificateOwner};
use super::reach::{BrokenWay, FarHost};
use super::step::{DoctorSection, DoctorStep, SectionKind, StepReporter};
use crate::egress::{Proxy, WayOut};
use crate::provider::{Ca, Origin};
use crate::reload::Live;
use crate::tls::{CertificateFacts, Witness, witnessed_config};
use crate::upstream::{
    Outgoing, OutgoingBody, ProxyFault, RequestLine, USER_AGENT, Upstream, UpstreamError,
    UpstreamKind,
};

/// An origin of a provider, with the authorities for its certificate.
pub(super) type FarUpstream = (Origin, Ca);

/// The result of each way: `None` while it is under way.
pub(super) type Reached = watch::Receiver<Option<bool>>;

/// Begins a section for each origin that routes send to. Returns the sections with the results that
/// others wait for.
pub(super) fn sections(
    live: &Arc<Live>,
    deadline: Instant,
) -> (Vec<DoctorSection>, BTreeMap<FarUpstream, Reached>) {
    let mut origins = BTreeMap::new();
    for route in live.generation.policy.routes() {
        let provider = &route.credential.provider;
        let issuer = provider
            .exchange()
            .and_then(|exchange| exchange.upstream.as_ref());
        for origin in provider.origins().chain(issuer) {
            let key = (origin.clone(), provider.ca.clone());
            origins.entry(key).or_insert_with(|| provider.name.clone());
        }
    }
    let mut sections = Vec::new();
    let mut results = BTreeMap::new();
    for (key, provider) in origins {
        let (sender, result) = watch::channel(None);
        results.insert(key.clone(), result);
        let live = Arc::clone(live);
        let name = format!("{} ({provider})", key.0);
        let examine = move |reporter: StepReporter| async move {
            let reached = examine(&live, &key, &reporter).await;
            sender.send_replace(Some(reached.is_ok()));
        };
        sections.push(DoctorSection::begin(
            SectionKind::Upstream,
            name,
            deadline,
            examine,
        ));
    }
    (sections, results)
}

/// Waits for the result of a way; false for a way that was given up.
pub(super) async fn is_reached(
    results: &BTreeMap<FarUpstream, Reached>,
    key: &FarUpstream,
) -> bool {
    let Some(mut result) = results.get(key).cloned() else {
        return false;
    };
    let found = result.wait_for(Option::is_some).await;
    found.is_ok_and(|found| *found == Some(true))
}

/// Examines the way that requests take.
async fn examine(
    live: &Live,
    (origin, ca): &FarUpstream,
    reporter: &StepReporter,
) -> Result<(), BrokenWay> {
    match live.egress.way_to(origin) {
        WayOut::Straight => examine_straight(live, origin, ca, reporter).await,
        WayOut::Through(proxy) => {
            let through = format!("through the proxy {proxy} ({})", live.egress.source());
            reporter.report(DoctorStep::ok("route out", through));
            examine_through(live, origin, ca, reporter).await
        }
        WayOut::Closed(reason) => {
            reporter.report(DoctorStep::fail(
                "route out",
                reason.to_string(),
                "put the URL of the proxy there, and reload",
            ));
            Err(BrokenWay)
        }
    }
}

/// Examines the way without a proxy.
async fn examine_straight(
    live: &Live,
    origin: &Origin,
    ca: &Ca,
    reporter: &StepReporter,
) -> Result<(), BrokenWay> {
    let host = FarHost {
        origin,
        owner: CertificateOwner::Provider,
    };
    let addresses = host.resolve(reporter).await?;
    reporter.report(DoctorStep::ok("route out", "direct"));
    let stream = host.connect(&addresses, reporter).await?;
    let (config, witness) = match witnessed(ca).await {
        Ok(witnessed) => witnessed,
        Err(fault) => {
            reporter.report(fault);
            return Err(BrokenWay);
        }
    };
    if origin.tls {
        match host
            .shake_hands(stream, &(Arc::clone(&config), witness))
            .await
        {
            Ok(step) => reporter.report(step),
            Err(step) => {
                reporter.report(step);
                return Err(BrokenWay);
            }
        }
    } else {
        reporter.report(DoctorStep::skipped(
            "tls",
            "the upstream is on this machine, without TLS",
        ));
    }
    let upstream = Upstream::new(UpstreamKind::Provider, origin.clone(), config);
    let Ok(upstream) = upstream.map(|upstream| upstream.apart_from(own_addresses(live))) else {
        return Err(BrokenWay);
    };
    if let Some(fault) = upstream.leads_back().await {
        reporter.report(DoctorStep::fail(
            "loop",
            fault,
            "give the hosts entries to the applications alone (docs/alias.md)",
        ));
        return Err(BrokenWay);
    }
    reporter.report(ask_time(&upstream, origin).await);
    Ok(())
}

/// Examines the way through a proxy, which resolves the name and connects: a request goes the whole
/// way, and its fault names the step that broke.
async fn examine_through(
    live: &Live,
    origin: &Origin,
    ca: &Ca,
    reporter: &StepReporter,
) -> Result<(), BrokenWay> {
    let (config, witness) = match witnessed(ca).await {
        Ok(witnessed) => witnessed,
        Err(fault) => {
            reporter.report(fault);
            return Err(BrokenWay);
        }
    };
    let upstream = Upstream::new(UpstreamKind::Provider, origin.clone(), config);
    let Ok(upstream) = upstream.map(|upstream| upstream.through(&live.egress)) else {
        return Err(BrokenWay);
    };
    let began = Instant::now();
    let request = plain_get(&origin.authority(), "/");
    let error = match ask(&upstream, request, ANSWER_TIMEOUT + ANSWER_TIMEOUT).await {
        Ok(answered) => {
            let now = SystemTime::now();
            let owner = CertificateOwner::Provider;
            let version = "TLS inside the tunnel";
            reporter.report(handshake::accepted(version, &witness.chain(), owner, now));
            reporter.report(clock::verdict(answered.date, now, began.elapsed()));
            return Ok(());
        }
        Err(error) => error,
    };
    if let UpstreamError::Proxy(failure) = &error
        && matches!(failure.fault, ProxyFault::Tls(_))
    {
        examine_proxy(&failure.proxy, reporter).await;
    }
    reporter.report(broken_tunnel(&error, &witness.chain()));
    Err(BrokenWay)
}

/// Looks at the TLS of the proxy itself: the step names the certificate and the signer.
async fn examine_proxy(proxy: &Proxy, reporter: &StepReporter) {
    let origin = Origin {
        tls: true,
        host: proxy.host().to_owned(),
        port: proxy.port(),
    };
    let host = FarHost {
        origin: &origin,
        owner: CertificateOwner::Operator,
    };
    let Ok(addresses) = host.resolve(reporter).await else {
        return;
    };
    let Ok(stream) = host.connect(&addresses, reporter).await else {
        return;
    };
    match witnessed(&Ca::System).await {
        Ok(tls) => match host.shake_hands(stream, &tls).await {
            Ok(step) | Err(step) => reporter.report(step),
        },
        Err(fault) => reporter.report(fault),
    }
}

/// Decides about a request that did not go through a proxy. `chain` has the certificates from the
/// far end of the tunnel.
fn broken_tunnel(error: &UpstreamError, chain: &[CertificateFacts]) -> DoctorStep {
    match (error, chain.first()) {
        (UpstreamError::Tls(_), Some(leaf)) => DoctorStep::fail(
            "tls",
            format!(
                "the certificate `{}` signed by {} is refused: {error}",
                leaf.subject, leaf.issuer
            ),
            "where the proxy opens TLS, name the file of its authority as `ca` of the provider",
        ),
        (error, _) => tunnel_without_certificate(error),
    }
}

fn tunnel_without_certificate(error: &UpstreamError) -> DoctorStep {
    match error {
        UpstreamError::Proxy(failure) => {
            DoctorStep::fail("proxy", failure.to_string(), failure.fault.advice())
        }
        UpstreamError::Tls(_) => DoctorStep::fail(
            "tls",
            error.to_string(),
            "where the proxy opens TLS, name the file of its authority as `ca` of the provider",
        ),
        _ => DoctorStep::fail(
            "answer",
            error.to_string(),
            "look at the status page of the provider, and at the proxy",
        ),
    }
}

fn own_addresses(live: &Live) -> crate::upstream::OwnAddresses {
    crate::upstream::OwnAddresses::new(live.config.outbound.tcp_addresses())
}

/// Returns the TLS of an upstream with a witness.
async fn witnessed(ca: &Ca) -> Result<(Arc<rustls::ClientConfig>, Arc<Witness>), DoctorStep> {
    let pem = match ca {
        Ca::File(path) => Some(read(path).await?),
        Ca::Bundled | Ca::System => None,
    };
    let config = witnessed_config(ca, pem.as_deref());
    config
        .map_err(|error| DoctorStep::fail("tls", error.to_string(), "look at `ca` of the provider"))
}

async fn read(path: &Path) -> Result<Vec<u8>, DoctorStep> {
    tokio::fs::read(path).await.map_err(|error| {
        DoctorStep::fail(
            "tls",
            format!("{}: {error}", path.display()),
            "look at `ca` of the provider",
        )
    })
}

/// Asks for any answer, without a credential: each has the time.
async fn ask_time(upstream: &Upstream, origin: &Origin) -> DoctorStep {
    let began = Instant::now();
    match ask(
        upstream,
        plain_get(&origin.authority(), "/"),
        ANSWER_TIMEOUT,
    )
    .await
    {
        Ok(answered) => clock::verdict(answered.date, SystemTime::now(), began.elapsed()),
        Err(error) => DoctorStep::fail(
            "answer",
            error.to_string(),
            "look at the status page of the provider, and at what stands between: the connection is there, and no answer comes",
        ),
    }
}

/// Returns a GET without a credential.
pub(super) fn plain_get(host: &str, target: &str) -> Outgoing {
    let mut line = RequestLine::new(Method::GET, OutgoingBody::empty());
    line.target(target);
    let mut head = line.headers(host);
    head.header(&header::ACCEPT_ENCODING, "identity");
    head.header(&header::USER_AGENT, USER_AGENT);
    head.finish()
}

/// The longest wait for an answer: any status counts, and a server in reach sends one within a
/// second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::super::step::StepOutcome;
    use super::*;
    use crate::egress::Proxy;
    use crate::upstream::{ProxyFailure, ProxyFault};

    #[test]
    fn a_broken_tunnel_is_told_by_the_step_that_broke() {
        let proxy = Arc::new(Proxy::parse("http://u:hunter2@proxy.corp:3128").unwrap());
        let fault = ProxyFault::CredentialsRefused {
            had_credentials: true,
        };
        let target = "graph.facebook.com:443".to_owned();
        let failure = ProxyFailure {
            proxy,
            target,
            fault,
        };
        for (error, name, words) in [
            (
                UpstreamError::Proxy(Box::new(failure)),
                "proxy",
                "http://proxy.corp:3128 wants other credentials",
            ),
            (
                UpstreamError::Tls("unknown issuer".to_owned()),
                "tls",
                "unknown issuer",
            ),
            (UpstreamError::NotWritten, "answer", "closed the connection"),
        ] {
            let step = broken_tunnel(&error, &[]);
            assert_eq!((step.outcome, &*step.name), (StepOutcome::Fail, name));
            assert!(step.found.contains(words), "{step:?}");
            assert!(!step.found.contains("hunter2"), "{step:?}");
        }
    }
}
