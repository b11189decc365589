//! Connections: accepted, encrypted with TLS if asked for, served, and broken on purpose for magic
//! recipients.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
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

use crate::control;
use crate::dialect::Dialect;
use crate::graph::{self, download};
use crate::provider;
use crate::reply::{Broken, Outcome, Reply};
use crate::state::State;

/// The host behind a listener.
#[derive(Clone, Copy)]
pub(crate) enum Host {
    /// `graph.facebook.com`.
    Graph,
    /// `lookaside.fbsbx.com`.
    Media,
    /// The host of another provider.
    Provider(&'static Dialect),
}

/// Serves a listener until the future is dropped, which closes all its connections.
pub(crate) async fn listen(
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
                    connections.spawn(serve(stream, tls.clone(), host, Arc::clone(&state)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Serves a connection. The client sees a failed connection, and no record is made.
async fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, host: Host, state: Arc<State>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(socket) = second_handle(&stream) else {
        return;
    };
    let Some(config) = tls else {
        return serve_requests(stream, socket, host, state).await;
    };
    let handshake = TlsAcceptor::from(config).accept(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(CLIENT_TIMEOUT, handshake).await {
        serve_requests(stream, socket, host, state).await;
    }
}

/// Duplicates the handle of a socket, so that a request can reset the connection below TLS and
/// HTTP.
fn second_handle(stream: &TcpStream) -> io::Result<Socket> {
    stream.as_fd().try_clone_to_owned().map(Socket::from)
}

async fn serve_requests<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    socket: Socket,
    host: Host,
    state: Arc<State>,
) {
    let service = service_fn(|request| answer(request, host, &state, &socket));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    pin!(connection).await.ok();
}

/// Answers a request. An error closes the connection without an answer.
async fn answer(
    request: Request<Incoming>,
    host: Host,
    state: &State,
    socket: &Socket,
) -> Result<Response<Reply>, Broken> {
    let is_control = control::is_control(request.uri().path());
    let outcome = match host {
        Host::Graph | Host::Provider(_) if is_control => {
            Outcome::Answer(control::answer(state, request).await)
        }
        Host::Graph => graph::answer(state, request).await,
        Host::Media => Outcome::Answer(download::answer(state, request)),
        Host::Provider(dialect) => provider::answer(state, dialect, request).await,
    };
    match outcome {
        Outcome::Answer(response) => Ok(response),
        Outcome::Hang(time) => {
            tokio::time::sleep(time).await;
            Err(Broken)
        }
        Outcome::Reset => {
            // Closing a socket that must not linger sends a reset.
            socket.set_linger(Some(Duration::ZERO)).ok();
            Err(Broken)
        }
    }
}

/// The time for a TLS handshake, or for the head of a request: for people who type a request by
/// hand.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
