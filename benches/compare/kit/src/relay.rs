//! A link with a round trip: passes bytes both ways, each after half of `--rtt-us`. The first bytes
//! of a caller wait a whole round trip longer, as a handshake of TCP would make them.

use crate::args::Args;
use crate::net::listen;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub fn run(args: &Args) {
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let half = Duration::from_micros(args.num::<u64>("rtt-us", 40_000) / 2);
    let upstream = args.required("upstream").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(listen(args.num("port", 0))).expect("listener");
        loop {
            let Ok((caller, _)) = listener.accept().await else { continue };
            let upstream = upstream.clone();
            tokio::task::spawn_local(async move {
                let Ok(server) = TcpStream::connect(upstream).await else { return };
                let _ = (caller.set_nodelay(true), server.set_nodelay(true));
                let connected = Instant::now() + 2 * half;
                let (from_caller, to_caller) = caller.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::task::spawn_local(pass(from_caller, to_server, half, connected));
                tokio::task::spawn_local(pass(from_server, to_caller, half, connected));
            });
        }
    });
}

/// Passes bytes on, each `half` a round trip after their arrival, which is not before `connected`.
async fn pass(
    mut from: impl AsyncRead + Unpin + 'static,
    mut to: impl AsyncWrite + Unpin + 'static,
    half: Duration,
    connected: Instant,
) {
    let (send, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::task::spawn_local(async move {
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let at = Instant::now().max(connected) + half;
        if send.send((at, buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}
