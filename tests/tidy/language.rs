//! Comments are plain English: a doc comment begins with its subject, and few words stand for other
//! words.

use std::cmp::Reverse;
use std::fmt;
use std::path::Path;

use super::source::Source;

/// Words at the beginning of doc comments without a subject.
const BEGINNINGS: [&str; 42] = [
    "It",
    "Its",
    "They",
    "Their",
    "Them",
    "Those",
    "These",
    "This",
    "One",
    "Ones",
    "The same",
    "All",
    "Another",
    "Other",
    "Others",
    "What",
    "Whom",
    "Who",
    "Whose",
    "Why",
    "Where",
    "How",
    "Whether",
    "When",
    "While",
    "Since",
    "From",
    "Until",
    "Of",
    "As",
    "That",
    "So",
    "Such",
    "Nothing",
    "Nobody",
    "Somebody",
    "Something",
    "Everything",
    "Which",
    "Both",
    "None",
    "Some",
];

/// Words in place of a noun, which the reader has to find.
const PLACEHOLDERS: [&str; 33] = [
    "it",
    "its",
    "itself",
    "one",
    "ones",
    "one's",
    "another",
    "others",
    "that",
    "those",
    "these",
    "this",
    "they",
    "them",
    "their",
    "what",
    "who",
    "whom",
    "whose",
    "which",
    "where",
    "whether",
    "something",
    "somebody",
    "nobody",
    "nothing",
    "everything",
    "such",
    "same",
    "so",
    "other's",
    "there",
    "meanwhile",
];

/// The largest share of doc comments, in percent, that may begin with one of [`BEGINNINGS`]. Never
/// raise the bound.
const MAX_BEGINNINGS: usize = 5;

/// The largest share of words in comments, in percent, that may be [`PLACEHOLDERS`]: about the
/// share in ripgrep. Never raise the bound.
const MAX_PLACEHOLDERS: usize = 6;

/// The number of comments that a broken bound lists.
const MAX_LISTED: usize = 10;

/// The placeholders in a comment from which a broken bound lists the comment: two words of a short
/// comment are a large share, and cost little.
const MIN_LISTED: usize = 3;

/// The folders of the product, and those of its tests and measurements: a bound holds for each
/// group.
const GROUPS: [&[&str]; 2] = [&["src", "crates"], &["tests", "benches", "fuzz"]];

#[test]
fn doc_comments_begin_with_their_subject() {
    GROUPS
        .iter()
        .for_each(|group| must_begin_with_subjects(group));
}

#[test]
fn comments_name_things_instead_of_pointing_at_them() {
    GROUPS.iter().for_each(|group| must_name_things(group));
}

fn must_begin_with_subjects(group: &[&str]) {
    let (mut blocks, mut offenders) = (0, Vec::new());
    for source in sources(group) {
        for (line, text) in doc_blocks(&source.text) {
            blocks += 1;
            if begins_without_subject(text) {
                offenders.push(format!("{}: {text}", place(&source.path, line)));
            }
        }
    }
    assert!(blocks > 1000, "only {blocks} doc comments were found");
    assert!(
        offenders.len() * 100 <= blocks * MAX_BEGINNINGS,
        "{group:?}: {} of {blocks} doc comments begin with a word that stands for another, \
         more than {MAX_BEGINNINGS} %:\n{}",
        offenders.len(),
        offenders.join("\n")
    );
}

fn must_name_things(group: &[&str]) {
    let mut blocks: Vec<_> = sources(group).iter().flat_map(comment_blocks).collect();
    let words: usize = blocks.iter().map(|block| block.words).sum();
    let placeholders: usize = blocks.iter().map(|block| block.placeholders).sum();
    assert!(words > 10_000, "only {words} words were found");
    blocks.retain(|block| block.placeholders >= MIN_LISTED);
    blocks.sort_by_key(|block| Reverse(block.placeholders * 100 / block.words));
    let worst = blocks.iter().take(MAX_LISTED).map(CommentBlock::to_string);
    assert!(
        placeholders * 100 <= words * MAX_PLACEHOLDERS,
        "{group:?}: {placeholders} of {words} words in comments stand for other words, \
         more than {MAX_PLACEHOLDERS} %. The worst comments by share:\n{}",
        worst.collect::<Vec<_>>().join("\n")
    );
}

/// A comment on consecutive lines.
struct CommentBlock {
    place: String,
    text: String,
    last_line: usize,
    words: usize,
    placeholders: usize,
}

