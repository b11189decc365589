//! The reader of a document, key by key, so that every fault is found at once.

use std::fmt;
use std::rc::Rc;

use super::shown::choices;
use super::{
    Document, FaultReport, Position, Table, TableEntry, Value, ValueKind, examples, key_in,
};

/// The reader of a table. [`Reader::finish`] reports every unread key.
pub struct Reader<'d> {
    table: &'d Table,
    at: Position,
    path: Rc<str>,
    report: &'d FaultReport,
    /// The keys that were asked for.
    known: Vec<String>,
    /// For each entry of the table: true once the entry was read.
    read: Vec<bool>,
}

impl<'d> Reader<'d> {
    /// A reader of the root table of a document.
    pub fn new(document: &'d Document, report: &'d FaultReport) -> Self {
        Self::of_table(&document.root, &document.start, "", report)
    }

    /// A reader of a table at the place `at`, under the key `path`.
    pub fn of_table(table: &'d Table, at: &Position, path: &str, report: &'d FaultReport) -> Self {
        Self {
            table,
            at: at.clone(),
            path: path.into(),
            report,
            known: Vec::new(),
            read: vec![false; table.entries.len()],
        }
    }

    /// Returns the field of a key, if the table has the key. [`Self::finish`] will not report the
    /// key.
    pub fn field(&mut self, key: &str) -> Option<Field<'d>> {
        #[cfg(test)]
        self.report.note_asked(&self.path, key);
        self.known.push(key.to_owned());
        let mut entries = self.table.entries.iter().zip(&mut self.read);
        let (entry, read) = entries.find(|(entry, _)| entry.key == key)?;
        *read = true;
        Some(self.field_of(entry))
    }

    fn field_of(&self, entry: &'d TableEntry) -> Field<'d> {
        Field {
            key: &entry.key,
            parent: Rc::clone(&self.path),
            key_at: &entry.at,
            value: &entry.value,
            report: self.report,
        }
    }

    /// Returns the field of a key, and reports a fault if the table lacks the key.
    pub fn required(&mut self, key: &str, expected: &str) -> Option<Field<'d>> {
        let field = self.field(key);
        if field.is_none() {
            self.missing(key, expected);
        }
        field
    }

    /// Returns the string of a key, as `parse` understands it.
    pub fn parse<T, E: fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        self.field(key)?.parse(parse)
    }

    /// Returns the value of the word that a key has.
    pub fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.field(key)?.choice(words)
    }

    /// Returns the truth value of a key.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        self.field(key)?.boolean()
    }

    /// Returns the fields of the array of a key.
    pub fn array(&mut self, key: &str) -> Option<Vec<Field<'d>>> {
        self.field(key)?.array()
    }

    /// Returns a reader of the table of a key.
    pub fn table(&mut self, key: &str) -> Option<Self> {
        self.field(key)?.table()
    }

    /// Returns a reader of the table of a key, or of an empty table if the key is missing.
    pub fn section(&mut self, key: &str) -> Self {
        static EMPTY: Table = Table {
            entries: Vec::new(),
        };
        self.table(key)
            .unwrap_or_else(|| Self::of_table(&EMPTY, &self.at, &self.path_of(key), self.report))
    }

    /// Returns every field, for a table with names chosen by the user as keys.
    pub fn fields(&mut self) -> Vec<Field<'d>> {
        let table = self.table;
        let mut fields = Vec::with_capacity(table.entries.len());
        for entry in &table.entries {
            #[cfg(test)]
            self.report.note_asked(&self.path, &entry.key);
            self.known.push(entry.key.clone());
            fields.push(self.field_of(entry));
        }
        self.read.fill(true);
        fields
    }

    /// Reports that a key is missing.
    pub fn missing(&self, key: &str, expected: &str) {
        self.report.fault(
            &self.at,
            &self.path_of(key),
            format!("missing, expected {expected}"),
        );
    }

    /// Reports a fault of the table as a whole.
    pub fn fault(&self, message: impl Into<String>) {
        self.report.fault(&self.at, &self.path, message);
    }

    /// Returns the place where the table begins.
    pub fn at(&self) -> &Position {
        &self.at
    }

    /// Returns the keys that lead to the table, fit to be shown.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns true if the table has a key. The key still counts as unread.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// Returns the table itself.
    pub fn table_itself(&self) -> &'d Table {
        self.table
    }

    /// Returns the report, for a fault at another place.
    pub fn report(&self) -> &'d FaultReport {
        self.report
    }

    /// Reports every unread key as unknown. Call after all keys were read.
    pub fn finish(&self) {
        let entries = self.table.entries.iter().zip(&self.read);
        for (entry, _) in entries.filter(|(_, read)| !**read) {
            let message = if entry.key == TOP_KEY && !self.path.is_empty() {
                "unknown key here, expected it at the top of the file, above every [table]"
                    .to_owned()
            } else {
                let known = self.known.iter().map(String::as_str);
                format!("unknown key, {}", choices(&entry.key, known))
            };
            self.report
                .fault(&entry.at, &self.path_of(&entry.key), message);
        }
    }

    fn path_of(&self, key: &str) -> String {
        key_in(&self.path, key)
    }
}

/// A value of a table or array, with its place.
pub struct Field<'d> {
    /// The key of the value; for an element of an array, the key of the array.
    pub key: &'d str,
    /// The keys that lead to the table with the key. Most fields have no fault, and need no path of
    /// their own.
    parent: Rc<str>,
    key_at: &'d Position,
    value: &'d Value,
    report: &'d FaultReport,
}

