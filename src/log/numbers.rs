//! Phone numbers in words of others: cut down before anybody sees them.

use std::net::Ipv4Addr;

/// Returns `text` with every phone number and sender cut down to its last four digits. Digits may
/// be in groups, as in `+1 (555) 000-1234`. Dates, versions, addresses, and codes of few digits
/// stay.
#[must_use]
pub fn without_numbers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        shown.push_str(before);
        let groups = groups(digits, &shown);
        let lead = Lead::of(&shown, &groups);
        let readable = readable(&groups, lead);
        let taken = match readable {
            0 => extent(&groups, lead),
            readable => readable,
        };
        let run = groups.get(..taken).unwrap_or_default();
        let (run_text, after) = digits.split_at(run.iter().map(Group::length).sum());
        if readable == 0 && is_number(run, lead) {
            if run_text.contains(')') && shown.ends_with('(') {
                shown.pop();
            }
            let all: Vec<_> = run_text.chars().filter(char::is_ascii_digit).collect();
            shown.push_str("...");
            shown.extend(all.iter().skip(all.len().saturating_sub(SHOWN_DIGITS)));
        } else {
            shown.push_str(run_text);
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// A run of digits, with what joins it to the run before.
#[derive(Clone, Copy)]
struct Group<'t> {
    gap: &'t str,
    digits: &'t str,
}

impl Group<'_> {
    fn length(&self) -> usize {
        self.gap.len() + self.digits.len()
    }
}

/// The text before a run of digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// The beginning of a phone number: `+`, `(555)`, or the zero of a trunk.
    Phone,
    /// A letter, as in `v25.0`.
    Letter,
    Other,
}

impl Lead {
    fn of(before: &str, groups: &[Group<'_>]) -> Self {
        let has_trunk = groups
            .first()
            .is_some_and(|first| first.digits.starts_with('0') && first.digits.len() > 1);
        let closes = groups.get(1).is_some_and(|next| next.gap.contains(')'));
        // The fraction of a second begins with a zero as often as with any other digit.
        let is_fraction = groups.len() == 2 && groups.get(1).is_some_and(|next| next.gap == ".");
        match before.chars().next_back() {
            Some('+') => Self::Phone,
            Some('(') if closes => Self::Phone,
            Some(letter) if letter.is_alphabetic() => Self::Letter,
            _ if has_trunk && !is_fraction => Self::Phone,
            _ => Self::Other,
        }
    }
}

/// Returns the groups at the beginning of a text, which stands behind `before`.
fn groups<'t>(text: &'t str, before: &str) -> Vec<Group<'t>> {
    let mut groups = Vec::new();
    let mut rest = text;
    let mut is_open = before.ends_with('(');
    while groups.len() < MAX_GROUPS {
        let past_gap = rest.trim_start_matches(joins);
        let (gap, from) = rest.split_at(rest.len() - past_gap.len());
        let past_digits = from.trim_start_matches(|c: char| c.is_ascii_digit());
        let (digits, after) = from.split_at(from.len() - past_digits.len());
        // A parenthesis that began with words ends no area code.
        let is_foreign = gap.contains(')') && !is_open;
        if digits.is_empty() || is_foreign || gap.chars().count() > MAX_GAP {
            break;
        }
        is_open |= gap.contains('(');
        groups.push(Group { gap, digits });
        rest = after;
    }
    groups
}

/// True for what joins the groups of a phone number.
fn joins(c: char) -> bool {
    matches!(
        c,
        ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' | '\u{202f}' | '\u{2010}'..='\u{2013}'
    )
}

