//! `[telemetry]`: the receiver of traces and metrics.

use super::inbound::{USER, has_user, split_url};
use crate::config::TelemetryConfig;
use crate::document::{Malformed, Reader};
use crate::provider::Origin;
use crate::trace::SampleRate;

/// Reads `[telemetry]`.
pub(super) fn telemetry(mut reader: Reader<'_>) -> Option<TelemetryConfig> {
    if !cfg!(feature = "otlp") {
        reader.fault("this build has no `otlp`; build Keyside with `--features otlp`");
    }
    let receiver = reader
        .required(
            "otlp",
            "the receiver of OTLP over HTTP, such as \"http://127.0.0.1:4318\"",
        )
        .and_then(|field| field.parse(receiver));
    let sample = reader.field("sample").and_then(|field| {
        let rate = SampleRate::of_share(field.number()?);
        if rate.is_none() {
            field.fault(
                "not a share, expected a number from 0 to 1, such as 0.1 for every tenth trace",
            );
        }
        rate
    });
    reader.finish();
    let (receiver, path) = receiver?;
    Some(TelemetryConfig {
        receiver,
        path,
        sample: sample.unwrap_or(SampleRate::ALL),
    })
}

/// Reads the URL of a receiver: its origin, and the path before `/v1/traces`.
fn receiver(text: &str) -> Result<(Origin, String), Malformed> {
    if has_user(text) {
        return Err(USER);
    }
    let (origin, path) = split_url(text).ok_or(EXPECTED)?;
    let path = path.trim_end_matches('/');
    if path.contains('?') {
        return Err(EXPECTED);
    }
    if path.ends_with("/v1/traces") || path.ends_with("/v1/metrics") {
        return Err(SIGNAL);
    }
    Ok((origin, path.to_owned()))
}

const EXPECTED: Malformed = Malformed::new(
    "not a receiver of OTLP over HTTP, expected http://HOST:4318, https://HOST, or a URL with a path before /v1/traces",
);
const SIGNAL: Malformed = Malformed::new(
    "a path of one signal, expected the URL before /v1/traces: Keyside adds /v1/traces and /v1/metrics",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "otlp")]
    #[test]
    fn a_share_of_traces_is_a_number_from_0_to_1() {
        use crate::config::Config;

        let small = "[credential.acme]\nprovider = \"meta\"\ntoken = \"file:/t\"\n[[route]]\ncredential = \"acme\"\n\
                     [telemetry]\notlp = \"http://127.0.0.1:4318\"\n";
        let sample = |line: &str| {
            let config = Config::parse(&format!("{small}{line}"), "f");
            let telemetry = config.map(|config| config.telemetry.unwrap());
            telemetry.map(|telemetry| telemetry.sample)
        };
        for (line, share) in [
            ("", 1.0),
            ("sample = 1", 1.0),
            ("sample = 0", 0.0),
            ("sample = 0.25", 0.25),
        ] {
            assert_eq!(
                sample(line).unwrap(),
                SampleRate::of_share(share).unwrap(),
                "{line}"
            );
        }
        for (line, fault) in [
            (
                "sample = 2",
                "f:8:10: telemetry.sample: not a share, expected a number from 0 to 1",
            ),
            ("sample = -0.1", "f:8:10: telemetry.sample: not a share"),
            (
                "sample = \"half\"",
                "f:8:10: telemetry.sample: wrong type, expected a number, such as 1.0",
            ),
            (
                "sampel = 1",
                "f:8:1: telemetry.sampel: unknown key, did you mean `sample`?",
            ),
        ] {
            let found = sample(line).unwrap_err().to_string();
            assert!(found.starts_with(fault), "{found}");
        }
    }

    #[test]
    fn a_receiver_is_a_url_without_the_path_of_a_signal() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", Ok(("127.0.0.1:4318", ""))),
            (
                "http://collector.monitoring.svc:4318/",
                Ok(("collector.monitoring.svc:4318", "")),
            ),
            (
                "https://otlp.example.com/otlp/",
                Ok(("otlp.example.com", "/otlp")),
            ),
            ("127.0.0.1:4318", Err(EXPECTED)),
            ("grpc://127.0.0.1:4317", Err(EXPECTED)),
            ("http://127.0.0.1:4318?a=b", Err(EXPECTED)),
            ("http://user:secret@127.0.0.1:4318", Err(USER)),
            ("http://127.0.0.1:4318/v1/traces", Err(SIGNAL)),
        ] {
            let found = receiver(text)
                .map(|(origin, path)| (origin.authority(), path))
                .map_err(|error| error.to_string());
            let expected = expected
                .map(|(host, path)| (host.to_owned(), path.to_owned()))
                .map_err(|error| error.to_string());
            assert_eq!(found, expected, "{text}");
        }
    }
}
