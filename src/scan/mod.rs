//! The scanner: finds credentials in texts where none belong.
//!
//! Two kinds of credentials are found. A *known form* is a secret as a preset describes it: by a
//! telling begin, such as `EAA`, or by a name before random letters, such as `app_secret`. A
//! *configured secret* is a value of the configuration, in every spelling of its letters and in
//! base64.
//!
//! An automaton looks for all begins, names and configured secrets in a single pass over the bytes.
//! A match is a candidate, which the rules of the form confirm. A find has a kind and a
//! fingerprint, and nothing of the value.

mod accepted;
mod archive;
mod configured;
mod encoding;
mod find;
mod form;
mod needle;
mod pem;
mod sarif;
mod scanner;
mod tree;

pub use accepted::Accepted;
pub use configured::ConfiguredSecret;
pub use find::Find;
pub use sarif::sarif;
pub use scanner::Scanner;
pub use tree::{Ignored, ScanResult, Tree};
