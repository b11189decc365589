//! Durations, sizes and rates in the notation of the configuration.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A number of events per time, such as `80/s`, `5000/h` or `1/6s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of events.
    pub count: NonZeroU32,
    /// The time for `count` events; never zero.
    pub per: Duration,
}

/// A day in seconds.
pub const DAY: u64 = 86_400;
/// The longest time of a rate and the longest time to refill a burst: 100 years. Buckets count in
/// nanoseconds of 64 bits, which last for five centuries.
pub const MAX_WINDOW: Duration = Duration::from_secs(100 * 365 * DAY);

/// Returns whole milliseconds in a type that JSON lines show as a number; a wider type would be
/// text.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the Unix time in seconds; 0 for a time before 1970.
#[must_use]
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Returns a count in 32 bits, or the largest one.
#[must_use]
pub fn saturated(count: impl TryInto<u32>) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

/// A rate with a burst: the size and the refill rate of a bucket of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The rate of new tokens.
    pub rate: Rate,
    /// The number of tokens in a full bucket: also the number of requests that pass at once.
    pub burst: NonZeroU32,
}

impl Quota {
    /// Returns the interval between two new tokens.
    #[must_use]
    pub fn interval(self) -> Duration {
        (self.rate.per / self.rate.count.get()).max(Duration::from_nanos(1))
    }

    /// Returns the tokens left and the time until one token is left, for a bucket that is full
    /// after `full_in`.
    #[must_use]
    pub fn left(self, full_in: Duration) -> (u32, Duration) {
        let burst = self.burst.get();
        let interval = self.interval();
        let used = full_in.as_nanos().div_ceil(interval.as_nanos());
        let left = burst.saturating_sub(saturated(used));
        (
            left,
            full_in.saturating_sub(interval.saturating_mul(burst - 1)),
        )
    }

    /// Returns the share of one of `replicas`, with at least one token in a full bucket.
    #[must_use]
    pub fn share(self, replicas: NonZeroU32) -> Self {
        let per = self.rate.per.saturating_mul(replicas.get());
        let burst = self.burst.get() / replicas;
        Self {
            rate: Rate { per, ..self.rate },
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
        }
    }

    /// Returns the time in which an empty bucket becomes full.
    #[must_use]
    pub fn window(self) -> Duration {
        self.interval().saturating_mul(self.burst.get())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} at once", self.rate, self.burst)
    }
}

impl From<Rate> for Quota {
    /// Returns a quota with the rate's whole count as its burst.
    fn from(rate: Rate) -> Self {
        Self {
            rate,
            burst: rate.count,
        }
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    /// Reads `COUNT/UNIT` or `COUNT/DURATION`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (count, per) = text.split_once('/').ok_or(UnitError::Rate)?;
        let count = u32::try_from(whole(count, UnitError::Rate)?).map_err(|_| UnitError::TooBig)?;
        let count = NonZeroU32::new(count).ok_or(UnitError::Zero)?;
        let per = match DURATIONS.iter().find(|(unit, _)| *unit == per) {
            Some((_, milliseconds)) => Duration::from_millis(*milliseconds),
            None => duration(per).map_err(|error| match error {
                UnitError::Duration => UnitError::Rate,
                other => other,
            })?,
        };
        // Clocks count whole nanoseconds, so an interval has at least one.
        if per.as_nanos() < u128::from(count.get()) || per > MAX_WINDOW {
            return Err(UnitError::TooBig);
        }
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.per.as_millis();
        match DURATIONS
            .iter()
            .find(|(_, one)| u128::from(*one) == milliseconds)
        {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{}", self.count, Written(self.per)),
        }
    }
}

/// Reads `500ms`, `2s`, `5m`, `1h` or `90d`; never zero.
///
/// # Errors
/// Zero, a number or unit of another form, or more milliseconds than 64 bits count.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    quantity(text, &DURATIONS, UnitError::Duration).map(Duration::from_millis)
}

/// Reads `off` as `None`, or a duration.
///
/// # Errors
/// As for [`duration`], with `off` among the expected forms.
pub fn duration_or_off(text: &str) -> Result<Option<Duration>, UnitError> {
    match text {
        "off" => Ok(None),
        text => duration(text).map(Some).map_err(|error| match error {
            UnitError::Duration | UnitError::Zero => UnitError::DurationOrOff,
            other => other,
        }),
    }
}

/// Reads `512B`, `64KiB`, `4MiB` or `1GiB`, in bytes; never zero.
///
/// # Errors
/// Zero, a number or unit of another form, or more bytes than 64 bits count.
pub fn size(text: &str) -> Result<u64, UnitError> {
    quantity(text, &SIZES, UnitError::Size)
}

/// A duration in the notation of the configuration, in the largest exact unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written(pub Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        for (unit, one) in DURATIONS.iter().rev() {
            let one = u128::from(*one);
            if milliseconds != 0 && milliseconds.is_multiple_of(one) {
                return write!(f, "{}{unit}", milliseconds / one);
            }
        }
        write!(f, "{milliseconds}ms")
    }
}

