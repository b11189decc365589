//! The progress of long work, on a terminal alone.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; none without a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn start() -> Self {
        let bar = bar(TEMPLATE);
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Shows the progress: the number of the next event, and the number after the last event.
    pub(super) fn at(&mut self, next: Option<u64>, end: Option<u64>) {
        if let Some(end) = end {
            self.bar.set_length(end);
        }
        match next {
            Some(next) => self.bar.set_position(next),
            None => self.bar.finish_and_clear(),
        }
    }

    /// Prints without the bar in between.
    pub(super) fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line about work of unknown length, from one second after its begin on; none without a
/// terminal.
pub(super) struct ReadingProgress {
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ReadingProgress {
    /// Shows the growing number of bytes read. The thread of the command is busy with the work, so
    /// a thread of its own shows the line.
    pub(super) fn start(bytes: Arc<AtomicU64>) -> Self {
        let shown = io::stderr().is_terminal().then(|| {
            let (end, ended) = channel();
            let thread = std::thread::spawn(move || show(&bytes, &ended));
            (end, thread)
        });
        Self { shown }
    }
}

impl Drop for ReadingProgress {
    /// Clears the line before anything else is printed.
    fn drop(&mut self) {
        if let Some((end, thread)) = self.shown.take() {
            drop(end);
            thread.join().ok();
        }
    }
}

fn show(bytes: &AtomicU64, ended: &Receiver<()>) {
    let mut shown: Option<ProgressBar> = None;
    while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let line = shown.get_or_insert_with(|| bar(READING_TEMPLATE));
        let read = HumanBytes(bytes.load(Ordering::Relaxed));
        line.set_message(read.to_string());
        line.tick();
    }
    if let Some(line) = shown {
        line.finish_and_clear();
    }
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

const TEMPLATE: &str = "{bar:40} {percent} %, {elapsed} so far, {eta} to go";
const READING_TEMPLATE: &str = "{msg} read";
/// The interval of drawing the times, which are shown in seconds.
const TICK: Duration = Duration::from_secs(1);