impl<'d> Field<'d> {
    /// Returns true if the value is this string.
    pub fn is_string(&self, text: &str) -> bool {
        matches!(&self.value.kind, ValueKind::String(string) if string == text)
    }

    /// Returns true if the value is a string.
    pub fn is_text(&self) -> bool {
        matches!(self.value.kind, ValueKind::String(_))
    }

    /// Returns the string, and reports a fault if the value is of another type.
    pub fn string(&self) -> Option<&'d str> {
        match &self.value.kind {
            ValueKind::String(text) => Some(text),
            _ => self.wrong("a string", &['"']),
        }
    }

    /// Returns the truth value, and reports a fault if the value is of another type.
    pub fn boolean(&self) -> Option<bool> {
        match &self.value.kind {
            ValueKind::Boolean(value) => Some(*value),
            _ => self.wrong("true or false", &[]),
        }
    }

    /// Returns the whole number, and reports a fault if the value is of another type or out of the
    /// range of `N`.
    pub fn integer<N: TryFrom<i64>>(&self) -> Option<N> {
        let ValueKind::Integer(number) = &self.value.kind else {
            return self.wrong("a whole number", &DIGITS);
        };
        let number = N::try_from(*number).ok();
        if number.is_none() {
            self.fault("out of range, expected a smaller number that is not negative");
        }
        number
    }

    /// Returns the number, whole or not, and reports a fault if the value is of another type.
    pub fn number(&self) -> Option<f64> {
        match &self.value.kind {
            ValueKind::Float(number) => Some(*number),
            // A share or a factor: far below the numbers that a float cannot hold.
            ValueKind::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            _ => self.wrong("a number", &DIGITS),
        }
    }

    /// Returns the elements of the array, and reports a fault if the value is of another type.
    pub fn array(&self) -> Option<Vec<Self>> {
        match &self.value.kind {
            ValueKind::Array(values) => Some(self.each(values)),
            _ => self.wrong("an array", &['[']),
        }
    }

    /// Returns readers of an array of tables, such as `[[route]]`, and reports a fault if there is
    /// no table.
    pub fn tables(&self) -> Vec<Reader<'d>> {
        match &self.value.kind {
            ValueKind::Array(values) if !values.is_empty() => {
                let fields = self.each(values);
                fields.iter().filter_map(Self::table).collect()
            }
            _ => {
                self.fault(format!("expected one or more [[{}]]", self.path()));
                Vec::new()
            }
        }
    }

    /// Returns the string, or the elements of an array, and reports a fault if the value is of
    /// another type.
    pub fn one_or_more(&self) -> Option<Vec<Self>> {
        match &self.value.kind {
            ValueKind::String(_) => Some(vec![self.clone_at(self.value)]),
            ValueKind::Array(values) => Some(self.each(values)),
            _ => self.wrong("a string or an array of strings", &['"', '[']),
        }
    }

    /// Returns true if the value is a table.
    pub fn is_table(&self) -> bool {
        matches!(self.value.kind, ValueKind::Table(_))
    }

    /// Returns a reader of the table, and reports a fault if the value is of another type.
    pub fn table(&self) -> Option<Reader<'d>> {
        match &self.value.kind {
            ValueKind::Table(table) => Some(Reader::of_table(
                table,
                &self.value.at,
                &self.path(),
                self.report,
            )),
            _ => self.wrong("a table", &['{']),
        }
    }

    /// Returns the string as `parse` understands it, and reports the error of `parse` as a fault.
    pub fn parse<T, E: fmt::Display>(
        &self,
        parse: impl FnOnce(&'d str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.string()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(error.to_string());
                None
            }
        }
    }

    /// Returns the value of the word that the string is, and reports a fault if `words` lacks the
    /// string.
    pub fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let given = self.string()?;
        let found = words.iter().find(|(word, _)| *word == given);
        if found.is_none() {
            let words = words.iter().map(|(word, _)| *word);
            self.fault(format!("unknown word, {}", choices(given, words)));
        }
        found.map(|(_, value)| *value)
    }

    /// Reports a fault at the value.
    pub fn fault(&self, message: impl Into<String>) {
        self.report.fault(&self.value.at, &self.path(), message);
    }

    /// Reports a fault at the key.
    pub fn key_fault(&self, message: impl Into<String>) {
        self.report.fault(self.key_at, &self.path(), message);
    }

    /// Reports a warning at the value.
    pub fn warn(&self, message: impl Into<String>) {
        self.report.warn(&self.value.at, &self.path(), message);
    }

    /// Returns the place of the value.
    pub fn at(&self) -> &'d Position {
        &self.value.at
    }

    /// Returns the keys that lead to the value, fit to be shown.
    pub fn path(&self) -> String {
        key_in(&self.parent, self.key)
    }

    fn each(&self, values: &'d [Value]) -> Vec<Self> {
        values.iter().map(|value| self.clone_at(value)).collect()
    }

    fn clone_at(&self, value: &'d Value) -> Self {
        Self {
            key: self.key,
            parent: Rc::clone(&self.parent),
            key_at: self.key_at,
            value,
            report: self.report,
        }
    }

    /// Reports a value of the wrong type, with an example that begins with one of `begins`.
    fn wrong<T>(&self, expected: &str, begins: &[char]) -> Option<T> {
        let example = examples::of(&self.path(), begins)
            .map(|example| format!(", such as {example}"))
            .unwrap_or_default();
        self.fault(format!("wrong type, expected {expected}{example}"));
        None
    }
}

/// The key that stands outside every table. TOML takes a key below a table for one of the table.
const TOP_KEY: &str = "include";
const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
