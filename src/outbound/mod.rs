//! The sending side: from the application's request to the provider's answer.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

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
pub mod links;
mod media_type;
pub mod metrics;
mod once;
mod parties;
pub mod path;
pub mod policy;
pub mod redact;
mod report;
mod route_index;
mod same_path;
mod second_try;
mod spans;
mod text;
mod turn;

use body::Form;
use context::RequestContext;
use error::OutboundError;
use exchange::Exchange;
use generation::{Generation, SecretLookups};
use hold::HeldRequest;
use links::LinkBase;
use metrics::OutboundMetrics;
use once::NextStep;
use report::RequestReport;
use turn::Effect;

use crate::audit::Audit;
use crate::beat::stir;
use crate::listener::Link;
use crate::memory::MemoryBudget;
use crate::sends::Sends;
use crate::trace::Tracer;
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
}

impl Outbound {
    /// A handler that runs each request on the generation that is in the cell when the request arrives.
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
        }
    }

    /// Answers a request with the provider's answer, or with a refusal that names the reason. Cannot
    /// fail: here, and only here, an error becomes an answer, a log line and a count.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AnswerBody> {
        // load_full, not load: a guard held over the whole request would delay the next swap.
        let generation = self.generation.load_full();
        let (request, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let context = RequestContext::new(&request, link, &generation);
        stir(context.arrived);
        let mut report =
            RequestReport::new(&context, &self.metrics, &self.audit).traced(&self.tracer);
        match self.forward(&context, body, &mut report).await {
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
        body: Incoming,
        report: &mut RequestReport<'a>,
    ) -> Result<Response<AnswerBody>, OutboundError> {
        let &RequestContext {
            request,
            link,
            generation,
            ..
        } = context;
        let upstream = guard::admit(request, &generation.hosts, link)?;
        if let Some((route, answer)) = generation.policy.token_answer(request) {
            report.answered_for(route);
            if !body.is_end_stream() {
                link.body_unread();
            }
            return Ok(json_answer(answer.body.clone()));
        }
        let permit = report.decided(generation.policy.check(request, upstream.as_ref()))?;
        guard::admit_user(permit.route, link)?;

        let headers = &request.headers;
        let form = Form::of(headers, permit.request);
        let deadline = exchange::limits(&permit, form, generation.media, context.arrived).deadline;
        let most = generation.media.max_upload;
        let received = body::receive(body, form, &permit, headers, &self.memory, most, deadline);
        let (mut body, _held) = received.await?;
        let contents = contents::read(&permit, request, &mut body).await?;
        let permit = report.decided_by_body(permit.decided_by(contents.pattern));
        let in_path = permit.sender;
        let permit = permit.with_senders(&contents.senders)?;

        let keyed = match once::begin(&self.sends, &permit, context, &body).await? {
            NextStep::Send(keyed) => keyed,
            NextStep::Replay(response) => return Ok(response),
        };
        report.sends(&permit, in_path);
        let exchange = Exchange {
            permit: &permit,
            context,
            hold: HeldRequest {
                live: &self.generation,
                lookups: &self.lookups,
                context,
            },
            audit: &self.audit,
            memory: &self.memory,
            span: &report.span,
            attempts: AtomicU32::new(0),
        };
        let mut sent = turn::send_in_turn(&exchange, body, &contents, report).await?;
        let answered = report.answer_arrived(sent.answer.failure.take(), sent.answer.arrived);
        if sent.answer.early {
            link.body_unread();
        }

        let links = || LinkBase::of(&permit, request, link, &generation.links);
        let mut response =
            answer::clean(sent.answer, &permit, request, &links, &self.memory).await?;
        match keyed {
            Some(keyed) if sent.effect != Effect::Possible => keyed.forget().await,
            Some(keyed) => keyed.settle(&response).await,
            None => {}
        }
        sent.turn.describe(&mut response, answered);
        Ok(response)
    }
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
