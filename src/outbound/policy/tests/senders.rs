//! Senders in the body and the query of a request.

use http::{Method, Request};

use super::{route, route_to};
use crate::outbound::contents::{read_head, read_text};
use crate::outbound::policy::{NamedSenders, Permit, Policy, Route};
use crate::provider::{BodyForm, Operation, Provider, RequestPattern, presets};

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

/// The places where a request may name a sender. A change may name what its operation names
/// elsewhere.
fn places_of<'p>(
    provider: &'p Provider,
    operation: &'p Operation,
    pattern: &'p RequestPattern,
) -> Vec<&'p Vec<String>> {
    let is_change = [Method::PUT, Method::PATCH]
        .iter()
        .any(|method| pattern.methods.contains(method));
    let further = operation.requests.iter().filter(|_| is_change);
    let own = further
        .chain([pattern])
        .flat_map(|request| &request.senders);
    provider.limits.sender.iter().chain(own).collect()
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
            let places = places_of(&provider, found.0, found.1);
            places.into_iter().map(move |place| (found, place))
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
                // A request with places of its own has its sender there, and in the body. No other
                // case is refused earlier, for another reason.
                let is_read = matches!(own, Naming::Body(..)) && pattern.senders.contains(place);
                let expected = if is_read || !pattern.needs_own_sender() {
                    Ok(())
                } else {
                    Err("sender_not_named")
                };
                assert_eq!(answer(own), expected, "{case}");
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
