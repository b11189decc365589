//! The documentation names only commands and options that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pages of the documentation, and folders of pages.
const PAGES: [&str; 5] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "deploy",
];

#[test]
fn commands_in_the_documentation_exist() {
    let commands: BTreeSet<Vec<String>> = pages()
        .iter()
        .flat_map(|page| commands_in(&std::fs::read_to_string(page).unwrap()))
        .collect();
    assert!(commands.len() > 10, "only {commands:?} were found");
    for command in commands {
        let (words, options): (Vec<_>, Vec<_>) =
            command.iter().partition(|word| !word.starts_with('-'));
        let help = Command::new(env!("CARGO_BIN_EXE_keyside"))
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(
            help.status.success(),
            "no command `keyside {}`",
            command.join(" ")
        );
        for option in options {
            assert!(
                text.contains(option.as_str()),
                "no option in `keyside {}`",
                command.join(" ")
            );
        }
    }
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    PAGES
        .iter()
        .flat_map(|page| pages_in(&root.join(page)))
        .collect()
}

/// The page at a path, or every page in the folder at the path and below.
fn pages_in(path: &Path) -> Vec<PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .flat_map(|entry| pages_in(&entry.unwrap().path()))
            .collect(),
        // A picture has no commands.
        Err(_) if path.extension().is_some_and(|kind| kind == "png") => Vec::new(),
        Err(_) => vec![path.to_owned()],
    }
}

/// The subcommand and the options of each call of `keyside` in a text; arguments end the list of
/// subcommands.
fn commands_in(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in text.lines() {
        for call in line.split("keyside ").skip(1) {
            let call = call.split(['`', '#', '|', '<']).next().unwrap_or_default();
            let is_name = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase());
            let mut words: Vec<_> = call.split(' ').take_while(is_name).collect();
            words.retain(|word| !word.is_empty());
            if words.is_empty() {
                continue;
            }
            let is_option = |word: &&str| word.starts_with("--") && word.len() > 2;
            words.extend(call.split(' ').filter(is_option));
            commands.push(words.into_iter().map(str::to_owned).collect());
        }
    }
    commands
}

#[test]
fn files_and_headings_that_the_documentation_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    let mut count = 0;
    for page in pages().into_iter().chain([root.join("proxy.toml.example")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        let files = files_in(&text).into_iter().map(|file| root.join(file));
        let beside = page.parent().unwrap();
        let is_markdown = page.extension().is_some_and(|kind| kind == "md");
        let links = links_in(&text).into_iter().filter(|_| is_markdown);
        let links = links.map(|(file, heading)| match file {
            "" => (page.clone(), heading),
            file => (beside.join(file), heading),
        });
        for (path, heading) in files.map(|file| (file, "")).chain(links) {
            count += 1;
            let has_heading = heading.is_empty()
                || std::fs::read_to_string(&path).is_ok_and(|text| has_heading(&text, heading));
            if !path.exists() || !has_heading {
                faults.push(format!("{}: {}#{heading}", page.display(), path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "not there:\n{}", faults.join("\n"));
    assert!(count > 200, "only {count} were found");
}

/// The files of this repository that a text names.
fn files_in(text: &str) -> Vec<&str> {
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    text.split(|c: char| !is_of_path(c))
        .filter(|word| word.starts_with("deploy/") || word.starts_with("docs/"))
        .map(|word| word.trim_end_matches('.'))
        .collect()
}

/// The targets of links that lead to a page here: the file, and the heading.
fn links_in(text: &str) -> Vec<(&str, &str)> {
    text.split("](")
        .skip(1)
        .filter_map(|behind| behind.split(')').next())
        .filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
        .map(|target| target.split_once('#').unwrap_or((target, "")))
        .collect()
}

/// True if a page has the heading of an anchor.
fn has_heading(text: &str, anchor: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
        words.chars().filter(kept).collect::<String>()
    });
    let mut anchors = anchors.map(|heading| heading.replace(' ', "-"));
    anchors.any(|own| own == anchor)
}

#[test]
fn a_command_is_found_in_code_and_in_prose() {
    let text = "`keyside status` shows it, `keyside rotate acme --dry-run` too\n\
                target/release/keyside sandbox --provider twilio  # --not-this\n\
                docker build -t keyside .\n";
    let expected: [&[&str]; 3] = [
        &["status"],
        &["rotate", "acme", "--dry-run"],
        &["sandbox", "--provider"],
    ];
    assert_eq!(commands_in(text), expected);
}
