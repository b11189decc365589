//! A document read key by key, so that every fault in it is found at once.

use std::fmt;

use super::{Document, Kind, Position, Report, Table, Value};

/// Reads one table. Keys that nobody asked for are reported by [`Reader::finish`].
pub struct Reader<'d> {
    table: &'d Table,
    at: Position,
    path: String,
    report: &'d Report,
    known: Vec<String>,
}

impl<'d> Reader<'d> {
    /// A reader of a whole document.
    pub fn new(document: &'d Document, report: &'d Report) -> Self {
        Self::of_table(&document.root, &document.start, "", report)
    }

    /// A reader of a table that stands, or would stand, at `at` under the key `path`.
    pub fn of_table(table: &'d Table, at: &Position, path: &str, report: &'d Report) -> Self {
        Self { table, at: at.clone(), path: path.to_owned(), report, known: Vec::new() }
    }

    /// The field of a key, if it is there. From now on the key is known.
    pub fn field(&mut self, key: &str) -> Option<Field<'d>> {
        #[cfg(test)]
        self.report.note_asked(self.path_of(key));
        self.known.push(key.to_owned());
        let entry = self.table.entry(key)?;
        let path = self.path_of(key);
        Some(Field { key: &entry.key, path, key_at: entry.at.clone(), value: &entry.value, report: self.report })
    }

    /// The field of a key that must be there.
    pub fn required(&mut self, key: &str, expected: &str) -> Option<Field<'d>> {
        let field = self.field(key);
        if field.is_none() {
            self.missing(key, expected);
        }
        field
    }

    /// The table of a key.
    pub fn table(&mut self, key: &str) -> Option<Self> {
        self.field(key)?.table()
    }

    /// The table of a key, or an empty one where it is not there.
    pub fn section(&mut self, key: &str) -> Self {
        static EMPTY: Table = Table { entries: Vec::new() };
        let path = self.path_of(key);
        self.table(key).unwrap_or_else(|| Self::of_table(&EMPTY, &self.at, &path, self.report))
    }

    /// Every field, where the keys are names that the user chose.
    pub fn fields(&mut self) -> Vec<Field<'d>> {
        let keys: Vec<&'d str> = self.table.entries.iter().map(|e| e.key.as_str()).collect();
        keys.into_iter().filter_map(|key| self.field(key)).collect()
    }

    /// Notes that a key is missing.
    pub fn missing(&self, key: &str, expected: &str) {
        self.report.fault(&self.at, &self.path_of(key), format!("missing, expected {expected}"));
    }

    /// Notes a fault of the table as a whole.
    pub fn fault(&self, message: impl Into<String>) {
        self.report.fault(&self.at, &self.path, message);
    }

    /// Where the table begins.
    pub fn at(&self) -> &Position {
        &self.at
    }

    /// The keys that lead to the table, fit to be shown.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// The table that is read.
    pub fn table_itself(&self) -> &'d Table {
        self.table
    }

    /// Where faults go that no field stands for.
    pub fn report(&self) -> &'d Report {
        self.report
    }

    /// Reports every key that nobody has asked for.
    pub fn finish(self) {
        for entry in &self.table.entries {
            if self.known.contains(&entry.key) {
                continue;
            }
            let known = self.known.iter().map(String::as_str);
            self.report.fault(
                &entry.at,
                &self.path_of(&entry.key),
                format!("unknown key, {}", choices(&entry.key, known)),
            );
        }
    }

    fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => shown(key).to_owned(),
            path => format!("{path}.{}", shown(key)),
        }
    }
}

/// One value that a reader came to, with its place.
pub struct Field<'d> {
    /// The key itself; for what stands in an array, the key of the array.
    pub key: &'d str,
    path: String,
    key_at: Position,
    value: &'d Value,
    report: &'d Report,
}

impl<'d> Field<'d> {
    /// Whether it is this string.
    pub fn is_string(&self, text: &str) -> bool {
        matches!(&self.value.kind, Kind::String(string) if string == text)
    }

    /// Whether it is a string.
    pub fn is_text(&self) -> bool {
        matches!(self.value.kind, Kind::String(_))
    }

