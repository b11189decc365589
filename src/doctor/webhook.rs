//! The examination of a webhook: the way to its public URL, and probes through it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{ProbeCourse, WebhookProbe, judge};
use super::ask::{ask, shown_url};
use super::handshake::CertificateOwner;
use super::probe::{ProbeKey, ProbeMaker, scheme_of, unprobable};
use super::public_url::{PublicUrl, is_private};
use super::reach::{BrokenWay, FarHost};
use super::step::{DoctorSection, DoctorStep, SectionKind, StepOutcome, StepReporter};
use super::upstream::plain_get;
use crate::config::WebhookConfig;
use crate::credential::Credential;
use crate::egress::{Egress, WayOut};
use crate::inbound::probe::ProbeMark;
use crate::provider::Ca;
use crate::reload::Live;
use crate::tls::witnessed_config;
use crate::upstream::{Outgoing, Upstream, UpstreamError, UpstreamKind};

/// Begins a section for each webhook.
pub(super) fn sections(live: &Arc<Live>, deadline: Instant) -> Vec<DoctorSection> {
    let turns = Arc::new(Turns {
        sections: Semaphore::new(MAX_AT_A_TIME),
        large: Semaphore::new(1),
    });
    let begin = |(index, webhook): (usize, &WebhookConfig)| {
        let live = Arc::clone(live);
        let turns = Arc::clone(&turns);
        let examine = move |reporter: StepReporter| async move {
            let _turn = turns.sections.acquire().await;
            if let Some(webhook) = live.config.webhooks.get(index) {
                // The examination ends where the way is broken, as its last step says.
                examine(&live, webhook, &turns, &reporter).await.ok();
            }
        };
        DoctorSection::begin(SectionKind::Webhook, &webhook.name, deadline, examine)
    };
    live.config.webhooks.iter().enumerate().map(begin).collect()
}

/// The turns of webhooks that are examined side by side.
struct Turns {
    /// A permit for each webhook under way.
    sections: Semaphore,
    /// The permit for a large event: a sidecar has room for two of them at a time, and needs it for
    /// others.
    large: Semaphore,
}

async fn examine(
    live: &Live,
    webhook: &WebhookConfig,
    turns: &Turns,
    reporter: &StepReporter,
) -> Result<(), BrokenWay> {
    let Some(text) = &webhook.public_url else {
        reporter.report(DoctorStep::skipped(
            "public URL",
            "not known: name it as `public_url` of the webhook, to have it tried",
        ));
        return Ok(());
    };
    let url = PublicUrl::parse(text).ok_or(BrokenWay)?;
    let known: Vec<_> = webhook.path.text.split('/').collect();
    reporter.report(public_url(&url, &known));
    let config = way(&url, live, reporter).await?;
    if let Some(tls) = &live.config.inbound.tls
        && tls.client.is_some()
    {
        reporter.report(DoctorStep::skipped(
            "probes",
            "`client_ca` asks for the provider's client certificate, which nobody else has",
        ));
        return Ok(());
    }
    let Some(credential) = live.credentials.get(&webhook.credential) else {
        return Ok(());
    };
    let max_body = live.config.inbound.max_body;
    Probes {
        url: &url,
        webhook,
        credential,
        config,
        egress: &live.egress,
        max_body,
        turns,
        reporter,
    }
    .send()
    .await;
    Ok(())
}

/// Decides about the URL itself.
fn public_url(url: &PublicUrl, known: &[&str]) -> DoctorStep {
    let name = "public URL";
    let shown = shown_url(&url.whole, known);
    match (url.origin.tls, url.is_on_this_machine()) {
        (true, _) => DoctorStep::ok(name, shown),
        (false, true) => DoctorStep::warn(
            name,
            format!("{shown} is on this machine"),
            "good for development; give the provider a URL with https and a public name",
        ),
        (false, false) => DoctorStep::fail(
            name,
            format!("{shown} is without TLS"),
            "use https: providers send to nothing else",
        ),
    }
}

