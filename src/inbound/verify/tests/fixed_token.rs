//! Tokens that every event repeats, in each of their places.

use std::sync::Arc;
use std::time::SystemTime;

use http::Request;

use super::{own, verifier};

const TOKEN: &str = "a token of the test";
const HEADER: &str = "in = 'header'\nheader = 'X-Token'";
const QUERY: &str = "in = 'query'\nquery = 'token'";

/// Rows of scheme, header, target, token in the path, and whether the event is genuine.
#[test]
fn a_static_token_is_found_in_header_login_query_and_path() {
    let near = &*format!("{HEADER}\naddresses = ['127.0.0.0/8']");
    let elsewhere = &*format!("{HEADER}\naddresses = ['192.0.2.1']");
    let none = ("Accept", "*/*");
    let right = ("X-Token", TOKEN);
    let login = ("Authorization", "Basic YSB0b2tlbiBvZiB0aGUgdGVzdA==");
    let bearer = ("Authorization", "Bearer YSB0b2tlbiBvZiB0aGUgdGVzdA==");
    for (scheme, (name, value), target, in_path, expected) in [
        (HEADER, right, "/", None, true),
        (HEADER, ("X-Token", "guess"), "/", None, false),
        (HEADER, none, "/", None, false),
        ("in = 'basic'", login, "/", None, true),
        ("in = 'basic'", bearer, "/", None, false),
        (QUERY, none, "/?a=b&token=a+token%20of+the+test", None, true),
        (
            QUERY,
            none,
            "/?token=a+token+of+the+test&token=x",
            None,
            false,
        ),
        (QUERY, none, "/?token=", None, false),
        ("in = 'path'", none, "/", Some(TOKEN), true),
        ("in = 'path'", none, "/", Some("guess"), false),
        (near, right, "/", None, true),
        (elsewhere, right, "/", None, false),
    ] {
        let verifier = verifier(
            &Arc::new(own(&format!("kind = 'static'\n{scheme}"))),
            &[("secret", &["older", TOKEN])],
            None,
        );
        let request = Request::post(target).header(name, value).body(()).unwrap();
        let parts = request.into_parts().0;
        let peer = Some("127.0.0.1".parse().unwrap());
        let begun = verifier.begin(&parts, "/", in_path, peer, SystemTime::now());
        let result = begun.and_then(|check| check.finish(&b"x"[..].into()));
        assert_eq!(result.is_ok(), expected, "{scheme} {:?}", parts.uri);
        let query = verifier.public_query(&parts).unwrap_or_default();
        assert!(
            !query.contains("token"),
            "the application would see a token: {query}"
        );
    }
}
