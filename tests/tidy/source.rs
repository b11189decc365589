//! The source files of Keyside, with the module paths named in each file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A source file of a crate.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// The path of the module below the crate root: `["limit", "pacer"]`.
    pub(super) module: Vec<String>,
    pub(super) text: String,
}

/// A path that a source file names, from the crate root: `["limit", "pacer", "Pacer"]`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) path: Vec<String>,
    pub(super) is_reexport: bool,
    /// True where the path stands in an inline `mod tests`.
    pub(super) is_in_tests: bool,
}

impl Source {
    /// The source files below `folder` of the repository.
    pub(super) fn all(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut files = Vec::new();
        if root.is_dir() {
            rust_files(&root, &mut files);
        }
        files
            .into_iter()
            .map(|path| Self {
                module: module_of(path.strip_prefix(&root).unwrap()),
                text: std::fs::read_to_string(&path).unwrap(),
                path,
            })
            .collect()
    }

    /// The top-level module that the file belongs to.
    pub(super) fn room(&self) -> &str {
        &self.module[0]
    }

    /// Every path that begins with `crate`, `super`, `self` or one of `children`, in imports and in
    /// expressions.
    pub(super) fn named(&self, children: &BTreeSet<String>) -> BTreeSet<Named> {
        let mut scan = Scan {
            file: &self.module,
            children,
            named: BTreeSet::new(),
        };
        scan.tokens(&tokens(&self.text), &self.module);
        scan.named
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_made = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name == "target" || name.starts_with('.'));
        if path.is_dir() {
            // Builds and installed tools are no sources.
            if !is_made {
                rust_files(&path, files);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

fn module_of(below_root: &Path) -> Vec<String> {
    let mut module: Vec<String> = below_root
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    module
}

/// A word, or a sign that is no white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Sign(char),
}

/// The tokens of a source text, without comments, strings and characters. Macros are tokens like
/// all others.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = literal_length(rest) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let end = end.unwrap_or(rest.len());
            tokens.push(Token::Word(&rest[..end]));
            end
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the string or character literal at the beginning of `text`; `None` where there is
/// none.
fn literal_length(text: &str) -> Option<usize> {
    let after_prefix = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - after_prefix.len();
    if let Some(raw) = after_prefix.strip_prefix('r').filter(|_| prefix < 2) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let content = raw[hashes..].strip_prefix('"')?;
        let end = content.find(&format!("\"{}", "#".repeat(hashes)))?;
        return Some(prefix + 1 + hashes + 1 + end + 1 + hashes);
    }
    let quote = after_prefix
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = after_prefix.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            _ if c == quote => return Some(prefix + at + 1).filter(|_| prefix < 2),
            // A lifetime: its quote has no partner behind one character.
            _ if quote == '\'' && !after_prefix[at + c.len_utf8()..].starts_with('\'') => {
                return (after_prefix.as_bytes()[1] == b'\\')
                    .then(|| prefix + 2 + after_prefix[2..].find('\'').unwrap_or_default() + 1);
            }
            _ => {}
        }
    }
    None
}

/// Walks over the tokens of a file, and collects the paths that it names.
struct Scan<'s> {
    file: &'s [String],
    children: &'s BTreeSet<String>,
    named: BTreeSet<Named>,
}