/// Goes the way to the host, and returns the TLS of probes.
async fn way(
    url: &PublicUrl,
    live: &Live,
    reporter: &StepReporter,
) -> Result<Arc<ClientConfig>, BrokenWay> {
    if live.egress.way_to(&url.origin) != WayOut::Straight {
        // The proxy resolves and connects: where it breaks, the first probe says so.
        let through = format!("not direct: by {}", live.egress.source());
        reporter.report(DoctorStep::ok("route out", through));
        return tls_by_proxy(url, live, reporter).await;
    }
    let host = FarHost {
        origin: &url.origin,
        owner: CertificateOwner::Operator,
    };
    let addresses = host.resolve(reporter).await?;
    if !url.is_on_this_machine()
        && let Some(step) = seen_from_outside(&addresses)
    {
        reporter.report(step);
    }
    let stream = host.connect(&addresses, reporter).await?;
    if url.origin.tls {
        tls(&host, stream, reporter).await
    } else {
        public_tls()
    }
}

/// Returns the TLS of a provider, with public authorities.
fn public_tls() -> Result<Arc<ClientConfig>, BrokenWay> {
    let public = witnessed_config(&Ca::Bundled, None);
    public.map(|(config, _)| config).map_err(|_| BrokenWay)
}

/// Decides about addresses that only this machine's network has; `None` for public ones.
fn seen_from_outside(addresses: &[SocketAddr]) -> Option<DoctorStep> {
    let is_hidden = addresses.iter().all(|address| is_private(address.ip()));
    (is_hidden && !addresses.is_empty()).then(|| {
        DoctorStep::warn(
            "dns from outside",
            "the name has a private address here, so these probes tell nothing of the way from outside",
            "look the name up from outside: the provider goes by public DNS",
        )
    })
}

/// Shakes hands as a provider does, with public authorities. A chain that this machine alone trusts
/// is told, and the probes go on with it.
async fn tls(
    host: &FarHost<'_>,
    stream: TcpStream,
    reporter: &StepReporter,
) -> Result<Arc<ClientConfig>, BrokenWay> {
    let peer = stream.peer_addr();
    let public = witnessed_config(&Ca::Bundled, None).map_err(|_| BrokenWay)?;
    let refused = match host.shake_hands(stream, &public).await {
        Ok(step) => {
            reporter.report(step);
            return Ok(public.0);
        }
        Err(step) => step,
    };
    if let Ok(config) = trusted_here(host, peer).await {
        reporter.report(DoctorStep {
            outcome: StepOutcome::Warn,
            found: format!("{}; this machine trusts it all the same", refused.found),
            ..refused
        });
        return Ok(config);
    }
    reporter.report(refused);
    Err(BrokenWay)
}

/// Shakes hands inside the tunnel of a proxy, with public authorities. A chain of this machine's
/// own trust, such as the chain of a proxy with an authority of the site, is told, and the probes
/// go on with the chain. The first probe tells any other fault.
async fn tls_by_proxy(
    url: &PublicUrl,
    live: &Live,
    reporter: &StepReporter,
) -> Result<Arc<ClientConfig>, BrokenWay> {
    let public = public_tls()?;
    let Err(UpstreamError::Tls(refused)) = in_tunnel(url, live, &public).await else {
        return Ok(public);
    };
    let system = witnessed_config(&Ca::System, None).map_err(|_| BrokenWay)?;
    if let Err(UpstreamError::Tls(_)) = in_tunnel(url, live, &system.0).await {
        return Ok(public);
    }
    reporter.report(DoctorStep::warn(
        "tls",
        format!("{refused}; this machine trusts it all the same"),
        "if the proxy opens TLS, look at the certificate from outside; otherwise use one of a public authority, as providers \
         trust no other",
    ));
    Ok(system.0)
}

/// Goes the whole way through the proxy once, and asks for nothing.
async fn in_tunnel(
    url: &PublicUrl,
    live: &Live,
    config: &Arc<ClientConfig>,
) -> Result<(), UpstreamError> {
    let origin = url.origin.clone();
    let upstream =
        Upstream::new(UpstreamKind::Provider, origin, Arc::clone(config))?.through(&live.egress);
    let request = plain_get(&url.origin.authority(), "/livez");
    ask(&upstream, request, PROBE_TIMEOUT).await.map(|_| ())
}

