//! The spent nonces.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// The nonces of accepted events, by webhook. A nonce is spent when the application has accepted
/// the event, so a provider can repeat an event without acceptance.
///
/// Nonces are forgotten after a time. Above the bound the webhook with the most nonces forgets the
/// oldest nonce, so a busy webhook costs no other webhook any memory.
#[derive(Debug, Default)]
pub struct Nonces {
    table: Mutex<NonceTable>,
}

#[derive(Debug, Default)]
struct NonceTable {
    webhooks: HashMap<DigestStart, WebhookNonces>,
    count: usize,
    /// True if a nonce was spent since the table was last kept.
    is_changed: bool,
}

/// The spent nonces of one webhook.
#[derive(Debug, Default)]
struct WebhookNonces {
    spent: HashMap<DigestStart, SpentNonce>,
    /// The nonces in the order of spending.
    order: VecDeque<DigestStart>,
}

#[derive(Clone, Copy, Debug)]
struct SpentNonce {
    until: SystemTime,
    /// The beginning of the digest of the event's body.
    body: DigestStart,
}

type DigestStart = [u8; 16];

/// The use of a nonce by an event.
#[derive(Debug)]
pub(super) struct NonceUse {
    webhook: DigestStart,
    nonce: DigestStart,
    keep: Duration,
    /// False for a signature in the place of a nonce: the provider makes the same one for each
    /// equal event.
    is_unique: bool,
}

/// The relation of an event to the events that were accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// No event with the nonce was accepted.
    New,
    /// An event with the nonce and the same body was accepted: the provider has not seen the
    /// answer, or somebody replays the event.
    Repeated,
    /// An event with the nonce and a different body was accepted.
    Reused,
}

impl NonceUse {
    /// Returns the use of a nonce at a webhook, in the scheme with this signature header, to be
    /// remembered for the time `keep`. The webhook counts, because a provider gives an event one id
    /// and sends it to several webhooks, each of which must get the event.
    pub(super) fn new(webhook: &str, header: &str, nonce: &str, keep: Duration) -> Self {
        Self {
            webhook: key_of(&[webhook]),
            nonce: key_of(&[header, nonce]),
            keep,
            is_unique: true,
        }
    }

    /// Returns the use of a signature in the place of a nonce, for a scheme that joins names and
    /// values without a mark in between: a second body under the signature is a forgery, and an
    /// equal body is a new event.
    pub(super) fn of_signature(
        webhook: &str,
        header: &str,
        signature: &str,
        keep: Duration,
    ) -> Self {
        Self {
            is_unique: false,
            ..Self::new(webhook, header, signature, keep)
        }
    }
}

fn key_of(parts: &[&str]) -> DigestStart {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    first_bytes(&hash.finalize())
}

fn first_bytes(digest: &[u8]) -> DigestStart {
    digest.first_chunk().copied().unwrap_or_default()
}

impl Nonces {
    /// Tells whether an event with this nonce was accepted before. `body` is the digest of the
    /// body.
    pub(super) fn freshness(
        &self,
        nonce: &NonceUse,
        body: &[u8; 32],
        now: SystemTime,
    ) -> Freshness {
        let table = self.table.lock();
        let webhook = table.webhooks.get(&nonce.webhook);
        match webhook.and_then(|webhook| webhook.spent.get(&nonce.nonce)) {
            Some(spent) if spent.until < now => Freshness::New,
            Some(spent) if spent.body == first_bytes(body) => {
                if nonce.is_unique {
                    Freshness::Repeated
                } else {
                    Freshness::New
                }
            }
            Some(_) => Freshness::Reused,
            None => Freshness::New,
        }
    }

    /// Records the nonce of an accepted event.
    pub(super) fn spend(&self, nonce: &NonceUse, body: &[u8; 32], now: SystemTime) {
        let mut table = self.table.lock();
        table.forget_old(&nonce.webhook, now);
        let spent = SpentNonce {
            until: now + nonce.keep,
            body: first_bytes(body),
        };
        table.insert(nonce.webhook, nonce.nonce, spent);
        table.is_changed = true;
    }

