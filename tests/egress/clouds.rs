//! The SDKs of the clouds behind a proxy.

use super::proxies::named;
use crate::support::keyside::Setup;
use crate::support::proxy::{Manner, Proxy};
use crate::support::upstream::{Upstream, json};
use crate::support::{MESSAGES, TOKEN};

/// `user:secret word` in the form of RFC 7617.
const CREDENTIALS: &str = "Basic dXNlcjpzZWNyZXQgd29yZA==";

/// Secrets Manager, with the token of the default configuration.
fn aws() -> Upstream {
    Upstream::answering(|_| {
        json(&format!(
            "{{\"Name\":\"acme\",\"VersionId\":\"1\",\"SecretString\":\"{TOKEN}\"}}"
        ))
    })
}

fn asking_aws(aws: &Upstream, upstream: &Upstream) -> Setup {
    let setup = Setup::new(upstream).credential("token = \"aws-sm:acme\"");
    let authorities = setup.dir().join("ca.pem").display().to_string();
    setup
        .env("AWS_ENDPOINT_URL", &named(aws))
        .env("SSL_CERT_FILE", &authorities)
        .env("AWS_REGION", "eu-central-1")
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "test")
}

#[test]
fn aws_is_asked_through_the_proxy_of_the_environment_or_of_a_reference() {
    for by_reference in [false, true] {
        let (aws, upstream) = (aws(), Upstream::ok());
        let proxy = Proxy::start(Manner::Wants(CREDENTIALS));
        let url = proxy.url("user:secret%20word@");
        let setup = asking_aws(&aws, &upstream);
        let setup = match by_reference {
            true => setup.env("WAY", &url).more("[egress]\nproxy = \"env:WAY\""),
            false => setup.env("HTTPS_PROXY", &url),
        };
        let keyside = setup.start();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{by_reference}");
        let place = format!("CONNECT graph.test:{} ", aws.port());
        let heads = proxy.heads();
        assert!(
            heads.iter().any(|head| head.starts_with(&place)),
            "{heads:?}"
        );
    }
}

#[test]
fn aws_is_not_asked_past_a_proxy_whose_url_cannot_be_read() {
    let (aws, upstream) = (aws(), Upstream::ok());
    let keyside = asking_aws(&aws, &upstream)
        .more("[egress]\nproxy = \"file:@DIR@/proxy\"")
        .start();
    assert_eq!(
        keyside.post(MESSAGES, "{}").slug(),
        "credential_unavailable"
    );
    assert!(keyside.log().contains("there is no way out"));
    assert_eq!(aws.connections(), 0);
}

#[test]
fn the_sdks_of_azure_and_google_take_the_proxy_of_the_environment() {
    let account =
        r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}"#;
    for (reference, host) in [
        ("azure-kv:acme/token", "acme.vault.azure.net:443"),
        ("gcp-sm:projects/p/secrets/s", "oauth2.googleapis.com:443"),
    ] {
        let (upstream, proxy) = (Upstream::ok(), Proxy::start(Manner::Answers(FORBIDDEN)));
        let setup = Setup::new(&upstream)
            .file("account.json", account)
            .credential(&format!("token = \"{reference}\""));
        let file = setup.dir().join("account.json").display().to_string();
        let keyside = setup
            .env("HTTPS_PROXY", &proxy.url(""))
            .env("GOOGLE_APPLICATION_CREDENTIALS", &file)
            .env("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555")
            .env("AZURE_CLIENT_ID", "11111111-2222-3333-4444-666666666666")
            .env("AZURE_CLIENT_SECRET", "test")
            .start();
        let asked = format!("CONNECT {host} ");
        let is_asked = || proxy.heads().iter().any(|head| head.starts_with(&asked));
        assert!(
            crate::support::eventually(std::time::Duration::from_secs(10), is_asked),
            "{reference}: {:?}\n{}",
            proxy.heads(),
            keyside.log()
        );
    }
}

const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
