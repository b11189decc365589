//! The service of an accepted connection: TLS if the listener speaks it, then HTTP/1.1 until the
//! end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::addresses::AddressShare;
use super::bounds::ConnectionBounds;
use super::connections::Connections;
use super::drain::Drain;
use super::link::Link;
use super::metrics::RefusalReason;
use super::peer_end::PeerEnd;
use super::refusal::{in_form, overloaded};
use super::stream::LinkStream;
use crate::response::{INTERNAL, Refusal};
use crate::watchdog::Watchdog;

/// An accepted connection before TLS.
pub(super) enum AcceptedStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AcceptedStream {
    /// The address at which the connection arrived; `None` for a Unix socket.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// The bounds, the table of connections and the drain that a connection is served with.
pub(super) struct Service {
    pub(super) bounds: ConnectionBounds,
    pub(super) connections: Arc<Connections>,
    pub(super) drain: Drain,
}

/// Serves a connection until the peer, the drain or a lack of places ends it.
pub(super) async fn serve<H, F, B>(
    stream: AcceptedStream,
    link: Arc<Link>,
    handler: H,
    mut service: Service,
) where
    H: Fn(Request<Incoming>, Arc<Link>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let tls = service.bounds.tls.as_ref().map(|tls| tls.load_full());
    // Boxed: otherwise each connection would be as large as the largest of these, a handshake of
    // TLS.
    match (stream, tls) {
        (AcceptedStream::Tcp(stream), Some(tls)) => {
            let handshake = Box::pin(handshake(stream, tls, &link, &mut service));
            if let Some(stream) = handshake.await {
                link.note_handshake(stream.get_ref().1.server_name());
                Box::pin(serve_http(stream, link, handler, service)).await;
            }
        }
        (AcceptedStream::Tcp(stream), None) => {
            Box::pin(serve_http(stream, link, handler, service)).await
        }
        (AcceptedStream::Unix(stream), _) => {
            Box::pin(serve_http(stream, link, handler, service)).await
        }
    }
}

/// The TLS connection with a peer, if the handshake succeeds in time. During a handshake the
/// connection is idle: a drain or a lack of places ends it.
async fn handshake(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    link: &Link,
    service: &mut Service,
) -> Option<TlsStream<TcpStream>> {
    let accepting = TlsAcceptor::from(tls).accept_with(stream, |tls| {
        tls.set_buffer_limit(Some(MAX_UNSENT));
    });
    let handshake = timeout(HANDSHAKE_TIMEOUT, accepting);
    let failure = tokio::select! {
        biased;
        done = handshake => match done {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                let detail = format!("{}: {error}", link.peer());
                if is_refusal(&error) {
                    service.connections.refused(RefusalReason::Tls, &detail);
                }
                error.to_string()
            }
            Err(_) => "it took too long".to_owned(),
        },
        () = service.drain.begun_a_while_ago() => "the sidecar is stopping".to_owned(),
        () = poll_fn(|cx| link.seat().poll_told(cx)) => "its place was needed".to_owned(),
    };
    tracing::debug!(caller = %link.peer(), reason = failure, "the TLS handshake with a caller failed");
    None
}

/// True for a handshake that client or server has refused. A peer after an open port alone, which
/// goes at once, has refused none.
fn is_refusal(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Serves HTTP on a connection. hyper's state and buffers, some 20 KiB, exist only while a request
/// is under way and a moment longer: most connections are idle, and there may be two thousand of
/// them.
async fn serve_http<T, H, F, B>(stream: T, link: Arc<Link>, handler: H, service: Service)
where
    T: AsyncRead + AsyncWrite + PeerEnd + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, Arc<Link>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let Service {
        bounds,
        connections,
        mut drain,
    } = service;
    let mut stream = LinkStream::new(stream, Arc::clone(&link), &bounds, connections.head_room());
    let requests = ConnectionRequests {
        bounds,
        connections,
        link,
        handler,
        drain: drain.clone(),
    };
    let mut answering = service_fn(|request| requests.answer(request));
    while wakes(&mut stream, &mut drain).await {
        let mut connection = Box::new(
            http1::Builder::new()
                // `LinkStream` looks for the end of a peer while a request is under way. hyper
                // would look by reading, and allocate a buffer for each look. Of TLS, only a read
                // knows the end.
                .half_close(!requests.link.is_tls())
                .max_headers(MAX_HEADERS)
                .max_header_size(requests.bounds.max_head)
                // hyper's own bound is 400 KiB.
                .max_buf_size(requests.bounds.max_head)
                .serve_connection(TokioIo::new(stream), answering),
        );
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = drain.begun_a_while_ago() => {
                Pin::new(connection.as_mut()).graceful_shutdown();
                connection.as_mut().await
            }
            () = requests.rest() => {
                let parts = connection.into_parts();
                stream = parts.io.into_inner();
                stream.put_back(&parts.read_buf);
                answering = parts.service;
                continue;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(caller = %requests.link.peer(), %error, "a connection ended early");
        }
        return;
    }
}

