//! The progress of long work, on a terminal alone.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; none without a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn start() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
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

const TEMPLATE: &str = "{bar:40} {percent} %, {elapsed} so far, {eta} to go";
/// The interval of drawing the times, which are shown in seconds.
const TICK: Duration = Duration::from_secs(1);
