//! The traces of a request besides the answer: a log line, a count, an audit line.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::context::RequestContext;
use super::error::OutboundError;
use super::failure;
use super::guard;
use super::health;
use super::limit_headers::describe_refusal;
use super::metrics::{OutboundMetrics, outcome_of};
use super::policy::{Denied, Permit, Route};
use super::spans;
use crate::audit::Audit;
use crate::credential::Credential;
use crate::limit::{Allowance, Ticket};
use crate::log::without_numbers;
use crate::provider::{Operation, PathPattern};
use crate::refusal_form::Asked;
use crate::response::{INTERNAL, Refusal};
use crate::trace::conventions::{METHOD, known_method};
use crate::trace::{Span, TraceContext, TraceId, Tracer};
use crate::traffic::{Failure, Outcome, TrafficKind};
use crate::units::millis;
use crate::upstream::AnswerBody;

/// The report of one request. A report that is dropped before it is closed belongs to a request
/// whose application went away or whose handler panicked; the drop counts and logs that, because no
/// other code runs after it.
pub(super) struct RequestReport<'a> {
    /// The span of the request.
    pub(super) span: Span,
    context: &'a RequestContext<'a>,
    metrics: &'a OutboundMetrics,
    audit: &'a Audit,
    route: Option<&'a Route>,
    sent: Option<SentRequest<'a>>,
    failure: Option<Box<Failure>>,
    operation: Option<&'a Operation>,
    pattern: Option<&'a PathPattern>,
    answered: Option<Instant>,
    is_closed: bool,
}

impl<'a> RequestReport<'a> {
    /// A report that knows neither route nor operation yet.
    pub(super) fn new(
        context: &'a RequestContext<'a>,
        metrics: &'a OutboundMetrics,
        audit: &'a Audit,
    ) -> Self {
        Self {
            span: Span::default(),
            context,
            metrics,
            audit,
            route: None,
            sent: None,
            failure: None,
            operation: None,
            pattern: None,
            answered: None,
            is_closed: false,
        }
    }

    /// Begins the span of the request, if traces are recorded.
    pub(super) fn traced(mut self, tracer: &Tracer) -> Self {
        let method = known_method(&self.context.request.method);
        self.span = tracer.request(method, &self.context.request.headers, self.context.arrived);
        self.span.text(METHOD, method);
        self
    }

