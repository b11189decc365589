//! The record of a rotation under way: all that a later process needs to bring the rotation to its
//! end.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::credential::source::ProgramTrace;
use crate::secret::{Fingerprint, Secret};

/// A rotation under way.
#[derive(Clone)]
pub struct Record {
    /// The work that the rotation belongs to.
    pub author: Author,
    /// The origin of the new secret.
    pub origin: RotationOrigin,
    /// The last step that began.
    pub step: RotationStep,
    /// The name of the credential.
    pub credential: String,
    /// The name of the secret within the credential.
    pub secret: String,
    /// The place that is written, as the user named the place.
    pub place: String,
    /// The time of the first step.
    pub began: SystemTime,
    /// The time before which the old secret stays good, for a renewal.
    pub revoke_at: Option<SystemTime>,
    /// The secret to replace; `None` without a usable secret in the source.
    pub old: Option<Arc<Secret>>,
    /// The new secret for the place; `None` before the exchange.
    pub new: Option<Arc<Secret>>,
    /// The program that the last write gave a secret.
    pub program: Option<ProgramTrace>,
}

/// The work that a rotation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// The command `keyside rotate`.
    Command,
    /// The renewal of a running sidecar.
    Renewal,
}

impl Author {
    /// Returns the command, or the key of the configuration, as messages name it.
    #[must_use]
    pub fn shown(self) -> &'static str {
        match self {
            Self::Command => "`keyside rotate`",
            Self::Renewal => "`renew`",
        }
    }
}

/// The origin of a new secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationOrigin {
    /// The provider gave the secret in exchange for the old one: nobody else knows it.
    Exchanged,
    /// A user gave the secret, and may use it elsewhere.
    Given,
}

/// The last step of a rotation that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationStep {
    /// The old secret is exchanged for a new one.
    Exchanging,
    /// The new secret is written to its place.
    Placing,
    /// The new secret is in its place, and sidecars are to use it.
    Placed,
    /// Sidecars use the new secret, and the old one is revoked.
    Revoking,
    /// The old secret is written back, and the new one is revoked. Without a new secret, the
    /// exchange was lost.
    TakingBack,
}

impl Record {
    /// Returns the fingerprints of the secrets.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        let secrets = self.old.iter().chain(&self.new);
        secrets.map(|secret| secret.fingerprint().of_random_key())
    }

    /// True for the record of a process that ended before the answer to its exchange: the provider
    /// may have made a token that nobody knows.
    #[must_use]
    pub fn is_exchange_lost(&self) -> bool {
        self.step == RotationStep::Exchanging
    }

    /// True if the provider may have made a token that nobody knows, whether that was recorded
    /// already or not: an exchange was cut off, and its new token is in no journal.
    #[must_use]
    pub fn may_leave_unknown_token(&self) -> bool {
        let is_cut_off = matches!(
            self.step,
            RotationStep::Exchanging | RotationStep::TakingBack
        );
        is_cut_off && self.new.is_none()
    }

    /// Returns the record as one line of JSON. Secrets are in base64, so that no byte of one ends
    /// the line.
    pub(super) fn to_line(&self) -> Zeroizing<Vec<u8>> {
        let old = self.old.as_deref().map(encoded);
        let new = self.new.as_deref().map(encoded);
        let form = RecordForm {
            version: VERSION,
            author: self.author,
            origin: self.origin,
            step: self.step,
            credential: Cow::Borrowed(&self.credential),
            secret: Cow::Borrowed(&self.secret),
            place: Cow::Borrowed(&self.place),
            began: seconds(self.began),
            revoke_at: self.revoke_at.map(seconds),
            old: old.as_ref().map(|old| old.as_str()),
            new: new.as_ref().map(|new| new.as_str()),
            program: self.program.as_ref().map(Cow::Borrowed),
        };
        let names = self.credential.len() + self.secret.len() + self.place.len();
        let secrets: usize = old.iter().chain(&new).map(|secret| secret.len()).sum();
        // Sized once: a growing buffer would leave copies of secrets behind. A name takes at most
        // six bytes a letter.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_FRAME + 6 * names + secrets));
        serde_json::to_writer(&mut *line, &form).ok();
        line.push(b'\n');
        line
    }

    /// Reads a line of a journal; `None` for a line that a crash has cut.
    pub(super) fn of_line(line: &[u8]) -> Option<Self> {
        let form: RecordForm<'_> = serde_json::from_slice(line).ok()?;
        let decoded =
            |secret: Option<&str>| secret.map_or(Some(None), |text| decoded(text).map(Some));
        Some(Self {
            author: form.author,
            origin: form.origin,
            step: form.step,
            credential: form.credential.into_owned(),
            secret: form.secret.into_owned(),
            place: form.place.into_owned(),
            began: time(form.began),
            revoke_at: form.revoke_at.map(time),
            old: decoded(form.old)?,
            new: decoded(form.new)?,
            program: form.program.map(Cow::into_owned),
        })
        .filter(|_| form.version == VERSION)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("step", &self.step)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

/// The record in JSON.
#[derive(Serialize, Deserialize)]
struct RecordForm<'r> {
    version: u32,
    author: Author,
    origin: RotationOrigin,
    step: RotationStep,
    #[serde(borrow)]
    credential: Cow<'r, str>,
    #[serde(borrow)]
    secret: Cow<'r, str>,
    #[serde(borrow)]
    place: Cow<'r, str>,
    /// Unix seconds, like `revoke_at`.
    began: u64,
    revoke_at: Option<u64>,
    old: Option<&'r str>,
    new: Option<&'r str>,
    /// Absent in journals of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<Cow<'r, ProgramTrace>>,
}

