//! Routes that share a path.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::{Config, faults, parse};

/// Providers and credentials: two at Meta, two at another host of Graph's API, three accounts.
const ACCOUNTS: &str = r#"[provider.elsewhere]
extends = "meta"
upstream = "https://graph.test"
media_upstream = "https://media.test"
[provider.elsewhere.upstreams]
api = "https://api.test"
[provider.half]
extends = "meta"
upstream = "https://half.test"
[credential.meta]
provider = "meta"
token = "file:/t"
[credential.other]
provider = "meta"
token = "file:/u"
[credential.elsewhere]
provider = "elsewhere"
token = "file:/t"
[credential.half]
provider = "half"
token = "file:/t"
[credential.first]
provider = "twilio"
account_sid = "AC1"
auth_token = "file:/t"
[credential.again]
provider = "twilio"
account_sid = "AC1"
auth_token = "file:/t"
[credential.second]
provider = "twilio"
account_sid = "AC2"
auth_token = "file:/t"
"#;

/// A configuration with a route for each of these credentials, each with these senders.
fn with_routes(routes: &[(&str, &[&str])]) -> String {
    let mut text = ACCOUNTS.to_owned();
    for (number, (credential, senders)) in routes.iter().enumerate() {
        write!(
            text,
            "[[route]]\nname = \"r{number}\"\ncredential = \"{credential}\"\nsenders = {senders:?}\n"
        )
        .unwrap();
    }
    text
}

/// The line of a route in [`with_routes`].
fn line(route: usize) -> usize {
    ACCOUNTS.lines().count() + 4 * route + 1
}

#[test]
fn routes_with_one_path_are_told_apart_by_host_account_or_sender() {
    let any: &[&str] = &[];
    for (routes, earlier) in [
        (
            &[("meta", any), ("elsewhere", any), ("first", any)][..],
            None,
        ),
        (&[("first", any), ("second", any)], None),
        (&[("first", any), ("second", any), ("again", any)], Some(0)),
        (&[("second", any), ("first", any), ("again", any)], Some(1)),
        (&[("meta", any), ("other", any)], Some(0)),
        (
            &[("elsewhere", any), ("meta", any), ("other", any)],
            Some(1),
        ),
        // The two providers take media from a common host.
        (&[("half", any), ("meta", any)], Some(0)),
        (&[("half", any), ("elsewhere", any)], None),
        (&[("meta", &["1"]), ("elsewhere", &["1"])], None),
        (&[("meta", &["1"]), ("other", &["2"])], None),
        (
            &[("meta", &["1"]), ("other", &["2"]), ("half", &["3"])],
            None,
        ),
        (&[("meta", &["1"]), ("other", any)], Some(0)),
    ] {
        let found = faults(&with_routes(routes));
        let expected =
            earlier.map(|route| format!("the same path as the route at f:{}:1", line(route)));
        assert_eq!(
            found.len(),
            usize::from(expected.is_some()),
            "{routes:?}: {found:?}"
        );
        for (fault, expected) in found.iter().zip(&expected) {
            assert!(fault.contains(expected), "{routes:?}: {fault}");
        }
    }
}

/// Links of media name their routes, and the hosts of the messages differ.
#[test]
fn in_alias_mode_two_providers_may_share_the_host_of_media() {
    let alias = "[outbound.tls]\ncert = \"/c\"\nkey = \"/k\"\n";
    let text = with_routes(&[("half", &[]), ("meta", &[])]) + alias;
    assert_eq!(faults(&text), Vec::<String>::new());
    assert!(parse(&text).warnings.is_empty());
}

#[test]
fn a_route_beside_another_credential_is_a_warning_where_only_senders_tell_them_apart() {
    for (routes, count) in [
        (&[("meta", &["1"][..]), ("elsewhere", &["2"])][..], 0),
        (&[("first", &[]), ("second", &[])], 0),
        (&[("meta", &["1"]), ("meta", &["2"])], 0),
        (&[("meta", &["1"]), ("other", &["2"])], 1),
        (&[("meta", &["1"]), ("half", &["2"]), ("elsewhere", &[])], 1),
    ] {
        let warnings = parse(&with_routes(routes)).warnings;
        assert_eq!(warnings.len(), count, "{routes:?}: {warnings:?}");
    }
}

#[test]
fn a_rate_about_a_party_that_no_request_names_is_a_warning() {
    let recipient = r#"per_recipient = { rate = "1/6s", burst = 45 }"#;
    let sender = r#"per_sender = "5/s""#;
    for (provider, secret, limits, expected) in [
        (
            "haptik",
            "token",
            recipient,
            Some("route.limits.per_recipient: "),
        ),
        ("haptik", "token", sender, Some("route.limits.per_sender: ")),
        ("haptik", "token", "per_account = \"5/s\"", None),
        ("haptik", "token", "max_queue = 7", None),
        ("interakt", "api_key", recipient, None),
        (
            "interakt",
            "api_key",
            sender,
            Some("route.limits.per_sender: "),
        ),
        ("respond-io", "token", recipient, None),
        ("route-mobile", "password", recipient, None),
        ("chat-api", "token", recipient, None),
        ("kaleyra", "api_key", recipient, None),
        ("kaleyra", "api_key", sender, None),
        ("360dialog", "api_key", sender, None),
    ] {
        let account = match provider {
            "haptik" => "host = \"h.example\"\nclient_id = \"c\"\n",
            "route-mobile" => "username = \"file:/u\"\n",
            "chat-api" => "instance = \"1\"\n",
            "kaleyra" => "sid = \"HX1\"\n",
            _ => "",
        };
        let text = format!(
            "[credential.a]\nprovider = \"{provider}\"\n{secret} = \"file:/s\"\n{account}\
             [[route]]\ncredential = \"a\"\n[route.limits]\n{limits}\n"
        );
        let warnings: Vec<_> = parse(&text)
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            warnings.len(),
            usize::from(expected.is_some()),
            "{provider} {limits}: {warnings:?}"
        );
        let told = expected
            .is_none_or(|expected| warnings.iter().any(|warning| warning.contains(expected)));
        assert!(told, "{provider} {limits}: {warnings:?}");
    }
}

/// The time for reading a configuration of so many routes with equal paths: senders tell half of
/// the routes apart, accounts the other half.
fn time_of(routes: usize) -> Duration {
    let mut text = "[credential.meta]\nprovider = \"meta\"\ntoken = \"file:/t\"\n".to_owned();
    for number in 0..routes / 2 {
        write!(
            text,
            "[credential.t{number}]\nprovider = \"twilio\"\naccount_sid = \"AC{number}\"\nauth_token = \"file:/t\"\n\
             [[route]]\ncredential = \"t{number}\"\n\
             [[route]]\nname = \"m{number}\"\ncredential = \"meta\"\nsenders = [\"{number}\"]\n"
        )
        .unwrap();
    }
    let began = Instant::now();
    let config = Config::parse(&text, "f").unwrap();
    let time = began.elapsed();
    assert_eq!(config.routes.len(), routes);
    time
}

#[test]
fn four_times_the_routes_with_one_path_take_about_four_times_as_long() {
    const ROUNDS: usize = 5;
    let times: Vec<_> = (0..ROUNDS)
        .map(|_| (time_of(1000), time_of(4000)))
        .take_while(|(short, long)| *long >= *short * 7)
        .collect();
    // A busy machine slows single rounds: the configuration has to be read in time in one round at
    // least.
    assert!(times.len() < ROUNDS, "{times:?}");
}
