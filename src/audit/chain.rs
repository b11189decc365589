//! The chain of lines in a file: each line has the hash of the line before, also across files.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::units::millis;

/// An open file with the end of its chain.
pub(super) struct Chain {
    file: File,
    tail: Tail,
    /// The reason for which the next line begins a file, if the chain is older than the file.
    goes_on: Option<&'static str>,
}

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tail {
    /// The hash of the last line.
    before: String,
    /// True if the last line has no line end.
    is_cut: bool,
    /// The length of the file.
    length: u64,
}

impl Chain {
    /// Opens a file, or creates the file. An empty file goes on after the line with the hash
    /// `after`, or else after the last line of the file that was rotated away to `PATH.1`.
    ///
    /// # Errors
    /// If the file cannot be read and written, or is not a regular file.
    pub(super) fn open(path: &Path, after: Option<String>) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        must_be_regular(&file)?;
        if let Some(tail) = Tail::read(&mut file)? {
            return Ok(Self {
                file,
                tail,
                goes_on: None,
            });
        }
        let after = after.or_else(|| rotated_tail(path));
        let goes_on = after.is_some().then_some("the file is new");
        let tail = Tail {
            before: after.unwrap_or_else(|| FIRST.to_owned()),
            is_cut: false,
            length: 0,
        };
        Ok(Self {
            file,
            tail,
            goes_on,
        })
    }

    /// Returns the hash of the last line.
    pub(super) fn before(&self) -> &str {
        &self.tail.before
    }

    /// True if the last line has no line end.
    pub(super) fn is_cut(&self) -> bool {
        self.tail.is_cut
    }

    /// True if the path leads to the open file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let place = |file: std::fs::Metadata| (file.dev(), file.ino());
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(open), Ok(found)) => place(open) == place(found),
            _ => false,
        }
    }

    /// Appends a line with the number of events lost before the line.
    ///
    /// # Errors
    /// If the line is not in the file, or only a part of the line is.
    pub(super) fn append(&mut self, line: Map<String, Value>, lost: u64) -> io::Result<()> {
        // `keyside rotate` beside a running sidecar appends to the same file. Under the lock, the
        // end of the file is the end of the chain, whoever has written it.
        lock(&self.file)?;
        let result = self.append_locked(line, lost);
        flock(&self.file, FlockOperation::Unlock).ok();
        result
    }

    fn append_locked(&mut self, mut line: Map<String, Value>, lost: u64) -> io::Result<()> {
        self.notice_truncation()?;
        self.notice_others()?;
        if let Some(reason) = self.goes_on {
            self.put(event(GOES_ON, [("because", reason.into())]))?;
            self.goes_on = None;
        }
        if lost > 0 {
            line.insert(LOST.to_owned(), lost.into());
        }
        self.put(line)
    }

    /// Writes all lines to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Lets the next line say that the chain goes on, if the file was shortened, as `copytruncate`
    /// of logrotate does.
    fn notice_truncation(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < self.tail.length {
            self.tail.length = length;
            self.tail.is_cut = !ends_with_line_end(&self.file, length)?;
            self.goes_on = Some("the file was shortened");
        }
        Ok(())
    }

    /// Takes the lines of other processes as the end of the chain.
    fn notice_others(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > self.tail.length
            && let Some(tail) = Tail::read(&mut self.file)?
        {
            self.tail = tail;
            self.goes_on = None;
        }
        Ok(())
    }

    fn put(&mut self, mut line: Map<String, Value>) -> io::Result<()> {
        line.insert(BEFORE.to_owned(), self.tail.before.as_str().into());
        let bytes = self.tail.bytes_of(&Value::Object(line).to_string());
        let (written, result) = write_as_much_as_possible(&mut self.file, &bytes);
        if self.tail.advance(&bytes, written) {
            return Ok(());
        }
        result
    }
}

impl Tail {
    /// Reads the end of a file; `None` for an empty file.
    fn read(file: &mut File) -> io::Result<Option<Self>> {
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE)))?;
        let mut end = Vec::new();
        file.take(MAX_LINE).read_to_end(&mut end)?;
        if end.is_empty() {
            return Ok(None);
        }
        let is_cut = end.pop_if(|last| *last == b'\n').is_none();
        let line = end.rsplit(|byte| *byte == b'\n').next();
        Ok(Some(Self {
            before: hash_of(line.unwrap_or_default()),
            is_cut,
            length,
        }))
    }

    /// Returns the bytes of a line. A cut line before gets its line end first.
    fn bytes_of(&self, line: &str) -> Vec<u8> {
        let end_of_last: &[u8] = if self.is_cut { b"\n" } else { b"" };
        [end_of_last, line.as_bytes(), b"\n"].concat()
    }

    /// Notes that the first `written` of these bytes are in the file. Returns true if the whole
    /// line is.
    fn advance(&mut self, bytes: &[u8], written: usize) -> bool {
        let (there, missing) = bytes.split_at_checked(written).unwrap_or((bytes, &[]));
        self.length += there.len() as u64;
        let line = if self.is_cut {
            there.strip_prefix(b"\n").unwrap_or_default()
        } else {
            there
        };
        if !there.is_empty() {
            self.is_cut = !there.ends_with(b"\n");
        }
        if !line.is_empty() {
            self.before = hash_of(line.strip_suffix(b"\n").unwrap_or(line));
        }
        missing.len() <= 1
    }
}

