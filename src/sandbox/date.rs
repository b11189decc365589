//! A point in time in the words of Graph's errors.

/// `Monday, 14-Oct-24 04:27:49 PDT` in the shape, in UTC in the meaning.
pub(super) fn graph(unix: u64) -> String {
    let days = unix / 86_400;
    let seconds = unix % 86_400;
    let (year, month, day) = civil(days);
    let weekday = pick(&WEEKDAYS, (days + 4) % 7);
    let month = pick(&MONTHS, month - 1);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02}-{month}-{:02} {hour:02}:{minute:02}:{second:02} UTC", year % 100)
}

/// Year, month and day of a number of days after 1970, by Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn pick<'a>(names: &[&'a str], index: u64) -> &'a str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_reads_as_graph_writes_it() {
        assert_eq!(graph(1_728_904_687), "Monday, 14-Oct-24 11:18:07 UTC");
        assert_eq!(graph(951_827_696), "Tuesday, 29-Feb-00 12:34:56 UTC");
    }
}
