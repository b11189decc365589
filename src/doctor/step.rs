//! Steps of the examination, and the sections that they stand in.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::units::millis;

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepOutcome {
    /// Well.
    Ok,
    /// Not looked at, for a reason.
    Skipped,
    /// Works, and deserves a look.
    Warn,
    /// Wrong.
    Fail,
}

impl StepOutcome {
    /// Returns the word that people and programs read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A step of the examination: one question, its answer, and what to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorStep {
    /// The question in a word or two; the same for the same question everywhere.
    pub name: String,
    /// The result.
    pub outcome: StepOutcome,
    /// The answer.
    pub found: String,
    /// The remedy; `None` where nothing is to be done.
    pub mend: Option<String>,
}

impl DoctorStep {
    /// Makes a step that is well.
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, StepOutcome::Ok, found, None)
    }

    /// Makes a step that was not looked at.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(name, StepOutcome::Skipped, why, None)
    }

    /// Makes a step that works and deserves a look.
    pub fn warn(
        name: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(name, StepOutcome::Warn, found, Some(mend.into()))
    }

    /// Makes a step that is wrong.
    pub fn fail(
        name: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(name, StepOutcome::Fail, found, Some(mend.into()))
    }

    fn new(
        name: impl Into<String>,
        outcome: StepOutcome,
        found: impl Into<String>,
        mend: Option<String>,
    ) -> Self {
        Self {
            name: name.into(),
            outcome,
            found: found.into(),
            mend,
        }
    }

    /// Returns the step for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "step": self.name,
            "outcome": self.outcome.as_str(),
            "found": self.found,
            "mend": self.mend,
        })
    }
}

/// The kind of thing that a section is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// The configuration, and what belongs to this machine.
    Configuration,
    /// A credential.
    Credential,
    /// An origin of a provider.
    Upstream,
    /// A sender.
    Sender,
    /// A webhook.
    Webhook,
    /// A running sidecar.
    Sidecar,
}

impl SectionKind {
    /// Returns the word that people and programs read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Credential => "credential",
            Self::Upstream => "upstream",
            Self::Sender => "sender",
            Self::Webhook => "webhook",
            Self::Sidecar => "sidecar",
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The steps about one thing, which arrive while other sections are under way.
#[derive(Debug)]
pub struct DoctorSection {
    /// The kind of the thing.
    pub kind: SectionKind,
    /// The name of the thing: a credential's, a webhook's, an address.
    pub name: String,
    steps: UnboundedReceiver<DoctorStep>,
    work: JoinHandle<()>,
}

impl DoctorSection {
    /// Begins a section: `work` reports its steps, and is given up at `deadline`.
    pub fn begin<W, F>(
        kind: SectionKind,
        name: impl Into<String>,
        deadline: Instant,
        work: W,
    ) -> Self
    where
        W: FnOnce(StepReporter) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let (sender, steps) = unbounded_channel();
        let reporter = StepReporter(sender);
        let work = tokio::spawn(async move {
            let work = work(reporter.clone());
            if timeout_at(deadline, work).await.is_err() {
                reporter.report(DoctorStep::fail(
                    "time",
                    "the rest took longer than an examination may",
                    "mend the slow steps above, and run `keyside doctor` again",
                ));
            }
        });
        Self {
            kind,
            name: name.into(),
            steps,
            work,
        }
    }

    /// Returns the next step, as soon as the step is there; `None` behind the last step.
    pub async fn next(&mut self) -> Option<DoctorStep> {
        self.steps.recv().await
    }
}

impl Drop for DoctorSection {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// The way of steps from the work of a section to the reader.
#[derive(Clone, Debug)]
pub struct StepReporter(UnboundedSender<DoctorStep>);

impl StepReporter {
    /// Reports a step. A reader that has gone away needs none.
    pub fn report(&self, step: DoctorStep) {
        self.0.send(step).ok();
    }

    /// Reports several steps.
    pub fn report_all(&self, steps: impl IntoIterator<Item = DoctorStep>) {
        for step in steps {
            self.report(step);
        }
    }
}

/// Returns a time for people: `12 ms`.
pub(super) fn took(since: Instant) -> String {
    shown_time(since.elapsed())
}

fn shown_time(time: Duration) -> String {
    format!("{} ms", millis(time))
}