    /// Notes the route and operation on which the policy decided, and passes the decision on.
    ///
    /// # Errors
    /// The reason of a denial.
    pub(super) fn decided(
        &mut self,
        decision: Result<Permit<'a>, Denied<'a>>,
    ) -> Result<Permit<'a>, OutboundError> {
        match decision {
            Ok(permit) => {
                self.route = Some(permit.route);
                self.operation = Some(permit.operation);
                self.pattern = Some(&permit.request.path);
                Ok(permit)
            }
            Err(denied) => {
                self.route = denied.route;
                self.operation = denied.operation;
                Err(denied.error)
            }
        }
    }

    /// Notes the operation for which the body decided, and passes the permit on.
    pub(super) fn decided_by_body(&mut self, permit: Permit<'a>) -> Permit<'a> {
        self.operation = Some(permit.operation);
        self.pattern = Some(&permit.request.path);
        permit
    }

    /// Notes the route of a request that Keyside answers itself.
    pub(super) fn answered_for(&mut self, route: &'a Route) {
        self.route = Some(route);
    }

    /// Notes that the request is about to go to the provider.
    /// A sender in the path, `in_path`, is not copied.
    pub(super) fn sends(&mut self, permit: &Permit<'_>, in_path: Option<&'a str>) {
        let sender = match (in_path, permit.sender) {
            (Some(sender), _) => Cow::Borrowed(sender),
            (None, Some(sender)) => Cow::Owned(sender.to_owned()),
            (None, None) => Cow::Borrowed(""),
        };
        self.sent = Some(SentRequest {
            sender,
            kind: if permit.request.limited {
                TrafficKind::Sends
            } else {
                TrafficKind::Others
            },
        });
    }

    /// Notes the arrival of the head of the provider's answer, and the failure that the answer
    /// tells of. The reported duration ends then: reading and cleaning the body is not the
    /// provider's time.
    pub(super) fn answer_arrived(
        &mut self,
        failure: Option<Box<Failure>>,
        arrived: Instant,
    ) -> Instant {
        self.failure = failure;
        *self.answered.insert(arrived)
    }

    /// Closes the report of a request with an answer of the provider.
    pub(super) fn close(mut self, status: StatusCode) {
        self.is_closed = true;
        let answered = self.answered.unwrap_or_else(Instant::now);
        let duration = answered - self.context.arrived;
        if let (Some(route), Some(operation)) = (self.route, self.operation) {
            let outcome = outcome_of(status);
            route.metrics.answered(&operation.name, outcome, duration);
        }
        let failure = self.failure.as_deref();
        self.remember(match failure {
            None if status.as_u16() < 400 => Outcome::Passed,
            _ => Outcome::Failed,
        });
        tracing::debug!(
            route = self.route_name(),
            operation = self.operation_name(),
            credential = self.credential_name(),
            fingerprint = self.fingerprint(),
            caller = self.context.link.caller(),
            status = status.as_u16(),
            provider_code = failure.and_then(|failure| failure.code.as_deref()),
            provider_subcode = failure.and_then(|failure| failure.subcode.as_deref()),
            fbtrace_id = failure.and_then(|failure| failure.trace.as_deref()),
            trace_id = self.trace_id().map(tracing::field::display),
            duration_ms = millis(duration),
            "request answered"
        );
        self.record(status);
        if let Some((route, sent)) = self.route.zip(self.sent.as_ref()) {
            match &self.failure {
                Some(failure) => sent.failed(route, failure, answered),
                None if status.as_u16() < 400 => sent.succeeded(route, answered),
                None => {}
            }
        }
        let mut span = self.take_span();
        spans::note_status(&mut span, status);
        span.end();
    }

    /// Closes the report of a request that ends with an error, and makes the answer for it.
    pub(super) fn close_refused(mut self, error: &OutboundError) -> Response<AnswerBody> {
        self.is_closed = true;
        let kind = error.kind();
        let refusal = error.refusal(self.route_name());
        self.count(kind.slug);
        if let Some(route) = self.route {
            match error {
                OutboundError::RateLimited(limited) => {
                    route.metrics.limited(limited.scope.as_str());
                    self.remember(Outcome::Refused);
                }
                OutboundError::Upstream { .. } => {
                    route.metrics.upstream_error(kind.slug, "");
                    route.metrics.failed_after(self.context.arrived.elapsed());
                    self.remember(Outcome::Failed);
                }
                _ => {}
            }
        }
        self.note_refusal(error, &refusal);
        self.record(kind.status);
        let mut span = self.take_span();
        spans::note_refusal(&mut span, kind.status, kind.slug);
        span.end();
        let refused = match self.route.map(Route::refusal_form) {
            Some(Some(form)) => form.to_response(&refusal),
            Some(None) => refusal.to_response(),
            None => {
                let request = self.context.request;
                let asked = Asked::of(&request.uri, &request.headers);
                self.context
                    .generation
                    .policy
                    .refusals()
                    .to_response(&refusal, asked)
            }
        };
        let mut response = refused.map(AnswerBody::Whole);
        match error {
            OutboundError::MethodNotAllowed => {
                let methods = HeaderValue::from_static(guard::ALLOW);
                response.headers_mut().insert(header::ALLOW, methods);
            }
            OutboundError::RateLimited(limited) => {
                describe_refusal(limited, response.headers_mut());
            }
            _ => {}
        }
        response
    }

    /// Notes the end of a request without an answer. A failure of the way to the provider is told
    /// by the health of the route, with a count, so that its line is for a closer look alone.
    fn note_refusal(&self, error: &OutboundError, refusal: &Refusal) {
        let sent = self.route.zip(self.sent.as_ref());
        let failed = sent.and_then(|(route, sent)| {
            let failure = failure::of_network(error, &route.host)?;
            Some((route, sent, failure))
        });
        match failed {
            Some((route, sent, failure)) => {
                self.log_failed(refusal);
                sent.failed(route, &failure, Instant::now());
            }
            None => self.log_refused(refusal),
        }
    }

    fn log_refused(&self, refusal: &Refusal) {
        tracing::info!(
            route = self.route_name(),
            operation = self.operation_name(),
            credential = self.credential_name(),
            fingerprint = self.fingerprint(),
            caller = self.context.link.caller(),
            status = refusal.kind.status.as_u16(),
            trace_id = self.trace_id().map(tracing::field::display),
            duration_ms = millis(self.context.arrived.elapsed()),
            error = refusal.kind.slug,
            reason = without_numbers(&refusal.message),
            "request refused"
        );
    }

    fn log_failed(&self, refusal: &Refusal) {
        tracing::debug!(
            route = self.route_name(),
            operation = self.operation_name(),
            credential = self.credential_name(),
            fingerprint = self.fingerprint(),
            caller = self.context.link.caller(),
            status = refusal.kind.status.as_u16(),
            trace_id = self.trace_id().map(tracing::field::display),
            duration_ms = millis(self.context.arrived.elapsed()),
            error = refusal.kind.slug,
            reason = without_numbers(&refusal.message),
            "request failed"
        );
    }

    /// Notes the wait at limits, and the part of a limit that is used.
    pub(super) fn waited(&self, ticket: &Ticket) {
        let Some(route) = self.route else {
            return;
        };
        route.metrics.waited(ticket.waited);
        let used = ticket.allowance.as_ref().map(Allowance::used_percent);
        let now = Instant::now();
        for history in [&route.traffic.history, self.metrics.history()] {
            history.waited(ticket.waited, used, now);
        }
    }

    /// Adds a request to the plots of the last hour: of the route, and of the whole sidecar.
    fn remember(&self, outcome: Outcome) {
        let Some(route) = self.route else {
            return;
        };
        let now = Instant::now();
        let took = self.answered.unwrap_or(now) - self.context.arrived;
        for history in [&route.traffic.history, self.metrics.history()] {
            history.note(outcome, took, now);
        }
    }

    /// Counts a request without an answer of the provider.
    fn count(&self, outcome: &'static str) {
        match self.route {
            Some(route) => route.metrics.refused(self.operation_name(), outcome),
            None => self.metrics.refused(outcome),
        }
    }

    /// Writes a line into the audit file, if the audit covers requests.
    fn record(&self, status: StatusCode) {
        if !self.audit.records_requests() {
            return;
        }
        // A request that was refused met no secret.
        let credential = self.pattern.and(self.credential());
        let fingerprint = credential.and_then(Credential::fingerprint);
        let route = self.operation.and(self.route_name());
        let fields = [
            ("caller", self.context.link.peer().to_string().into()),
            ("route", route.into()),
            ("operation", self.operation_name().into()),
            (
                "fingerprint",
                fingerprint.map(|print| print.to_string()).into(),
            ),
            ("generation", self.context.generation.number.into()),
            ("status", status.as_u16().into()),
        ];
        self.audit.record("request", fields);
    }

    /// Takes the span out, to be ended, with what the policy decided.
    fn take_span(&mut self) -> Span {
        let mut span = std::mem::take(&mut self.span);
        let method = &self.context.request.method;
        spans::note_decision(&mut span, method, self.route, self.operation, self.pattern);
        span
    }

    /// Returns the id of the trace that the request belongs to: the caller's, or else that of a new
    /// trace.
    fn trace_id(&self) -> Option<TraceId> {
        let own = self.span.context();
        let named = || TraceContext::of_caller(&self.context.request.headers);
        own.or_else(named).map(|context| context.trace)
    }

    fn route_name(&self) -> Option<&'a str> {
        self.route.map(|route| &*route.name)
    }

    fn operation_name(&self) -> Option<&'a str> {
        self.operation.map(|operation| operation.name.as_str())
    }

    fn credential(&self) -> Option<&'a Credential> {
        self.route.map(|route| &*route.credential)
    }

    fn credential_name(&self) -> Option<&'a str> {
        self.credential().map(|credential| credential.name.as_str())
    }

    fn fingerprint(&self) -> Option<impl tracing::Value> {
        self.credential()
            .and_then(Credential::fingerprint)
            .map(tracing::field::display)
    }
}

