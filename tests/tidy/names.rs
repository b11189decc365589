//! Names of types: no two rooms have a type of one name.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Types with a common name in several rooms for a common idea: a generation is a load of the
/// configuration, with a part in `outbound` and a part in `inbound`; and each room registers
/// metrics, some with equal labels.
const ONE_IDEA: [&str; 6] = [
    "Generation",
    "CredentialLabel",
    "DestinationLabels",
    "LimitLabels",
    "ListenerLabel",
    "RouteLabel",
];

#[test]
fn no_two_rooms_have_a_type_of_one_name() {
    let mut places = places_of_types("src", |source| source.room().to_owned());
    assert!(
        places.len() > 1000,
        "only {} types were found",
        places.len()
    );
    places.retain(|name, _| !ONE_IDEA.contains(&name.as_str()));
    must_be_unique(places);
}

/// The sandbox is small enough for names without repetition between its files.
#[test]
fn no_two_files_of_the_sandbox_have_a_type_of_one_name() {
    let places = places_of_types("crates/sandbox/src", |source| source.module.join("::"));
    assert!(places.len() > 100, "only {} types were found", places.len());
    must_be_unique(places);
}

/// Returns the names of all types below `folder`, each with the places as `place_of` names them.
fn places_of_types(
    folder: &str,
    place_of: fn(&Source) -> String,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in Source::all(folder)
        .iter()
        .filter(|source| !source.module.is_empty() && !is_of_tests(&source.module))
    {
        for name in types(&source.text) {
            places
                .entry(name.to_owned())
                .or_default()
                .insert(place_of(source));
        }
    }
    places
}

fn must_be_unique(mut places: BTreeMap<String, BTreeSet<String>>) {
    places.retain(|_, places| places.len() > 1);
    assert!(
        places.is_empty(),
        "types of one name in several places: {places:#?}"
    );
}

#[test]
fn a_type_is_seen_at_the_left_edge_or_behind_pub() {
    let text = "pub struct One;\n    pub(super) enum Two {}\nstruct Three;\n/// pub struct Comment\npub fn four() {}\n    \
                type Associated = u8;\n        struct OfOneFunction;\n";
    assert_eq!(types(text), ["One", "Two", "Three"]);
}

/// True for a module that only tests use.
fn is_of_tests(module: &[String]) -> bool {
    module.iter().any(|part| part == "tests")
}

/// The names of the types in `text`, without the types of a trait or of a single function: there
/// the place says more than the name.
fn types(text: &str) -> Vec<&str> {
    text.lines().filter_map(declared).collect()
}

fn declared(line: &str) -> Option<&str> {
    let rest = match line.trim_start().strip_prefix("pub") {
        Some(rest) => match rest.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => rest,
        }
        .strip_prefix(' ')?,
        None => line,
    };
    let (kind, rest) = rest.split_once(' ')?;
    let is_type = matches!(kind, "struct" | "enum" | "trait" | "type");
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    is_type.then(|| end.map_or(rest, |end| &rest[..end]))
}
