//! The stream of updates: each part that has changed, as a server-sent event.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;

use super::StatusPage;
use super::parts::Part;
use super::view::View;

/// The body of an answer of the admin listener.
#[derive(Debug)]
pub enum AdminBody {
    /// A body that is whole.
    Whole(Option<Bytes>),
    /// The updates of the status page, until the viewer goes or the sidecar ends.
    Updates(Updates),
}

/// The updates for one viewer. One piece waits at most: the next is made when the viewer has taken
/// it.
#[derive(Debug)]
pub struct Updates {
    pieces: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl From<Bytes> for AdminBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Updates(updates) => updates.pieces.poll_recv(cx),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Updates(_) => SizeHint::default(),
        }
    }
}

/// Begins to follow the sidecar for one viewer.
pub(super) fn follow(page: Arc<StatusPage>, view: View, place: OwnedSemaphorePermit) -> AdminBody {
    let (sender, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut over = page.over.subscribe();
        let gone = sender.clone();
        tokio::select! {
            () = send_updates(&page, &view, &sender) => {}
            () = gone.closed() => {}
            _ = over.wait_for(|over| *over) => {
                // A viewer that has left the last piece unread misses the end as well.
                sender.try_send(Bytes::from_static(END)).ok();
            }
        }
    });
    AdminBody::Updates(Updates {
        pieces,
        _place: place,
    })
}

/// Sends what changes, for as long as somebody takes it.
async fn send_updates(page: &StatusPage, view: &View, sender: &mpsc::Sender<Bytes>) {
    let mut sent = SentParts::default();
    loop {
        let parts = page.parts_of(view).await;
        if let Some(text) = sent.news(&parts)
            && sender.send(Bytes::from(text)).await.is_err()
        {
            return;
        }
        sleep(INTERVAL).await;
    }
}

/// The parts as the viewer has them.
#[derive(Debug, Default)]
struct SentParts {
    hashes: HashMap<&'static str, [u8; 32]>,
    /// The looks since the last piece.
    quiet: u32,
}

impl SentParts {
    /// Returns the events for the parts that have changed; now and then a sign of life, so that a
    /// viewer that has gone is missed.
    fn news(&mut self, parts: &[Part]) -> Option<String> {
        let mut text = String::new();
        for part in parts {
            let html = part.html.as_str();
            let hash = Sha256::digest(html).into();
            if self.hashes.insert(part.id, hash) != Some(hash) {
                // JSON has no line break, which would end the event.
                let data = json!({ "id": part.id, "html": html });
                text += &format!("event: part\ndata: {data}\n\n");
            }
        }
        self.quiet += 1;
        if text.is_empty() && self.quiet >= QUIET_LOOKS {
            text += ": nothing has changed\n\n";
        }
        if text.is_empty() {
            return None;
        }
        self.quiet = 0;
        Some(text)
    }
}

/// The time between two looks: short enough for the page to seem alive.
const INTERVAL: Duration = Duration::from_secs(2);
/// The looks without a change after which a sign of life goes out: every 10 s, before proxies in
/// between give up a silent connection.
const QUIET_LOOKS: u32 = 5;
/// The last event: the sidecar ends.
const END: &[u8] = b"event: end\ndata: {}\n\n";

#[cfg(test)]
mod tests {
    use super::super::html::Html;
    use super::*;

    fn part(id: &'static str, text: &str) -> Part {
        let mut html = Html::default();
        html.text(text);
        Part { id, html }
    }

    #[test]
    fn only_what_has_changed_is_sent_and_now_and_then_a_sign_of_life() {
        let mut sent = SentParts::default();
        let first = [part("a", "1"), part("b", "<2>")];
        let text = sent.news(&first).unwrap();
        assert_eq!(text.matches("event: part\n").count(), 2, "{text}");
        assert!(
            text.contains("{\"html\":\"&lt;2&gt;\",\"id\":\"b\"}"),
            "{text}"
        );
        let text = sent.news(&[part("a", "3"), part("b", "<2>")]).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        let same = [part("a", "3"), part("b", "<2>")];
        let signs: Vec<_> = (0..10).map(|_| sent.news(&same).is_some()).collect();
        let expected = [false, false, false, false, true];
        assert_eq!(signs, [expected, expected].concat());
    }
}
