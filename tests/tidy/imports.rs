//! Imports point down: from room to room as the crate documentation lists them, and from file to
//! file inside a room.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// The modules, floor by floor from the top, as the crate documentation lists them.
const FLOORS: [&[&str]; 9] = [
    &["cli"],
    &["app"],
    &["admin", "rotation", "doctor"],
    &["reload"],
    &["outbound", "inbound", "listener", "health"],
    &["delivery"],
    &[
        "limit",
        "credential",
        "egress",
        "upstream",
        "tls",
        "ca",
        "sends",
        "shared",
        "spool",
        "state",
        "scan",
        "telemetry",
    ],
    &["config", "provider"],
    &[
        "audit",
        "beat",
        "boot",
        "document",
        "headers",
        "json",
        "log",
        "media_type",
        "multipart",
        "named",
        "portion",
        "query",
        "refusal_form",
        "response",
        "memory",
        "secret",
        "service_manager",
        "shell",
        "spelling",
        "trace",
        "traffic",
        "units",
        "watchdog",
        "workers",
    ],
];

/// Imports allowed within a floor, each in one direction.
const WITHIN: [(&str, &str); 13] = [
    ("outbound", "listener"),
    ("inbound", "listener"),
    ("limit", "shared"),
    ("sends", "shared"),
    ("credential", "upstream"),
    ("credential", "tls"),
    ("telemetry", "egress"),
    ("telemetry", "tls"),
    ("telemetry", "upstream"),
    ("credential", "egress"),
    ("upstream", "egress"),
    ("upstream", "tls"),
    ("config", "provider"),
];

/// The floor whose modules may import each other.
const GROUND: usize = FLOORS.len() - 1;

/// The rooms with files in layers: a leaf never imports from the `mod.rs` above, and no files form
/// a circle. In all other rooms a `mod.rs` and its files may be one thought.
const LAYERED: [&str; 7] = [
    "limit",
    "provider",
    "outbound",
    "credential",
    "inbound",
    "sends",
    "upstream",
];

