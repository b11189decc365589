//! Questions of operators: lists and single events, read a page at a time.

use std::collections::BTreeSet;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::error::StoreError;
use super::record::{EventHead, RecordError, Records, Request};
use super::tables::{
    BODIES, DEAD, DeadRow, DestinationId, EVENTS, EventRow, KnownItems, QUEUE, REPEATS, Row, Seq,
    StoredState, known_name,
};

/// The conditions of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The state at a destination.
    pub state: Option<StoredState>,
    /// The name of the webhook.
    pub webhook: Option<String>,
    /// The destinations; empty for any.
    pub to: BTreeSet<DestinationId>,
    /// The time of arrival or a later time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// The time before which events arrived, in milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// The text that the body contains.
    pub text: Option<String>,
    /// The person: a phone number, or the id of a user.
    pub user: Option<String>,
    /// The ids of events; empty for any.
    pub ids: BTreeSet<String>,
}

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The number of the event.
    pub seq: Seq,
    /// The head of the event.
    pub head: EventHead,
    /// The positions of items that were known when the event arrived; empty for none.
    pub repeats: String,
    /// The state at each destination.
    pub at: Vec<EventAtDestination>,
}

/// The state of an event at a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAtDestination {
    /// The destination.
    pub to: DestinationId,
    /// The state.
    pub state: StoredState,
    /// The attempts so far that count.
    pub attempts: u32,
    /// The time of the next attempt, or of the death, in milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// The cause of a dead letter.
    pub why: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events of the page, the oldest first.
    pub events: Vec<Listed>,
    /// The events that cannot be read: damaged, or sealed with another key.
    pub unreadable: Vec<UnreadEvent>,
    /// The number at which the list goes on; `None` at the end of the list.
    pub next: Option<Seq>,
}

/// An event that cannot be read as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadEvent {
    /// The number of the event.
    pub seq: Seq,
    /// The id; `None` if the head cannot be read either.
    pub id: Option<String>,
    /// The arrival in milliseconds since 1970, if known.
    pub received_ms: Option<u64>,
    /// The reason.
    pub why: RecordError,
}

impl UnreadEvent {
    fn new(records: &Records, seq: Seq, row: Option<&EventRow>, why: RecordError) -> Self {
        let head = row.and_then(|row| records.open_head(&row.head).ok());
        Self {
            seq,
            id: head.map(|head| head.id),
            received_ms: row.map(|row| row.received_ms),
            why,
        }
    }
}

impl Listed {
    /// An event whose record has not been read.
    pub(super) fn unread(seq: Seq) -> Self {
        let head = EventHead {
            webhook: String::new(),
            id: String::new(),
            received_ms: 0,
            time: None,
            class: 0,
            fields: Vec::new(),
            senders: Vec::new(),
            users: Vec::new(),
            items: 0,
            length: 0,
            lanes: Vec::new(),
            is_partial: false,
        };
        Self {
            seq,
            head,
            repeats: String::new(),
            at: Vec::new(),
        }
    }
}

