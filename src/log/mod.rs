//! The log: level, format, and a queue, so that a slow reader never delays a request.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

mod journal;
mod numbers;
mod words;

use journal::{LogReader, Prefixed};
pub use numbers::without_numbers;
pub use words::bounded;

/// The log of the process, until it is dropped.
///
/// A separate thread writes the lines to standard error. A line is lost while the queue is full: an
/// unread pipe must not stop requests. The number of lost lines is written before the next line.
/// Dropping the log writes the queued lines, or gives up after a second.
#[derive(Debug)]
pub struct Log {
    worker: Option<WorkerGuard>,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// A JSON object a line.
    Json,
}

impl Log {
    /// Starts logging for the whole process. Only events of Keyside are written: an event of a
    /// library might contain a secret. Keyside logs the errors of libraries.
    #[must_use]
    pub fn start(level: LevelFilter, format: LogFormat) -> Self {
        let reader = LogReader::of_stderr();
        let is_terminal = io::stderr().is_terminal();
        ON_TERMINAL.set(is_terminal).ok();
        let is_json = match format {
            LogFormat::Auto => !is_terminal,
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let (lines, worker) = queue(io::stderr(), LossLine { reader, is_json }, MAX_QUEUED_LINES);
        COUNTER.set(lines.error_counter()).ok();
        let (targets, handle) = reload::Layer::new(targets(level));
        let registry = tracing_subscriber::registry().with(targets);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines)
            .with_target(false);
        let started = if is_json {
            let layer = layer
                .json()
                .flatten_event(true)
                .map_event_format(|form| Prefixed { form, reader });
            registry.with(layer).try_init()
        } else {
            let layer = layer
                .with_ansi(is_terminal && wants_color())
                .map_event_format(|form| Prefixed { form, reader });
            registry.with(layer).try_init()
        };
        // A test may start a second sidecar in one process: the first log stays.
        if started.is_ok() {
            LEVEL.set(handle).ok();
        }
        Self {
            worker: Some(worker),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let worker = self.worker.take();
        // The guard waits for the lines, but prints to standard output when the queue stays full.
        // On a separate thread, a stuck standard output cannot delay the end of the process.
        let (ended, end) = mpsc::channel::<()>();
        let waits = thread::Builder::new().spawn(move || {
            drop(worker);
            drop(ended);
        });
        if waits.is_ok() {
            end.recv_timeout(FLUSH_TIMEOUT).ok();
        }
    }
}

/// Starts a thread for `output`, and returns a writer into a queue of at most `max_lines` lines.
fn queue(
    output: impl Write + Send + Sync + 'static,
    line: LossLine,
    max_lines: usize,
) -> (NonBlocking, WorkerGuard) {
    let lost = Arc::new(OnceLock::new());
    let writer = LossReport {
        output,
        line,
        lost: Arc::clone(&lost),
        reported: 0,
    };
    let (lines, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(max_lines)
        .thread_name("log")
        .finish(writer);
    lost.set(lines.error_counter()).ok();
    (lines, worker)
}

/// False for a user without a wish for colours (<https://no-color.org>), and for a terminal that
/// shows none or has no name.
#[must_use]
pub fn wants_color() -> bool {
    let shows_colors = std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb");
    shows_colors && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sets the level of the log of the process, from now on.
pub fn set_level(level: LevelFilter) {
    if let Some(handle) = LEVEL.get() {
        // Fails only after the end of the log.
        handle.reload(targets(level)).ok();
    }
}

/// True if a person may be reading the log as it is written.
#[must_use]
pub fn is_on_terminal() -> bool {
    ON_TERMINAL.get().is_some_and(|is_terminal| *is_terminal)
}

/// Returns the number of lost log lines: earlier lines were not read in time.
#[must_use]
pub fn lost_lines() -> u64 {
    let lost = COUNTER.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(lost).unwrap_or(u64::MAX)
}

/// Returns the filter for a level: events of Keyside alone.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("keyside", level)
}

/// The filter of the log of the process.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();
/// True for a process whose log goes to a terminal.
static ON_TERMINAL: OnceLock<bool> = OnceLock::new();
/// The counter of lost lines of the log of the process.
static COUNTER: OnceLock<ErrorCounter> = OnceLock::new();

/// The form of the line about lost lines: the form of the log.
#[derive(Clone, Copy)]
struct LossLine {
    reader: LogReader,
    is_json: bool,
}

impl LossLine {
    fn text(self, count: usize) -> String {
        let prefix = self.reader.prefix(Level::WARN);
        let message = "log lines were lost because nobody read them";
        if !self.is_json {
            return format!("{prefix}{count} {message}");
        }
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let line = json!({ "timestamp": now, "level": "WARN", "message": message, "count": count });
        format!("{prefix}{line}")
    }
}

/// A writer that precedes a line with the number of lines lost before.
struct LossReport<W> {
    output: W,
    line: LossLine,
    /// The counter of lost lines, set once the queue exists.
    lost: Arc<OnceLock<ErrorCounter>>,
    /// The number of lost lines already reported in the output.
    reported: usize,
}

impl<W: Write> Write for LossReport<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    /// Writes one whole line: the queue passes each line in one call.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        let unreported = lost - self.reported;
        if unreported > 0 {
            writeln!(self.output, "{}", self.line.text(unreported))?;
            self.reported = lost;
        }
        self.output.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The number of lines that may wait for the thread: some seconds of a busy log, about 1 MiB.
const MAX_QUEUED_LINES: usize = 4096;
/// The time that the end of the process waits for queued lines. The guard of the queue gives up
/// after 100 ms for a full queue, or 1 s for a slow reader.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1200);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// An output that the test can block and read.
    #[derive(Clone, Default)]
    struct Gate(Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_the_queue_full_are_lost_and_counted() {
        let output = Gate::default();
        let line = LossLine {
            reader: LogReader::Other,
            is_json: false,
        };
        let (mut lines, worker) = queue(output.clone(), line, 2);
        let held = output.0.lock().unwrap();
        for _ in 0..10 {
            lines.write_all(b"stuck\n").unwrap();
        }
        let lost = lines.error_counter().dropped_lines();
        assert!((7..=8).contains(&lost), "{lost}");
        drop(held);
        drop(worker);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let noted: usize = text
            .lines()
            .filter_map(|line| line.strip_suffix(" log lines were lost because nobody read them"))
            .map(|count| count.parse::<usize>().unwrap())
            .sum();
        assert_eq!(noted, lost, "{text}");
        assert_eq!(text.matches("stuck\n").count(), 10 - lost, "{text}");
    }
}
