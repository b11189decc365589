//! The way of a genuine event to the disk: the provider is answered when the event is on disk,
//! synced.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;
use tokio::sync::Semaphore;

use super::error::InboundError;
use super::event::Event;
use crate::memory::SMALL;
use crate::provider::event_form::EventForm;
use crate::spool::{
    EventContents, EventReceipt, Item, NewEvent, ReadyEvent, Request, Spool, SpoolRefusal,
};

/// The result for an event that is on disk.
#[derive(Debug)]
pub(super) struct Stored {
    /// The items that were not known before.
    pub(super) new: Vec<Item>,
    /// The number of items that were known.
    pub(super) known: usize,
    /// True if a destination wants the event.
    pub(super) is_wanted: bool,
}

/// Stores an event for every destination of its webhook. `headers` are the provider's headers that
/// applications get, and `forms` the forms of the provider's events.
///
/// A large body waits for a `turn`, and is looked through on a separate thread.
///
/// # Errors
/// If the event is not on disk. The provider sends the event again.
pub(super) async fn store(
    spool: &Arc<Spool>,
    webhook: &str,
    event: &Event<'_>,
    headers: &[HeaderName],
    forms: &Arc<[EventForm]>,
    turn: &Semaphore,
) -> Result<Stored, InboundError> {
    let headers = event.headers_named(headers);
    let mut request = Request {
        method: event.method.as_str().to_owned(),
        query: event.query.as_deref().map(str::to_owned),
        headers: headers
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        body: Bytes::new(),
    };
    let body = event.body.clone();
    let webhook = webhook.to_owned();
    let id = event.id.to_string();
    let preparer = Arc::clone(spool);
    let forms = Arc::clone(forms);
    let prepare = move || {
        request.body = body.whole_bytes();
        let contents = EventContents::of_request(&request, &forms);
        let items = contents.items.clone();
        let ready = preparer.prepare(NewEvent {
            webhook,
            id,
            request,
            contents,
        });
        ready.map(|ready| (ready, items))
    };
    let (ready, items): (ReadyEvent, Vec<Item>) = if event.body.len() <= SMALL {
        prepare().map_err(InboundError::NotStored)?
    } else {
        let _turn = turn.acquire().await;
        let prepared = tokio::task::spawn_blocking(prepare).await;
        prepared
            .unwrap_or(Err(SpoolRefusal::Broken))
            .map_err(InboundError::NotStored)?
    };
    let is_wanted = ready.is_wanted();
    match spool.store(ready).await.map_err(InboundError::NotStored)? {
        EventReceipt::Known => Ok(Stored {
            known: items.len(),
            new: Vec::new(),
            is_wanted,
        }),
        EventReceipt::Stored { known, .. } => {
            let is_new = |position: usize| {
                u32::try_from(position)
                    .is_ok_and(|position| known.binary_search(&position).is_err())
            };
            let all = items.into_iter().enumerate();
            Ok(Stored {
                new: all
                    .filter_map(|(position, item)| is_new(position).then_some(item))
                    .collect(),
                known: known.len(),
                is_wanted,
            })
        }
    }
}
