//! A request line in a preset: `GET POST /path`.

use http::Method;

use crate::document::Malformed;
use crate::provider::operation::METHODS;
use crate::provider::path::PathPattern;

/// Reads `GET POST /path`: one or more methods and a path pattern.
pub(super) fn request_line(text: &str) -> Result<(Vec<Method>, PathPattern), Malformed> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let path = PathPattern::parse(words.pop().unwrap_or_default())?;
    let methods: Result<Vec<Method>, _> = words.into_iter().map(method).collect();
    methods
        .ok()
        .filter(|methods| !methods.is_empty())
        .map(|methods| (methods, path))
        .ok_or(NO_METHOD)
}

/// Reads the name of a method.
pub(super) fn method(word: &str) -> Result<Method, Malformed> {
    METHODS
        .iter()
        .find(|method| method.as_str() == word)
        .cloned()
        .ok_or(NO_METHOD)
}

const NO_METHOD: Malformed = Malformed::new(
    "no method, expected GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS before the path",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_methods_and_a_path() {
        let (methods, path) = request_line("GET POST /{v}/{id}").unwrap();
        assert_eq!(methods, [Method::GET, Method::POST]);
        assert_eq!(path.to_string(), "/{v}/{id}");
        for text in ["", "/a", "get /a", "CONNECT /a", "GET", "GET a", "/a GET"] {
            assert!(request_line(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_parser(text in "\\PC{0,60}|[{}/.v:a\\[\\]@#?-]{0,30}") {
            let _request = request_line(&text);
        }
    }
}