    /// True if a nonce was spent since the nonces were last [kept](Self::kept_with).
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.table.lock().is_changed
    }

    /// Returns the bytes to keep over a restart: the nonces of this process and those in the bytes
    /// `kept` before, perhaps by the process of a deployment before. The latest 16,384 stay. Only
    /// hashes are among the bytes.
    #[must_use]
    pub fn kept_with(&self, kept: &[u8], now: SystemTime) -> Vec<u8> {
        let mut table = self.table.lock();
        table.is_changed = false;
        let mut spent: BTreeMap<(DigestStart, DigestStart), SpentNonce> = records(kept).collect();
        for (webhook, nonces) in &table.webhooks {
            let own = nonces.spent.iter();
            spent.extend(own.map(|(nonce, spent)| ((*webhook, *nonce), *spent)));
        }
        drop(table);
        let mut all: Vec<_> = spent
            .into_iter()
            .filter(|(_, spent)| spent.until >= now)
            .collect();
        all.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.until));
        all.truncate(MAX_KEPT);
        let record = |((webhook, nonce), spent): ((DigestStart, DigestStart), SpentNonce)| {
            let until = spent
                .until
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs()
                .to_le_bytes();
            [&webhook[..], &nonce, &spent.body, &until].concat()
        };
        // The oldest first, as they were spent.
        all.into_iter().rev().flat_map(record).collect()
    }

    /// Takes the nonces in kept bytes.
    pub fn restore(&self, kept: &[u8], now: SystemTime) {
        let mut table = self.table.lock();
        for ((webhook, nonce), spent) in records(kept) {
            if spent.until >= now {
                table.insert(webhook, nonce, spent);
            }
        }
    }
}

/// Returns the nonces in kept bytes. What is no whole record is left out.
fn records(kept: &[u8]) -> impl Iterator<Item = ((DigestStart, DigestStart), SpentNonce)> {
    let (records, _) = kept.as_chunks::<RECORD>();
    records.iter().filter_map(|record| {
        let (webhook, rest) = record.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (body, until) = rest.split_first_chunk()?;
        let seconds = u64::from_le_bytes(*until.first_chunk()?);
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        Some(((*webhook, *nonce), SpentNonce { until, body: *body }))
    })
}

impl NonceTable {
    /// Adds a nonce. At the bound, the webhook with the most nonces forgets its oldest one.
    fn insert(&mut self, webhook: DigestStart, nonce: DigestStart, spent: SpentNonce) {
        if self.count >= MAX_NONCES {
            self.forget_one();
        }
        let webhook = self.webhooks.entry(webhook).or_default();
        if webhook.spent.insert(nonce, spent).is_none() {
            webhook.order.push_back(nonce);
            self.count += 1;
        }
    }

    /// Forgets nonces of a webhook whose time has passed: a few for each that comes, so that no
    /// event waits for thousands.
    fn forget_old(&mut self, webhook: &DigestStart, now: SystemTime) {
        let Some(webhook) = self.webhooks.get_mut(webhook) else {
            return;
        };
        let is_old = |webhook: &WebhookNonces| {
            let oldest = webhook.order.front().and_then(|key| webhook.spent.get(key));
            oldest.is_some_and(|spent| spent.until < now)
        };
        for _ in 0..PORTION {
            if !is_old(webhook) {
                break;
            }
            webhook.forget_oldest();
            self.count -= 1;
        }
    }

    /// Forgets the oldest nonce of the webhook with the most nonces.
    fn forget_one(&mut self) {
        let most = self
            .webhooks
            .values_mut()
            .max_by_key(|webhook| webhook.order.len());
        if let Some(webhook) = most {
            webhook.forget_oldest();
            self.count -= 1;
        }
        // A webhook of an earlier configuration would stay for ever.
        self.webhooks.retain(|_, webhook| !webhook.order.is_empty());
    }
}

impl WebhookNonces {
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.spent.remove(&oldest);
        }
    }
}