/// A request that went to the provider, as far as the health of the route goes.
struct SentRequest<'a> {
    /// The sender; empty for a request that names none.
    sender: Cow<'a, str>,
    kind: TrafficKind,
}

impl SentRequest<'_> {
    fn succeeded(&self, route: &Route, now: Instant) {
        let recovery = route.traffic.succeeded(self.kind, &self.sender, now);
        health::log_recovery(&route.name, &route.credential.name, &recovery);
    }

    fn failed(&self, route: &Route, failure: &Failure, now: Instant) {
        let burst = route.traffic.failed(self.kind, &self.sender, failure, now);
        if let Some(burst) = burst {
            health::log_burst(&route.name, &route.credential.name, &burst);
        }
    }
}

impl Drop for RequestReport<'_> {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        let outcome = if std::thread::panicking() {
            INTERNAL.slug
        } else {
            CALLER_GONE
        };
        self.count(outcome);
        tracing::info!(
            route = self.route_name(),
            operation = self.operation_name(),
            credential = self.credential_name(),
            fingerprint = self.fingerprint(),
            caller = self.context.link.caller(),
            trace_id = self.trace_id().map(tracing::field::display),
            duration_ms = millis(self.context.arrived.elapsed()),
            error = outcome,
            written = self.context.written.load(Ordering::Relaxed),
            "request given up"
        );
        let mut span = self.take_span();
        span.fail(outcome);
        span.end();
    }
}

