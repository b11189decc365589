//! The decisions of the policy, by example.

use std::time::Duration;

use http::Request;
use prometheus_client::registry::Registry;

use super::*;
use crate::config::{CredentialConfig, ProofForm};
use crate::credential::metrics::Rotations;
use crate::credential::source::Findings;
use crate::credential::{Standing, TokenFacts, Verdict, Verification};
use crate::limit::Limiter;
use crate::named::ByName;
use crate::outbound::contents::{read_head, read_text};
use crate::outbound::metrics::OutboundMetrics;
use crate::provider::{BodyForm, Ca, Extent, RequestPattern, presets};
use crate::upstream::{Upstream, UpstreamKind};

/// A route to Meta that allows these operations.
fn route(name: &str, path: &str, senders: &[&str], operations: &[&str]) -> Route {
    route_to("meta", (name, path), senders, operations)
}

/// A route to the provider of a preset.
fn route_to(
    preset: &str,
    (name, path): (&str, &str),
    senders: &[&str],
    operations: &[&str],
) -> Route {
    let provider = presets::provider(preset).unwrap();
    let config = CredentialConfig {
        provider: Arc::clone(&provider),
        secrets: ByName::default(),
        max_age: Duration::MAX,
        overlap: Duration::ZERO,
        hold: Duration::ZERO,
        proof: ProofForm::Off,
        check: false,
        place: None,
        renew: None,
        has_route: true,
    };
    let credential = Credential::assemble(name, &config, &Findings::new(), None);
    let origin = provider.upstream.clone().unwrap();
    let tls = crate::tls::client_config(&Ca::Bundled, None).unwrap();
    let upstream = Arc::new(Upstream::new(UpstreamKind::Provider, origin, tls).unwrap());
    let mut registry = Registry::default();
    let rotations = Rotations::register(&mut registry);
    let metrics = OutboundMetrics::register(&mut registry, rotations);
    let allowed = provider.operations.iter();
    Route {
        name: name.into(),
        path: path.to_owned(),
        senders: senders.iter().map(|&sender| sender.to_owned()).collect(),
        operations: allowed
            .filter(|operation| operations.contains(&&*operation.name))
            .collect(),
        channels: [].into(),
        credential: Arc::new(credential),
        upstream: Arc::clone(&upstream),
        host: "graph.facebook.com".into(),
        media_upstream: None,
        media_host: None,
        further: Arc::default(),
        issuer: upstream,
        issuer_host: "".into(),
        limiter: Limiter::default(),
        metrics: Arc::new(metrics.route(&name.into(), &Arc::default())),
        traffic: Arc::default(),
        allow_uids: Box::default(),
    }
}

/// The decision as text: route, operation and sender, or route and slug.
fn decision(policy: &Policy, method: &str, target: &str) -> String {
    decision_at(None, policy, method, target)
}

/// The decision on a request that names a host of a provider.
fn decision_at(host: Option<&str>, policy: &Policy, method: &str, target: &str) -> String {
    let request = Request::builder().method(method).uri(target);
    let (request, ()) = request.body(()).unwrap().into_parts();
    let upstream = host.map(|host| NamedUpstream {
        host: host.to_owned(),
        port: None,
    });
    match policy.check(&request, upstream.as_ref()) {
        Ok(permit) => {
            let sender = permit.sender.unwrap_or("-");
            format!("{} {} {sender}", permit.route.name, permit.operation.name)
        }
        Err(denied) => {
            let route = denied.route.map_or("-", |route| &route.name);
            format!("{route}: {}", denied.error.kind().slug)
        }
    }
}

