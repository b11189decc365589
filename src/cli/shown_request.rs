//! A request in the arguments of a command, without what may be a secret: an SDK puts its token
//! into the query, and a hand may slip.

use http::{Method, Uri};

use crate::document::{shown, shown_place};

/// Returns method, path and query of a request.
pub(super) fn shown_request(method: &Method, target: &Uri) -> String {
    let name = match method.as_str() {
        name if is_method_name(name) => name,
        _ => NOT_SHOWN,
    };
    let path = match target.path() {
        "" => NOT_SHOWN.to_owned(),
        path => path
            .split('/')
            .map(shown_place)
            .collect::<Vec<_>>()
            .join("/"),
    };
    match target.query() {
        None => format!("{name} {path}"),
        Some(query) => {
            let pairs: Vec<_> = query.split('&').map(shown_pair).collect();
            format!("{name} {path}?{}", pairs.join("&"))
        }
    }
}

/// True for a method with the form of a registered one.
fn is_method_name(name: &str) -> bool {
    name.len() <= MAX_METHOD && name.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Returns a message about a request without the parts of the path that may be a secret.
pub(super) fn without_secrets_of(target: &Uri, message: &str) -> String {
    let parts = target.path().split('/');
    parts
        .filter(|part| shown_place(part) != *part)
        .fold(message.to_owned(), |message, part| {
            message.replace(part, NOT_SHOWN)
        })
}

/// Returns a parameter of the query, with the value of one that chooses the operation.
fn shown_pair(pair: &str) -> String {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let value = if CHOOSING_KEYS.contains(&key) {
        shown_place(value)
    } else {
        NOT_SHOWN
    };
    format!("{}={value}", shown(key))
}

/// The stand-in for what may be a secret.
const NOT_SHOWN: &str = "(not shown)";
/// The longest method with a name, in bytes. A secret is longer.
const MAX_METHOD: usize = 12;
/// The parameters of the query that choose the operation. Their values are names and ids.
const CHOOSING_KEYS: [&str; 2] = ["fields", "phone_number_id"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_without_what_may_be_a_secret() {
        let token = "EAAGm0PX4ZCpsBAKz9dLqT7VwXyZ0123456789";
        for (method, target, expected) in [
            (
                "POST",
                "/v25.0/106540352242922/messages",
                "POST /v25.0/106540352242922/messages",
            ),
            (
                "GET",
                "/v25.0/1?fields=url,id",
                "GET /v25.0/1?fields=url,id",
            ),
            (
                "GET",
                "/v25.0/1?fields=TOKEN&a",
                "GET /v25.0/1?fields=(not shown)&a=(not shown)",
            ),
            (
                "POST",
                "http://localhost:8080/1/messages?access_token=TOKEN",
                "POST /1/messages?access_token=(not shown)",
            ),
            (
                "GET",
                "/hook?hub.verify_token=me",
                "GET /hook?hub.verify_token=(not shown)",
            ),
            ("GET", "/?TOKENTOKEN", "GET /?(name not shown)=(not shown)"),
            ("GET", "TOKEN", "GET (not shown)"),
            ("GET", "/TOKEN/x", "GET /(not shown)/x"),
            ("TOKEN", "/x", "(not shown) /x"),
            ("DELETE", "/", "DELETE /"),
        ] {
            let method = method.replace("TOKEN", token).parse().unwrap();
            let target = target.replace("TOKEN", token).parse().unwrap();
            assert_eq!(shown_request(&method, &target), expected);
        }
    }
}
