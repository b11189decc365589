//! A find: a credential where none belongs, without its value.

use std::fmt;

use crate::secret::Fingerprint;

/// A credential in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The file, fit to be shown.
    pub file: String,
    /// The bytes of the file's name, without credentials: a URI leads to a name of any bytes.
    pub path: Vec<u8>,
    /// The member of the archive that the file is, fit to be shown; `None` for a find in the file
    /// itself.
    pub member: Option<String>,
    /// The line, from 1.
    pub line: usize,
    /// The kind: `PROVIDER.SECRET` for a known form, `credential.NAME.SECRET` for a configured
    /// secret.
    pub kind: String,
    /// The fingerprint of the value; `None` for a find by the name of a file alone.
    pub fingerprint: Option<Fingerprint>,
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, kind, .. } = self;
        f.write_str(&self.file)?;
        if let Some(member) = &self.member {
            write!(f, "!/{member}")?;
        }
        write!(f, ":{line}: {kind} ")?;
        match &self.fingerprint {
            Some(fingerprint) => fingerprint.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// A credential in a text in memory.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    /// The first byte.
    pub(super) start: usize,
    /// The byte behind the last one.
    pub(super) end: usize,
    /// The kind, as in [`Find`].
    pub(super) kind: String,
    /// The fingerprint of the value.
    pub(super) fingerprint: Fingerprint,
    /// The weight among several hits at one place.
    pub(super) certainty: Certainty,
}

/// The weight of a hit: of two hits on one value the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Certainty {
    /// Random letters behind a telling name.
    Near,
    /// A telling begin.
    Begin,
    /// A secret of the configuration.
    Configured,
}

/// Returns the lightest possible list: of several hits that share bytes the most certain one, in
/// order of place.
pub(super) fn settled(mut hits: Vec<Hit>) -> Vec<Hit> {
    hits.sort_by_key(|hit| (std::cmp::Reverse(hit.certainty), hit.start));
    let mut kept: Vec<Hit> = Vec::new();
    for hit in hits {
        let overlaps = |other: &Hit| hit.start < other.end && other.start < hit.end;
        if !kept.iter().any(overlaps) {
            kept.push(hit);
        }
    }
    kept.sort_by_key(|hit| hit.start);
    kept
}
