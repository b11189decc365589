//! The journal of systemd: it reads the severity of a line from a prefix, as sd-daemon(3) has it.

use std::fmt;

use rustix::fs::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The reader of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogReader {
    /// The journal of systemd.
    Journal,
    /// Everything else.
    Other,
}

impl LogReader {
    /// Returns the reader of standard error. systemd names its socket in `JOURNAL_STREAM`, and a
    /// program may have directed standard error elsewhere since.
    pub(super) fn of_stderr() -> Self {
        let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        match fstat(std::io::stderr()) {
            Ok(stat) if named == format!("{}:{}", stat.st_dev, stat.st_ino) => Self::Journal,
            _ => Self::Other,
        }
    }

    /// Returns what precedes a line.
    pub(super) fn prefix(self, level: Level) -> &'static str {
        match self {
            Self::Other => "",
            Self::Journal => match level {
                Level::ERROR => "<3>",
                Level::WARN => "<4>",
                Level::INFO => "<6>",
                _ => "<7>",
            },
        }
    }
}

/// The form of a line, with the prefix for its reader.
pub(super) struct Prefixed<F> {
    pub(super) form: F,
    pub(super) reader: LogReader,
}

impl<S, N, F> FormatEvent<S, N> for Prefixed<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        line.write_str(self.reader.prefix(*event.metadata().level()))?;
        self.form.format_event(context, line, event)
    }
}
