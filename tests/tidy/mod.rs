//! Rules that no compiler checks: imports point down, files form no circle, comments are plain
//! English.

mod documents;
mod imports;
mod language;
mod names;
mod source;
mod width;
