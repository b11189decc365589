//! The result of a run: the part of the rate used, the most messages over it, the server's
//! commands, the waits.

use std::time::Duration;

/// The counts of a run. Times are microseconds since its beginning.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Time from which on messages and commands are counted: the burst at the beginning is over.
    pub counted_from: u64,
    /// End of the run.
    pub until: u64,
    /// Rate of each number, in messages a second.
    pub rate: u32,
    /// Messages that came from the applications.
    pub offered: u64,
    /// Commands to the server.
    pub commands: u64,
    /// Times at which messages reached the provider, for each number.
    pub reached: Vec<Vec<u64>>,
    /// Urgency and wait of each message that went.
    pub waits: Vec<(u8, u32)>,
}

impl Outcome {
    /// True if an event now is counted.
    pub fn counts(&self, now: u64) -> bool {
        (self.counted_from..self.until).contains(&now)
    }

    /// Part of the rate that was used.
    pub fn used(&self) -> f64 {
        let permitted = f64::from(self.rate) * self.seconds() * self.reached.len() as f64;
        self.waits.len() as f64 / permitted
    }

    /// The most messages over a bucket of one second at the provider, of any number at any time.
    pub fn over(&self) -> f64 {
        let numbers = self.reached.iter();
        numbers
            .map(|reached| over(reached, self.rate))
            .fold(0.0, f64::max)
    }

    /// Commands for each message that went.
    pub fn commands_each(&self) -> f64 {
        self.commands as f64 / (self.waits.len() as f64).max(1.0)
    }

    /// Commands for each message that came, refused ones as well.
    pub fn commands_each_offered(&self) -> f64 {
        self.commands as f64 / (self.offered as f64).max(1.0)
    }

    /// Commands in a second.
    pub fn commands_a_second(&self) -> f64 {
        self.commands as f64 / self.seconds()
    }

    /// The wait below which `percent` of the messages of an urgency were.
    pub fn wait(&self, urgency: u8, percent: usize) -> Duration {
        let of_urgency = self.waits.iter().filter(|(of, _)| *of == urgency);
        let mut waits: Vec<_> = of_urgency.map(|(_, wait)| *wait).collect();
        waits.sort_unstable();
        let place = (waits.len() * percent / 100).min(waits.len().saturating_sub(1));
        Duration::from_micros(waits.get(place).copied().unwrap_or_default().into())
    }

    fn seconds(&self) -> f64 {
        (self.until - self.counted_from) as f64 / 1e6
    }
}

/// The most by which a bucket of a second's messages overflows. The bucket refuses no message and
/// shows the whole debt.
fn over(reached: &[u64], rate: u32) -> f64 {
    let mut times = reached.to_vec();
    times.sort_unstable();
    let burst = f64::from(rate);
    let (mut level, mut before, mut most) = (0.0_f64, 0, 0.0_f64);
    for time in times {
        level = (level - burst * (time - before) as f64 / 1e6).max(0.0) + 1.0;
        before = time;
        most = most.max(level - burst);
    }
    most
}
