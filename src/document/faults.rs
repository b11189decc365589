//! The faults of a document, each with place, key and expected form.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The name of the file.
    pub file: Arc<str>,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The place of a file as a whole.
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
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

/// A fault or warning of a document. Holds no value of the document, so anybody may see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The place.
    pub at: Position,
    /// The key with the keys that lead to it, such as `route.limits.per_sender`; empty for the
    /// whole file.
    pub key: String,
    /// The fault and the expected form: "WRONG, expected RIGHT".
    pub message: String,
}

impl Fault {
    fn new(at: &Position, key: &str, message: impl Into<String>) -> Self {
        Self {
            at: at.clone(),
            key: key.to_owned(),
            message: message.into(),
        }
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

/// The faults and warnings of a reading so far.
#[derive(Debug, Default)]
pub struct FaultReport {
    // A cell, because every reader and field of the document adds to the one report.
    found: RefCell<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    #[cfg(test)]
    asked: Option<std::collections::BTreeSet<String>>,
}

impl FaultReport {
    /// Adds a fault.
    pub fn fault(&self, at: &Position, key: &str, message: impl Into<String>) {
        self.found
            .borrow_mut()
            .faults
            .push(Fault::new(at, key, message));
    }

    /// Adds a warning: a key that is allowed and yet deserves a second look.
    pub fn warn(&self, at: &Position, key: &str, message: impl Into<String>) {
        self.found
            .borrow_mut()
            .warnings
            .push(Fault::new(at, key, message));
    }

    /// Returns true if there is a fault.
    pub fn is_faulty(&self) -> bool {
        !self.found.borrow().faults.is_empty()
    }

    /// Returns the faults and the warnings, each in the order of their places.
    pub fn into_parts(self) -> (Vec<Fault>, Vec<Fault>) {
        let Entries {
            mut faults,
            mut warnings,
            ..
        } = self.found.into_inner();
        faults.sort();
        faults.dedup();
        warnings.sort();
        (faults, warnings)
    }

    /// Makes a report that notes every key that a reader asks for, present or not.
    #[cfg(test)]
    pub(crate) fn with_asked_keys() -> Self {
        let report = Self::default();
        report.found.borrow_mut().asked = Some(std::collections::BTreeSet::new());
        report
    }

    /// Returns the keys of a report [`with_asked_keys`](Self::with_asked_keys).
    #[cfg(test)]
    pub(crate) fn asked(&self) -> std::collections::BTreeSet<String> {
        self.found.borrow().asked.clone().unwrap_or_default()
    }

    /// Returns true if a line has a fault. Further syntax errors of the line are consequences of
    /// the first.
    pub(super) fn has_fault_on_line(&self, at: &Position) -> bool {
        self.found
            .borrow()
            .faults
            .iter()
            .any(|fault| fault.at.file == at.file && fault.at.line == at.line)
    }

    #[cfg(test)]
    pub(super) fn note_asked(&self, path: &str, key: &str) {
        if let Some(asked) = &mut self.found.borrow_mut().asked {
            asked.insert(match path {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            });
        }
    }
}
