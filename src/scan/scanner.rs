//! The scanner of bytes: finds credentials in a text of any length, in pieces.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aho_corasick::{BuildError, Input};

use super::configured::ConfiguredSecret;
use super::encoding::TextEncoding;
use super::find::{Find, Hit, settled};
use super::form::{KnownForm, MAX_GAP, MAX_VALUE, known_forms};
use super::needle::{Needles, Role};
use super::pem::{MAX_ENCODED_PEM, private_key, private_key_in_base64};
use crate::provider::Provider;

/// The scanner. Threads share one.
pub struct Scanner {
    forms: Vec<KnownForm>,
    secrets: Vec<ConfiguredSecret>,
    needles: Needles,
    /// The number of bytes before and behind a needle that may belong to one credential.
    reach: usize,
    bytes_read: Arc<AtomicU64>,
}

/// The memory of a thread that scans one text after the other.
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new() }
    }
}

/// A text that was scanned.
pub(super) struct Scanned {
    /// The finds, by line, with the place in the text.
    pub(super) hits: Vec<(usize, Hit)>,
    /// The number of bytes.
    pub(super) length: u64,
}

impl Scanner {
    /// A scanner for the known forms of all presets and of these providers, and for these secrets
    /// of a configuration.
    ///
    /// # Errors
    /// If there are too many secrets for one automaton.
    pub fn new(secrets: Vec<ConfiguredSecret>, own: &[Arc<Provider>]) -> Result<Self, BuildError> {
        let secrets: Vec<_> = secrets
            .into_iter()
            .filter(ConfiguredSecret::is_long)
            .collect();
        let forms = known_forms(own);
        let needles = Needles::new(&forms, &secrets)?;
        let longest = secrets.iter().map(ConfiguredSecret::max_length).max();
        let longest_behind = longest
            .unwrap_or_default()
            .max(MAX_ENCODED_PEM)
            .max(MAX_VALUE + MAX_GAP);
        Ok(Self {
            forms,
            secrets,
            reach: longest_behind + needles.longest(),
            needles,
            bytes_read: Arc::default(),
        })
    }

