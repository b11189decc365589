//! The advice about a request that the provider's preset does not know.

use http::Method;

use crate::provider::{Provider, presets};

/// Returns the lines that make a request an operation of the provider.
pub(super) fn advice(provider: &Provider, method: &Method, path: &str) -> String {
    let request = format!("{method} {}", generalised(path));
    let name = &provider.name;
    let (table, begin) = if presets::names().any(|preset| preset == *name) {
        let begin =
            format!("a provider of your own, such as [provider.mine] with `extends = \"{name}\"`");
        ("provider.mine".to_owned(), begin)
    } else {
        (format!("provider.{name}"), format!("[provider.{name}]"))
    };
    format!(
        "`keyside providers NAME` lists what is known; to add this request, write in {begin}: [{table}.operations.more] \
         with `kind = \"administration\"` and `requests = [\"{request}\"]`, and name `more` in `operations` of the route"
    )
}

/// Returns the pattern of a path: ids become `{id}`, and a version at the beginning becomes `{v}`.
fn generalised(path: &str) -> String {
    let mut pattern = String::new();
    let mut ids = 0;
    for (index, part) in path.split('/').skip(1).take(MAX_SEGMENTS).enumerate() {
        let is_id = part.len() >= MIN_ID && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let segment = match part {
            part if index == 0 && is_version(part) => "{v}".to_owned(),
            _ if is_id && ids == 0 => "{id}".to_owned(),
            _ if is_id => format!("{{id{}}}", ids + 1),
            "" => continue,
            part if part.len() <= MAX_SHOWN && part.bytes().all(is_plain) => part.to_owned(),
            _ => format!("{{part{index}}}"),
        };
        ids += usize::from(is_id);
        pattern.push('/');
        pattern.push_str(&segment);
    }
    pattern
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(major, minor)| {
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits(major) && digits(minor)
        })
}

/// The most segments in an advice: the longest path of a preset has nine.
const MAX_SEGMENTS: usize = 10;
/// The longest segment that an advice repeats, in bytes: longer ones are ids or keys.
const MAX_SHOWN: usize = 48;
/// The shortest id, in digits: shorter numbers are part of a path, such as the version in
/// `/whatsapp/1/message`.
const MIN_ID: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::PathPattern;

    #[test]
    fn an_advice_has_the_pattern_of_the_path() {
        for (path, expected) in [
            ("/v23.0/106540352242922/new_edge", "/{v}/{id}/new_edge"),
            ("/v1/messages/", "/v1/messages"),
            ("/12345/a/67890", "/{id}/a/{id2}"),
            ("/whatsapp/1/message", "/whatsapp/1/message"),
            ("/a%20b/c", "/{part0}/c"),
            (
                "/Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD",
                "/{part0}",
            ),
        ] {
            assert_eq!(generalised(path), expected);
            assert!(PathPattern::parse(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn an_advice_names_the_table_of_the_provider() {
        let mut provider = (*presets::provider("meta").unwrap()).clone();
        let told = advice(&provider, &Method::GET, "/v23.0/106540352242922/new_edge");
        assert!(told.contains("`extends = \"meta\"`"), "{told}");
        assert!(told.contains("[provider.mine.operations.more]"), "{told}");
        assert!(
            told.contains("requests = [\"GET /{v}/{id}/new_edge\"]"),
            "{told}"
        );
        provider.name = "own".to_owned();
        let told = advice(&provider, &Method::GET, "/a");
        assert!(told.contains("[provider.own.operations.more]"), "{told}");
    }
}