/// Checks that a file can be written, without creating the file.
///
/// # Errors
/// If opening the file would fail for want of a directory or a permission.
pub fn check_writable(path: &Path) -> io::Result<()> {
    match OpenOptions::new().read(true).append(true).open(path) {
        Ok(file) => must_be_regular(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
                let error = io::Error::from(error);
                let text = format!("its directory {}: {error}", directory.display());
                io::Error::new(error.kind(), text)
            })
        }
        Err(error) => Err(error),
    }
}

/// Returns an event with the time of now.
pub(super) fn event<const N: usize>(name: &str, fields: [(&str, Value); N]) -> Map<String, Value> {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut line: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    line.insert(EVENT.to_owned(), name.into());
    line.insert("time_ms".to_owned(), millis(since_1970).into());
    line
}

/// Returns the hash of a line.
pub(super) fn hash_of(line: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(line))
}

fn must_be_regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        Ok(())
    } else {
        let kind = io::ErrorKind::InvalidInput;
        Err(io::Error::new(kind, "it is not a regular file"))
    }
}

/// Waits for the lock of a file that several processes append to. File systems without locks have
/// one writer.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..MAX_LOCK_WAIT.as_millis() / LOCK_RETRY_INTERVAL.as_millis() {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_RETRY_INTERVAL),
            Ok(()) | Err(_) => return Ok(()),
        }
    }
    let kind = io::ErrorKind::WouldBlock;
    Err(io::Error::new(kind, "another process holds its lock"))
}

/// Returns the hash of the last line in the file that logrotate has just moved away.
fn rotated_tail(path: &Path) -> Option<String> {
    let mut name = OsString::from(path);
    name.push(".1");
    let mut file = File::open(PathBuf::from(name)).ok()?;
    must_be_regular(&file).ok()?;
    Some(Tail::read(&mut file).ok()??.before)
}

fn ends_with_line_end(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// Returns the number of written bytes, and the error that stopped the writing.
fn write_as_much_as_possible(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// The name of the field with the hash of the line before.
pub(super) const BEFORE: &str = "before";
/// The value of [`BEFORE`] in the first line of a chain.
pub(super) const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The name of the field with the name of the event.
pub(super) const EVENT: &str = "event";
/// The event at the beginning of a file whose chain is older than the file.
pub(super) const GOES_ON: &str = "goes on";
/// The name of the field with the number of events lost before the line.
pub(super) const LOST: &str = "lost";
/// The bytes read from the end of a file to find the last line. A line has some 300 bytes, or a few
/// thousand with all reasons of a refused reload.
const MAX_LINE: u64 = 1024 * 1024;
/// The longest wait for the lock of the file. A line takes some microseconds, on a slow disk some
/// milliseconds.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(1);
/// The time between two looks at a lock that another process holds: as long as a write of a line
/// with its sync.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_stops_anywhere_leaves_a_chain_that_goes_on() {
        let first = "{\"event\":\"a\"}";
        let second = "{\"event\":\"b\"}";
        for is_cut in [false, true] {
            let begin = Tail {
                before: "h".to_owned(),
                is_cut,
                length: 7,
            };
            let bytes = begin.bytes_of(first);
            for written in 0..=bytes.len() {
                let mut tail = begin.clone();
                let is_whole = tail.advance(&bytes, written);
                let mut file = if is_cut { b"x".to_vec() } else { Vec::new() };
                file.extend(&bytes[..written]);
                assert_eq!(is_whole, written + 1 >= bytes.len(), "{written}");
                assert_eq!(tail.length, 7 + written as u64);
                file.extend(tail.bytes_of(second));
                let text = String::from_utf8(file).unwrap();
                let lines: Vec<_> = text.lines().collect();
                let (last, others) = lines.split_last().unwrap();
                assert_eq!(*last, second, "{written}: {text:?}");
                let before = others.last().filter(|line| !is_cut || **line != "x");
                let expected =
                    before.map_or_else(|| "h".to_owned(), |line| hash_of(line.as_bytes()));
                assert_eq!(tail.before, expected, "{written}: {text:?}");
            }
        }
    }
}