    /// Returns the number of bytes of texts read so far, which grows during a scan.
    #[must_use]
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_read)
    }

    /// Returns the name of a file or member, fit to be shown: without credentials and control
    /// characters.
    #[must_use]
    pub fn shown(&self, name: &str) -> String {
        fit_to_show(&self.without_credentials(name.as_bytes()))
    }

    /// Returns the bytes of a name with a mark in the place of each credential.
    fn without_credentials(&self, name: &[u8]) -> Vec<u8> {
        let mut clean = Vec::with_capacity(name.len());
        let mut from = 0;
        for hit in self.hits(name) {
            clean.extend(name.get(from..hit.start).unwrap_or_default());
            clean.extend(b"[redacted]");
            from = hit.end;
        }
        clean.extend(name.get(from..).unwrap_or_default());
        clean
    }

    /// Scans a text from its beginning to its end.
    ///
    /// # Errors
    /// If the text cannot be read to its end.
    pub fn scan(&self, name: &str, text: &mut dyn Read) -> std::io::Result<Vec<Find>> {
        let scanned = self.scan_text(text, &mut Buffer::new())?;
        Ok(self.finds(name.as_bytes(), scanned.hits))
    }

    /// Returns hits as finds in a file.
    pub(super) fn finds(&self, name: &[u8], hits: Vec<(usize, Hit)>) -> Vec<Find> {
        if hits.is_empty() {
            return Vec::new();
        }
        let path = self.without_credentials(name);
        let file = fit_to_show(&path);
        let mut finds: Vec<Find> = hits
            .into_iter()
            .map(|(line, hit)| Find {
                file: file.clone(),
                path: path.clone(),
                member: None,
                line,
                kind: hit.kind,
                fingerprint: Some(hit.fingerprint),
            })
            .collect();
        // A value at the seam of two pieces is found by its name in the one and by itself in the
        // other.
        finds.dedup_by(|later, earlier| {
            (later.line, later.fingerprint) == (earlier.line, earlier.fingerprint)
        });
        finds
    }

    /// Returns the finds in the name of a member of an archive.
    pub(super) fn member_finds(&self, archive: &[u8], member: &str) -> Vec<Find> {
        let hits = self.hits(member.as_bytes());
        let path = self.without_credentials(archive);
        let of_value = hits
            .into_iter()
            .map(|hit| (hit.kind, Some(hit.fingerprint)));
        let of_name =
            is_credential_file(member, &self.forms).then(|| (CREDENTIAL_FILE.to_owned(), None));
        of_value
            .chain(of_name)
            .map(|(kind, fingerprint)| Find {
                file: fit_to_show(&path),
                path: path.clone(),
                member: Some(self.shown(member)),
                line: 1,
                kind,
                fingerprint,
            })
            .collect()
    }

    pub(super) fn scan_text(
        &self,
        text: &mut dyn Read,
        buffer: &mut Buffer,
    ) -> std::io::Result<Scanned> {
        let bytes = &mut buffer.bytes;
        bytes.resize(PIECE + 2 * self.reach, 0);
        let mut scanned = Scanned {
            hits: Vec::new(),
            length: 0,
        };
        let mut filled = 0;
        let mut from = 0;
        let mut line = 1;
        let mut encoding: Option<TextEncoding> = None;
        loop {
            let (read, is_end) = fill(text, bytes, filled)?;
            scanned.length += read as u64;
            self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
            let new = bytes.get_mut(filled..filled + read).unwrap_or_default();
            let encoding = encoding.get_or_insert_with(|| TextEncoding::of(new));
            filled += encoding.to_ascii(new);
            let piece = bytes.get(..filled).unwrap_or_default();
            let until = if is_end {
                filled
            } else {
                filled.saturating_sub(self.reach).max(from)
            };
            self.scan_piece(piece, from..until, line, &mut scanned.hits);
            if is_end {
                return Ok(scanned);
            }
            let dropped = until.saturating_sub(self.reach);
            line += lines(piece.get(..dropped).unwrap_or_default());
            bytes.copy_within(dropped..filled, 0);
            filled -= dropped;
            from = until - dropped;
        }
    }

    /// Scans a piece of a text for credentials whose needle begins within `range`.
    fn scan_piece(
        &self,
        piece: &[u8],
        range: std::ops::Range<usize>,
        first_line: usize,
        hits: &mut Vec<(usize, Hit)>,
    ) {
        let found = settled(self.hits_within(piece, range));
        let mut line = first_line;
        let mut counted = 0;
        for hit in found {
            line += lines(piece.get(counted..hit.start).unwrap_or_default());
            counted = hit.start.max(counted);
            hits.push((line, hit));
        }
    }

    /// Returns the credentials in a short text.
    fn hits(&self, text: &[u8]) -> Vec<Hit> {
        settled(self.hits_within(text, 0..text.len()))
    }

    fn hits_within(&self, text: &[u8], range: std::ops::Range<usize>) -> Vec<Hit> {
        let end = (range.end + self.needles.longest()).min(text.len());
        let input = Input::new(text).range(range.start..end);
        let mut hits = Vec::new();
        // An automaton of its kind has no state in which this search could fail.
        let Ok(found) = self.needles.automaton.try_find_overlapping_iter(input) else {
            return hits;
        };
        for found in found.filter(|found| found.start() < range.end) {
            let bytes = text.get(found.range()).unwrap_or_default();
            for role in self.needles.roles(found.pattern().as_usize(), bytes) {
                hits.extend(self.hit(role, text, found.start(), found.end()));
            }
        }
        hits
    }

    /// Returns the credential of which a needle is a part.
    fn hit(&self, role: Role, text: &[u8], start: usize, end: usize) -> Option<Hit> {
        match role {
            Role::Begin(index) => self.forms.get(index)?.at_begin(text, start),
            Role::Base64(index) => self.forms.get(index)?.in_base64(text, start),
            Role::Name(index) => self.forms.get(index)?.behind_name(text, end),
            Role::PrivateKey => private_key(text, start),
            Role::PrivateKeyBase64(missing) => private_key_in_base64(text, start, missing),
            Role::Configured(index) => self.secrets.get(index)?.around(text, start),
            Role::ConfiguredBase64(index) => {
                Some(self.secrets.get(index)?.hit(start, end, "/base64"))
            }
            Role::ConfiguredCodes(index) => self.secrets.get(index)?.in_codes(text, start),
        }
    }
}

/// Returns a name without control characters, and with a mark for bytes that are no UTF-8.
fn fit_to_show(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    name.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Reads until the buffer is full or the text ends. Returns the number of bytes read, and true at
/// the end.
fn fill(text: &mut dyn Read, bytes: &mut [u8], filled: usize) -> std::io::Result<(usize, bool)> {
    let mut read = 0;
    loop {
        // Letters of UTF-16 have two bytes each.
        let even = bytes.len().saturating_sub(filled + read) & !1;
        let free = bytes
            .get_mut(filled + read..)
            .and_then(|free| free.get_mut(..even))
            .unwrap_or_default();
        if free.is_empty() {
            return Ok((read, false));
        }
        match text.read(free) {
            Ok(0) => return Ok((read, true)),
            Ok(count) => read += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns true for the name of a file that holds credentials by habit: `.env`, and files named
/// like a secret.
fn is_credential_file(member: &str, forms: &[KnownForm]) -> bool {
    let name = member
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let is_secret_name = forms
        .iter()
        .filter_map(|known| known.kind.split_once('.'))
        .any(|(_, secret)| secret.contains('_') && secret == name);
    let variant = name.strip_prefix(".env.");
    let is_template = variant.is_some_and(|variant| TEMPLATES.contains(&variant));
    name == ".env" || is_secret_name || (variant.is_some() && !is_template)
}

fn lines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

/// The kind of a find by the name of a file alone.
const CREDENTIAL_FILE: &str = "credential-file";
/// The variants of `.env` that hold examples.
const TEMPLATES: [&str; 5] = ["dist", "example", "sample", "template", "test"];
/// The size of the pieces in which a text is scanned: the cache of a core holds one.
const PIECE: usize = 256 * 1024;
