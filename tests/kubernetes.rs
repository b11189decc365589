//! Secrets of a Kubernetes cluster, from an emulation of the API that is about Secrets.

use std::time::Duration;

use crate::support::keyside::{Keyside, Setup};
use crate::support::kubernetes::KubernetesSecretApi;
use crate::support::upstream::Upstream;
use crate::support::{APP_SECRET, MESSAGES, eventually};

const FROM_CLUSTER: &str = "token = \"k8s:shop/acme#token\"\napp_secret = \"k8s:acme#app_secret\"";

fn cluster(token: &str) -> KubernetesSecretApi {
    KubernetesSecretApi::start(&[("token", token), ("app_secret", APP_SECRET)])
}

fn setup(upstream: &Upstream, api: &KubernetesSecretApi) -> Setup {
    Setup::new(upstream)
        .refresh("300ms")
        .envs(&api.environment())
        .credential(FROM_CLUSTER)
}

fn token_sent(keyside: &Keyside, upstream: &Upstream) -> String {
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(answer.status, 200, "{}", keyside.log());
    upstream.last().header("authorization").unwrap()
}

fn unread(keyside: &Keyside, part: &str) -> bool {
    eventually(Duration::from_secs(10), || {
        let status = keyside.status();
        status["credentials"][0]["unread"]
            .to_string()
            .contains(part)
    })
}

#[test]
fn a_secret_of_the_cluster_is_read_and_its_change_is_taken() {
    let api = cluster("EAAFIRST");
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, &api).start();
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAAFIRST");
    assert!(upstream.last().target().contains("appsecret_proof="));
    let status = keyside.status();
    let secrets = status["credentials"][0]["secrets"].as_array().unwrap();
    let token = secrets.iter().find(|one| one["name"] == "token").unwrap();
    assert_eq!(token["since_from"], "source", "{token}");
    assert_eq!(token["since"], 100, "{token}");
    api.put("token", "EAASECOND");
    let is_taken = eventually(Duration::from_secs(5), || {
        token_sent(&keyside, &upstream) == "Bearer EAASECOND"
    });
    assert!(is_taken, "{}", keyside.log());
    let shown = format!("{}{}", keyside.log(), keyside.status());
    assert!(!shown.contains("CANARY"), "{shown}");
    for request in api.requests() {
        assert!(
            request
                .line()
                .starts_with("GET /api/v1/namespaces/shop/secrets/acme "),
            "{}",
            request.line()
        );
    }
}

#[test]
fn a_cluster_that_refuses_leaves_the_secret_in_use_and_says_what_to_do() {
    let api = cluster("EAAFIRST");
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, &api).start();
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAAFIRST");
    api.allow(&[]);
    let rule = "resourceNames: [\\\\\\\"acme\\\\\\\"], verbs: [\\\\\\\"get\\\\\\\"]";
    let rule = rule.replace("\\\\\\\"", "\\\"");
    assert!(unread(&keyside, &rule), "{}", keyside.status());
    api.allow(&["get"]);
    // The account's token has ended, and the kubelet has not written the next one yet.
    api.renew_account("CANARYnext", "CANARYlast");
    assert!(
        unread(&keyside, "does not accept the token"),
        "{}",
        keyside.status()
    );
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAAFIRST");
    api.put("token", "EAASECOND");
    api.renew_account("CANARYnext", "CANARYnext");
    let is_taken = eventually(Duration::from_secs(10), || {
        token_sent(&keyside, &upstream) == "Bearer EAASECOND"
    });
    assert!(
        is_taken,
        "the new token of the account is read: {}",
        keyside.log()
    );
    assert!(!keyside.log().contains("CANARY"));
}

#[test]
fn check_names_what_is_missing_in_the_cluster_and_in_the_pod() {
    let api = cluster("EAAFIRST");
    let upstream = Upstream::ok();
    let check = |reference: &str, environment: &[(&'static str, String)]| {
        let setup = Setup::new(&upstream)
            .envs(environment)
            .credential(&format!("token = \"{reference}\""));
        setup.finish("check").output
    };
    let pod = api.environment();
    let mut outside = pod.clone();
    outside[0].1.clear();
    let mut bare = pod.clone();
    bare[2].1 = "/nonexistent".to_owned();
    for (reference, environment, expected) in [
        ("k8s:acme#other", &pod, "the Secret has no key `other`"),
        (
            "k8s:shop/b#token",
            &pod,
            "no Secret `b` in namespace `shop`",
        ),
        ("k8s:far/acme#token", &pod, "a Role in `far`"),
        (
            "k8s:acme#token",
            &outside,
            "KUBERNETES_SERVICE_HOST is not set",
        ),
        (
            "k8s:shop/acme#token",
            &bare,
            "mount the token of the pod's service account",
        ),
    ] {
        let output = check(reference, environment);
        assert!(output.contains(expected), "{reference}: {output}");
    }
}

#[test]
fn the_shipped_role_allows_exactly_the_requests_that_are_made() {
    let yaml = include_str!("../deploy/kubernetes/secret-access.yaml");
    let objects: Vec<_> = yaml.split("\n---\n").collect();
    let role = objects
        .iter()
        .find(|text| text.contains("kind: Role\n"))
        .unwrap();
    let rules: Vec<_> = role
        .split("rules:\n")
        .nth(1)
        .unwrap()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(
        rules,
        [
            "- apiGroups: [\"\"]",
            "resources: [\"secrets\"]",
            "resourceNames: [\"acme-whatsapp\"]",
            "verbs: [\"get\", \"patch\"]",
        ]
    );
    assert!(!yaml.contains("ClusterRole"));
}
