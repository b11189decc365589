//! Accepted finds: the lines `fingerprint:...` of `.keysideignore`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::find::Find;

/// The fingerprints of credentials that may stand in the scanned files, such as published test
/// vectors.
///
/// A `.keysideignore` is a gitignore file: its other lines leave files out. A line `fingerprint:`
/// with 12 hex digits accepts a credential wherever it stands. For git such a line is the pattern
/// of a file that does not exist.
#[derive(Debug, Default)]
pub struct Accepted {
    fingerprints: BTreeSet<String>,
    /// The lines with something else than a fingerprint, as `FILE:LINE: what is wrong`.
    pub faults: Vec<String>,
}

impl Accepted {
    /// Reads the files that hold for these paths: in each path that is a folder, and in the folders
    /// above.
    #[must_use]
    pub fn for_paths<'p>(paths: impl Iterator<Item = &'p Path>) -> Self {
        let folders: BTreeSet<PathBuf> = paths
            .filter_map(|path| path.canonicalize().ok())
            .flat_map(|path| path.ancestors().map(Path::to_owned).collect::<Vec<_>>())
            .collect();
        let mut accepted = Self::default();
        for folder in folders {
            let file = folder.join(IGNORE_FILE);
            if let Ok(text) = std::fs::read_to_string(&file) {
                accepted.add(&file.display().to_string(), &text);
            }
        }
        accepted
    }

    /// Returns true if a find is accepted.
    #[must_use]
    pub fn has(&self, find: &Find) -> bool {
        find.fingerprint
            .is_some_and(|fingerprint| self.fingerprints.contains(&fingerprint.to_string()))
    }

    fn add(&mut self, file: &str, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let Some(rest) = line.trim().strip_prefix(ACCEPT) else {
                continue;
            };
            let fingerprint = rest.split_whitespace().next().unwrap_or_default();
            let is_hex = fingerprint
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if is_hex && fingerprint.len() == FINGERPRINT_LENGTH {
                self.fingerprints.insert(fingerprint.to_owned());
            } else {
                self.faults.push(format!(
                    "{file}:{}: not a fingerprint, expected fingerprint: and 12 hex digits as `keyside scan` prints them",
                    index + 1
                ));
            }
        }
    }
}

/// The name of the files with what to leave out.
pub(super) const IGNORE_FILE: &str = ".keysideignore";
/// The begin of a line that accepts a credential.
const ACCEPT: &str = "fingerprint:";
/// The number of hex digits of a fingerprint, as everywhere.
const FINGERPRINT_LENGTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_accepts_one_fingerprint_and_any_other_word_is_a_fault() {
        let mut accepted = Accepted::default();
        accepted.add(
            "f",
            "tests/\n fingerprint:db518ff0a98f  a published vector\nfingerprint:EAAGm0PX4\nfingerprint:\n",
        );
        assert_eq!(accepted.fingerprints.len(), 1);
        assert_eq!(accepted.faults.len(), 2);
        assert!(
            accepted.faults[0].starts_with("f:3: "),
            "{:?}",
            accepted.faults
        );
        assert!(!accepted.faults[0].contains("Gm0"), "{:?}", accepted.faults);
    }
}