/// Reads a page of a list, from a number on. A page ends after `most` events, or after many that do
/// not match.
pub(super) fn page(
    read: &ReadTransaction,
    records: &Records,
    filter: &Filter,
    from: Seq,
    most: usize,
) -> Result<Page, StoreError> {
    let events = read.open_table(EVENTS)?;
    let mut page = Page::default();
    for (looked_at, found) in events.range(from..)?.enumerate() {
        let (key, value) = found?;
        let seq = key.value();
        if page.events.len() >= most || looked_at >= MAX_LOOKED_AT {
            page.next = Some(seq);
            break;
        }
        let row = EventRow::decode(value.value());
        let Some(row) = &row else {
            let why = RecordError::Form;
            let unread = UnreadEvent::new(records, seq, None, why);
            page.unreadable.push(unread);
            continue;
        };
        let is_asked_for = |(to, state): &(DestinationId, StoredState)| {
            (filter.to.is_empty() || filter.to.contains(to))
                && filter.state.is_none_or(|wanted| wanted == *state)
        };
        if (!filter.to.is_empty() || filter.state.is_some()) && !row.states.iter().any(is_asked_for)
        {
            continue;
        }
        match matching(read, records, filter, seq, row) {
            Ok(found) => page.events.extend(found),
            Err(StoreError::Record(why)) => {
                let unread = UnreadEvent::new(records, seq, Some(row), why);
                page.unreadable.push(unread);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// Reads a page of the events that cannot be read as a whole, from a number on.
pub(super) fn unreadable_page(
    read: &ReadTransaction,
    records: &Records,
    from: Seq,
    most: usize,
) -> Result<Page, StoreError> {
    let rows = Rows::open(read)?;
    let mut page = Page::default();
    let mut bytes = 0;
    for (looked_at, found) in rows.events.range(from..)?.enumerate() {
        let (key, value) = found?;
        let seq = key.value();
        let is_long = looked_at >= MAX_LOOKED_AT || bytes >= MAX_READ;
        if is_long || page.unreadable.len() >= most {
            page.next = Some(seq);
            break;
        }
        match rows.event(records, seq) {
            Ok(Some((_, request))) => bytes += request.body.len(),
            Ok(None) => {}
            Err(StoreError::Record(why)) => {
                let row = EventRow::decode(value.value());
                let unread = UnreadEvent::new(records, seq, row.as_ref(), why);
                page.unreadable.push(unread);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// Reads an event of a list; `None` if it does not match.
fn matching(
    read: &ReadTransaction,
    records: &Records,
    filter: &Filter,
    seq: Seq,
    row: &EventRow,
) -> Result<Option<Listed>, StoreError> {
    let head = records.open_head(&row.head)?;
    if !matches(filter, &head) || !is_in_body(read, records, filter, &head, seq)? {
        return Ok(None);
    }
    Ok(Some(listed(read, seq, head, row)?))
}

/// Reads an event as a whole.
pub(super) fn event(
    read: &ReadTransaction,
    records: &Records,
    seq: Seq,
) -> Result<Option<(Listed, Request)>, StoreError> {
    let Some(row) = read.open_table(EVENTS)?.get(seq)? else {
        return Ok(None);
    };
    let Some(row) = EventRow::decode(row.value()) else {
        return Ok(None);
    };
    let head = records.open_head(&row.head)?;
    let Some(request) = request(read, records, seq)? else {
        return Ok(None);
    };
    Ok(Some((listed(read, seq, head, &row)?, request)))
}

/// The rows of a delivery, opened once for many events.
pub(super) struct Rows {
    events: ReadOnlyTable<Seq, &'static [u8]>,
    bodies: ReadOnlyTable<Seq, &'static [u8]>,
    repeats: ReadOnlyTable<Seq, &'static str>,
}

impl Rows {
    pub(super) fn open(read: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            events: read.open_table(EVENTS)?,
            bodies: read.open_table(BODIES)?,
            repeats: read.open_table(REPEATS)?,
        })
    }

    /// The bytes of an event in memory, about; 0 for an event that is gone.
    pub(super) fn size(&self, seq: Seq) -> Result<usize, StoreError> {
        let body = self.bodies.get(seq)?;
        Ok(body.map_or(0, |body| body.value().len()))
    }

    /// Reads an event as a delivery needs it: without the states at the destinations. `None` for an
    /// event that is gone.
    pub(super) fn event(
        &self,
        records: &Records,
        seq: Seq,
    ) -> Result<Option<(Listed, Request)>, StoreError> {
        let Some(row) = self.events.get(seq)? else {
            return Ok(None);
        };
        let row = EventRow::decode(row.value()).ok_or(RecordError::Form)?;
        let head = records.open_head(&row.head)?;
        let body = self.bodies.get(seq)?.ok_or(RecordError::Damaged)?;
        let request = records.open_request(body.value())?;
        let repeats = self.repeats.get(seq)?;
        let listed = Listed {
            seq,
            head,
            repeats: repeats
                .map(|text| text.value().to_owned())
                .unwrap_or_default(),
            at: Vec::new(),
        };
        Ok(Some((listed, request)))
    }
}

/// Reads an event as it arrived.
pub(super) fn request(
    read: &ReadTransaction,
    records: &Records,
    seq: Seq,
) -> Result<Option<Request>, StoreError> {
    let body = read.open_table(BODIES)?.get(seq)?;
    Ok(body
        .map(|body| records.open_request(body.value()))
        .transpose()?)
}

/// Finds the known items of a person, each with its day.
pub(super) fn items_of(
    read: &ReadTransaction,
    days: &BTreeSet<u64>,
    user: u64,
) -> Result<Vec<(u64, [u8; 16])>, StoreError> {
    let mut found = Vec::new();
    for day in days {
        let name = known_name(*day);
        for row in read.open_table(KnownItems::new(&name))?.iter()? {
            let (item, of) = row?;
            if of.value() == user {
                found.push((*day, item.value()));
            }
        }
    }
    Ok(found)
}

fn matches(filter: &Filter, head: &EventHead) -> bool {
    filter
        .webhook
        .as_ref()
        .is_none_or(|webhook| *webhook == head.webhook)
        && filter
            .since_ms
            .is_none_or(|since| head.received_ms >= since)
        && filter.until_ms.is_none_or(|until| head.received_ms < until)
        && (filter.ids.is_empty() || filter.ids.contains(&head.id))
}

/// True for an event whose body has the text and the person of the filter.
fn is_in_body(
    read: &ReadTransaction,
    records: &Records,
    filter: &Filter,
    head: &EventHead,
    seq: Seq,
) -> Result<bool, StoreError> {
    Ok(has_text(read, records, filter, seq)? && is_of_user(read, records, filter, head, seq)?)
}

fn has_text(
    read: &ReadTransaction,
    records: &Records,
    filter: &Filter,
    seq: Seq,
) -> Result<bool, StoreError> {
    let Some(text) = &filter.text else {
        return Ok(true);
    };
    let found = request(read, records, seq)?;
    Ok(found.is_some_and(|request| memchr::memmem::find(&request.body, text.as_bytes()).is_some()))
}

/// True for an event of the person: a party of a message or status, or a name anywhere in the body.
fn is_of_user(
    read: &ReadTransaction,
    records: &Records,
    filter: &Filter,
    head: &EventHead,
    seq: Seq,
) -> Result<bool, StoreError> {
    let Some(user) = &filter.user else {
        return Ok(true);
    };
    if head.users.contains(user) {
        return Ok(true);
    }
    let found = request(read, records, seq)?;
    Ok(found.is_some_and(|request| names_person(&request.body, user)))
}

/// True if a body has the name of a person as a whole JSON string, with or without a plus. The
/// number of the business itself, which every event of the webhook names, is nobody's.
fn names_person(body: &[u8], user: &str) -> bool {
    let mut is_named = false;
    for quoted in [format!("\"{user}\""), format!("\"+{user}\"")] {
        for at in memchr::memmem::find_iter(body, quoted.as_bytes()) {
            let before = body.get(..at).unwrap_or_default().trim_ascii_end();
            let key = before.strip_suffix(b":").unwrap_or_default();
            if OWN_NUMBER
                .iter()
                .any(|own| key.trim_ascii_end().ends_with(own))
            {
                return false;
            }
            is_named = true;
        }
    }
    is_named
}

fn listed(
    read: &ReadTransaction,
    seq: Seq,
    head: EventHead,
    row: &EventRow,
) -> Result<Listed, StoreError> {
    let queue = read.open_table(QUEUE)?;
    let dead = read.open_table(DEAD)?;
    let repeats = read.open_table(REPEATS)?.get(seq)?;
    let mut at = Vec::with_capacity(row.states.len());
    for (to, state) in &row.states {
        let mut at_destination = EventAtDestination {
            to: *to,
            state: *state,
            attempts: 0,
            at_ms: None,
            why: None,
        };
        match state {
            StoredState::Waiting => {
                let row = queue.get((*to, head.class, seq))?;
                if let Some(row) = row.and_then(|row| Row::decode(row.value())) {
                    at_destination.attempts = row.attempts.counted;
                    at_destination.at_ms = (row.due_ms > 0).then_some(row.due_ms);
                }
            }
            StoredState::Dead => {
                if let Some(row) = dead
                    .get((*to, seq))?
                    .and_then(|row| DeadRow::decode(row.value()))
                {
                    at_destination.attempts = row.attempts;
                    at_destination.at_ms = Some(row.at_ms);
                    at_destination.why = Some(row.why);
                }
            }
            StoredState::Delivered => {}
        }
        at.push(at_destination);
    }
    let repeats = repeats
        .map(|text| text.value().to_owned())
        .unwrap_or_default();
    Ok(Listed {
        seq,
        head,
        repeats,
        at,
    })
}

/// The keys of the number of the business in Meta's events.
const OWN_NUMBER: [&[u8]; 2] = [b"\"display_phone_number\"", b"\"phone_number_id\""];
/// The bound on events that a page looks at: a page takes milliseconds.
const MAX_LOOKED_AT: usize = 4096;
/// The bound on bytes of bodies that a page of unreadable events goes through: opening the seal of
/// 32 MiB takes some ten milliseconds.
const MAX_READ: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_named_by_a_whole_string_and_the_business_is_nobody() {
        for (body, expected) in [
            (r#"{"calls":[{"from":"4915112"}]}"#, true),
            (r#"{"contact":{"phone_number": "+4915112"}}"#, true),
            (r#"["x","4915112"]"#, true),
            (r#"{"text":{"body":"call 4915112"}}"#, false),
            (r#"{"text":{"body":"\"4915112\""}}"#, false),
            (r#"{"from":"49151123"}"#, false),
            (r#"{"from":4915112}"#, false),
            (
                r#"{"metadata":{"display_phone_number" : "4915112"},"to":"4915112"}"#,
                false,
            ),
            (r#"{"metadata":{"phone_number_id":"4915112"}}"#, false),
            ("\"4915112", false),
        ] {
            assert_eq!(names_person(body.as_bytes(), "4915112"), expected, "{body}");
        }
    }
}
