//! `keyside doctor`: the whole way, outside in, and for each step what to mend.
//!
//! Sections are examined side by side, and read in a fixed order. What decides about a step is
//! pure; what asks has a bound on its time, and the whole examination ends at a deadline however
//! much hangs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

mod answer;
mod ask;
mod callback;
mod clock;
mod credential;
mod handshake;
mod machine;
mod number;
mod probe;
mod public_url;
mod reach;
mod sidecar;
mod step;
mod token;
mod upstream;
mod webhook;

pub use sidecar::{StatusError, ask_status};
pub use step::{DoctorSection, DoctorStep, SectionKind, StepOutcome, StepReporter};

use crate::reload::Live;

/// Begins the examination of a configuration that was loaded from `file`. `summary` is the step
/// about the configuration itself. The sections end at `deadline` at the latest.
#[must_use]
pub fn examine(
    live: &Arc<Live>,
    file: &Path,
    summary: DoctorStep,
    deadline: Instant,
) -> Vec<DoctorSection> {
    let mut sections = vec![machine::section(live, file, summary, deadline)];
    let (upstreams, reached) = upstream::sections(live, deadline);
    sections.extend(upstreams);
    let reached = Arc::new(reached);
    sections.extend(credential::sections(live, &reached, deadline));
    sections.extend(webhook::sections(live, deadline));
    sections
}

/// The longest examination, with the load before it: below the 30 s that people and pipelines wait
/// for a check.
pub const MAX_EXAMINATION: Duration = Duration::from_secs(27);
/// The longest load. Programs of `exec:` references have 10 s.
pub const MAX_LOAD: Duration = Duration::from_secs(11);
