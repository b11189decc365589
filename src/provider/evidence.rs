//! The certainty of the facts in a preset.

/// The certainty of the facts in a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The vendor's own documents or recordings of its answers prove the facts.
    Documented,
    /// Part of the facts come from other people's code; try the preset before you rely on it.
    Unverified,
    /// The facts come from catalogues and other people's code, which disagree in places.
    Experimental,
}