impl Scan<'_> {
    /// `module` is where the tokens stand: the file, or an inline module in it.
    fn tokens(&mut self, tokens: &[Token<'_>], module: &[String]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at = match (token, tokens.get(at + 1), tokens.get(at + 2)) {
                (Token::Word("mod"), Some(Token::Word(name)), Some(Token::Sign('{'))) => {
                    let end = closing(tokens, at + 2);
                    let mut inner = module.to_vec();
                    inner.push((*name).to_owned());
                    self.tokens(&tokens[at + 3..end], &inner);
                    end + 1
                }
                // `pub(in super::super)` is a visibility and imports nothing.
                (Token::Word("pub"), Some(Token::Sign('(')), Some(Token::Word("in"))) => {
                    let end = (at..tokens.len()).find(|end| tokens[*end] == Token::Sign(')'));
                    end.unwrap_or(tokens.len())
                }
                (Token::Word("use"), ..) => {
                    let end = (at..tokens.len())
                        .find(|end| tokens[*end] == Token::Sign(';'))
                        .unwrap_or(tokens.len());
                    let is_reexport = is_visibility(&tokens[..at]);
                    self.use_tree(&tokens[at + 1..end], module, &[], is_reexport);
                    end + 1
                }
                (Token::Word(_), Some(Token::Sign(':')), Some(Token::Sign(':'))) => {
                    self.inline(tokens, at, module)
                }
                _ => at + 1,
            };
        }
    }

    /// A path in an expression, a type or a pattern; returns where it ends.
    fn inline(&mut self, tokens: &[Token<'_>], start: usize, module: &[String]) -> usize {
        let mut path = Vec::new();
        let mut at = start;
        while let Some(Token::Word(word)) = tokens.get(at) {
            path.push((*word).to_owned());
            at += 1;
            if tokens.get(at..at + 2) != Some(&[Token::Sign(':'); 2]) {
                break;
            }
            at += 2;
        }
        self.add(&path, module, false);
        at
    }

    /// `a::{b, c::d as e, self, *}`: one path for each leaf of the tree.
    fn use_tree(
        &mut self,
        tokens: &[Token<'_>],
        module: &[String],
        prefix: &[String],
        is_reexport: bool,
    ) {
        let mut path = prefix.to_vec();
        let (mut has_branches, mut is_renamed) = (false, false);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                Token::Word("as") => is_renamed = true,
                Token::Word("self") if !path.is_empty() => {}
                Token::Word(word) if !is_renamed => path.push((*word).to_owned()),
                Token::Sign('{') => {
                    let end = closing(tokens, at);
                    self.use_tree(&tokens[at + 1..end], module, &path, is_reexport);
                    has_branches = true;
                    at = end;
                }
                Token::Sign(',') => {
                    self.use_tree(&tokens[at + 1..], module, prefix, is_reexport);
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        if !has_branches && path.len() > prefix.len().min(1) {
            self.add(&path, module, is_reexport);
        }
    }

    fn add(&mut self, written: &[String], module: &[String], is_reexport: bool) {
        let mut rest = written;
        let mut path = match written[0].as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.to_vec(),
            // Only the file itself names a child this way, not the inline modules of the file.
            child if self.children.contains(child) && module == self.file => module.to_vec(),
            _ => return,
        };
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "super" => drop(path.pop()),
                "crate" | "self" => {}
                _ => break,
            }
            rest = after;
        }
        path.extend_from_slice(rest);
        self.named.insert(Named {
            path,
            is_reexport,
            is_in_tests: module.iter().any(|part| part == "tests"),
        });
    }
}

/// The index of the brace that closes the brace at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// True where the tokens end in `pub` or `pub(..)`.
fn is_visibility(before: &[Token<'_>]) -> bool {
    let before = match before {
        [
            before @ ..,
            Token::Sign('('),
            Token::Word(_),
            Token::Sign(')'),
        ] => before,
        _ => before,
    };
    before.last() == Some(&Token::Word("pub"))
}

#[test]
fn every_form_of_a_path_is_seen() {
    let source = Source {
        path: PathBuf::from("limit/mod.rs"),
        module: vec!["limit".to_owned()],
        text: r#"
            //! Not `crate::comment::X`.
            mod leaf;
            pub use crate::reexported::X;
            use crate::{
                one::{self, A as B},
                two::{three::*, four},
            };
            use leaf::Leaf;
            use std::fmt;
            pub(in crate::visible) fn f() -> crate::inline::Type {
                println!("crate::string \" crate::string", 'x', '"', '\'', b'"', crate::in_macro::CONST);
                let raw: &'static str = r"crate::raw";
                super::beside::f(leaf::g(), other::leaf::h())
            }
            mod tests {
                use super::*;
                use super::super::{beside::Y};
            }
        "#
        .to_owned(),
    };
    let children = BTreeSet::from(["leaf".to_owned()]);
    let named: Vec<_> = source
        .named(&children)
        .into_iter()
        .map(|named| {
            let mark = if named.is_reexport { "pub " } else { "" };
            format!("{mark}{}", named.path.join("::"))
        })
        .collect();
    assert_eq!(
        named,
        [
            "beside::Y",
            "beside::f",
            "in_macro::CONST",
            "inline::Type",
            "limit",
            "limit::leaf::Leaf",
            "limit::leaf::g",
            "one",
            "one::A",
            "pub reexported::X",
            "two::four",
            "two::three",
        ]
    );
}
