//! Connections: accepted, perhaps encrypted, served, and broken when that is what a request asked for.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::Socket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::dialect::{self, Dialect};
use super::download;
use super::graph;
use super::reply::{Broken, Outcome, Reply};
use super::state::State;

/// How long a handshake, or the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be accepted, for want of file descriptors, say.
const PAUSE: Duration = Duration::from_millis(50);

/// Which host it is.
#[derive(Clone, Copy)]
pub(super) enum Host {
    /// `graph.facebook.com`.
    Graph,
    /// `lookaside.fbsbx.com`.
    Media,
    /// That of another provider.
    Provider(&'static Dialect),
}

/// Serves a listener until the future is dropped, and with it all its connections.
pub(super) async fn listen(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    host: Host,
    state: Arc<State>,
) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, tls.clone(), host, Arc::clone(&state)));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// A connection that fails concerns nobody but its client, who sees it.
async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, host: Host, state: Arc<State>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A second handle to the socket, through which a request can have it reset below TLS and HTTP.
    let Ok(handle) = second_handle(&stream) else {
        return;
    };
    match tls {
        None => requests(stream, handle, host, state).await,
        Some(config) => {
            let handshake = tokio::time::timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await;
            if let Ok(Ok(stream)) = handshake {
                requests(stream, handle, host, state).await;
            }
        }
    }
}

#[cfg(unix)]
fn second_handle(stream: &TcpStream) -> io::Result<Socket> {
    use std::os::fd::AsFd;
    stream.as_fd().try_clone_to_owned().map(Socket::from)
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin>(stream: S, handle: Socket, host: Host, state: Arc<State>) {
    let service = service_fn(|request: Request<Incoming>| one(request, host, &state, &handle));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // How it ended is of no interest: both sides know.
    drop(pin!(connection).await);
}

/// An error here closes the connection without an answer.
async fn one(
    request: Request<Incoming>,
    host: Host,
    state: &State,
    handle: &Socket,
) -> Result<Response<Reply>, Broken> {
    let outcome = match host {
        Host::Graph => graph::answer(state, request).await,
        Host::Media => download::answer(state, &request),
        Host::Provider(dialect) => dialect::answer(state, dialect, request).await,
    };
    match outcome {
        Outcome::Answer(response) => Ok(response),
        Outcome::Hang(time) => {
            tokio::time::sleep(time).await;
            Err(Broken)
        }
        Outcome::Reset => {
            // With no time to linger, closing a socket is a reset.
            drop(handle.set_linger(Some(Duration::ZERO)));
            Err(Broken)
        }
    }
}
