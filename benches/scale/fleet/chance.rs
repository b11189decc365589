//! Chance from a seed, and the distributions of times.

use std::time::Duration;

/// A generator of numbers (splitmix64), the same on every machine.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number above 0, at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `most`.
    pub fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    /// True with a probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() <= probability
    }

    /// Time until the next of events that come by chance, so many a second.
    pub fn gap(&mut self, per_second: f64) -> Duration {
        Duration::from_secs_f64(-self.unit().ln() / per_second)
    }

    /// A share of the load as uneven as wealth: a fifth of the sidecars has four fifths of the
    /// load.
    pub fn pareto(&mut self) -> f64 {
        self.unit().powf(-1.0 / 1.16)
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// The distribution of a delay: log-normal around a median, which has the long tail of networks.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// Least delay.
    pub least: Duration,
    /// Median of the time beyond the least delay.
    pub median: Duration,
    /// Spread: the logarithm of the ratio at one standard deviation.
    pub sigma: f64,
}

impl Delay {
    /// The way to a server in the same zone and back.
    pub const NEAR: Self = Self {
        least: Duration::from_micros(150),
        median: Duration::from_micros(250),
        sigma: 0.6,
    };
    /// The way to a server in another region and back.
    pub const FAR: Self = Self {
        least: Duration::from_millis(8),
        median: Duration::from_millis(2),
        sigma: 0.6,
    };

    /// A delay by chance.
    pub fn draw(&self, chance: &mut Chance) -> Duration {
        let factor = (self.sigma * chance.normal()).exp();
        self.least + self.median.mul_f64(factor)
    }
}