#[test]
fn a_refusal_tells_the_operation_that_was_asked_for() {
    let policy = Policy::new(vec![route("acme", "", &["106"], &["messages", "media"])]);
    for (method, target, expected) in [
        ("POST", "/v23.0/107/messages", Some("messages")),
        ("GET", "/v23.0/1?phone_number_id=107", Some("media")),
        ("GET", "/v23.0/1/message_templates", Some("templates")),
        ("POST", "/nothing/that/meta/has", None),
    ] {
        let request = Request::builder().method(method).uri(target);
        let (request, ()) = request.body(()).unwrap().into_parts();
        let denied = policy.check(&request, None).err();
        let operation = denied.and_then(|denied| denied.operation);
        let name = operation.map(|operation| &*operation.name);
        assert_eq!(name, expected, "{method} {target}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_request_gets_the_permit_of_its_route_operation_and_sender_or_the_reason() {
    let policy = Policy::new(vec![
        route("acme", "", &["106"], &["messages", "media"]),
        route("other", "", &["108"], &["messages"]),
        route("news", "/news", &[], &["templates", "messages"]),
    ]);
    for (method, target, expected) in [
        ("POST", "/v23.0/106/messages", "acme messages 106"),
        ("POST", "/v23.0/108/messages", "other messages 108"),
        ("POST", "/v23.0/107/messages", "acme: sender_not_allowed"),
        ("GET", "/v23.0/106/messages", "acme: operation_not_allowed"),
        ("GET", "/v23.0/1", "acme: sender_not_named"),
        ("GET", "/v23.0/106", "acme media -"),
        ("GET", "/v23.0/1?phone_number_id=106", "acme media -"),
        ("HEAD", "/v23.0/1?phone_number_id=106", "acme media -"),
        ("HEAD", "/v23.0/106/messages", "acme: operation_not_allowed"),
        (
            "GET",
            "/v23.0/1?phone_number_id=107",
            "acme: sender_not_allowed",
        ),
        (
            "GET",
            "/v23.0/1?access_token=x&phone_number_id=106",
            "acme media -",
        ),
        (
            "GET",
            "/whatsapp_business/attachments/?mid=1",
            "acme: sender_not_named",
        ),
        (
            "GET",
            "/keyside-route/acme/whatsapp_business/attachments/?mid=1",
            "acme media -",
        ),
        (
            "GET",
            "/keyside-route/acme/v23.0/1",
            "acme: sender_not_named",
        ),
        ("GET", "/keyside-route/news/v23.0/1", "-: no_route"),
        ("GET", "/keyside-route/acme", "acme: operation_not_allowed"),
        (
            "GET",
            "/news/keyside-route/news/v23.0/1/message_templates",
            "news templates -",
        ),
        ("GET", "/v23.0/1?fields=id", "acme: sender_not_named"),
        ("GET", "/v23.0/1?fields=name", "acme: operation_not_allowed"),
        (
            "GET",
            "/v23.0/1/message_templates",
            "acme: operation_not_allowed",
        ),
        ("GET", "/news/v23.0/1/message_templates", "news templates -"),
        // The longest path decides alone, also where a shorter one would permit the request.
        ("GET", "/news/v23.0/1", "news: operation_not_allowed"),
        (
            "POST",
            "/newsletter/v23.0/106/messages",
            "acme: operation_not_allowed",
        ),
        ("POST", "/", "acme: operation_not_allowed"),
    ] {
        assert_eq!(
            decision(&policy, method, target),
            expected,
            "{method} {target}"
        );
    }
    let alone = Policy::new(vec![route("news", "/news", &[], &["messages"])]);
    assert_eq!(
        decision(&alone, "POST", "/v23.0/106/messages"),
        "-: no_route"
    );
}

#[test]
fn a_host_chooses_among_routes_and_leaves_the_only_sender_of_a_route() {
    let meta = |name, senders: &[&str]| route(name, "", senders, &["messages", "media"]);
    let dialog = || route_to("360dialog", ("dialog", ""), &[], &["media"]);
    let graph = Some("graph.facebook.com");
    let waba = Some("waba-v2.360dialog.io");
    let one = Policy::new(vec![dialog(), meta("acme", &["106"])]);
    let two = Policy::new(vec![
        dialog(),
        meta("acme", &["106"]),
        meta("other", &["108"]),
    ]);
    for (policy, host, target, expected) in [
        // Each of two providers knows the path.
        (&one, None, "/v23.0/1", "dialog: sender_not_named"),
        (&one, graph, "/v23.0/1", "acme media -"),
        (&one, waba, "/v23.0/1", "dialog media -"),
        (
            &one,
            graph,
            "/v23.0/106/messages",
            "acme: operation_not_allowed",
        ),
        (&one, Some("other.test"), "/v23.0/1", "dialog: wrong_host"),
        (&two, graph, "/v23.0/1", "acme: sender_not_named"),
        (&two, graph, "/v23.0/108", "other media -"),
        (&two, waba, "/v23.0/1", "dialog media -"),
    ] {
        let found = decision_at(host, policy, "GET", target);
        assert_eq!(found, expected, "{host:?} {target}");
    }
}

#[test]
fn a_link_to_a_media_host_of_several_providers_leads_back_to_its_route() {
    let policy = Policy::new(vec![
        route_to("360dialog", ("dialog", ""), &[], &["messages", "media"]),
        route("acme", "", &[], &["messages", "media"]),
    ]);
    let alone = Policy::new(vec![route("acme", "", &[], &["media"])]);
    let link_of = |policy: &Policy, host: &str| {
        let named = NamedUpstream {
            host: host.into(),
            port: None,
        };
        let request = Request::builder().uri("/v23.0/1").body(()).unwrap();
        let (request, ()) = request.into_parts();
        let permit = policy.check(&request, Some(&named)).unwrap();
        permit.link_path().into_owned()
    };
    assert_eq!(link_of(&alone, "graph.facebook.com"), "");
    let media = Some("lookaside.fbsbx.com");
    let bytes = "/whatsapp_business/attachments/?mid=1";
    for (host, name) in [
        ("graph.facebook.com", "acme"),
        ("waba-v2.360dialog.io", "dialog"),
    ] {
        let link = link_of(&policy, host);
        let found = decision_at(media, &policy, "GET", &format!("{link}{bytes}"));
        assert_eq!(found, format!("{name} media -"), "{link}");
    }
    let unmarked = decision_at(media, &policy, "GET", bytes);
    assert!(unmarked.ends_with(": sender_not_named"), "{unmarked}");
}

#[test]
fn every_sender_of_a_body_must_be_one_of_the_route() {
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    let request = Request::builder().method("POST").uri("/v23.0/106/messages");
    let (request, ()) = request.body(()).unwrap().into_parts();
    for (senders, body, is_allowed) in [
        (&["106", "107"][..], &[][..], true),
        (&["106", "107"], &["107"], true),
        (&["106"], &["106", "107"], false),
        (&[], &["107"], true),
    ] {
        let policy = Policy::new(vec![route("acme", "", senders, &["messages"])]);
        let permit = policy.check(&request, None).unwrap();
        let body = NamedSenders {
            in_body: named(body),
            ..NamedSenders::default()
        };
        let sender = permit.with_senders(&body).map(|permit| permit.sender);
        // The path names the sender before the body does.
        let expected = is_allowed.then_some(Some("106"));
        assert_eq!(sender.ok(), expected, "{senders:?} {body:?}");
    }
}

/// The body of a request with a text at a place, in the form of a media type.
fn body_with(form: BodyForm, place: &[String], text: &str) -> String {
    let value = |rest: &[String]| {
        rest.iter()
            .rev()
            .fold(serde_json::Value::from(text), |inner, key| match &**key {
                "*" => serde_json::json!([inner]),
                key => serde_json::json!({ key: inner }),
            })
    };
    let (first, rest) = place.split_first().unwrap();
    match form {
        BodyForm::Json => value(place).to_string(),
        BodyForm::UrlEncoded | BodyForm::Multipart => {
            let keys = rest
                .iter()
                .map(|key| format!("[{}]", key.replace('*', "0")));
            format!("{first}{}={text}", keys.collect::<String>())
        }
    }
}

/// A request as a route with the only sender `1` sees it: with a text in the query, or in a body of
/// a media type.
enum Naming<'t> {
    Query(&'t str),
    Body(&'t str, &'t str),
}

/// The answer of a route with the only sender `1`.
fn taken(
    route: &Route,
    operation: &Operation,
    pattern: &RequestPattern,
    naming: &Naming<'_>,
) -> Result<(), &'static str> {
    let (target, media_type) = match naming {
        Naming::Query(query) => (format!("/?{query}"), None),
        Naming::Body(media_type, _) => ("/".to_owned(), Some(*media_type)),
    };
    let request = Request::builder().uri(target);
    let request = request.method(pattern.methods.first().unwrap());
    let request = request.header("content-type", media_type.unwrap_or_default());
    let (request, ()) = request.body(()).unwrap().into_parts();
    let permit = Permit {
        route,
        operation,
        request: pattern,
        alternatives: Vec::new(),
        path: "",
        sender: Some("1"),
        drops_sender: false,
        added_sender: None,
        names_route: false,
        shares_path: false,
    };
    let contents = match naming {
        Naming::Query(_) => read_head(&permit, &request),
        Naming::Body(_, text) => read_text(&permit, &request, text),
    };
    let contents = contents.map_err(|error| error.kind().slug)?;
    let permit = permit.with_senders(&contents.senders);
    permit.map(drop).map_err(|error| error.kind().slug)
}

#[test]
fn no_operation_of_a_preset_takes_a_foreign_sender_in_its_body_or_query() {
    let mut looked_at = 0;
    let presets = presets::names().map(|preset| (preset, presets::provider(preset).unwrap()));
    for (preset, provider) in presets.filter(|(_, provider)| provider.upstream.is_some()) {
        let names: Vec<_> = provider
            .operations
            .iter()
            .map(|known| &*known.name)
            .collect();
        let route = route_to(preset, ("acme", ""), &["1"], &names);
        let patterns = provider.operations.iter().flat_map(|operation| {
            let patterns = operation.requests.iter();
            patterns.map(move |pattern| (operation, pattern))
        });
        for ((operation, pattern), place) in patterns.flat_map(|found| {
            provider
                .limits
                .sender
                .iter()
                .map(move |place| (found, place))
        }) {
            let query = |sender| body_with(BodyForm::UrlEncoded, place, sender);
            let mut must_be_own = |own: &Naming<'_>, foreign: &Naming<'_>| {
                let case = format!(
                    "{preset} {} {} {}",
                    operation.name,
                    pattern.path,
                    query("9")
                );
                let answer = |naming| taken(&route, operation, pattern, naming);
                // No case is refused earlier, for another reason.
                assert_eq!(answer(own), Ok(()), "{case}");
                assert_eq!(answer(foreign), Err("sender_not_allowed"), "{case}");
                looked_at += 1;
            };
            must_be_own(&Naming::Query(&query("1")), &Naming::Query(&query("9")));
            // The names of parts, and of nothing else in an upload, are read as they pass.
            let read_whole = pattern.content_types.iter();
            for kind in read_whole.filter(|kind| !pattern.raw && kind.form != BodyForm::Multipart) {
                let body = |sender| body_with(kind.form, place, sender);
                must_be_own(
                    &Naming::Body(&kind.name, &body("1")),
                    &Naming::Body(&kind.name, &body("9")),
                );
            }
        }
    }
    assert!(looked_at > 350, "{looked_at}");
}

/// Requests with the operation that each needs at least: method, target, operation, source.
fn requests_of(data: &'static str) -> impl Iterator<Item = [&'static str; 4]> {
    let lines = data.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        fields.try_into().unwrap()
    })
}