/// The nonces that are forgotten for each that comes: more than one, so that a rush is forgotten
/// sooner than it came; few enough to take some microseconds.
const PORTION: usize = 64;
/// The bound on nonces of all webhooks: some 8 MiB.
const MAX_NONCES: usize = 65_536;
/// The bound on nonces that outlive a restart: a file of some 900 KiB, written once a minute at
/// most.
const MAX_KEPT: usize = 16_384;
/// The bytes of a kept nonce: webhook, nonce, body, and the second of its end.
const RECORD: usize = 16 + 16 + 16 + 8;

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const BODY: [u8; 32] = [1; 32];
    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn a_spent_nonce_tells_a_repetition_from_a_second_use() {
        let nonces = Nonces::default();
        let nonce = |text| NonceUse::new("/a", "x-nonce", text, MINUTE);
        assert_eq!(nonces.freshness(&nonce("a"), &BODY, NOW), Freshness::New);
        nonces.spend(&nonce("a"), &BODY, NOW);
        let later = NOW + MINUTE;
        let much_later = later + Duration::from_secs(1);
        for (nonce, body, now, expected) in [
            (nonce("a"), BODY, NOW, Freshness::Repeated),
            (nonce("a"), [2; 32], NOW, Freshness::Reused),
            (nonce("a"), BODY, later, Freshness::Repeated),
            (nonce("a"), BODY, much_later, Freshness::New),
            (nonce("b"), BODY, NOW, Freshness::New),
            (
                NonceUse::new("/a", "y-nonce", "a", MINUTE),
                BODY,
                NOW,
                Freshness::New,
            ),
            (
                NonceUse::new("/b", "x-nonce", "a", MINUTE),
                BODY,
                NOW,
                Freshness::New,
            ),
        ] {
            assert_eq!(nonces.freshness(&nonce, &body, now), expected, "{nonce:?}");
        }
        nonces.spend(&nonce("b"), &BODY, much_later);
        assert_eq!(nonces.table.lock().count, 1, "old nonces are forgotten");
    }

    #[test]
    fn nonces_outlive_a_restart_in_bounded_bytes() {
        let now = SystemTime::UNIX_EPOCH + MINUTE * 1000;
        let nonce = |text: &str| NonceUse::new("/a", "n", text, MINUTE);
        let before = Nonces::default();
        assert!(!before.is_changed());
        before.spend(&nonce("a"), &BODY, now);
        assert!(before.is_changed());
        let kept = before.kept_with(b"", now);
        assert!(!before.is_changed());
        let after = Nonces::default();
        after.restore(&kept, now);
        assert_eq!(
            after.freshness(&nonce("a"), &BODY, now),
            Freshness::Repeated
        );
        assert_eq!(
            after.freshness(&nonce("a"), &[2; 32], now),
            Freshness::Reused
        );
        let much_later = now + MINUTE * 2;
        let late = Nonces::default();
        late.restore(&kept, much_later);
        assert_eq!(late.freshness(&nonce("a"), &BODY, now), Freshness::New);
        // A second process has kept its own nonces meanwhile.
        let other = Nonces::default();
        other.spend(&nonce("b"), &BODY, now);
        let both = Nonces::default();
        both.restore(&other.kept_with(&kept, now), now);
        for text in ["a", "b"] {
            assert_eq!(
                both.freshness(&nonce(text), &BODY, now),
                Freshness::Repeated
            );
        }
        for number in 0..MAX_KEPT + 10 {
            both.spend(&nonce(&number.to_string()), &BODY, now + MINUTE / 2);
        }
        assert_eq!(both.kept_with(&kept, now).len(), MAX_KEPT * RECORD);
        after.restore(&[7; RECORD + 3], now);
    }

    #[test]
    fn the_table_is_bounded_and_a_busy_webhook_forgets_its_own_nonces() {
        let nonces = Nonces::default();
        let nonce =
            |webhook, number: usize| NonceUse::new(webhook, "n", &number.to_string(), MINUTE);
        nonces.spend(&nonce("/quiet", 0), &BODY, NOW);
        for number in 0..MAX_NONCES + 10 {
            nonces.spend(&nonce("/busy", number), &BODY, NOW);
        }
        assert_eq!(nonces.table.lock().count, MAX_NONCES);
        for (webhook, number, expected) in [
            ("/quiet", 0, Freshness::Repeated),
            ("/busy", 0, Freshness::New),
            ("/busy", MAX_NONCES + 9, Freshness::Repeated),
        ] {
            let found = nonces.freshness(&nonce(webhook, number), &BODY, NOW);
            assert_eq!(found, expected, "{webhook} {number}");
        }
    }
}
