//! What is logged, in which form, and how it never holds up a request.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Writes lines to standard error from a thread of its own. Lines are dropped, and counted, while
/// nobody reads them: a full pipe must not stop sending.
#[derive(Debug)]
pub struct Log {
    queue: Queue,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone, Debug)]
struct Queue {
    lines: Arc<Mutex<Option<SyncSender<Vec<u8>>>>>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// Starts logging for the whole process, as JSON or as text. Only Keyside's own lines are written:
    /// a library's might show what it handles, and what it returns is told here.
    #[must_use]
    pub fn start(level: LevelFilter, json: Option<bool>) -> Self {
        let (sender, lines) = sync_channel(LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue { lines: Arc::new(Mutex::new(Some(sender))), dropped: Arc::clone(&dropped) };
        let thread =
            std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&lines, &dropped)).ok();
        let terminal = io::stderr().is_terminal();
        let targets = Targets::new().with_default(LevelFilter::OFF).with_target("keyside", level);
        let registry = tracing_subscriber::registry().with(targets);
        let layer = tracing_subscriber::fmt::layer().with_writer(queue.clone()).with_target(false);
        let started = if json.unwrap_or(!terminal) {
            registry.with(layer.json().flatten_event(true)).try_init()
        } else {
            registry.with(layer.with_ansi(terminal)).try_init()
        };
        // Logging is there already when a test or the demo starts a second sidecar in one process.
        started.unwrap_or_default();
        Self { queue, thread: Mutex::new(thread) }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.queue.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // What is queued is written, unless nobody reads it.
            for _ in 0..50 {
                if thread.is_finished() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// A text in which of each number that is long enough to be a phone's or a sender's only the last four digits are left.
#[must_use]
pub fn without_numbers(text: &str) -> String {
    let runs = text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let runs = runs.map(|run| match run {
        [first, .., a, b, c, d] if first.is_ascii_digit() && run.len() >= SHORTEST_NUMBER => {
            format!("...{}", String::from_utf8_lossy(&[*a, *b, *c, *d]))
        }
        run => String::from_utf8_lossy(run).into_owned(),
    });
    runs.collect()
}

/// Of phone numbers the shortest; lines, columns, codes and durations have less.
const SHORTEST_NUMBER: usize = 7;

fn write_lines(lines: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        let mut output = io::stderr().lock();
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            writeln!(output, "{lost} log lines were dropped because nobody read them").unwrap_or_default();
        }
        // There is nowhere to report that a log line cannot be written.
        output.write_all(&line).unwrap_or_default();
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, bytes: Vec::with_capacity(256) }
    }
}

/// One line on its way to the queue.
#[derive(Debug)]
pub struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let queue = self.queue.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = std::mem::take(&mut self.bytes);
        if queue.as_ref().is_none_or(|queue| queue.try_send(line).is_err()) {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const LINES: usize = 4096;

/// Whole milliseconds, as log lines have them: a number, which a wider type would not be in JSON.
#[must_use]
pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_number_only_its_end_is_left() {
        for (text, expected) in [
            ("it cannot see sender 106540352242922 (code 100)", "it cannot see sender ...2922 (code 100)"),
            ("a:12:3: +4915550001234: é 123456", "a:12:3: +...1234: é 123456"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(text), expected);
        }
    }
}
