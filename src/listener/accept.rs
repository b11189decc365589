//! The door of a listener: accepts connections, and gives each a place or a refusal.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Listener;
use super::bind::Socket;
use super::bounds::ConnectionBounds;
use super::connections::Connections;
use super::drain::Drain;
use super::link::Link;
use super::metrics::RefusalReason;
use super::peer::Peer;
use super::refusal::{http1, in_form, overloaded};
use super::serve::{AcceptedStream, Service, serve};
use super::tally::Incident;
use crate::refusal_form::Asked;

impl Listener {
    /// Accepts connections and answers their requests with `handler` until the drain begins.
    ///
    /// No connection waits for a place: a message would then be sent after its caller has gone.
    pub async fn serve<H, F, B>(
        self,
        handler: H,
        bounds: ConnectionBounds,
        connections: Arc<Connections>,
        mut drain: Drain,
    ) where
        H: Fn(Request<Incoming>, Arc<Link>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send,
        B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = drain.begun() => return,
                accepted = self.accept_next(&connections) => accepted,
            };
            if !self.allows(&peer) {
                connections.refused(RefusalReason::User, &peer.to_string());
                continue;
            }
            let link = Arc::new(Link::new(peer).arrived_at(stream.local()));
            let address = link
                .peer()
                .ip()
                .filter(|address| bounds.counts_connections_of(*address));
            let service = Service {
                bounds: bounds.clone(),
                connections: Arc::clone(&connections),
                drain: drain.clone(),
            };
            match connections.admit_or_ask(link.seat(), address).await {
                Ok(place) => {
                    let handler = handler.clone();
                    tokio::spawn(async move {
                        serve(stream, link, handler, service).await;
                        drop(place);
                    });
                    // Lets an idle connection give up its place before the next one is accepted.
                    tokio::task::yield_now().await;
                }
                Err(reason) => {
                    connections.refused(reason, &link.peer().to_string());
                    refuse::<B>(stream, link, service);
                }
            }
        }
    }

    /// True for a peer that may call.
    fn allows(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Tcp(_) => true,
            Peer::Unix { uid } => self.allow_uids.contains(uid),
        }
    }

    /// Accepts the next connection. A failure of the system is noted, and tried again after a wait
    /// that doubles.
    async fn accept_next(&self, connections: &Connections) -> (AcceptedStream, Peer) {
        let mut retry_delay = MIN_RETRY_DELAY;
        loop {
            match self.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    // Mostly, no file descriptor is left. The pause lets open connections end and
                    // give theirs back. The system gives this error without a waiting caller as
                    // well, so no connection is closed for one.
                    connections.note(Incident::NotAccepted, &error.to_string());
                    tokio::time::sleep(retry_delay).await;
                    retry_delay = (retry_delay * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<(AcceptedStream, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                // Only a closed connection lacks the option; the first read shows the end.
                stream.set_nodelay(true).ok();
                // At `[::]`, IPv4 addresses come inside IPv6, and must count as what they are.
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                Ok((AcceptedStream::Tcp(stream), Peer::Tcp(address)))
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                bound_unread(&stream);
                let uid = stream.peer_cred()?.uid();
                Ok((AcceptedStream::Unix(stream), Peer::Unix { uid }))
            }
        }
    }
}

/// Bounds the bytes of answers that the kernel keeps for the peer. The kernel tells of new room
/// only once three quarters of its buffer are read: with the usual buffer of 208 KiB, a peer that
/// reads 5 KiB a second would seem to take nothing for half a minute.
pub(super) fn bound_unread(stream: &UnixStream) {
    // A connection that keeps the usual buffer works as well.
    SockRef::from(stream)
        .set_send_buffer_size(UNREAD_BYTES)
        .ok();
}

/// Answers the first request of a connection with 503, in a task of bounded number and duration. A
/// connection beyond the bound is [answered at once](refuse_at_once).
fn refuse<B>(stream: AcceptedStream, link: Arc<Link>, service: Service)
where
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let Some(permit) = service.connections.refusal() else {
        refuse_at_once(&stream, &link, &service.bounds);
        return;
    };
    let refusals = Arc::clone(&service.bounds.refusals);
    let handler = move |request: Request<Incoming>, link: Arc<Link>| {
        let refusals = refusals.load_full();
        async move {
            if !request.body().is_end_stream() {
                link.body_unread();
            }
            let asked = Asked::of(request.uri(), request.headers());
            let mut response = refusals.to_response(&overloaded(), asked).map(B::from);
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            response
        }
    };
    tokio::spawn(async move {
        let refusal = serve(stream, link, handler, service);
        timeout(REFUSAL_TIMEOUT, refusal).await.ok();
        drop(permit);
    });
}

/// Answers a connection with 503 and lets go of it, whatever of the request is here: nothing waits,
/// so a crowd of any size is answered. A connection with TLS is closed without an answer, which
/// would cost a handshake.
fn refuse_at_once(stream: &AcceptedStream, link: &Link, bounds: &ConnectionBounds) {
    let socket = match stream {
        AcceptedStream::Tcp(_) if bounds.tls.is_some() => return,
        AcceptedStream::Tcp(stream) => SockRef::from(stream),
        AcceptedStream::Unix(stream) => SockRef::from(stream),
    };
    let answer = http1(&in_form(&overloaded(), &bounds.refusals, link));
    // Unread bytes would make the close a reset, which could overtake the answer.
    let mut request = [MaybeUninit::uninit(); MAX_UNREAD_REQUEST];
    socket.recv(&mut request).ok();
    // A peer that takes no byte of it, or is gone, goes without.
    socket.send(&answer).ok();
    socket.shutdown(Shutdown::Write).ok();
}

/// True for a connection that ended before it was accepted.
fn is_peers_fault(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::NOTCONN | Errno::INTR)
    )
}

/// The bytes of answers that the kernel keeps for a peer at a Unix socket. The kernel doubles the
/// number, for its own bookkeeping.
const UNREAD_BYTES: usize = 32 * 1024;
/// The bytes of a request that are read before the connection is refused at once: the head and the
/// body of a usual message.
const MAX_UNREAD_REQUEST: usize = 4096;
/// Wait after the first failed accept; doubles with each further failure. A caller hardly notices
/// it, and 20 failures a second cost no CPU time worth a word.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Longest wait after a failed accept: connections that end give descriptors back within seconds.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The time for a refusal: the handshake of TLS, the head of the request, and the answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(3);
