//! Providers besides Meta: where the credential goes.

use super::{TEXT, query, value};
use crate::support::client::{get, post, with_body};
use crate::support::keyside::Setup;
use crate::support::upstream::{Request, Upstream};
use crate::support::{MESSAGES, contains, shown};

/// A configuration with a credential of `provider`.
fn other_provider(provider: &str, secrets: &str) -> String {
    format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n{provider}\n\
         [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\n{secrets}\n[[route]]\ncredential = \"acme\"\n"
    )
}

#[test]
fn for_360dialog_the_key_is_a_header_and_the_paths_are_theirs() {
    let upstream = Upstream::ok();
    let config = other_provider(
        "[provider.test]\nextends = \"360dialog\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n",
        "api_key = \"file:@DIR@/key\"",
    );
    let keyside = Setup::new(&upstream)
        .file("key", "d360-key")
        .config(&config)
        .start();
    for (request, line) in [
        (post(MESSAGES, TEXT), "POST /messages HTTP/1.1"),
        (post("/messages", TEXT), "POST /messages HTTP/1.1"),
        (
            post("/1234567890/messages", TEXT),
            "POST /messages HTTP/1.1",
        ),
        (
            with_body(
                "POST",
                "/v23.0/1234567890/media",
                "multipart/form-data; boundary=b",
                b"--b--",
            ),
            "POST /media HTTP/1.1",
        ),
        (get("/v23.0/555"), "GET /555 HTTP/1.1"),
        (
            get("/whatsapp_business/attachments/?mid=1&ext=2"),
            "GET /whatsapp_business/attachments/?mid=1&ext=2 HTTP/1.1",
        ),
    ] {
        let answer = keyside.send(&request);
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        let seen = upstream.last();
        assert_eq!(seen.line(), line);
        assert_eq!(seen.all("d360-api-key"), ["d360-key"], "{line}");
        assert!(seen.all("authorization").is_empty(), "{line}");
    }
    keyside.send(format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nD360-API-KEY: mine\r\nAuthorization: Bearer mine\r\nX-API-Key: mine\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
    let seen = upstream.last();
    assert_eq!(seen.all("d360-api-key"), ["d360-key"]);
    assert!(!contains(&seen.raw, b"mine"), "{}", shown(&seen.raw));
}

#[test]
fn for_chat_api_the_key_is_in_the_query_and_the_account_in_the_path() {
    let upstream = Upstream::ok();
    let config = other_provider(
        "[provider.test]\nextends = \"chat-api\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n",
        "token = \"file:@DIR@/key\"\ninstance = \"4711\"",
    );
    let keyside = Setup::new(&upstream)
        .file("key", "a+b/c=&d e".replace(' ', ""))
        .config(&config)
        .start();
    for (path, left) in [
        ("/sendMessage", "/instance4711/sendMessage"),
        (
            "/instance1/sendMessage?x=1&token=mine",
            "/instance4711/sendMessage",
        ),
        ("/message", "/instance4711/message"),
    ] {
        let answer = keyside.post(path, r#"{"phone":"1","body":"x"}"#);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let target = upstream.last().target();
        assert_eq!(target.split('?').next(), Some(left), "{path}");
        assert_eq!(
            value(&query(&target), "token"),
            Some("a+b/c=&de"),
            "{target}"
        );
        assert!(upstream.last().all("authorization").is_empty());
    }
}

#[test]
fn a_provider_of_ones_own_injects_wherever_it_says() {
    let upstream = Upstream::ok();
    let provider = "[provider.test]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
        inject = [{ header = \"X-Key\", value = \"Key {key}\" }, { query = \"auth\", value = \"{key}\" }, { json = \"/auth/apiKey\", value = \"{key}\" }, { form = \"apikey\", value = \"{key}\" }]\n\
        [provider.test.secrets.key]\nrequired = true\n\
        [provider.test.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /send\"]\n";
    let keyside = Setup::new(&upstream)
        .file("key", "s3cr3t-k3y")
        .config(&other_provider(provider, "key = \"file:@DIR@/key\""))
        .start();

    let both = |request: &Request| {
        assert_eq!(request.all("x-key"), ["Key s3cr3t-k3y"]);
        assert_eq!(value(&query(&request.target()), "auth"), Some("s3cr3t-k3y"));
        assert!(!contains(&request.raw, b"mine"), "{}", shown(&request.raw));
    };
    for body in [
        r#"{"to":"1"}"#,
        r#"{"to":"1","auth":{"apiKey":"mine"}}"#,
        r#"{"auth":{"apiKey":"mine","x":2},"to":"1"}"#,
    ] {
        let answer = keyside.send(&with_body(
            "POST",
            "/send?auth=mine&b=1",
            "application/json",
            body.as_bytes(),
        ));
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let seen = upstream.last();
        both(&seen);
        let json: serde_json::Value = serde_json::from_slice(&seen.body)
            .unwrap_or_else(|error| panic!("{error}: {}", shown(&seen.body)));
        assert_eq!(
            (&json["auth"]["apiKey"], &json["to"]),
            (&"s3cr3t-k3y".into(), &"1".into()),
            "{body}"
        );
    }
    let answer = keyside.send(&with_body(
        "POST",
        "/send",
        "application/x-www-form-urlencoded",
        b"to=1&apikey=mine&text=a%20b",
    ));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.last();
    both(&seen);
    let form = query(&format!("?{}", String::from_utf8_lossy(&seen.body)));
    assert_eq!(
        (
            value(&form, "apikey"),
            value(&form, "to"),
            value(&form, "text")
        ),
        (Some("s3cr3t-k3y"), Some("1"), Some("a b"))
    );
}

#[test]
fn a_request_that_cannot_carry_the_credential_does_not_leave() {
    let upstream = Upstream::ok();
    let provider = "[provider.test]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\ninject = [{ json = \"/apiKey\", value = \"{key}\" }]\n\
        [provider.test.secrets.key]\nrequired = true\n\
        [provider.test.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /send\"]\n";
    let keyside = Setup::new(&upstream)
        .file("key", "s3cr3t-k3y")
        .config(&other_provider(provider, "key = \"file:@DIR@/key\""))
        .start();
    for (kind, body, status) in [
        ("application/json", "[1]", 400),
        ("application/json", "{broken", 400),
        ("application/json", "", 400),
        ("text/plain", "hello", 415),
        ("multipart/form-data; boundary=b", "--b--", 415),
    ] {
        let answer = keyside.send(&with_body("POST", "/send", kind, body.as_bytes()));
        assert_eq!(answer.status, status, "{kind} {body:?}: {answer:?}");
        answer.must_be_a_refusal(body);
    }
    assert_eq!(upstream.arrivals(), 0);
}
