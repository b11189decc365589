//! Units as people write them in a configuration: durations, sizes and rates.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many events in so much time, as in `80/s`, `5000/h` or `1/6s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many events.
    pub count: NonZeroU32,
    /// In how much time; never zero.
    pub per: Duration,
}