impl CommentBlock {
    fn add(&mut self, line: usize, text: &str) {
        let words = words_of(text);
        let found = words
            .iter()
            .filter(|word| PLACEHOLDERS.contains(&word.as_str()));
        self.placeholders += found.count();
        self.words += words.len();
        self.last_line = line;
        self.text.push(' ');
        self.text.push_str(text);
    }
}

impl fmt::Display for CommentBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            text,
            words,
            placeholders,
            ..
        } = self;
        write!(f, "{place}: {placeholders} of {words}:{text}")
    }
}

fn comment_blocks(source: &Source) -> Vec<CommentBlock> {
    let mut blocks: Vec<CommentBlock> = Vec::new();
    for (line, text) in comments(&source.text) {
        if blocks.last().is_none_or(|block| block.last_line + 1 < line) {
            blocks.push(CommentBlock {
                place: place(&source.path, line),
                text: String::new(),
                last_line: line,
                words: 0,
                placeholders: 0,
            });
        }
        if let Some(block) = blocks.last_mut() {
            block.add(line, text);
        }
    }
    blocks
}

fn sources(group: &[&str]) -> Vec<Source> {
    let folders = group.iter().copied();
    folders.flat_map(Source::all).collect()
}

fn place(path: &Path, line: usize) -> String {
    let path = path
        .strip_prefix(env!("CARGO_MANIFEST_DIR"))
        .unwrap_or(path);
    format!("{}:{line}", path.display())
}

/// The first line of each doc comment, with its number.
fn doc_blocks(text: &str) -> Vec<(usize, &str)> {
    let mut blocks = Vec::new();
    let mut is_inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        let doc = doc_text(line);
        if let Some(first) = doc.filter(|_| !is_inside) {
            blocks.push((number, first));
        }
        is_inside = doc.is_some();
    }
    blocks
}

fn doc_text(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line
        .strip_prefix("///")
        .or_else(|| line.strip_prefix("//!"))?;
    (!text.starts_with('/')).then(|| text.trim())
}

/// Every line with a comment, with its number: docs, whole lines, and comments after code.
fn comments(text: &str) -> Vec<(usize, &str)> {
    let comment = |line| doc_text(line).or_else(|| plain_comment(line));
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| Some((number, comment(line)?)))
        .collect()
}

fn plain_comment(line: &str) -> Option<&str> {
    let begins = line.trim_start().strip_prefix("//");
    begins
        .or_else(|| Some(line.rsplit_once(" // ")?.1))
        .map(str::trim)
}

fn begins_without_subject(text: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| {
        text.strip_prefix(beginning)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// The words of a comment in lower case; code and addresses count as a word each.
fn words_of(text: &str) -> Vec<String> {
    let prose: Vec<_> = text.split('`').step_by(2).collect();
    prose
        .join("x")
        .split_whitespace()
        .map(|word| if word.contains("://") { "x" } else { word })
        .flat_map(|word| word.split(|c: char| !c.is_ascii_alphabetic() && c != '\''))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[test]
fn subjects_and_placeholders_are_told_apart() {
    assert!(begins_without_subject(
        "The same where the server has forgotten."
    ));
    assert!(begins_without_subject("It."));
    assert!(!begins_without_subject("Items of a list."));
    assert!(!begins_without_subject("The samples."));

    let text = "//! Head.\n//! It goes on.\n\n/// Whether `it` ends.\nlet x = 1; // what is it\n// plain\n";
    assert_eq!(doc_blocks(text), [(1, "Head."), (4, "Whether `it` ends.")]);
    let lines: Vec<_> = comments(text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 6]);
    assert_eq!(
        words_of("Whether `it` ends, see https://it/that"),
        ["whether", "x", "ends", "see", "x"]
    );
}

#[test]
fn comments_on_consecutive_lines_are_one_block() {
    let source = Source {
        path: "src/a.rs".into(),
        module: Vec::new(),
        text: "//! Head.\n//! It goes on.\n\nlet x = 1; // the count\n// of these\n".to_owned(),
    };
    let blocks: Vec<_> = comment_blocks(&source)
        .iter()
        .map(CommentBlock::to_string)
        .collect();
    assert_eq!(
        blocks,
        [
            "src/a.rs:1: 1 of 4: Head. It goes on.",
            "src/a.rs:4: 1 of 4: the count of these"
        ]
    );
}