/// The outcome, in metrics and logs, of a request whose application did not wait for the answer.
const CALLER_GONE: &str = "caller_gone";

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::super::generation::{Generation, MediaBounds};
    use super::super::policy::Policy;
    use super::*;
    use crate::credential::metrics::Rotations;
    use crate::listener::{Link, Peer};

    #[test]
    fn a_request_without_an_answer_is_counted_as_caller_gone_or_as_internal_after_a_panic() {
        let mut registry = Registry::default();
        let rotations = Rotations::register(&mut registry);
        let metrics = OutboundMetrics::register(&mut registry, rotations);
        let audit = Audit::default();
        let link = Link::new(Peer::Unix { uid: 0 });
        let counted = |outcome: &str| {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains(&format!("outcome=\"{outcome}\"")));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
                .unwrap_or(0)
        };
        let generation = Generation {
            number: 1,
            policy: Policy::new(Vec::<std::sync::Arc<_>>::new()),
            hosts: std::sync::Arc::default(),
            links: std::sync::Arc::default(),
            media: MediaBounds {
                max_upload: 0,
                timeout: std::time::Duration::ZERO,
            },
            injected: std::sync::Arc::default(),
        };
        let (request, ()) = http::Request::new(()).into_parts();
        let context = RequestContext::new(&request, &link, &generation);
        let report = || RequestReport::new(&context, &metrics, &audit);
        report().close(StatusCode::OK);
        assert_eq!((counted("caller_gone"), counted("internal")), (0, 0));
        drop(report());
        assert_eq!((counted("caller_gone"), counted("internal")), (1, 0));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _report = report();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!((counted("caller_gone"), counted("internal")), (1, 1));
    }
}
