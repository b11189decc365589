//! The byte stream below HTTP: with TLS to providers, plain or a Unix socket to applications.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// The byte stream below HTTP.
#[derive(Debug)]
pub(super) enum Io {
    /// TCP without TLS: on loopback, or to an application.
    Plain(TcpStream),
    /// A Unix socket of an application.
    Unix(UnixStream),
    /// TLS with a checked certificate and name.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS in a tunnel through a proxy, to which the connection is under TLS itself.
    TlsInTls(Box<TlsStream<TlsStream<TcpStream>>>),
}

impl Io {
    /// Reads into the room that a buffer has left.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(io) => pin!(io.read_buf(buffer)).poll(cx),
            Self::Unix(io) => pin!(io.read_buf(buffer)).poll(cx),
            Self::Tls(io) => pin!(io.read_buf(buffer)).poll(cx),
            Self::TlsInTls(io) => pin!(io.read_buf(buffer)).poll(cx),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, data),
            Self::Unix(io) => Pin::new(io).poll_write_vectored(cx, data),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, data),
            Self::TlsInTls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, data),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Unix(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
            Self::TlsInTls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        }
    }
}
