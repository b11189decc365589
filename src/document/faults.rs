//! What is wrong in a document, by place, key and expectation.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file's name.
    pub file: Arc<str>,
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The file as a whole.
    pub fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.file);
        }
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something wrong in a document. Holds no value of it, so it can be shown to anybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where.
    pub at: Position,
    /// The key, with the keys that lead to it; empty where there is none.
    pub key: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Fault {
    fn new(at: &Position, key: &str, message: impl Into<String>) -> Self {
        Self { at: at.clone(), key: key.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// What a reading has found so far.
#[derive(Debug, Default)]
pub struct Report {
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    #[cfg(test)]
    asked: std::collections::BTreeSet<String>,
}

impl Report {
    /// Notes a fault.
    pub fn fault(&self, at: &Position, key: &str, message: impl Into<String>) {
        self.found.borrow_mut().faults.push(Fault::new(at, key, message));
    }

    /// Notes what is allowed and yet worth a second look.
    pub fn warn(&self, at: &Position, key: &str, message: impl Into<String>) {
        self.found.borrow_mut().warnings.push(Fault::new(at, key, message));
    }

    /// Whether there is any fault.
    pub fn is_faulty(&self) -> bool {
        !self.found.borrow().faults.is_empty()
    }

    /// The faults and the warnings, each in the order of their places.
    pub fn into_parts(self) -> (Vec<Fault>, Vec<Fault>) {
        let Found { mut faults, mut warnings, .. } = self.found.into_inner();
        faults.sort();
        faults.dedup();
        warnings.sort();
        (faults, warnings)
    }

    /// Every key that a reader has asked for, whether it was there or not.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> std::collections::BTreeSet<String> {
        self.found.borrow().asked.clone()
    }

    /// The first error of a line is its cause, further ones are its consequences.
    pub(super) fn has_fault_on_line(&self, at: &Position) -> bool {
        self.found.borrow().faults.iter().any(|fault| fault.at.file == at.file && fault.at.line == at.line)
    }

    #[cfg(test)]
    pub(super) fn note_asked(&self, path: String) {
        self.found.borrow_mut().asked.insert(path);
    }
}
