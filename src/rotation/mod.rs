//! Rotation of a secret: get a new one, prove it, write it to its place, see that requests go out
//! with it, and only then revoke the old one.
//!
//! - A [`Journal`] has both secrets and the step under way, from before the exchange until the old
//!   secret is proved dead. A rotation that was cut off anywhere goes on from the journal:
//!   [`Rotation::resume`] reads the place and asks which secrets are alive, and `decision` decides.
//! - A secret is revoked only while the place provably holds another one.
//! - `keyside rotate` and `keyside revoke` take the steps for a user, and [`renew`] takes the steps
//!   unasked.

mod decision;
mod early;
mod emptied;
mod ending;
mod error;
mod holders;
mod journal;
mod journal_file;
mod journal_sealed;
mod left_program;
mod notes;
mod obstacle;
mod orphans;
mod proof;
mod record;
mod renewal;
mod replacement;
mod resume;
mod routes;
mod steps;
mod target;
mod token_renewal;
mod tokens;
mod undo;
mod unfinished;

pub use decision::{RotationIntent, Stop};
pub use emptied::{EmptiedPlace, EndOfWait, Remains};
pub use ending::Finished;
pub use error::{HeldSecret, NewSecretFate, RotationError, UNKNOWN_TOKEN, UnprovedSecret};
pub use holders::SecretHolder;
pub use journal::{Journal, JournalError, JournalPlace};
pub use left_program::LeftProgram;
pub use obstacle::{Doubt, Obstacle};
pub use record::{Author, Record, RotationOrigin, RotationStep};
pub use renewal::renew;
pub use replacement::Replacement;
pub use resume::Resumed;
pub use steps::{Rotation, RotationWorker};
pub use target::RotationTarget;
pub use unfinished::check_ahead;

/// The name of the secret that Meta exchanges.
pub const TOKEN: &str = "token";
