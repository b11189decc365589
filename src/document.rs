//! A TOML document that knows where everything stands in it, and a reader that reports every fault at once.
//!
//! What is wrong is said by place, key and expectation. A value is never repeated, because any value may be a
//! secret in the wrong place; for the same reason nothing here that holds one has a `Debug`.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

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
    fn has_fault_on_line(&self, at: &Position) -> bool {
        self.found.borrow().faults.iter().any(|fault| fault.at.file == at.file && fault.at.line == at.line)
    }

    #[cfg(test)]
    fn note_asked(&self, path: String) {
        self.found.borrow_mut().asked.insert(path);
    }
}

impl Fault {
    fn new(at: &Position, key: &str, message: impl Into<String>) -> Self {
        Self { at: at.clone(), key: key.to_owned(), message: message.into() }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, read: impl FnOnce(&mut Reader<'_>)) -> Vec<String> {
        let report = Report::default();
        if let Some(document) = Document::parse(text, "f", &report) {
            let mut reader = Reader::new(&document, &report);
            read(&mut reader);
            reader.finish();
        }
        let (faults, _) = report.into_parts();
        faults.iter().map(Fault::to_string).collect()
    }

    #[test]
    fn every_fault_is_reported_with_line_and_column_in_characters() {
        let text = "a = \"ä\"\n[b]\nc = { d = \"ö\", e = 1 }\nlisten = 5\nlistne = 6\n";
        let found = faults(text, |root| {
            root.field("a").unwrap().boolean();
            let mut b = root.table("b").unwrap();
            let mut c = b.table("c").unwrap();
            c.field("d").unwrap().string();
            c.field("e").unwrap().string();
            c.finish();
            b.field("listen").unwrap().array();
            b.required("f", "a letter");
            b.finish();
        });
        assert_eq!(
            found,
            [
                "f:1:5: a: wrong type, expected true or false",
                "f:2:1: b.f: missing, expected a letter",
                "f:3:20: b.c.e: wrong type, expected a string",
                "f:4:10: b.listen: wrong type, expected an array",
                "f:5:1: b.listne: unknown key, did you mean `listen`? expected one of `c`, `listen`, `f`",
            ]
        );
    }

    #[test]
    fn broken_toml_is_reported_by_place_and_rule_alone() {
        for (text, expected) in [
            ("a = CANARY\n", "f:1:5: string values must be quoted, expected literal string"),
            ("CANARY\n", "f:1:7: key with no value, expected `=`"),
            ("a = 1\na = \"CANARY\"\n", "f:2:1: duplicate key"),
            ("a = \"CANARY\n", "f:1:12: invalid basic string, expected `\"`"),
            ("[CANARY\n", "f:1:8: unclosed table, expected `]`"),
            ("a = 1CANARY\n", "f:1:5: string values must be quoted, expected literal string"),
        ] {
            let found = faults(text, |_| {});
            assert!(!found.join("\n").contains("CANARY"), "{found:?}");
            assert_eq!(found.first().map(String::as_str), Some(expected), "{text}");
        }
    }

    #[test]
    fn two_broken_lines_are_two_faults() {
        assert_eq!(faults("a = x\nb = 1\nc = y\n", |_| {}).len(), 2);
    }

    #[test]
    fn a_document_over_another_keeps_the_order_and_the_places() {
        let report = Report::default();
        let lower = Document::parse("[x.b]\ni = 1\nj = [1]\n[x.a]\nk = 1\n", "low", &report).unwrap();
        let upper = Document::parse("[x.c]\n[x.b]\nj = true\n", "up", &report).unwrap();
        let merged = Document { root: lower.root.overlaid(&upper.root), start: upper.start };
        let mut x = Reader::new(&merged, &report).table("x").unwrap();
        let names: Vec<&str> = x.fields().iter().map(|field| field.key).collect();
        assert_eq!(names, ["b", "a", "c"]);
        let mut b = x.table("b").unwrap();
        assert_eq!(b.at().to_string(), "up:2:1");
        b.field("i").unwrap().string();
        b.field("j").unwrap().string();
        let (faults, _) = report.into_parts();
        let faults: Vec<String> = faults.iter().map(Fault::to_string).collect();
        assert_eq!(
            faults,
            ["low:2:5: x.b.i: wrong type, expected a string", "up:3:5: x.b.j: wrong type, expected a string",]
        );
    }

    #[test]
    fn names_that_may_be_secrets_are_not_shown() {
        for (name, shows) in [
            ("listen", true),
            ("acme-2.main_eu", true),
            ("verify_token_of_the_second_number", true),
            ("", false),
            ("EAAGm0PX4ZCpsBAKZCZCsomething", false),
            ("0123456789abcdef0123456789abcdef", false),
            ("with space", false),
            ("geheimnisträger", false),
            ("abcdefghij_abcdefghij_abcdefghij_abcdefghij", false),
        ] {
            assert_eq!(is_showable(name), shows, "{name}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let found = faults("a = -1\nb = 99999999999999999999\nc = 0x10\nd = 1.5", |root| {
            assert_eq!(root.field("a").unwrap().integer::<u32>(), None);
            assert_eq!(root.field("b").unwrap().integer::<u32>(), None);
            assert_eq!(root.field("c").unwrap().integer::<u32>(), Some(16));
            assert_eq!(root.field("d").unwrap().integer::<u32>(), None);
        });
        assert_eq!(
            found,
            [
                "f:1:5: a: out of range, expected a smaller number that is not negative",
                "f:2:5: b: wrong type, expected a whole number",
                "f:4:5: d: wrong type, expected a whole number",
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "(?s).{0,200}|([\\[\\]{}=.,\"'#\\n a0é-]|\"\"\"){0,80}") {
            let report = Report::default();
            Document::parse(&text, "f", &report);
        }
    }
}