/// Shakes hands with the authorities of the system.
async fn trusted_here(
    host: &FarHost<'_>,
    peer: io::Result<SocketAddr>,
) -> Result<Arc<ClientConfig>, BrokenWay> {
    let system = witnessed_config(&Ca::System, None).map_err(|_| BrokenWay)?;
    let peer = peer.map_err(|_| BrokenWay)?;
    let stream = TcpStream::connect(peer).await.map_err(|_| BrokenWay)?;
    let shaken = host.shake_hands(stream, &system).await;
    shaken.map(|_| system.0).map_err(|_| BrokenWay)
}

/// The probes of one webhook.
struct Probes<'p> {
    url: &'p PublicUrl,
    webhook: &'p WebhookConfig,
    credential: &'p Credential,
    config: Arc<ClientConfig>,
    egress: &'p Egress,
    max_body: u64,
    turns: &'p Turns,
    reporter: &'p StepReporter,
}

impl Probes<'_> {
    /// Sends the probes one after another: each is worth sending only if the one before has reached
    /// Keyside.
    async fn send(&self) {
        let Some(spec) = &self.credential.provider.webhook else {
            return;
        };
        let Some(scheme) = scheme_of(spec, self.credential, &self.webhook.path) else {
            self.reporter.report(DoctorStep::skipped(
                "probes",
                "the credential has no secret to sign them with",
            ));
            return;
        };
        let maker = ProbeMaker {
            url: self.url,
            credential: self.credential,
            spec,
            scheme,
        };
        let course = match self.handshakes(&maker).await {
            ProbeCourse::GoOn => self.events(&maker).await,
            ProbeCourse::Stop => ProbeCourse::Stop,
        };
        if course == ProbeCourse::Stop {
            self.reporter.report(DoctorStep::skipped(
                "further probes",
                "not sent: they would meet the same",
            ));
        }
    }

    async fn handshakes(&self, maker: &ProbeMaker<'_>) -> ProbeCourse {
        let challenge = u64::from_be_bytes(random()).to_string();
        let Some(wrong) = maker.handshake(&challenge, ProbeKey::Forged, random()) else {
            self.reporter
                .report(DoctorStep::skipped("handshake", "the provider has none"));
            return ProbeCourse::GoOn;
        };
        if let (ProbeCourse::Stop, _) = self.one(WebhookProbe::WrongToken, wrong).await {
            return ProbeCourse::Stop;
        }
        match maker.handshake(&challenge, ProbeKey::Own, random()) {
            Some(right) => self.one(WebhookProbe::Handshake(&challenge), right).await.0,
            None => {
                self.reporter.report(DoctorStep::skipped(
                    "handshake",
                    "the credential has no verify token",
                ));
                ProbeCourse::GoOn
            }
        }
    }

    async fn events(&self, maker: &ProbeMaker<'_>) -> ProbeCourse {
        let mark = ProbeMark::new(random());
        let forged = self.made(WebhookProbe::Forged, maker, &mark, 0);
        if let Some(forged) = forged {
            let (course, outcome) = self.one(WebhookProbe::Forged, forged).await;
            if course == ProbeCourse::Stop {
                return course;
            }
            // Whatever accepts forged events is no Keyside: a genuine one would go on to an
            // application.
            if outcome == StepOutcome::Fail {
                self.reporter.report(DoctorStep::skipped(
                    "genuine event",
                    "not sent: what answers there is not Keyside, and an application might get it",
                ));
                return ProbeCourse::GoOn;
            }
        }
        if let Some(why) = unprobable(maker.scheme) {
            let step = DoctorStep::skipped("genuine event", format!("not made: {why}"));
            self.reporter.report(step);
            return ProbeCourse::GoOn;
        }
        let genuine = WebhookProbe::Genuine(mark.as_str());
        let Some(request) = self.made(genuine, maker, &mark, 0) else {
            return ProbeCourse::GoOn;
        };
        let (course, outcome) = self.one(genuine, request).await;
        if course == ProbeCourse::Stop || outcome != StepOutcome::Ok {
            return course;
        }
        self.large(maker).await
    }

    async fn large(&self, maker: &ProbeMaker<'_>) -> ProbeCourse {
        let mark = ProbeMark::new(random());
        let probe = WebhookProbe::Large(mark.as_str());
        if maker.sends_forms() {
            let why = "the provider's events are forms, which are small";
            self.reporter.report(DoctorStep::skipped(probe.name(), why));
            return ProbeCourse::GoOn;
        }
        let length = usize::try_from(self.max_body).map_or(LARGE, |bound| bound.min(LARGE));
        if length < LARGE {
            self.reporter.report(DoctorStep::warn(
                "max_body",
                format!("`inbound.max_body` is {length} bytes"),
                "leave `max_body` at 4 MiB if the provider is Meta: its events have up to 3 MB",
            ));
        }
        let _turn = self.turns.large.acquire().await;
        if let Some(request) = self.made(probe, maker, &mark, length) {
            self.one(probe, request).await;
        }
        // The large probe is the last one, so the course does not matter.
        ProbeCourse::GoOn
    }

    /// Makes an event, or reports why there is none.
    fn made(
        &self,
        probe: WebhookProbe<'_>,
        maker: &ProbeMaker<'_>,
        mark: &ProbeMark,
        length: usize,
    ) -> Option<Outgoing> {
        let key = match probe {
            WebhookProbe::Forged => ProbeKey::Forged,
            _ => ProbeKey::Own,
        };
        match maker.event(mark, length, key, random()) {
            Ok(request) => Some(request),
            Err(why) => {
                let step = DoctorStep::skipped(probe.name(), format!("not made: {why}"));
                self.reporter.report(step);
                None
            }
        }
    }

    async fn one(&self, probe: WebhookProbe<'_>, request: Outgoing) -> (ProbeCourse, StepOutcome) {
        // Each probe has a connection of its own: what stands between may close one behind an
        // answer without a word, and half of a large event would be lost on it.
        let origin = self.url.origin.clone();
        let upstream = Upstream::new(UpstreamKind::Provider, origin, Arc::clone(&self.config));
        let answer = match upstream.map(|upstream| upstream.through(self.egress)) {
            Ok(upstream) => ask(&upstream, request, PROBE_TIMEOUT).await,
            Err(error) => Err(error),
        };
        let (step, course) = judge(probe, &self.webhook.name, &answer);
        let outcome = step.outcome;
        self.reporter.report(step);
        (course, outcome)
    }
}

