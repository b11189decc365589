//! Names of types: a type with a use in several files has a unique name in the whole program.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Types of one name in several rooms that are one idea: a generation is one load of the configuration, which `outbound`
/// and `inbound` each hold their part of.
const ONE_IDEA: [&str; 1] = ["Generation"];

#[test]
fn no_two_rooms_have_a_type_of_one_name() {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in Source::all("src")
        .iter()
        .filter(|source| !source.module.is_empty())
    {
        for name in types(&source.text) {
            rooms
                .entry(name.to_owned())
                .or_default()
                .insert(source.room().to_owned());
        }
    }
    assert!(rooms.len() > 500, "only {} types were found", rooms.len());
    rooms.retain(|name, rooms| rooms.len() > 1 && !ONE_IDEA.contains(&name.as_str()));
    assert!(
        rooms.is_empty(),
        "types of one name in several rooms: {rooms:#?}"
    );
}

#[test]
fn a_type_is_seen_where_its_declaration_begins_with_pub() {
    let text = "pub struct One;\n    pub(super) enum Two {}\nstruct Private;\n/// pub struct Comment\npub fn three() {}\n";
    assert_eq!(types(text), ["One", "Two"]);
}

/// The names of the types in `text` that other files may use.
fn types(text: &str) -> Vec<&str> {
    text.lines().filter_map(declared).collect()
}

fn declared(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let (kind, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let is_type = matches!(kind, "struct" | "enum" | "trait" | "type");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    is_type.then(|| end.map_or(rest, |end| &rest[..end]))
}
