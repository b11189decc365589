//! Examples of values, for messages about a value of the wrong type: the lines of `proxy.toml.example`, which shows every
//! key of the configuration.

/// Returns an example for the key with this path that begins with one of `begins`.
///
/// Keys of one name in several tables are told apart by the first table: `inbound.listen` is not `outbound.listen`.
pub(super) fn of(path: &str, begins: &[char]) -> Option<&'static str> {
    let (table, key) = match path.rsplit_once('.') {
        Some((tables, key)) => (tables.split('.').next().unwrap_or_default(), key),
        None => ("", path),
    };
    let mut elsewhere = None;
    let mut current = "";
    for line in TEXT.lines() {
        let line = line.trim_start_matches('#');
        if let Some(header) = line.strip_prefix('[') {
            let name = header.trim_start_matches('[');
            current = name.split(['.', ']']).next().unwrap_or_default();
            continue;
        }
        // An empty text shows a default, and no form.
        let value = value_of(line, key).filter(|value| *value != "\"\"");
        let Some(value) = value.and_then(|value| beginning(value, begins)) else {
            continue;
        };
        if current == table {
            return Some(value);
        }
        elsewhere.get_or_insert(value);
    }
    elsewhere
}

/// Returns a value that begins with one of `begins`: the value itself, or the first element of an array.
fn beginning(value: &'static str, begins: &[char]) -> Option<&'static str> {
    if value.starts_with(begins) {
        return Some(value);
    }
    let inner = value.strip_prefix('[')?.strip_suffix(']')?;
    let first = inner.split(',').next()?.trim();
    first.starts_with(begins).then_some(first)
}

/// Returns the value in a line `key = value`, without a comment behind it.
fn value_of(line: &'static str, key: &str) -> Option<&'static str> {
    let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
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
