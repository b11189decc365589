//! The sending side: from the application's request to the provider's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;

mod answer;
mod body;
mod channels;
mod coding;
pub mod contents;
mod context;
pub mod error;
mod error_texts;
mod exchange;
mod failure;
mod fallback;
mod fields;
mod found;
pub mod generation;
pub mod guard;
pub mod health;
mod hold;
pub mod hosts;
mod inject;
mod learn;
mod limit_headers;
pub mod links;
mod media_type;
pub mod metrics;
mod once;
mod parties;
pub mod path;
pub mod policy;
pub mod redact;
mod report;
mod reported;
mod route_index;
mod same_path;
mod second_try;
mod spans;
mod text;
mod turn;

use body::{Form, RequestBody};
use context::RequestContext;
use error::OutboundError;
use exchange::Exchange;
use generation::{Generation, SecretLookups};
use hold::HeldRequest;
use metrics::OutboundMetrics;
use once::NextStep;
use policy::Permit;
use report::RequestReport;
use turn::ProviderEffect;

use crate::audit::Audit;
use crate::beat::stir;
use crate::listener::{DrainEnd, Link};
use crate::memory::{MemoryBudget, Reservation};
use crate::sends::Sends;
use crate::trace::{Span, Tracer};
use crate::upstream::AnswerBody;

/// The handler of the outbound listener.
#[derive(Debug)]
pub struct Outbound {
    generation: Arc<ArcSwap<Generation>>,
    metrics: OutboundMetrics,
    audit: Audit,
    lookups: SecretLookups,
    memory: Arc<MemoryBudget>,
    sends: Arc<Sends>,
    tracer: Tracer,
    drain_end: Arc<DrainEnd>,
}

impl Outbound {
    /// A handler that runs each request on the generation that is in the cell when the request
    /// arrives.
    #[must_use]
    pub fn new(
        generation: Arc<ArcSwap<Generation>>,
        metrics: OutboundMetrics,
        audit: Audit,
        lookups: SecretLookups,
        sends: Arc<Sends>,
        memory: Arc<MemoryBudget>,
        tracer: Tracer,
    ) -> Self {
        Self {
            generation,
            metrics,
            audit,
            lookups,
            memory,
            sends,
            tracer,
            drain_end: Arc::default(),
        }
    }

    /// The handler with the end of a drain, at which each request under way is answered.
    #[must_use]
    pub fn until(self, drain_end: Arc<DrainEnd>) -> Self {
        Self { drain_end, ..self }
    }

    /// Answers a request with the provider's answer, or with a refusal that names the reason.
    /// Cannot fail: here, and only here, an error becomes an answer, a log line and a count.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AnswerBody> {
        // load_full, not load: a guard held over the whole request would delay the next swap.
        let generation = self.generation.load_full();
        let (request, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let context = RequestContext::new(&request, link, &generation);
        stir(context.arrived);
        let mut report =
            RequestReport::new(&context, &self.metrics, &self.audit).traced(&self.tracer);
        let result = tokio::select! {
            biased;
            result = self.forward(&context, body, &mut report) => result,
            () = self.drain_end.come() => {
                let written = context.written.load(Ordering::Relaxed);
                Err(OutboundError::draining(written, &context.request.method))
            }
        };
        match result {
            Ok(response) => {
                report.close(response.status());
                response
            }
            Err(error) => {
                if has_body {
                    link.body_unread();
                }
                report.close_refused(&error)
            }
        }
    }

    async fn forward<'a>(
        &'a self,
        context: &'a RequestContext<'a>,
        incoming: Incoming,
        report: &mut RequestReport<'a>,
    ) -> Result<Response<AnswerBody>, OutboundError> {
        let policy = &context.generation.policy;
        let upstream = guard::admit(context.request, &context.generation.hosts, context.link)?;
        if let Some(answer) = answer_for_token(context, &incoming, report) {
            return Ok(answer);
        }
        let by_head = report.decided(policy.check(context.request, upstream.as_ref()))?;
        guard::admit_user(by_head.route, context.link)?;
        let (mut body, _held) = self.receive(&by_head, context, incoming).await?;
        let contents = contents::read(&by_head, context.request, &mut body).await?;
        let by_body = report.decided_by_body(by_head.decided_by(contents.pattern));
        let permit = by_body.with_senders(&contents.senders)?;

        let keyed = match once::begin(&self.sends, &permit, context, &body).await? {
            NextStep::Send(keyed) => keyed,
            NextStep::Replay(response) => return Ok(response),
        };
        report.sends(&permit, by_body.sender);
        let exchange = self.exchange(&permit, context, &report.span);
        let mut sent = turn::send_in_turn(&exchange, body, &contents, report).await?;
        let answered = report.answer_arrived(sent.answer.failure.take(), sent.answer.arrived);
        if sent.answer.early {
            context.link.body_unread();
        }
        let mut response = answer::clean(sent.answer, &permit, context, &self.memory).await?;
        match keyed {
            Some(keyed) if sent.effect != ProviderEffect::Possible => keyed.forget().await,
            Some(keyed) => keyed.settle(&response).await,
            None => {}
        }
        sent.turn.describe(&mut response, answered);
        Ok(response)
    }

    /// Reads the body of a request, or begins to pass it on, with the memory that it takes.
    async fn receive(
        &self,
        permit: &Permit<'_>,
        context: &RequestContext<'_>,
        incoming: Incoming,
    ) -> Result<(RequestBody, Option<Reservation>), OutboundError> {
        let headers = &context.request.headers;
        let form = Form::of(headers, permit.request);
        let media = context.generation.media;
        let times = exchange::exchange_times(permit, form, media, context.arrived);
        body::receive(
            incoming,
            form,
            permit,
            headers,
            &self.memory,
            media.max_upload,
            times.deadline,
        )
        .await
    }

    /// The exchanges of a request with a permit.
    fn exchange<'a>(
        &'a self,
        permit: &'a Permit<'a>,
        context: &'a RequestContext<'a>,
        span: &'a Span,
    ) -> Exchange<'a> {
        Exchange {
            permit,
            context,
            hold: HeldRequest {
                live: &self.generation,
                lookups: &self.lookups,
                context,
            },
            audit: &self.audit,
            memory: &self.memory,
            span,
            attempts: AtomicU32::new(0),
        }
    }
}

/// Answers an SDK that asks for an access token with the placeholder of the provider; `None` for
/// any other request.
fn answer_for_token<'a>(
    context: &RequestContext<'a>,
    incoming: &Incoming,
    report: &mut RequestReport<'a>,
) -> Option<Response<AnswerBody>> {
    let generation = context.generation;
    let (route, answer) = generation.policy.token_answer(context.request)?;
    report.answered_for(route);
    if !incoming.is_end_stream() {
        context.link.body_unread();
    }
    Some(json_answer(answer.body.clone()))
}

/// An answer of Keyside's own in JSON, which nobody may keep.
fn json_answer(body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(body));
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}