#[test]
fn imports_point_down() {
    let mut faults = Vec::new();
    let mut imports = 0;
    let sources = rooms();
    for source in &sources {
        for named in source.named(&children(&sources, &source.module)) {
            let (from, to) = (source.room(), named.path.first().map_or("", String::as_str));
            if from == to || to.is_empty() {
                continue;
            }
            imports += 1;
            let is_ground = floor(from) == GROUND && floor(to) == GROUND;
            if floor(from) >= floor(to) && !is_ground && !WITHIN.contains(&(from, to)) {
                faults.push(format!(
                    "{}: imports `{}`, which stands above `{from}` or beside it",
                    source.path.display(),
                    named.path.join("::")
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(imports > 500, "only {imports} imports were found");
}

#[test]
fn no_import_of_another_room_is_a_public_name() {
    let sources = rooms();
    let reexports = sources.iter().flat_map(|source| {
        source
            .named(&BTreeSet::new())
            .into_iter()
            .filter(|named| named.is_reexport && named.path.first() != source.module.first())
            .map(|named| {
                let path = named.path.join("::");
                format!("{}: `pub use crate::{path}`", source.path.display())
            })
    });
    let reexports: Vec<_> = reexports.collect();
    assert!(
        reexports.is_empty(),
        "import each name from the room that defines it:\n{}",
        reexports.join("\n")
    );
}

#[test]
fn files_of_a_layered_room_form_no_circle_and_no_leaf_imports_its_door() {
    let sources = rooms();
    for room in LAYERED {
        let files = sources.iter().filter(|file| file.room() == room);
        check_layers(room, &imports_within(&files.collect::<Vec<_>>()));
    }
}

/// The sandbox is small enough for one graph: rooms form no circle either.
#[test]
fn files_of_the_sandbox_form_no_circle_and_no_leaf_imports_its_door() {
    let sources = Source::all("crates/sandbox/src");
    let files = sources
        .iter()
        .filter(|file| file.room() != "lib" && file.room() != "tests");
    check_layers("sandbox", &imports_within(&files.collect::<Vec<_>>()));
}

fn check_layers(room: &str, imports: &BTreeMap<String, BTreeSet<String>>) {
    assert!(
        imports.len() > 1,
        "`{room}` has only {} files",
        imports.len()
    );
    let mut faults = Vec::new();
    for (from, targets) in imports {
        let doors = targets.iter().filter(|to| is_above(to, from));
        faults.extend(doors.map(|door| format!("{from} imports its own door {door}")));
    }
    if let Some(circle) = circle(imports) {
        faults.push(format!("a circle: {}", circle.join(" -> ")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_commands_use_the_sandbox() {
    for source in rooms() {
        let is_named = source.text.contains("keyside_sandbox");
        assert!(
            !is_named || source.room() == "cli",
            "{}: the emulators are for `cli` and for tests only",
            source.path.display()
        );
    }
}

#[test]
fn every_module_stands_on_a_floor() {
    let library =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let modules: Vec<_> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(
        modules.len(),
        FLOORS.iter().map(|floor| floor.len()).sum::<usize>()
    );
    for module in modules {
        floor(module);
    }
}

/// The source files without `main.rs` and `lib.rs`, which may name every module.
fn rooms() -> Vec<Source> {
    let mut sources = Source::all("src");
    sources.retain(|source| source.module != ["main"] && source.module != ["lib"]);
    sources
}

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to FLOORS"))
}

/// The names of the modules directly below `module` that are files.
fn children<'s>(
    sources: impl IntoIterator<Item = &'s Source>,
    module: &[String],
) -> BTreeSet<String> {
    sources
        .into_iter()
        .filter_map(|source| match source.module.split_last() {
            Some((name, parent)) if parent == module => Some(name.clone()),
            _ => None,
        })
        .collect()
}

/// The files by module path, each with the files of its named modules.
fn imports_within(files: &[&Source]) -> BTreeMap<String, BTreeSet<String>> {
    let by_module: BTreeSet<&[String]> = files.iter().map(|file| &*file.module).collect();
    let mut imports = BTreeMap::new();
    for file in files {
        let mut targets = BTreeSet::new();
        let named = file.named(&children(files.iter().copied(), &file.module));
        // Tests may use the whole room.
        for named in named.iter().filter(|named| !named.is_in_tests) {
            // The longest beginning of the path with a file: the rest is an item in the file.
            let target = (1..=named.path.len())
                .rev()
                .map(|length| &named.path[..length])
                .find(|beginning| by_module.contains(beginning));
            if let Some(target) = target.filter(|target| *target != file.module) {
                targets.insert(target.join("::"));
            }
        }
        imports.insert(file.module.join("::"), targets);
    }
    imports
}

fn is_above(door: &str, leaf: &str) -> bool {
    leaf.strip_prefix(door)
        .is_some_and(|rest| rest.starts_with("::"))
}

/// A circle of files, its first file repeated at its end.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut finished = BTreeSet::new();
    imports
        .keys()
        .find_map(|start| circle_from(start, imports, &mut Vec::new(), &mut finished))
}

fn circle_from(
    file: &str,
    imports: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    finished: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|passed| passed == file) {
        let mut circle = way[begin..].to_vec();
        circle.push(file.to_owned());
        return Some(circle);
    }
    if finished.contains(file) {
        return None;
    }
    way.push(file.to_owned());
    let found = imports
        .get(file)
        .into_iter()
        .flatten()
        .find_map(|target| circle_from(target, imports, way, finished));
    way.pop();
    finished.insert(file.to_owned());
    found
}

#[test]
fn a_circle_is_found() {
    let imports = |arrows: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in arrows {
            graph
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    };
    let diamond = imports(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]);
    assert_eq!(circle(&diamond), None);
    let closed = imports(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]);
    assert_eq!(circle(&closed).unwrap(), ["b", "c", "d", "b"]);
}