    /// The string that is expected here.
    pub fn string(&self) -> Option<&'d str> {
        match &self.value.kind {
            Kind::String(text) => Some(text),
            _ => self.wrong("a string"),
        }
    }

    /// The truth value that is expected here.
    pub fn boolean(&self) -> Option<bool> {
        match &self.value.kind {
            Kind::Boolean(value) => Some(*value),
            _ => self.wrong("true or false"),
        }
    }

    /// The whole number that is expected here, if it is in the range of its type.
    pub fn integer<N: TryFrom<i64>>(&self) -> Option<N> {
        let Kind::Integer(number) = &self.value.kind else {
            return self.wrong("a whole number");
        };
        let number = N::try_from(*number).ok();
        if number.is_none() {
            self.fault("out of range, expected a smaller number that is not negative");
        }
        number
    }

    /// The fields of the array that is expected here.
    pub fn array(&self) -> Option<Vec<Self>> {
        match &self.value.kind {
            Kind::Array(values) => Some(self.each(values)),
            _ => self.wrong("an array"),
        }
    }

    /// The fields of an array of tables, as `[[route]]` makes one.
    pub fn tables(&self) -> Vec<Reader<'d>> {
        match &self.value.kind {
            Kind::Array(values) if !values.is_empty() => {
                let fields = self.each(values);
                fields.iter().filter_map(Self::table).collect()
            }
            _ => {
                self.fault(format!("expected one or more [[{}]]", self.path));
                Vec::new()
            }
        }
    }

    /// One string, or the strings of an array.
    pub fn one_or_more(&self) -> Option<Vec<Self>> {
        match &self.value.kind {
            Kind::String(_) => Some(vec![self.clone_at(self.value)]),
            Kind::Array(values) => Some(self.each(values)),
            _ => self.wrong("a string or an array of strings"),
        }
    }

    /// Whether a table stands here.
    pub fn is_table(&self) -> bool {
        matches!(self.value.kind, Kind::Table(_))
    }

    /// The table that is expected here.
    pub fn table(&self) -> Option<Reader<'d>> {
        match &self.value.kind {
            Kind::Table(table) => Some(Reader::of_table(table, &self.value.at, &self.path, self.report)),
            _ => self.wrong("a table"),
        }
    }

    /// The string, as `parse` understands it.
    pub fn parse<T, E: fmt::Display>(&self, parse: impl FnOnce(&'d str) -> Result<T, E>) -> Option<T> {
        match parse(self.string()?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(error.to_string());
                None
            }
        }
    }

    /// The string, as one of a few words.
    pub fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let given = self.string()?;
        let found = words.iter().find(|(word, _)| *word == given);
        if found.is_none() {
            let words = words.iter().map(|(word, _)| *word);
            self.fault(format!("unknown word, {}", choices(given, words)));
        }
        found.map(|(_, value)| *value)
    }

    /// Notes a fault of the value.
    pub fn fault(&self, message: impl Into<String>) {
        self.report.fault(&self.value.at, &self.path, message);
    }

    /// Notes a fault of the key.
    pub fn key_fault(&self, message: impl Into<String>) {
        self.report.fault(&self.key_at, &self.path, message);
    }

    /// Notes what is worth a second look.
    pub fn warn(&self, message: impl Into<String>) {
        self.report.warn(&self.value.at, &self.path, message);
    }

    /// Where the value stands.
    pub fn at(&self) -> &'d Position {
        &self.value.at
    }

    /// The keys that lead to the value, fit to be shown.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn each(&self, values: &'d [Value]) -> Vec<Self> {
        values.iter().map(|value| self.clone_at(value)).collect()
    }

    fn clone_at(&self, value: &'d Value) -> Self {
        Self { key: self.key, path: self.path.clone(), key_at: self.key_at.clone(), value, report: self.report }
    }

    fn wrong<T>(&self, expected: &str) -> Option<T> {
        self.fault(format!("wrong type, expected {expected}"));
        None
    }
}

/// What may stand here, and which of it was probably meant: ``did you mean `listen`? expected ...``
pub fn choices<'w>(given: &str, words: impl Iterator<Item = &'w str>) -> String {
    // Names that the user chose may be among them.
    let words: Vec<&str> = words.map(shown).collect();
    let list = match words.as_slice() {
        [] => "expected nothing here".to_owned(),
        [one] => format!("expected `{one}`"),
        all => format!("expected one of `{}`", all.join("`, `")),
    };
    let near = words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), word))
        .min()
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3));
    match near {
        Some((_, word)) if words.len() > 1 => format!("did you mean `{word}`? {list}"),
        _ => list,
    }
}

/// A key or name as it may be shown: itself, or a stand-in for one that may be a secret in the wrong place.
pub fn shown(name: &str) -> &str {
    if is_showable(name) { name } else { "(name not shown)" }
}

/// Whether nobody would take `name` for a token, key or password.
pub fn is_showable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    // Words are short or have no digits; an app secret is 32 hex digits without a break.
    let word = |part: &str| part.len() < 20 || !part.contains(|c: char| c.is_ascii_digit());
    !name.is_empty() && name.len() <= 40 && name.chars().all(plain) && name.split(['_', '.', '-']).all(word)
}
