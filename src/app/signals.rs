//! The signals to a sidecar: SIGHUP reloads, SIGTERM and SIGINT end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::AppError;

/// The receivers of the signals.
///
/// Without a receiver, SIGHUP ends the process, and the first process of a container gets no signal
/// at all. The receivers therefore come before the configuration is read: a start may wait for a
/// secret manager.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// A request of the person or the program that runs the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalRequest {
    Reload,
    End,
}

impl Signals {
    /// Receives the signals from now on. A signal that nobody waits for is kept.
    ///
    /// # Errors
    /// If the kernel or the runtime gives no receiver.
    pub fn receive() -> Result<Self, AppError> {
        let receive = |kind| signal(kind).map_err(AppError::Signals);
        Ok(Self {
            hangup: receive(SignalKind::hangup())?,
            terminate: receive(SignalKind::terminate())?,
            interrupt: receive(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, and keeps SIGHUP for the time after the start.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.hangup.recv() => SignalRequest::Reload,
            _ = self.terminate.recv() => SignalRequest::End,
            _ = self.interrupt.recv() => SignalRequest::End,
        }
    }
}