/// The reason for refusing a text as a duration, size or rate. The error never holds the text,
/// which may be a secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// The text does not have the form of a duration.
    Duration,
    /// The text is neither a duration nor `off`.
    DurationOrOff,
    /// The text does not have the form of a size.
    Size,
    /// The text does not have the form of a rate.
    Rate,
    /// The number is zero, which has no meaning here.
    Zero,
    /// The number is too big to count with.
    TooBig,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duration => {
                "not a duration, expected a whole number with ms, s, m, h or d, such as \"25s\""
            }
            Self::DurationOrOff => {
                "not a time, expected \"off\", or a whole number over 0 with ms, s, m, h or d, such as \"25s\""
            }
            Self::Size => {
                "not a size, expected a whole number with B, KiB, MiB or GiB, such as \"4MiB\""
            }
            Self::Rate => "not a rate, expected events per time, such as \"80/s\" or \"1/6s\"",
            Self::Zero => "zero, expected more than 0",
            Self::TooBig => "too big a number",
        })
    }
}

impl std::error::Error for UnitError {}

/// Units of time in milliseconds, from small to large.
const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Units of size in bytes, from small to large.
const SIZES: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

fn quantity(text: &str, units: &[(&str, u64)], form: UnitError) -> Result<u64, UnitError> {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or(form)?;
    let (number, unit) = text.split_at_checked(end).ok_or(form)?;
    let (_, one) = units.iter().find(|(name, _)| *name == unit).ok_or(form)?;
    match whole(number, form)?.checked_mul(*one) {
        None => Err(UnitError::TooBig),
        Some(0) => Err(UnitError::Zero),
        Some(product) => Ok(product),
    }
}

/// Reads a whole number without a sign; `u64::from_str` would accept `+5`.
fn whole(text: &str, form: UnitError) -> Result<u64, UnitError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form);
    }
    text.parse().map_err(|_| UnitError::TooBig)
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnitError::{Duration as NoDuration, Rate as NoRate, Size as NoSize, TooBig, Zero};

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, expected) in [
            ("500ms", Ok(Duration::from_millis(500))),
            ("2s", Ok(Duration::from_secs(2))),
            ("5m", Ok(Duration::from_secs(300))),
            ("1h", Ok(Duration::from_secs(3600))),
            ("90d", Ok(Duration::from_secs(90 * 86400))),
            ("007s", Ok(Duration::from_secs(7))),
            ("0s", Err(Zero)),
            ("0ms", Err(Zero)),
            ("213503982335d", Err(TooBig)),
            ("99999999999999999999s", Err(TooBig)),
            ("", Err(NoDuration)),
            ("25", Err(NoDuration)),
            ("s", Err(NoDuration)),
            ("1.5s", Err(NoDuration)),
            ("-1s", Err(NoDuration)),
            ("+1s", Err(NoDuration)),
            ("1 s", Err(NoDuration)),
            (" 1s", Err(NoDuration)),
            ("1S", Err(NoDuration)),
            ("1µs", Err(NoDuration)),
            ("1h30m", Err(NoDuration)),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn a_word_or_a_zero_in_the_place_of_a_time_or_off_names_off() {
        for (text, expected) in [
            ("off", Ok(None)),
            ("2s", Ok(Some(Duration::from_secs(2)))),
            ("0s", Err(UnitError::DurationOrOff)),
            ("none", Err(UnitError::DurationOrOff)),
            ("99999999999999999999s", Err(TooBig)),
        ] {
            assert_eq!(duration_or_off(text), expected, "{text}");
        }
        assert!(UnitError::DurationOrOff.to_string().contains("\"off\""));
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_binary_unit() {
        for (text, expected) in [
            ("1B", Ok(1)),
            ("64KiB", Ok(65_536)),
            ("4MiB", Ok(4 << 20)),
            ("1GiB", Ok(1 << 30)),
            ("0KiB", Err(Zero)),
            ("17179869184GiB", Err(TooBig)),
            ("4MB", Err(NoSize)),
            ("4kib", Err(NoSize)),
            ("4", Err(NoSize)),
            ("", Err(NoSize)),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn rates_are_events_per_time() {
        for (text, expected) in [
            ("80/s", Ok((80, Duration::from_secs(1)))),
            ("5000/h", Ok((5000, Duration::from_secs(3600)))),
            ("1/6s", Ok((1, Duration::from_secs(6)))),
            ("10/m", Ok((10, Duration::from_secs(60)))),
            ("1/500ms", Ok((1, Duration::from_millis(500)))),
            ("0/s", Err(Zero)),
            ("1/0s", Err(Zero)),
            ("4294967296/s", Err(TooBig)),
            ("2000000/ms", Err(TooBig)),
            ("1/40000d", Err(TooBig)),
            ("80", Err(NoRate)),
            ("80/", Err(NoRate)),
            ("/s", Err(NoRate)),
            ("80/6", Err(NoRate)),
            ("80/s/s", Err(NoRate)),
            ("8.5/s", Err(NoRate)),
            ("80 / s", Err(NoRate)),
        ] {
            let rate = text
                .parse::<Rate>()
                .map(|rate| (rate.count.get(), rate.per));
            assert_eq!(rate, expected, "{text}");
        }
    }

    #[test]
    fn a_displayed_rate_or_duration_can_be_parsed_again() {
        for text in ["80/s", "5000/h", "1/6s", "10/m", "3/90s", "7/ms"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for (text, shown) in [
            ("25s", "25s"),
            ("90d", "90d"),
            ("1500ms", "1500ms"),
            ("120s", "2m"),
            ("24h", "1d"),
        ] {
            assert_eq!(Written(duration(text).unwrap()).to_string(), shown);
        }
    }

    #[test]
    fn an_error_shows_the_expected_form_and_not_the_given_text() {
        let error = duration("EAACANARY").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a duration, expected a whole number with ms, s, m, h or d, such as \"25s\""
        );
    }
}
