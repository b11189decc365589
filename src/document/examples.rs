//! Examples of values, for messages about a value of the wrong type: the lines of
//! `proxy.toml.example`, which shows every key of the configuration.

use std::sync::LazyLock;

/// Returns an example for the key with this path, with a beginning among `begins`.
///
/// Keys of one name in several tables are told apart by the first table: `inbound.listen` is not
/// `outbound.listen`.
pub(super) fn of(path: &str, begins: &[char]) -> Option<&'static str> {
    let (table, wanted) = match path.rsplit_once('.') {
        Some((tables, key)) => (tables.split('.').next().unwrap_or_default(), key),
        None => ("", path),
    };
    let fitting = |example: &&Example| example.key == wanted && example.form(begins).is_some();
    let mut fitting = EXAMPLES.iter().filter(fitting).peekable();
    let elsewhere = fitting.peek().copied();
    let found = fitting.find(|example| example.table == table);
    found.or(elsewhere)?.form(begins)
}

/// A line `key = value` of the example.
struct Example {
    /// The first word of the table.
    table: &'static str,
    key: &'static str,
    value: &'static str,
}

/// The examples, in the order of the lines. A configuration may have many faults: the text is read
/// once.
static EXAMPLES: LazyLock<Vec<Example>> = LazyLock::new(|| {
    let mut table = "";
    let example = |line: &'static str| {
        let line = line.trim_start_matches('#');
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[');
            table = name.split(['.', ']']).next().unwrap_or_default();
            return None;
        }
        let (key, rest) = line.split_once('=')?;
        let value = value_in(rest)?;
        let key = key.trim_end();
        // An empty text shows a default, and no form.
        (value != "\"\"").then_some(Example { table, key, value })
    };
    TEXT.lines().filter_map(example).collect()
});

impl Example {
    /// Returns a value that begins with one of `begins`: the value itself, or the first element of
    /// an array.
    fn form(&self, begins: &[char]) -> Option<&'static str> {
        if self.value.starts_with(begins) {
            return Some(self.value);
        }
        let inner = self.value.strip_prefix('[')?.strip_suffix(']')?;
        let first = inner.split(',').next()?.trim();
        first.starts_with(begins).then_some(first)
    }
}

/// Returns the value behind `key =`, without a comment behind it.
fn value_in(rest: &'static str) -> Option<&'static str> {
    let value = rest.split(" #").next().unwrap_or_default().trim();
    let opened = value.matches(['[', '{']).count();
    let is_whole = opened == value.matches([']', '}']).count();
    (is_whole && value.len() <= MAX_EXAMPLE).then_some(value)
}

/// The longest example, in bytes: longer ones hide the message.
const MAX_EXAMPLE: usize = 80;
const TEXT: &str = include_str!("../../proxy.toml.example");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_of_the_key_the_table_and_the_type() {
        for (path, begins, expected) in [
            ("outbound.listen", &['['][..], Some("[\"127.0.0.1:8080\"]")),
            ("outbound.listen", &['"'], Some("\"127.0.0.1:8080\"")),
            ("admin.listen", &['['], Some("[\"127.0.0.1:9900\"]")),
            ("reload.watch", &['"'], Some("\"5s\"")),
            (
                "credential.acme.token",
                &['"'],
                Some("\"file:/run/secrets/acme/token\""),
            ),
            ("reload.watch", &['['], None),
            ("no_such_key", &['"'], None),
        ] {
            assert_eq!(of(path, begins), expected, "{path}");
        }
    }
}