/// Waits for the first byte of a request. Returns false, with the connection closed, if the peer is
/// to leave.
async fn wakes<T>(stream: &mut LinkStream<T>, drain: &mut Drain) -> bool
where
    T: AsyncRead + AsyncWrite + PeerEnd + Unpin,
{
    let is_awake = tokio::select! {
        biased;
        is_awake = poll_fn(|cx| stream.poll_wake(cx)) => is_awake,
        () = drain.begun_a_while_ago() => false,
    };
    if !is_awake {
        // TLS has a last record to write.
        stream.shutdown().await.ok();
    }
    is_awake
}

/// The requests of one connection.
struct ConnectionRequests<H> {
    bounds: ConnectionBounds,
    connections: Arc<Connections>,
    link: Arc<Link>,
    handler: H,
    drain: Drain,
}

impl<H> ConnectionRequests<H> {
    /// Returns once the connection has been idle for a moment.
    async fn rest(&self) {
        let mut timer = Watchdog::new(Instant::now() + REST);
        poll_fn(|cx| {
            let Some(since) = self.link.seat().idle_since() else {
                return Poll::Pending;
            };
            timer.set(since + REST);
            timer.poll(cx)
        })
        .await;
    }

    /// Answers a request. Cannot fail.
    fn answer<F, B>(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<TrackedBody<B>>, Infallible>> + Send
    where
        H: Fn(Request<Incoming>, Arc<Link>) -> F + Send + Sync,
        F: Future<Output = Response<B>> + Send,
        B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    {
        let link = Arc::clone(&self.link);
        let client = self
            .bounds
            .proxies
            .load()
            .client(link.peer(), request.headers());
        link.request_begins(client, request.version());
        let share = self.admit(client);
        let has_body = !request.is_end_stream();
        let is_safe = request.method().is_safe();
        let refusals = &self.bounds.refusals;
        let drain = &self.drain;
        async move {
            let answered = match &share {
                Ok(_) => {
                    // Pinned here, and not in a box: hyper keeps one place for this future for as
                    // long as it has buffers, and a box of its own would be allocated, and wiped,
                    // for each request.
                    let handler = pin!((self.handler)(request, Arc::clone(&link)));
                    catch_panic(handler).await.map_err(|Panicked| Refusal {
                        outcome_unknown: !is_safe,
                        ..internal_error()
                    })
                }
                Err(_) => Err(overloaded()),
            };
            drop(share);
            let mut answer = answered.unwrap_or_else(|refusal| {
                if has_body {
                    link.body_unread();
                }
                in_form(&refusal, refusals, &link).map(B::from)
            });
            if drain.has_begun() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(answer.map(|body| TrackedBody { body, link }))
        }
    }

    /// Takes the share of a client in the requests under way.
    fn admit(&self, client: Option<IpAddr>) -> Result<Option<AddressShare>, RefusalReason> {
        let client = client.filter(|client| self.bounds.counts_connections_of(*client));
        let share = self.connections.share_of(client);
        if let Err(reason) = share {
            self.connections.refused(reason, &self.link.caller());
        }
        share
    }
}

/// The sign of a panic in a handler. Only the panic hook knows the message.
struct Panicked;

/// Runs a handler, and ends no more than the request if the handler panics. The state of the
/// handler is dropped with the future and never used again, so it need not be unwind safe.
async fn catch_panic<F: Future>(mut handler: Pin<&mut F>) -> Result<F::Output, Panicked> {
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(step) => step.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        },
    )
    .await
}

fn internal_error() -> Refusal {
    let details = "this is a fault of Keyside's own; its log names the place, please report it";
    Refusal::new(INTERNAL, "the request could not be handled", details)
}

/// The body of an answer. The drop tells the link that the answer has ended.
struct TrackedBody<B> {
    body: B,
    link: Arc<Link>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.link.answer_ends();
    }
}

/// The time for which an idle connection keeps the buffers of its last request: the next request of
/// a busy client comes within milliseconds.
const REST: Duration = Duration::from_secs(1);
/// Most headers of a request: hyper's own bound.
const MAX_HEADERS: usize = 100;
/// The bytes of an answer that TLS keeps for a slow reader: one record of the largest size. The
/// default is four.
const MAX_UNSENT: usize = 16 * 1024;
/// Longest TLS handshake: four round trips over a slow line, with room.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