/// Returns the number of groups that are no phone number by their form: a date, an address, a
/// version behind a letter.
fn readable(groups: &[Group<'_>], lead: Lead) -> usize {
    if is_date(groups) {
        return 3;
    }
    if is_address(groups) {
        return 4;
    }
    if lead != Lead::Letter {
        return 0;
    }
    let further = groups.iter().skip(1);
    let version = 1 + further.take_while(|group| group.gap == ".").count();
    let is_short = |group: &Group<'_>| group.digits.len() < MIN_NUMBER_DIGITS;
    if groups.iter().take(version).all(is_short) {
        version
    } else {
        0
    }
}

/// Returns the number of groups that belong together: up to a date or an address, and to a dot
/// among other signs.
fn extent(groups: &[Group<'_>], lead: Lead) -> usize {
    let is_dot = |at: usize| groups.get(at).map(|group| group.gap == ".");
    let ends = |at: &usize| {
        let rest = groups.get(*at..).unwrap_or_default();
        is_date(rest) || is_address(rest) || (lead != Lead::Phone && is_dot(*at) != is_dot(1))
    };
    (1..groups.len()).find(ends).unwrap_or(groups.len())
}

/// True for groups that are a phone number, or the id of a sender.
fn is_number(groups: &[Group<'_>], lead: Lead) -> bool {
    let digits: usize = groups.iter().map(|group| group.digits.len()).sum();
    if digits < MIN_NUMBER_DIGITS {
        return false;
    }
    let is_long = |group: &Group<'_>| group.digits.len() >= MIN_NUMBER_DIGITS;
    match groups {
        _ if lead == Lead::Phone || groups.iter().any(is_long) => true,
        // A status and a code stand side by side, and so do the parts of a decimal fraction.
        [_, second] => second.gap.contains('-') || (digits >= MIN_PAIR_DIGITS && second.gap != "."),
        _ => groups.len() > 2,
    }
}

/// True for a date at the beginning, in any order of year, month and day. Behind the same join, the
/// groups belong to what stands before.
fn is_date(groups: &[Group<'_>]) -> bool {
    let [first, second, third, ..] = groups else {
        return false;
    };
    let value = |group: &Group<'_>, digits: usize| {
        let fits = group.digits.len() <= digits;
        fits.then(|| group.digits.parse::<u16>().ok()).flatten()
    };
    let is_year = |group: &Group<'_>| matches!(value(group, 4), Some(1900..=2100));
    let is_day = |group: &Group<'_>| matches!(value(group, 2), Some(1..=31));
    first.gap != second.gap
        && second.gap == third.gap
        && matches!(second.gap, "-" | "/" | ".")
        && is_day(second)
        && ((is_year(first) && is_day(third)) || (is_day(first) && is_year(third)))
}

/// True for an IPv4 address at the beginning.
fn is_address(groups: &[Group<'_>]) -> bool {
    let [first, parts @ ..] = groups else {
        return false;
    };
    let dotted = parts.iter().take_while(|part| part.gap == ".");
    let all: Vec<_> = std::iter::once(first)
        .chain(dotted)
        .map(|part| part.digits)
        .collect();
    first.gap != "." && all.join(".").parse::<Ipv4Addr>().is_ok()
}

/// The number of digits of the shortest phone number. Lines, columns, codes and durations have
/// fewer.
const MIN_NUMBER_DIGITS: usize = 7;
/// The number of digits of the shortest phone number of two groups without a hyphen. A status and a
/// code have nine.
const MIN_PAIR_DIGITS: usize = 10;
/// The number of digits that are left of a number: enough to tell the numbers of a conversation
/// apart, as on receipts.
const SHOWN_DIGITS: usize = 4;
/// The longest join of two groups, in characters: `) - `.
const MAX_GAP: usize = 4;
/// The most groups that are looked at together. A phone number has at most eight.
const MAX_GROUPS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_four_digits_of_a_number_are_left() {
        for (text, expected) in [
            (
                "it cannot see sender 106540352242922 (code 100)",
                "it cannot see sender ...2922 (code 100)",
            ),
            (
                "a:12:3: +4915550001234: é 123456",
                "a:12:3: +...1234: é 123456",
            ),
            ("to +1 555 000 1234, again", "to +...1234, again"),
            ("to 1-555-000-1234.", "to ...1234."),
            ("to (555) 000-1234 (code 100)", "to ...1234 (code 100)"),
            ("+1 (555) 000-1234", "+...1234"),
            ("+49 170 1234567", "+...4567"),
            ("0170/1234567 or 030 123456", "...4567 or ...3456"),
            ("06.12.34.56.78", "...5678"),
            ("555.000.1234", "...1234"),
            ("98765 43210", "...3210"),
            ("555-1234", "...1234"),
            ("+55\u{a0}11\u{a0}98765\u{2011}4321", "+...4321"),
            ("1-555-000-1234 2026-11-30", "...1234 2026-11-30"),
            ("+1 555 000 1234 1 555 000 1235", "+...1235"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(text), expected);
        }
    }

    #[test]
    fn dates_versions_addresses_and_codes_stay() {
        for text in [
            "since 2026-11-30 12:34:56.789012 +0000",
            "2026-11-30T12:34:06.789012Z",
            "30.11.2026 and 11/30/2026",
            "2026-11-30 2026-12-01",
            "(#131047) 131026, 131047",
            "400 131047",
            "HTTP/1.1 400 131047",
            "v25.0 131047",
            "keyside 0.1.2 on 192.168.100.200:8080, 10.0.0.0/24",
            "127.0.0.1 8080",
            "12.345678 s",
            "3 of 10 (code 190, subcode 460)",
        ] {
            assert_eq!(without_numbers(text), text);
        }
    }
}
