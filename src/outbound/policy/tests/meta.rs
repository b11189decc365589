//! Every documented request of Meta.

use super::{decision, route};
use crate::outbound::policy::Policy;
use crate::provider::presets;

/// Requests with the operation that each needs at least: method, target, operation, source.
fn requests_of(data: &'static str) -> impl Iterator<Item = [&'static str; 4]> {
    let lines = data.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let fields: Vec<_> = line.split('\t').collect();
        fields.try_into().unwrap()
    })
}

const OPENAPI: &str = include_str!("../../../../tests/data/meta-openapi.tsv");
const MORE: &str = include_str!("../../../../tests/data/meta-more.tsv");
const PYWA: &str = include_str!("../../../../tests/data/meta-pywa.tsv");

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