fn encoded(secret: &Secret) -> Zeroizing<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the journal keeps the secret until it is dead; the file is private or sealed"
    )]
    let value = secret.expose().as_bytes();
    let mut text = Zeroizing::new(String::with_capacity(BASE64.encode_len(value.len())));
    BASE64.encode_append(value, &mut text);
    text
}

fn decoded(text: &str) -> Option<Arc<Secret>> {
    let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).ok()?);
    Secret::parse_text_or_pem(bytes).ok().map(Arc::new)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The version of the form.
const VERSION: u32 = 1;
/// The most bytes of a record besides names and secrets: keys, times and numbers alone.
const MAX_FRAME: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Arc<Secret> {
        let bytes = Zeroizing::new(value.as_bytes().to_vec());
        Arc::new(Secret::parse_text_or_pem(bytes).unwrap())
    }

    fn record(old: &str, new: Option<&str>) -> Record {
        Record {
            author: Author::Command,
            origin: RotationOrigin::Exchanged,
            step: RotationStep::Placing,
            credential: "acme".to_owned(),
            secret: "token".to_owned(),
            place: "exec:/bin/put \"x\"".to_owned(),
            began: time(1_764_400_000),
            revoke_at: Some(time(1_764_486_400)),
            old: Some(secret(old)),
            new: new.map(secret),
            program: serde_json::from_str(TRACE).ok(),
        }
    }

    /// A trace with the largest numbers.
    const TRACE: &str = r#"{"pid":2147483647,"started":18446744073709551615,"system":"0c8f7ab1-9ea5-4d66-8d0b-64f1ee0d3a1c pid:[4294967295]","mark":"0123456789abcdef0123456789abcdef"}"#;

    #[test]
    fn a_token_may_be_unknown_after_an_exchange_without_an_answer_alone() {
        for (step, new, expected) in [
            (RotationStep::Exchanging, None, true),
            // The exchange was recorded, and the rotation is on its way back.
            (RotationStep::TakingBack, None, true),
            (RotationStep::TakingBack, Some("EAANEW"), false),
            (RotationStep::Placing, Some("EAANEW"), false),
        ] {
            let mut record = record("EAAOLD", new);
            record.step = step;
            assert_eq!(record.may_leave_unknown_token(), expected, "{new:?}");
        }
    }

    #[test]
    fn a_record_survives_its_line() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----";
        for (old, new) in [
            ("EAAOLD", None),
            ("EAAOLD", Some("EAANEW")),
            (key, Some(key)),
        ] {
            let line = record(old, new).to_line();
            let text = std::str::from_utf8(&line).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(line.len() <= line.capacity() && text.ends_with('\n'));
            let read = Record::of_line(line.trim_ascii()).unwrap();
            assert!(read.old.unwrap().same_as(&secret(old)));
            assert_eq!(read.new.is_some(), new.is_some());
            assert_eq!(
                (read.step, read.began),
                (RotationStep::Placing, time(1_764_400_000))
            );
            assert_eq!(read.revoke_at, Some(time(1_764_486_400)));
            assert_eq!(read.place, "exec:/bin/put \"x\"");
            assert_eq!(read.program, record(old, new).program);
            assert!(read.program.is_some());
        }
    }

    #[test]
    fn a_cut_line_and_a_line_of_another_version_are_no_record() {
        let line = record("EAAOLD", Some("EAANEW")).to_line();
        for length in 0..line.len() - 2 {
            assert!(Record::of_line(&line[..length]).is_none(), "{length}");
        }
        let text = String::from_utf8(line.to_vec()).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(Record::of_line(newer.as_bytes()).is_none());
    }

    #[test]
    fn a_record_of_an_earlier_version_has_no_program() {
        let text = String::from_utf8(record("EAAOLD", None).to_line().to_vec()).unwrap();
        let (earlier, _) = text.split_once(",\"program\":").unwrap();
        let read = Record::of_line(format!("{earlier}}}").as_bytes()).unwrap();
        assert!(read.program.is_none() && read.old.is_some());
    }

    #[test]
    fn a_record_shows_no_secret() {
        let shown = format!("{:?}", record("EAAOLD", Some("EAANEW")));
        assert!(!shown.contains("EAA"), "{shown}");
    }
}
