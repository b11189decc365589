//! A TOML document that knows where everything stands in it, and a reader that reports every fault at once.
//!
//! What is wrong is said by place, key and expectation. A value is never repeated, because any value may be a
//! secret in the wrong place; for the same reason nothing here that holds one has a `Debug`.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

mod faults;
mod reader;
#[cfg(test)]
mod tests;

pub use faults::{Fault, Position, Report};
pub use reader::{Field, Reader, choices, is_showable, shown};

/// A parsed document.
pub struct Document {
    /// Where the document begins.
    pub start: Position,
    /// What stands in it.
    pub root: Table,
}

impl Document {
    /// Parses `text`. What TOML itself does not allow goes to `report`, and then there is no document.
    pub fn parse(text: &str, file: &str, report: &Report) -> Option<Self> {
        // An editor does not count a byte order mark as a column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source::new(text, file);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            // `message` is composed of fixed texts; the error's Display would repeat the line.
            let at = source.position(error.span().map_or(0, |span| span.start));
            if !report.has_fault_on_line(&at) {
                report.fault(&at, "", error.message());
            }
        }
        errors.is_empty().then(|| Self { start: source.position(0), root: source.table(root.get_ref()) })
    }
}

/// A table: its entries in the order written.
#[derive(Clone, Default)]
pub struct Table {
    entries: Vec<Entry>,
}

impl Table {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }

    /// This table with `upper` laid over it: tables merge, anything else of `upper` replaces what was here.
    ///
    /// What was here keeps its place in the order, and what is new comes after it.
    #[must_use]
    pub fn overlaid(mut self, upper: &Self) -> Self {
        for entry in &upper.entries {
            match self.entries.iter_mut().find(|own| own.key == entry.key) {
                Some(own) => own.overlay(entry),
                None => self.entries.push(entry.clone()),
            }
        }
        self
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

#[derive(Clone)]
struct Entry {
    key: String,
    at: Position,
    value: Value,
}

impl Entry {
    fn overlay(&mut self, upper: &Self) {
        self.at = upper.at.clone();
        self.value = match (&mut self.value.kind, &upper.value.kind) {
            (Kind::Table(lower), Kind::Table(table)) => {
                Value { at: upper.value.at.clone(), kind: Kind::Table(std::mem::take(lower).overlaid(table)) }
            }
            _ => upper.value.clone(),
        };
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub struct Value {
    at: Position,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    String(String),
    Integer(i64),
    Boolean(bool),
    Array(Vec<Value>),
    Table(Table),
    /// Floats, dates and numbers out of range, which no key wants.
    Other,
}

/// The text of a file while it is taken apart.
struct Source<'t> {
    file: Arc<str>,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl<'t> Source<'t> {
    fn new(text: &'t str, file: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        Self { file: file.into(), text, lines: std::iter::once(0).chain(after_breaks).collect() }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        Position { file: Arc::clone(&self.file), line, column: before.chars().count() + 1 }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries: Vec<(Range<usize>, Entry)> = Vec::new();
        for (key, value) in table {
            let entry = Entry {
                key: key.get_ref().clone().into_owned(),
                at: self.position(key.span().start),
                value: self.value(value.get_ref(), value.span().start),
            };
            entries.push((key.span(), entry));
        }
        entries.sort_by_key(|(span, _)| span.start);
        Table { entries: entries.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn value(&self, value: &DeValue<'_>, start: usize) -> Value {
        let kind = match value {
            DeValue::String(text) => Kind::String(text.clone().into_owned()),
            DeValue::Boolean(value) => Kind::Boolean(*value),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).map_or(Kind::Other, Kind::Integer)
            }
            DeValue::Array(values) => {
                let value = |v: &toml::Spanned<DeValue<'_>>| self.value(v.get_ref(), v.span().start);
                Kind::Array(values.iter().map(value).collect())
            }
            DeValue::Table(table) => Kind::Table(self.table(table)),
            DeValue::Float(_) | DeValue::Datetime(_) => Kind::Other,
        };
        Value { at: self.position(start), kind }
    }
}
