//! The time since the machine started: a clock that nobody sets, and that compares within one run
//! of the machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::units::millis;

/// The time since the machine started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTime {
    /// The kernel's random name of this run of the machine.
    id: String,
    up_ms: u64,
}

impl BootTime {
    /// Returns a time in the run of the machine with this name.
    #[must_use]
    pub fn new(id: &str, up_ms: u64) -> Self {
        Self {
            id: id.to_owned(),
            up_ms,
        }
    }

    /// Returns the time of now; `None` if the system hides the name of the run.
    #[must_use]
    pub fn now() -> Option<Self> {
        let up = clock_gettime(ClockId::Boottime);
        let up_ms = u64::try_from(up.tv_sec * 1000 + up.tv_nsec / 1_000_000).ok()?;
        let id = std::fs::read_to_string(BOOT_ID)
            .or_else(|_| std::env::var(BOOT_ID_VARIABLE))
            .ok()?;
        Some(Self::new(id.trim(), up_ms))
    }

    /// Returns the time from a moment before until this one; `None` if the moment belongs to
    /// another run of the machine.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Duration> {
        let passed = self.up_ms.checked_sub(before.up_ms)?;
        (self.id == before.id).then(|| Duration::from_millis(passed))
    }

    /// Returns the moment after a time in the same run of the machine.
    #[must_use]
    pub fn after(&self, time: Duration) -> Self {
        Self {
            id: self.id.clone(),
            up_ms: self.up_ms.saturating_add(millis(time)),
        }
    }

    /// Returns the moment as bytes for a file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        format!("{} {}", self.up_ms, self.id).into_bytes()
    }

    /// Reads what [`Self::encode`] has written; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (up_ms, id) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self::new(id, up_ms.parse().ok()?))
    }
}

/// The file with the kernel's random name of this run of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The variable with the same name where a service manager hides the file, as systemd does with
/// `ProcSubset=pid`.
const BOOT_ID_VARIABLE: &str = "KEYSIDE_BOOT_ID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_compare_within_one_run_of_the_machine() {
        let before = BootTime::new("a", 1_000);
        let later = before.after(Duration::from_secs(2));
        assert_eq!(later.since(&before), Some(Duration::from_secs(2)));
        assert_eq!(before.since(&later), None);
        assert_eq!(BootTime::new("b", 5_000).since(&before), None);
        assert_eq!(BootTime::decode(&later.encode()), Some(later));
        assert_eq!(BootTime::decode(b"?"), None);
        assert!(BootTime::now().is_some());
    }
}
