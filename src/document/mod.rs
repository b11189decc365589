//! A TOML document with the place of every key and value, and a reader that reports every fault at
//! once.
//!
//! A fault names the place, the key and the expected form. No fault repeats a value, because any
//! value may be a secret in the wrong place. For the same reason no type with values has a `Debug`.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

mod examples;
mod faults;
mod malformed;
mod reader;
mod shown;
#[cfg(test)]
mod tests;

pub use faults::{Fault, FaultReport, Position};
pub use malformed::Malformed;
pub use reader::{Field, Reader};
pub use shown::{choices, is_showable, listed, reads_as_name, shown, shown_place};

/// A parsed document.
pub struct Document {
    /// The place where the document begins.
    pub start: Position,
    /// The root table.
    pub root: Table,
}

impl Document {
    /// Adds the content of another file: other tables, more entries of `[[route]]` and the like,
    /// and more names in the tables of names in `named`. A key in both files is a fault with both
    /// places.
    pub fn join(
        &mut self,
        other: Self,
        named: &[&str],
        joined: &mut JoinedKeys,
        report: &FaultReport,
    ) {
        self.root.join(other.root, "", named, joined, report);
    }

    /// Returns the place of the value of a key, such as `credential.acme.token`; `None` for a key
    /// that is not written.
    #[must_use]
    pub fn place_of(&self, key: &str) -> Option<&Position> {
        self.root.value_at(key).map(|value| &value.at)
    }

    /// Parses `text`. Errors of TOML's syntax go to `report`; with a single error, there is no
    /// document.
    pub fn parse(text: &str, file: &str, report: &FaultReport) -> Option<Self> {
        // Editors do not count a byte order mark as a column.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = SourceText::new(text, file);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            // `message` consists of fixed texts. The error's Display would repeat the line.
            let span = error.span().unwrap_or_default();
            let at = source.position(span.start);
            if !report.has_fault_on_line(&at) {
                source.tell(&at, &span, error.message(), report);
            }
        }
        errors.is_empty().then(|| Self {
            start: source.position(0),
            root: source.table(root.into_inner()),
        })
    }
}

impl SourceText<'_> {
    /// Reports an error of TOML's syntax.
    fn tell(&self, at: &Position, span: &Range<usize>, message: &str, report: &FaultReport) {
        let behind = self.text.get(span.start..).unwrap_or_default();
        let first = behind.chars().next();
        if let Some(mark) = first.filter(|mark| QUOTES.contains(mark)) {
            return report.fault(at, "", typographic(mark));
        }
        let key = self.text.get(span.clone()).unwrap_or_default();
        if message == DUPLICATE
            && let Some(before) = self.same_before(span.start, key)
        {
            let message = format!("the same as at {before}, expected it once");
            return report.fault(at, shown(key), message);
        }
        let line = self.line_at(span.start);
        let value = line.split_once('=').map_or("", |(_, value)| value.trim());
        // The library takes a word for the beginning of `inf`, `nan`, `true` or `false`.
        let is_word = value.starts_with(|c: char| c.is_ascii_alphabetic());
        let message = if is_word && message.starts_with("invalid") {
            UNQUOTED
        } else {
            message
        };
        report.fault(at, "", message);
    }

    /// Returns the place at which a doubled key or table stands first.
    fn same_before(&self, offset: usize, key: &str) -> Option<Position> {
        let is_table = self.line_at(offset).trim_start().starts_with('[');
        let header = self.line_at(offset).split('#').next()?.trim();
        let mut found = None;
        let mut start = 0;
        for line in self.text.get(..offset)?.split_inclusive('\n') {
            let place = start + line.len() - line.trim_start().len();
            start += line.len();
            let is_header = line.trim_start().starts_with('[');
            let is_same = if is_table {
                line.split('#').next()?.trim() == header
            } else {
                line.split_once('=')
                    .is_some_and(|(name, _)| name.trim() == key)
            };
            if is_same {
                found = found.or(Some(place));
            } else if is_header && !is_table {
                found = None;
            }
        }
        found.map(|place| self.position(place))
    }

    fn line_at(&self, offset: usize) -> &str {
        let before = self.text.get(..offset).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(start..).unwrap_or_default();
        line.lines().next().unwrap_or_default()
    }
}

/// Returns the fault of a quotation mark of a word processor.
fn typographic(mark: char) -> String {
    format!("the quotation mark {mark} of a word processor, expected the plain \"")
}

/// The fault of a word that is no value of TOML.
const UNQUOTED: &str = "a text without quotes, expected \"...\" around it";
/// The error of the TOML library for a key that stands twice in a table.
const DUPLICATE: &str = "duplicate key";
/// The quotation marks that word processors and web pages put in the place of plain ones.
const QUOTES: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '«', '»'];

/// The places of the keys of a document that others are joined to: of thousands of files, each key
/// is looked up and not searched for.
#[derive(Default)]
pub struct JoinedKeys(HashMap<String, HashMap<String, usize>>);

/// A table, with its entries in the order written.
#[derive(Clone, Default)]
pub struct Table {
    entries: Vec<TableEntry>,
}

