//! Small plots of the last hour as SVG: a step for each minute.

use std::fmt::Write;

use super::html::Html;

/// A plot: the steps of one or two series over each other, with a text for people who do not see
/// the plot.
pub(super) struct Plot<'a> {
    /// The class of the drawing: a plot of a row, or of the whole sidecar.
    pub(super) size: Size,
    /// The meaning in words.
    pub(super) label: &'a str,
    /// The value at the upper edge, unless there is a higher one.
    pub(super) least_top: u64,
    /// The series, drawn one over the other.
    pub(super) series: &'a [Series],
}

/// The size of a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// In a row of a table.
    Row,
    /// On its own.
    Large,
}

/// The values of a plot, one for each minute, the oldest first; `None` for a minute without a
/// value.
pub(super) struct Series {
    pub(super) values: Vec<Option<u64>>,
    pub(super) kind: Kind,
}

/// The meaning of a series, which is also its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Successes, as an area.
    Good,
    /// Failures, as an area.
    Bad,
    /// Refusals, as an area.
    Refused,
    /// A usual value, as a line.
    Usual,
    /// A high value, as a line.
    High,
}

impl Plot<'_> {
    /// Draws the plot, on a scale that begins with 0.
    pub(super) fn draw(&self, html: &mut Html) {
        let values = || self.series.iter().flat_map(|series| &series.values);
        let highest = values().flatten().copied().max().unwrap_or_default();
        let top = highest.max(self.least_top);
        html.markup(match self.size {
            Size::Row => "<svg class=\"plot\"",
            Size::Large => "<svg class=\"plot large\"",
        });
        html.markup(
            " viewBox=\"0 0 60 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"",
        )
        .text(self.label)
        .markup("\"><path class=\"axis\" d=\"M0 99.5H60\"/>");
        for series in self.series {
            let path = match series.kind {
                Kind::Good | Kind::Bad | Kind::Refused => area(&series.values, top),
                Kind::Usual | Kind::High => line(&series.values, top),
            };
            if path.is_empty() {
                continue;
            }
            html.markup(match series.kind {
                Kind::Good => "<path class=\"good\" d=\"",
                Kind::Bad => "<path class=\"bad\" d=\"",
                Kind::Refused => "<path class=\"refused\" d=\"",
                Kind::Usual => "<path class=\"usual\" d=\"",
                Kind::High => "<path class=\"high\" d=\"",
            });
            html.text(path).markup("\"/>");
        }
        html.markup("</svg>");
    }
}

/// Returns the distance of a value from the upper edge. A value above 0 is always to be seen.
fn height(value: u64, top: u64) -> u64 {
    if value == 0 || top == 0 {
        return BOTTOM;
    }
    let share = u128::from(value) * u128::from(BOTTOM) / u128::from(top);
    let height = u64::try_from(share).unwrap_or(BOTTOM);
    BOTTOM - height.clamp(LEAST, BOTTOM)
}

/// Returns the outline of the area below the steps; empty without a value above 0.
fn area(values: &[Option<u64>], top: u64) -> String {
    let mut path = String::new();
    let mut before = BOTTOM;
    for (minute, value) in values.iter().enumerate() {
        let now = height(value.unwrap_or_default(), top);
        if now != before {
            if before == BOTTOM {
                write!(path, "M{minute} {BOTTOM}").ok();
            }
            if path.is_empty() || before != BOTTOM {
                write!(path, "H{minute}").ok();
            }
            write!(path, "V{now}").ok();
            if now == BOTTOM {
                path.push('Z');
            }
            before = now;
        }
    }
    if before != BOTTOM {
        write!(path, "H{}V{BOTTOM}Z", values.len()).ok();
    }
    path
}

/// Returns the steps as a line, which is broken where there is no value.
fn line(values: &[Option<u64>], top: u64) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (minute, value) in values.iter().enumerate() {
        let Some(value) = value else {
            is_open = false;
            continue;
        };
        let now = height(*value, top);
        let end = minute + 1;
        if is_open {
            write!(path, "V{now}H{end}").ok();
        } else {
            write!(path, "M{minute} {now}H{end}").ok();
        }
        is_open = true;
    }
    path
}

/// The lower edge: heights are percentages.
const BOTTOM: u64 = 100;
/// The least height of a value above 0: lower bars cannot be seen.
const LEAST: u64 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_has_a_step_for_each_change() {
        for (values, path) in [
            (&[][..], ""),
            (&[None, Some(0)], ""),
            (&[Some(4)], "M0 100V0H1V100Z"),
            (
                &[None, Some(2), Some(2), Some(4), None],
                "M1 100V50H3V0H4V100Z",
            ),
            (
                &[Some(4), Some(0), Some(1)],
                "M0 100V0H1V100ZM2 100V75H3V100Z",
            ),
        ] {
            assert_eq!(area(values, 4), path, "{values:?}");
        }
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_value() {
        for (values, path) in [
            (&[][..], ""),
            (&[Some(4), Some(2), None, Some(0)], "M0 0H1V50H2M3 100H4"),
        ] {
            assert_eq!(line(values, 4), path, "{values:?}");
        }
    }

    #[test]
    fn a_small_value_beside_a_large_one_is_to_be_seen() {
        assert_eq!(height(1, u64::MAX), BOTTOM - LEAST);
        assert_eq!(height(u64::MAX, u64::MAX), 0);
        assert_eq!(height(0, 5), BOTTOM);
        assert_eq!(height(0, 0), BOTTOM);
    }

    #[test]
    fn the_label_is_escaped() {
        let mut html = Html::default();
        let series = [Series {
            values: vec![Some(1)],
            kind: Kind::Good,
        }];
        let plot = Plot {
            size: Size::Row,
            label: "\"><script>",
            least_top: 0,
            series: &series,
        };
        plot.draw(&mut html);
        assert!(!html.as_str().contains("<script>"), "{}", html.as_str());
        assert!(html.as_str().contains("class=\"good\""));
    }
}
