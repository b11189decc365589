//! What no compiler checks: that imports point down the floors of the house.

use std::path::{Path, PathBuf};

/// The modules, floor by floor from the top, as the crate documentation lists them.
const FLOORS: [&[&str]; 8] = [
    &["cli"],
    &["sandbox", "app"],
    &["admin", "rotation"],
    &["reload"],
    &["outbound", "inbound", "listener", "health"],
    &["limit", "credential", "upstream", "tls", "sends", "shared"],
    &["config", "provider"],
    &[
        "audit", "document", "headers", "json", "log", "metrics", "query", "response", "room", "secret", "units",
        "watchdog",
    ],
];

/// Imports within a floor, in the one direction in which they may go.
const WITHIN: [(&str, &str); 7] = [
    ("outbound", "listener"),
    ("inbound", "listener"),
    ("limit", "shared"),
    ("sends", "shared"),
    ("credential", "upstream"),
    ("credential", "tls"),
    ("config", "provider"),
];

#[test]
fn imports_point_down() {
    let mut files = Vec::new();
    rust_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    let mut imports = 0;
    for file in files {
        let module = module_of(&file);
        let text = std::fs::read_to_string(&file).unwrap();
        for imported in text.lines().filter_map(|line| line.trim_start().strip_prefix("use crate::")) {
            imports += 1;
            let imported = imported.split([':', ';', '{']).next().unwrap();
            let down = floor(&module) < floor(imported) || module == imported;
            let within = WITHIN.contains(&(&module, imported)) || (floor(&module) == 7 && floor(imported) == 7);
            assert!(down || within, "{} imports {imported}, which stands above it or beside it", file.display());
        }
    }
    assert!(imports > 50, "the imports were not found");
}

#[test]
fn every_module_stands_on_a_floor() {
    let library = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let modules: Vec<_> = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules.len(), FLOORS.iter().map(|floor| floor.len()).sum::<usize>());
    for module in modules {
        floor(module);
    }
}

fn floor(module: &str) -> usize {
    let place = FLOORS.iter().position(|floor| floor.contains(&module));
    place.unwrap_or_else(|| panic!("{module} stands on no floor"))
}

/// The first part of the path below `src`, without `.rs`.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    below.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_root = path.ends_with("src/main.rs") || path.ends_with("src/lib.rs");
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !is_root {
            files.push(path);
        }
    }
}