impl Table {
    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }

    /// Returns this table with `upper` laid over: tables merge, every other value of `upper`
    /// replaces the value here.
    ///
    /// Keys of this table keep their order, before the new keys.
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

    /// Returns the value of a key with the keys of the tables that lead to it. A name may have dots
    /// as well.
    fn value_at(&self, path: &str) -> Option<&Value> {
        self.entries.iter().find_map(|entry| {
            let rest = path.strip_prefix(entry.key.as_str())?;
            match (&entry.value.kind, rest.strip_prefix('.')) {
                (_, None) if rest.is_empty() => Some(&entry.value),
                (ValueKind::Table(table), Some(rest)) => table.value_at(rest),
                _ => None,
            }
        })
    }

    /// Returns the place of a key.
    pub fn place_of(&self, key: &str) -> Option<&Position> {
        self.entry(key).map(|entry| &entry.at)
    }

    /// Adds the entries of a table of another file, under the key `path`.
    fn join(
        &mut self,
        other: Self,
        path: &str,
        named: &[&str],
        joined: &mut JoinedKeys,
        report: &FaultReport,
    ) {
        let is_root = path.is_empty();
        let mut places = joined.0.remove(path).unwrap_or_else(|| self.places());
        for entry in other.entries {
            let own = places.get(&entry.key);
            let Some(own) = own.and_then(|place| self.entries.get_mut(*place)) else {
                places.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
                continue;
            };
            match (&mut own.value.kind, entry.value.kind) {
                (ValueKind::Array(own), ValueKind::Array(more)) if is_root => own.extend(more),
                (ValueKind::Table(own), ValueKind::Table(more))
                    if is_root && named.contains(&&*entry.key) =>
                {
                    own.join(more, &entry.key, &[], joined, report);
                }
                // `[outbound.tls]` may stand in another file than `[outbound]`.
                (ValueKind::Table(above), ValueKind::Table(more))
                    if own.leads_on || entry.leads_on =>
                {
                    let key = key_in(path, &entry.key);
                    above.join(more, &key, &[], &mut JoinedKeys::default(), report);
                }
                _ => {
                    let key = key_in(path, &entry.key);
                    let message = format!("the same as at {}, expected it once", own.at);
                    report.fault(&entry.at, &key, message);
                }
            }
        }
        joined.0.insert(path.to_owned(), places);
    }

    fn places(&self) -> HashMap<String, usize> {
        let keys = self.entries.iter().map(|entry| entry.key.clone());
        keys.enumerate().map(|(place, key)| (key, place)).collect()
    }

    fn entry(&self, key: &str) -> Option<&TableEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Returns a key with the keys that lead to the key, fit to be shown.
fn key_in(path: &str, key: &str) -> String {
    match path {
        "" => shown(key).to_owned(),
        path => format!("{path}.{}", shown(key)),
    }
}

/// A key with its place and value.
#[derive(Clone)]
struct TableEntry {
    key: String,
    at: Position,
    value: Value,
    /// True for a table that only leads to other tables, without a header or value of its own, such
    /// as `outbound` in a file with `[outbound.tls]` alone.
    leads_on: bool,
}

impl TableEntry {
    fn overlay(&mut self, upper: &Self) {
        self.at = upper.at.clone();
        self.value = match (&mut self.value.kind, &upper.value.kind) {
            (ValueKind::Table(lower), ValueKind::Table(table)) => Value {
                at: upper.value.at.clone(),
                kind: ValueKind::Table(std::mem::take(lower).overlaid(table)),
            },
            _ => upper.value.clone(),
        };
    }
}

/// A value and its place.
#[derive(Clone)]
pub struct Value {
    at: Position,
    kind: ValueKind,
}

/// The content of a [`Value`].
#[derive(Clone)]
enum ValueKind {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Value>),
    Table(Table),
    /// A date, or a number out of range. No key takes either of these.
    Other,
}

/// The text of a file during parsing.
struct SourceText<'t> {
    file: Arc<str>,
    text: &'t str,
    /// The byte offset at which each line begins.
    lines: Vec<usize>,
}

impl<'t> SourceText<'t> {
    fn new(text: &'t str, file: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        Self {
            file: file.into(),
            text,
            lines: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        Position {
            file: Arc::clone(&self.file),
            line,
            column: before.chars().count() + 1,
        }
    }

    /// Takes a table apart, so each part makes room for its product: thousands of tenants are many
    /// tables.
    fn table(&self, table: DeTable<'_>) -> Table {
        let mut entries: Vec<(Range<usize>, TableEntry)> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = key.span();
            let start = value.span().start;
            let entry = TableEntry {
                leads_on: self.leads_on(span.end),
                at: self.position(span.start),
                key: key.into_inner().into_owned(),
                value: self.value(value.into_inner(), start),
            };
            entries.push((span, entry));
        }
        entries.sort_by_key(|(span, _)| span.start);
        Table {
            entries: entries.into_iter().map(|(_, entry)| entry).collect(),
        }
    }

    /// True for a key that ends at `end` and is followed by the key of a table below.
    fn leads_on(&self, end: usize) -> bool {
        let behind = self.text.get(end..).unwrap_or_default();
        behind.trim_start_matches([' ', '\t']).starts_with('.')
    }

    fn value(&self, value: DeValue<'_>, start: usize) -> Value {
        let kind = match value {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(value) => ValueKind::Boolean(value),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(ValueKind::Other, ValueKind::Integer),
            DeValue::Array(values) => {
                let value = |value: toml::Spanned<DeValue<'_>>| {
                    let start = value.span().start;
                    self.value(value.into_inner(), start)
                };
                ValueKind::Array(values.into_iter().map(value).collect())
            }
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or(ValueKind::Other, ValueKind::Float),
            DeValue::Datetime(_) => ValueKind::Other,
        };
        Value {
            at: self.position(start),
            kind,
        }
    }
}