/// Returns random bytes. Marks and forged keys are no secrets: zeros would do where the system has
/// no random bytes.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok();
    bytes
}

/// The longest wait for the answer to a probe: as long as for a connection to a provider. A person
/// waits for the examination, and a way that takes longer is reported as closed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// The webhooks that are examined at a time: as many as credentials.
const MAX_AT_A_TIME: usize = 32;
/// The length of a large event, in bytes: Meta's events have up to 3 MB.
const LARGE: usize = 3 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_has_tls_and_a_public_address() {
        for (url, outcome) in [
            ("https://h.test/wa", StepOutcome::Ok),
            ("http://127.0.0.1:8081/wa", StepOutcome::Warn),
            ("http://localhost/wa", StepOutcome::Warn),
            ("http://h.test/wa", StepOutcome::Fail),
        ] {
            let step = public_url(&PublicUrl::parse(url).unwrap(), &[]);
            assert_eq!(step.outcome, outcome, "{step:?}");
        }
        for (addresses, is_told) in [
            (&["10.0.0.1:443"][..], true),
            (&["10.0.0.1:443", "203.0.113.7:443"], false),
            (&["203.0.113.7:443"], false),
            (&[], false),
        ] {
            let addresses: Vec<_> = addresses.iter().map(|one| one.parse().unwrap()).collect();
            assert_eq!(seen_from_outside(&addresses).is_some(), is_told);
        }
    }
}
