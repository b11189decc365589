//! The name of an entry, and its file.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The name of an entry: a kind, and the name of what the entry is about, such as `rotation/acme`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName {
    kind: String,
    owner: String,
}

impl EntryName {
    /// Makes the name of an entry of the given kind.
    #[must_use]
    pub fn new(kind: &str, owner: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            owner: owner.to_owned(),
        }
    }

    /// Returns the name of what the entry is about.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the name of the entry's file. Every other byte of an owner than `A-Z a-z 0-9 _ . -`
    /// is encoded, so that no name leads out of the folder, and different names have different
    /// files.
    #[must_use]
    pub fn file(&self) -> String {
        let owner = percent_encode(self.owner.as_bytes(), &ENCODED);
        format!("{}+{owner}.sealed", self.kind)
    }

    /// Returns the name of the entry in a file.
    pub(super) fn of_file(file: &str) -> Option<Self> {
        let (kind, owner) = file.strip_suffix(".sealed")?.split_once('+')?;
        let owner = percent_decode_str(owner).decode_utf8().ok()?;
        Some(Self::new(kind, &owner))
    }

    /// True for an entry of the given kind.
    pub(super) fn is_of(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.owner)
    }
}

/// The bytes of an owner that are encoded in a file's name.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_file_in_the_folder_whatever_its_owner_is_called() {
        for (owner, expected) in [
            ("acme", "rotation+acme.sealed"),
            ("a.b_c-d", "rotation+a.b_c-d.sealed"),
            ("../x", "rotation+..%2Fx.sealed"),
            ("a+b", "rotation+a%2Bb.sealed"),
        ] {
            let name = EntryName::new("rotation", owner);
            assert_eq!(name.file(), expected);
            assert_eq!(EntryName::of_file(expected), Some(name));
        }
        assert_eq!(
            EntryName::new("rotation", "acme").to_string(),
            "rotation/acme"
        );
    }
}
