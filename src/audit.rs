//! A file of what happened to secrets, in which each line carries the hash of the one before: what is
//! changed or taken out afterwards shows.
//!
//! Lines hold names, fingerprints and outcomes; never a secret, a phone number or the text of a message.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Where events are written, if they are.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    entries: Option<SyncSender<Entry>>,
    lost: Arc<AtomicU64>,
    requests: bool,
    goes_on_after: Option<Arc<str>>,
}

enum Entry {
    Event(Map<String, Value>),
    /// All before it is to be on the disk.
    Flush(std::sync::mpsc::Sender<()>),
}

impl Audit {
    /// Goes on with a file, or begins it. It is written by a thread of its own: no request waits for a disk.
    ///
    /// # Errors
    /// Where the file cannot be read and written, or there can be no thread.
    pub fn open(path: &Path, requests: bool) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let before = last_line(&mut file)?;
        let (entries, queue) = sync_channel(QUEUE);
        let lost = Arc::default();
        let goes_on_after = Some(before.as_str().into());
        let chain = Chain { file, before, lost: Arc::clone(&lost) };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || chain.write(&queue))?;
        Ok(Self { entries: Some(entries), lost, requests, goes_on_after })
    }

    /// The hash of the line after which it went on, where there is a file.
    #[must_use]
    pub fn goes_on_after(&self) -> Option<&str> {
        self.goes_on_after.as_deref()
    }

    /// Whether requests are to be recorded as well.
    #[must_use]
    pub fn of_requests(&self) -> bool {
        self.requests
    }

    /// Records an event. Never waits: what the disk is too slow for is counted, and the count is told
    /// with the next event that is written.
    pub fn record<const N: usize>(&self, event: &str, fields: [(&str, Value); N]) {
        let Some(entries) = &self.entries else { return };
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut line: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        line.insert("event".to_owned(), event.into());
        line.insert("time_ms".to_owned(), u64::try_from(millis).unwrap_or(u64::MAX).into());
        if entries.try_send(Entry::Event(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, a second at most, until all that was recorded is on the disk.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.entries.as_ref().is_some_and(|entries| entries.try_send(Entry::Flush(done)).is_ok()) {
            wait.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        }
    }
}

/// The file with its last hash.
struct Chain {
    file: File,
    before: String,
    lost: Arc<AtomicU64>,
}

impl Chain {
    fn write(mut self, queue: &Receiver<Entry>) {
        let mut is_broken = false;
        while let Ok(entry) = queue.recv() {
            let written = match entry {
                Entry::Event(line) => self.append(line),
                Entry::Flush(done) => {
                    let synced = self.file.sync_data();
                    done.send(()).unwrap_or_default();
                    synced
                }
            };
            match written {
                Ok(()) => is_broken = false,
                Err(error) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut is_broken, true) {
                        tracing::error!(%error, "the audit file cannot be written");
                    }
                }
            }
        }
    }

    fn append(&mut self, mut line: Map<String, Value>) -> io::Result<()> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            line.insert("lost".to_owned(), lost.into());
        }
        line.insert(BEFORE.to_owned(), self.before.as_str().into());
        let mut text = Value::Object(line).to_string();
        let hash = hash_of(text.as_bytes());
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.before = hash;
        Ok(())
    }
}

/// The hash of the last line of a file. One that was cut off by a crash is ended first.
fn last_line(file: &mut File) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    if end.is_empty() {
        return Ok(FIRST.to_owned());
    }
    if end.last() != Some(&b'\n') {
        file.write_all(b"\n")?;
        end.push(b'\n');
    }
    let lines = end.strip_suffix(b"\n").unwrap_or(&end);
    Ok(hash_of(lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default()))
}

fn hash_of(line: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(line))
}

/// What stands in a file that is whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    /// How many lines it has.
    pub lines: u64,
    /// How many of them a crash cut off, after which the next one goes on.
    pub cut: u64,
    /// The hash of the last one.
    pub last: String,
}

/// Checks a file from its first line to its last. Lines missing at its end show only to who `kept` the hash of one of
/// them, from an earlier check or from the log, which has it at each start.
///
/// # Errors
/// The first line that does not follow from the one before it, or is not whole; or that the kept one is not there.
pub fn verify(path: &Path, kept: Option<&str>) -> Result<Whole, AuditError> {
    let mut file = BufReader::new(File::open(path).map_err(AuditError::Read)?);
    let mut whole = Whole { lines: 0, cut: 0, last: FIRST.to_owned() };
    let (mut line, mut is_kept_there, mut is_cut) = (Vec::new(), kept.is_none_or(|kept| kept == FIRST), false);
    while file.read_until(b'\n', &mut line).map_err(AuditError::Read)? > 0 {
        whole.lines += 1;
        let is_ended = line.pop_if(|last| *last == b'\n').is_some();
        let names = serde_json::from_slice::<Value>(&line).ok();
        is_cut = names.is_none() || !is_ended;
        whole.cut += u64::from(is_cut);
        // A line that a crash cut off names nothing, and the next one follows from it as it is.
        if names.is_some_and(|line| line.get(BEFORE).and_then(Value::as_str) != Some(&whole.last)) {
            return Err(AuditError::Broken { line: whole.lines });
        }
        whole.last = hash_of(&line);
        is_kept_there |= kept == Some(&whole.last);
        line.clear();
    }
    match () {
        () if is_cut => Err(AuditError::Cut { line: whole.lines }),
        () if !is_kept_there => Err(AuditError::Missing),
        () => Ok(whole),
    }
}

