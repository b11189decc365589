//! The time for which a certificate of Keyside's own is valid, and the concern about it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::units::DAY;

/// The time for which a certificate is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The file with the certificate.
    pub path: PathBuf,
    /// The first second, in Unix time.
    pub not_before: i64,
    /// The last second, in Unix time.
    pub not_after: i64,
}

/// The stage of a certificate's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The time has not begun.
    Early,
    /// Valid, with time left.
    Good,
    /// Valid, and near the end.
    Ending,
    /// Past the end.
    Expired,
}

impl Validity {
    /// Returns the validity of the first certificate of a chain; `None` if nobody could parse the
    /// certificate.
    pub(super) fn of(path: &Path, chain: &[CertificateDer<'static>]) -> Option<Self> {
        let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(Self {
            path: path.to_owned(),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
        })
    }

    /// Returns the seconds from `now` to the end; zero past the end.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> u64 {
        u64::try_from(self.not_after.saturating_sub(unix(now))).unwrap_or_default()
    }

    /// Returns the stage at `now`. A certificate is near its end in the last fifth of its life, and
    /// in the last two weeks at most: a certificate for a day must not warn all day.
    #[must_use]
    pub fn stage(&self, now: SystemTime) -> Stage {
        let life = self.not_after.saturating_sub(self.not_before);
        let near = (life / 5).min(NEAR_END);
        match unix(now) {
            now if now < self.not_before => Stage::Early,
            now if now > self.not_after => Stage::Expired,
            now if self.not_after - now < near => Stage::Ending,
            _ => Stage::Good,
        }
    }

    /// Returns the concern about the certificate, if any. Without a better certificate, an expired
    /// certificate is used all the same: the clock may be wrong, and a stopped listener would lose
    /// the events of providers without checks.
    #[must_use]
    pub fn concern(&self, now: SystemTime) -> Option<String> {
        let file = self.path.display();
        match self.stage(now) {
            Stage::Good => None,
            Stage::Early => Some(format!(
                "{file}: the certificate is not valid yet; clients refuse it"
            )),
            Stage::Expired => Some(format!(
                "{file}: the certificate has expired; clients refuse it, so renew it now"
            )),
            Stage::Ending => Some(match self.left(now) / DAY {
                0 => format!("{file}: the certificate ends within a day: renew it"),
                1 => format!("{file}: the certificate ends in 1 day: renew it"),
                days => format!("{file}: the certificate ends in {days} days: renew it"),
            }),
        }
    }
}

fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.as_ref().map_or(0, Duration::as_secs)).unwrap_or(i64::MAX)
}

/// The longest time before the end in which a certificate is near its end, in seconds: two weeks.
const NEAR_END: i64 = 14 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_near_its_end_in_two_weeks_or_a_fifth_of_its_life() {
        const D: i64 = 86_400;
        for (life, now, stage, words) in [
            (365 * D, -1, Stage::Early, "not valid yet"),
            (365 * D, 0, Stage::Good, ""),
            (365 * D, 351 * D, Stage::Good, ""),
            (365 * D, 351 * D + 1, Stage::Ending, "ends in 13 days"),
            (365 * D, 364 * D, Stage::Ending, "ends in 1 day:"),
            (365 * D, 364 * D + 1, Stage::Ending, "ends within a day"),
            (365 * D, 365 * D, Stage::Ending, "ends within a day"),
            (365 * D, 365 * D + 1, Stage::Expired, "has expired"),
            (90 * D, 60 * D, Stage::Good, ""),
            (10 * D, 7 * D, Stage::Good, ""),
            (10 * D, 9 * D, Stage::Ending, "ends in 1 day:"),
            (3600, 2880, Stage::Good, ""),
        ] {
            let validity = Validity {
                path: "/c.pem".into(),
                not_before: 1_000_000_000,
                not_after: 1_000_000_000 + life,
            };
            let seconds = u64::try_from(1_000_000_000 + now).unwrap();
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(validity.stage(now), stage, "{life} {now:?}");
            let concern = validity.concern(now).unwrap_or_default();
            assert!(concern.contains(words), "{concern}");
            assert_eq!(concern.is_empty(), stage == Stage::Good, "{concern}");
        }
    }
}
