//! The verification of audit files.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::{BEFORE, EVENT, FIRST, GOES_ON, LOST, hash_of};
use crate::document::shown_place;

/// The result of a successful verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedFiles {
    /// The number of lines.
    pub lines: u64,
    /// The number of lines that were cut off, by a crash of the process or a full disk.
    pub cut: u64,
    /// The number of events that lines report as lost.
    pub lost: u64,
    /// The hash of the line before the first file; `None` if the chain begins in the first file.
    pub goes_on_after: Option<String>,
    /// The hash of the last line.
    pub last: String,
}

/// Verifies files from the first line of the oldest to the last line of the newest. Lines missing
/// at the end show only with `kept`: the hash of a line, from an earlier verification or from the
/// log of a start.
///
/// # Errors
/// The first line without the hash of the line before, a last line without its end, or a missing
/// line with the hash `kept`.
pub fn verify(files: &[PathBuf], kept: Option<&str>) -> Result<VerifiedFiles, AuditFault> {
    let mut chain = ChainCheck {
        found: VerifiedFiles {
            last: FIRST.to_owned(),
            ..VerifiedFiles::default()
        },
        is_cut: false,
        has_kept: kept.is_none_or(|kept| kept == FIRST),
    };
    let mut previous = None;
    for file in files {
        chain
            .read(file, previous, kept)
            .map_err(|error| AuditFault {
                file: file.clone(),
                error,
            })?;
        previous = Some(file.as_path());
    }
    let end = if chain.is_cut {
        Some(AuditError::Cut)
    } else if !chain.has_kept {
        Some(AuditError::Missing)
    } else {
        None
    };
    match end {
        Some(error) => Err(AuditFault {
            file: previous.unwrap_or(Path::new("")).to_owned(),
            error,
        }),
        None => Ok(chain.found),
    }
}

/// A verification under way.
struct ChainCheck {
    found: VerifiedFiles,
    /// True if the last line is cut off.
    is_cut: bool,
    /// True if a line with the kept hash was seen.
    has_kept: bool,
}

impl ChainCheck {
    fn read(
        &mut self,
        file: &Path,
        previous: Option<&Path>,
        kept: Option<&str>,
    ) -> Result<(), AuditError> {
        let mut reader = BufReader::new(File::open(file).map_err(AuditError::Read)?);
        let mut number = 0;
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .map_err(AuditError::Read)?
            > 0
        {
            number += 1;
            let is_ended = line.pop_if(|last| *last == b'\n').is_some();
            let names = serde_json::from_slice::<Value>(&line).ok();
            let is_of_audit = match &names {
                Some(names) => names.get(BEFORE).is_some(),
                None => line.starts_with(b"{"),
            };
            if number == 1 && !is_of_audit {
                return Err(AuditError::Foreign);
            }
            self.is_cut = names.is_none() || !is_ended;
            // A line that was cut off is no JSON and has no hash to compare. Its bytes still count
            // for the hash in the next line.
            if let Some(names) = &names {
                self.check_hash(names).map_err(|()| match previous {
                    Some(previous) if number == 1 => AuditError::Border(previous.to_owned()),
                    _ => AuditError::Broken { line: number },
                })?;
                self.found.lost += names.get(LOST).and_then(Value::as_u64).unwrap_or_default();
            }
            self.found.cut += u64::from(self.is_cut);
            self.found.lines += 1;
            self.found.last = hash_of(&line);
            self.has_kept |= kept == Some(&self.found.last);
            line.clear();
        }
        Ok(())
    }

    /// Compares the hash in a line. The first line of all may go on after a line of a file that is
    /// not there, if the line says so.
    fn check_hash(&mut self, line: &Value) -> Result<(), ()> {
        let before = line.get(BEFORE).and_then(Value::as_str);
        if before == Some(&self.found.last) {
            return Ok(());
        }
        let goes_on = line.get(EVENT).and_then(Value::as_str) == Some(GOES_ON);
        let is_first_of_all = self.found.lines == 0;
        if !is_first_of_all || !goes_on || before.is_none() {
            return Err(());
        }
        self.found.goes_on_after = before.map(str::to_owned);
        Ok(())
    }
}

/// A fault found by [`verify`], with the file.
#[derive(Debug)]
pub struct AuditFault {
    /// The file.
    pub file: PathBuf,
    /// The fault.
    pub error: AuditError,
}

/// The fault of a file.
#[derive(Debug)]
pub enum AuditError {
    /// The file cannot be read.
    Read(io::Error),
    /// The first line is not a line of an audit file.
    Foreign,
    /// A line does not have the hash of the line before.
    Broken {
        /// The number of the line, from 1.
        line: u64,
    },
    /// The first line does not have the hash of the last line of the file before.
    Border(PathBuf),
    /// The last line has no end.
    Cut,
    /// No line has the kept hash.
    Missing,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display().to_string();
        match self.error {
            // The argument that names no file may be a secret in the wrong place.
            AuditError::Read(_) => write!(f, "{}: {}", shown_place(&file), self.error),
            _ => write!(f, "{file}: {}", self.error),
        }
    }
}

impl std::error::Error for AuditFault {}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Foreign => f.write_str(
                "line 1 is not a line of an audit file: is this the file of `audit.file`, not compressed?",
            ),
            Self::Broken { line } => {
                write!(
                    f,
                    "line {line} does not have the hash of the line before: one of both was changed, added or removed"
                )
            }
            Self::Border(previous) => write!(
                f,
                "line 1 does not go on after the last line of {}: lines or a file in between are missing, or the \
                 files are not in the order of time",
                previous.display()
            ),
            Self::Cut => f.write_str(
                "the last line is cut off: the file was shortened, or the disk was full, or the process ended while \
                 it wrote the line",
            ),
            Self::Missing => f.write_str("no line has the kept hash: lines were removed"),
        }
    }
}

impl std::error::Error for AuditError {}
