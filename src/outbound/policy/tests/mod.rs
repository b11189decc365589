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
use crate::outbound::metrics::OutboundMetrics;
use crate::provider::{Ca, Extent, presets};
use crate::upstream::{Upstream, UpstreamKind};

mod meta;
mod senders;

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
