//! The facts about this process that go along with all traces and metrics:
//! <https://opentelemetry.io/docs/specs/semconv/resource/>.

use data_encoding::HEXLOWER;
use percent_encoding::percent_decode_str;

/// Returns the facts about this process: its own, and those that the environment names as for every
/// SDK of OpenTelemetry.
pub(super) fn own() -> Vec<(String, String)> {
    let mut id = [0; 16];
    // Without randomness all processes look like one, as without an id.
    aws_lc_rs::rand::fill(&mut id).ok();
    let own = [
        ("service.name", "keyside".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", HEXLOWER.encode(&id)),
        ("host.name", host_name()),
    ];
    let variable = |name| std::env::var(name).unwrap_or_default();
    merged(
        own,
        &variable("OTEL_RESOURCE_ATTRIBUTES"),
        &variable("OTEL_SERVICE_NAME"),
    )
}

/// Returns the name of this machine, or of the pod; empty if the kernel does not tell.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Adds the facts that a user names: `KEY=VALUE,KEY=VALUE` with percent-encoded values, and the
/// name of the service.
fn merged<const N: usize>(
    own: [(&str, String); N],
    named: &str,
    service: &str,
) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: String| {
        if value.is_empty() || key.is_empty() {
            return;
        }
        match all.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => all.push((key.to_owned(), value)),
        }
    };
    for (key, value) in own {
        set(key, value);
    }
    for (key, value) in named.split(',').filter_map(|pair| pair.split_once('=')) {
        let value = percent_decode_str(value.trim()).decode_utf8_lossy();
        set(key.trim(), value.into_owned());
    }
    set("service.name", service.to_owned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_adds_facts_and_may_name_the_service() {
        let own = || {
            [
                ("service.name", "keyside".to_owned()),
                ("host.name", String::new()),
            ]
        };
        for (named, service, expected) in [
            ("", "", &[("service.name", "keyside")][..]),
            ("", "shop", &[("service.name", "shop")]),
            (
                "service.name=a, deployment.environment.name = eu%2Cprod ,x,=y",
                "",
                &[
                    ("service.name", "a"),
                    ("deployment.environment.name", "eu,prod"),
                ],
            ),
            ("service.name=a", "b", &[("service.name", "b")]),
        ] {
            let all = merged(own(), named, service);
            let all: Vec<_> = all.iter().map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(all, expected, "{named} {service}");
        }
        assert!(super::own().len() >= 3);
    }
}
