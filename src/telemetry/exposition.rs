//! The metrics of the process, read from their OpenMetrics text:
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! The registry gives its metrics as text alone. The text has every family of `/metrics`, so that a
//! receiver gets the same families.

/// A family of metrics.
#[derive(Debug, PartialEq)]
pub(super) struct MetricFamily<'t> {
    /// The name of the samples, without the suffixes of a histogram.
    pub(super) name: String,
    pub(super) help: &'t str,
    pub(super) kind: FamilyKind,
    pub(super) samples: Vec<MetricSample<'t>>,
}

/// The kind of a family, as far as it decides on the form of its points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    /// A sum that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Counts of values below bounds.
    Histogram,
}

/// A line with a value.
#[derive(Debug, PartialEq)]
pub(super) struct MetricSample<'t> {
    /// The whole name.
    pub(super) name: &'t str,
    pub(super) labels: MetricLabels<'t>,
    /// The value as written.
    pub(super) value: &'t str,
}

/// The labels of a sample, each with its value.
pub(super) type MetricLabels<'t> = Vec<(&'t str, String)>;

/// Reads a whole text. A line that cannot be read is left out.
pub(super) fn families(text: &str) -> Vec<MetricFamily<'_>> {
    let mut families: Vec<MetricFamily<'_>> = Vec::new();
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = typed.split_once(' ') else {
                continue;
            };
            let words = help.take().filter(|(described, _)| *described == name);
            let (suffix, kind) = match kind {
                "counter" => ("_total", FamilyKind::Counter),
                "info" => ("_info", FamilyKind::Gauge),
                "histogram" => ("", FamilyKind::Histogram),
                _ => ("", FamilyKind::Gauge),
            };
            families.push(MetricFamily {
                name: format!("{name}{suffix}"),
                help: words.map_or("", |(_, words)| words.trim_end_matches('.')),
                kind,
                samples: Vec::new(),
            });
        } else if !line.starts_with('#')
            && let Some(family) = families.last_mut()
            && let Some(sample) = sample(line)
            && belongs(&sample, family)
        {
            family.samples.push(sample);
        }
    }
    families
}

/// True for a sample of the values of a family. The time at which a series began is no value.
fn belongs(sample: &MetricSample<'_>, family: &MetricFamily<'_>) -> bool {
    matches!(
        (sample.name.strip_prefix(&*family.name), family.kind),
        (Some("_sum" | "_count" | "_bucket"), FamilyKind::Histogram)
            | (Some(""), FamilyKind::Counter | FamilyKind::Gauge)
    )
}

/// Reads `name{label="value",...} value`, perhaps with an exemplar or a time behind.
fn sample(line: &str) -> Option<MetricSample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?;
    Some(MetricSample {
        name,
        labels,
        value,
    })
}

/// Reads labels up to the closing brace. Returns what stands behind the brace, too.
fn labels(mut rest: &str) -> Option<(MetricLabels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (value, behind) = quoted(value)?;
        labels.push((name, value));
        rest = behind;
    }
}

/// Reads a value up to the closing quotation mark. Returns what stands behind the mark, too.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_family_by_family() {
        let text = "# HELP a Some requests.\n# TYPE a counter\na_total{x=\"1\",y=\"a\\\"b\\\\\\n\"} 3 # {id=\"x\"} 1\n\
                    a_created{x=\"1\"} 17\n\
                    # HELP b The build.\n# TYPE b info\nb_info{version=\"1\"} 1\n\
                    # HELP c A gauge.\n# TYPE c gauge\n# UNIT c seconds\nc 2.5\n\
                    # HELP d Times.\n# TYPE d histogram\nd_sum{r=\"x\"} 1.5\nd_count{r=\"x\"} 2\nd_bucket{le=\"+Inf\",r=\"x\"} 2\n\
                    broken{x=\"\n# EOF\n";
        let found = families(text);
        let names: Vec<_> = found
            .iter()
            .map(|family| {
                (
                    &*family.name,
                    family.help,
                    family.kind,
                    family.samples.len(),
                )
            })
            .collect();
        assert_eq!(
            names,
            [
                ("a_total", "Some requests", FamilyKind::Counter, 1),
                ("b_info", "The build", FamilyKind::Gauge, 1),
                ("c", "A gauge", FamilyKind::Gauge, 1),
                ("d", "Times", FamilyKind::Histogram, 3),
            ]
        );
        let labels = vec![("x", "1".to_owned()), ("y", "a\"b\\\n".to_owned())];
        let first = MetricSample {
            name: "a_total",
            labels,
            value: "3",
        };
        assert_eq!(found[0].samples, [first]);
        assert_eq!(found[3].samples[2].labels[0], ("le", "+Inf".to_owned()));
    }
}
