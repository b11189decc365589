//! The two text forms of metrics: OpenMetrics, and the classic form of Prometheus, which older
//! readers need.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The text form of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    Classic,
}

impl MetricsFormat {
    /// Returns the form that `Accept` prefers; the classic form for readers that do not say.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let weight_of = |media_type: &str| weight_in(headers, &header::ACCEPT, media_type);
        let open = weight_of("application/openmetrics-text");
        if open > 0.0 && open >= weight_of("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// Returns the value of `Content-Type`.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        })
    }
}

/// Returns the text as gzip, if the reader takes it (`Accept-Encoding`), as Prometheus does: the
/// lines resemble each other.
pub(super) fn compressed(text: &str, headers: &HeaderMap) -> Option<Vec<u8>> {
    if weight_in(headers, &header::ACCEPT_ENCODING, "gzip") <= 0.0 {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

/// Returns the weight of a name in a header with weighted elements; 0 for a name that is not there.
fn weight_in(headers: &HeaderMap, header: &HeaderName, named: &str) -> f64 {
    let values = headers.get_all(header).iter();
    let elements = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    let weights = elements.filter_map(|element| {
        let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
        let is_named = name.trim().eq_ignore_ascii_case(named);
        is_named.then(|| weight(parameters))
    });
    weights.fold(0.0, f64::max)
}

/// Returns the weight among the parameters of an element of `Accept`; 1 without one.
fn weight(parameters: &str) -> f64 {
    let mut named = parameters.split(';').filter_map(|one| one.split_once('='));
    named
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0))
}

/// Rewrites OpenMetrics text to the classic form. The samples are equal in both; the classic form
/// describes a counter by the name of its samples, knows no info and no unit, and has no mark at
/// the end.
pub(super) fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        if let Some(described) = comment.strip_prefix("HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = comment
            .strip_prefix("TYPE ")
            .and_then(|typed| typed.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, words)) = help.take().filter(|(described, _)| *described == name) {
                text.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_says_which_form_it_prefers() {
        use MetricsFormat::{Classic, OpenMetrics};
        for (accept, expected) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/plain;version=0.0.4", Classic),
            ("application/openmetrics-text", OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.9, Application/OpenMetrics-Text; Q=0.5",
                Classic,
            ),
            ("application/openmetrics-text;q=0", Classic),
            ("application/openmetrics-text;q=x,text/plain", Classic),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(MetricsFormat::accepted(&headers), expected, "{accept}");
        }
        assert_eq!(MetricsFormat::accepted(&HeaderMap::new()), Classic);
    }

    #[test]
    fn the_classic_form_describes_counters_by_their_samples() {
        let open = "# HELP a Some requests.\n# TYPE a counter\na_total{x=\"# TYPE b counter\"} 1\n\
                    # HELP b The build.\n# TYPE b info\nb_info{version=\"1\"} 1\n\
                    # HELP c_seconds A gauge.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 2.5\n\
                    # TYPE d unknown\nd 1\n# EOF\n";
        assert_eq!(
            classic(open),
            "# HELP a_total Some requests.\n# TYPE a_total counter\na_total{x=\"# TYPE b counter\"} 1\n\
             # HELP b_info The build.\n# TYPE b_info gauge\nb_info{version=\"1\"} 1\n\
             # HELP c_seconds A gauge.\n# TYPE c_seconds gauge\nc_seconds 2.5\n\
             # TYPE d untyped\nd 1\n"
        );
    }
}