const OPENAPI: &str = include_str!("../../../tests/data/meta-openapi.tsv");
const MORE: &str = include_str!("../../../tests/data/meta-more.tsv");
const PYWA: &str = include_str!("../../../tests/data/meta-pywa.tsv");

#[test]
fn every_documented_request_of_meta_passes_with_its_operation_and_with_all() {
    let meta = presets::provider("meta").unwrap();
    let all: Vec<&str> = meta.operations.iter().map(|o| o.name.as_str()).collect();
    let all = Policy::new(vec![route("acme", "", &[], &all)]);
    let mut count = 0;
    let documented = requests_of(OPENAPI).chain(requests_of(PYWA));
    for [method, target, operation, source] in documented.chain(requests_of(MORE)) {
        if operation == "-" {
            assert_eq!(
                source, "/whatsapp/webhooks",
                "Meta sends events, nothing else"
            );
            continue;
        }
        let least = Policy::new(vec![route("acme", "", &[], &[operation])]);
        let decided = decision(&least, method, target);
        assert_eq!(
            decided.split(' ').take(2).collect::<Vec<_>>(),
            ["acme", operation],
            "{method} {target}: {source}"
        );
        let decided = decision(&all, method, target);
        assert!(decided.starts_with("acme "), "{method} {target}: {decided}");
        count += 1;
    }
    assert_eq!(count, 112 + 93 + 52);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn an_object_is_read_without_the_right_to_change_one() {
    let reader = Policy::new(vec![route(
        "acme",
        "",
        &[],
        &["objects", "templates", "media"],
    )]);
    let group = "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD";
    for (method, target, expected) in [
        (
            "GET",
            "/v23.0/1?fields=webhook_configuration",
            "acme objects -",
        ),
        ("GET", "/v23.0/1?fields=url,mime_type", "acme media -"),
        (
            "GET",
            "/v23.0/1?fields=url&phone_number_id=2",
            "acme media -",
        ),
        ("GET", "/v23.0/1?fields=url,pin", "acme objects -"),
        ("GET", "/v23.0/1?metadata=1", "acme objects -"),
        ("GET", "/me?fields=id", "acme objects -"),
        ("GET", "/v23.0/app", "acme objects -"),
        ("GET", "/v23.0/1?fields=access_token", "acme: bad_request"),
        (
            "GET",
            "/me?fields=accounts{access_token}",
            "acme: bad_request",
        ),
        ("GET", "/me/accounts", "acme: operation_not_allowed"),
        ("POST", "/v23.0/1", "acme templates -"),
        ("POST", "/v23.0/1?pin=123456", "acme: operation_not_allowed"),
        ("DELETE", "/v23.0/1", "acme: operation_not_allowed"),
        ("POST", "/v23.0/1/register", "acme: operation_not_allowed"),
    ] {
        assert_eq!(
            decision(&reader, method, target),
            expected,
            "{method} {target}"
        );
    }
    let groups = Policy::new(vec![route("acme", "", &["106"], &["groups"])]);
    for (method, target, expected) in [
        (
            "GET",
            format!("/v23.0/{group}?fields=subject"),
            "acme groups -",
        ),
        ("DELETE", format!("/{group}/invite_link"), "acme groups -"),
        (
            "DELETE",
            "/v23.0/1".to_owned(),
            "acme: operation_not_allowed",
        ),
        ("GET", "/v23.0/me".to_owned(), "acme: operation_not_allowed"),
        (
            "POST",
            "/v23.0/107/groups".to_owned(),
            "acme: sender_not_allowed",
        ),
    ] {
        assert_eq!(
            decision(&groups, method, &target),
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn a_request_passes_if_any_allowed_operation_takes_it() {
    let numbers = ["phone_numbers", "objects", "media"];
    let policy = Policy::new(vec![route("acme", "", &["106"], &numbers)]);
    for (method, target, expected) in [
        // `media` goes out with the only sender of the route, and `phone_numbers` would find a
        // foreign one.
        ("GET", "/v23.0/1", "acme media -"),
        ("GET", "/v23.0/1?fields=name", "acme objects -"),
        ("POST", "/v23.0/1", "acme: sender_not_allowed"),
        ("POST", "/v23.0/106", "acme phone_numbers 106"),
    ] {
        assert_eq!(
            decision(&policy, method, target),
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn an_operation_may_be_allowed_for_reading_alone() {
    let mut reading = route("acme", "", &[], &[]);
    let provider = Arc::clone(&reading.credential.provider);
    let templates = provider.operations.iter().find(|o| o.name == "templates");
    reading.operations.add(templates.unwrap(), Extent::Reading);
    assert_eq!(
        reading.operations.written(templates.unwrap()).as_deref(),
        Some("templates:read")
    );
    let policy = Policy::new(vec![reading]);
    for (method, expected) in [
        ("GET", "acme templates -"),
        ("HEAD", "acme templates -"),
        ("POST", "acme: operation_not_allowed"),
        ("DELETE", "acme: operation_not_allowed"),
    ] {
        let decided = decision(&policy, method, "/v23.0/1/message_templates");
        assert_eq!(decided, expected, "{method}");
    }
}

#[test]
fn a_page_of_the_token_sends_no_message() {
    let sending = route("acme", "", &[], &["messages", "media"]);
    sending.credential.keep_verification(Verification {
        at: tokio::time::Instant::now(),
        provider_time: std::time::SystemTime::now(),
        verdict: Verdict::Proved(TokenFacts {
            pages: ["5551".to_owned()].into(),
            ..TokenFacts::default()
        }),
        standing: Standing::Untested,
    });
    let policy = Policy::new(vec![sending]);
    for (target, expected) in [
        ("/v23.0/5551/messages", "acme: sender_not_allowed"),
        ("/v23.0/106/messages", "acme messages 106"),
    ] {
        assert_eq!(decision(&policy, "POST", target), expected, "{target}");
    }
}