/// Why a file is not what was written.
#[derive(Debug)]
pub enum AuditError {
    /// It cannot be read.
    Read(io::Error),
    /// A line does not follow from the one before it.
    Broken {
        /// Its number, from 1.
        line: u64,
    },
    /// The last line is not whole.
    Cut {
        /// Its number, from 1.
        line: u64,
    },
    /// The line whose hash was kept is not there.
    Missing,
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Broken { line } => {
                write!(
                    f,
                    "line {line} does not follow from the one before it: one of them was changed, added or removed"
                )
            }
            Self::Cut { line } => write!(
                f,
                "line {line}, the last, is cut off: the file was shortened, or the process ended while it wrote the line"
            ),
            Self::Missing => f.write_str("the line with the hash that was kept is not there: lines were removed"),
        }
    }
}

impl std::error::Error for AuditError {}

/// The field with the hash of the line before.
const BEFORE: &str = "before";
/// What the first line has there.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A line has some 300 bytes; with all reasons of a refused reload, a few thousand.
const LONGEST_LINE: u64 = 1024 * 1024;
const QUEUE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, events: u64) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("keyside-audit-{}-{name}", std::process::id()));
        std::fs::remove_file(&path).unwrap_or_default();
        let audit = Audit::open(&path, false).unwrap();
        for number in 0..events {
            audit.record("reload", [("generation", number.into())]);
        }
        audit.flush();
        path
    }

    #[test]
    fn a_file_follows_from_line_to_line_and_goes_on_after_a_restart() {
        let path = written("whole", 3);
        Audit::open(&path, false).map(|audit| (audit.record("reload", []), audit.flush())).unwrap();
        let whole = verify(&path, None).unwrap();
        assert_eq!((whole.lines, whole.cut, whole.last.len()), (4, 0, 64));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&format!("{{\"before\":\"{FIRST}\"")));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_line_changed_added_or_removed_is_found() {
        let path = written("changed", 4);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let table = [
            ("changed", text.replace("\"generation\":1", "\"generation\":7"), 3),
            ("removed", [lines[0], lines[2], lines[3]].join("\n"), 2),
            ("the first removed", lines[1..].join("\n"), 1),
            ("added", [lines[0], lines[0], lines[1]].join("\n"), 2),
            ("in another order", [lines[0], lines[2], lines[1]].join("\n"), 2),
            ("one made unreadable", [lines[0], "x", lines[2], lines[3]].join("\n"), 3),
        ];
        for (what, text, expected) in table {
            std::fs::write(&path, text).unwrap();
            let broken = verify(&path, None);
            assert!(matches!(broken, Err(AuditError::Broken { line }) if line == expected), "{what}: {broken:?}");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_was_shortened_is_found() {
        let path = written("shortened", 3);
        let text = std::fs::read_to_string(&path).unwrap();
        let last = verify(&path, None).unwrap().last;
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        std::fs::write(&path, text.trim_end()).unwrap();
        assert!(matches!(verify(&path, None), Err(AuditError::Cut { line: 3 })));
        std::fs::write(&path, lines[..2].concat()).unwrap();
        assert_eq!(verify(&path, None).unwrap().lines, 2, "whole lines missing at the end show to nobody");
        assert!(matches!(verify(&path, Some(&last)), Err(AuditError::Missing)), "but to who kept a hash");
        let audit = Audit::open(&path, false).unwrap();
        assert_ne!(audit.goes_on_after(), Some(&*last));
        std::fs::write(&path, text).unwrap();
        assert_eq!(verify(&path, Some(&last)).unwrap().lines, 3);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_line_that_a_crash_cut_off_breaks_nothing_after_it() {
        let path = written("cut", 2);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.trim_end_matches(|c| c != ':')).unwrap();
        let audit = Audit::open(&path, false).unwrap();
        audit.record("reload", []);
        audit.flush();
        let whole = verify(&path, None).unwrap();
        assert_eq!((whole.lines, whole.cut), (3, 1));
        std::fs::remove_file(path).unwrap();
    }
}
