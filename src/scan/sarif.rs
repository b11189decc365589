//! SARIF 2.1.0, the form in which code hosts take finds:
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use super::find::Find;

/// Returns the log of a scan.
#[must_use]
pub fn sarif(finds: &[Find], version: &str) -> Value {
    let sorted: BTreeSet<&str> = finds.iter().map(|find| find.kind.as_str()).collect();
    let kinds: Vec<&str> = sorted.into_iter().collect();
    let rules: Vec<Value> = kinds.iter().map(|kind| rule(kind)).collect();
    let results: Vec<Value> = finds.iter().map(|find| result(find, &kinds)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "keyside",
                "version": version,
                "rules": rules,
            } },
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    })
}

fn rule(kind: &str) -> Value {
    json!({
        "id": kind,
        "name": "Credential",
        "shortDescription": { "text": format!("A credential ({kind}) where none belongs") },
        "fullDescription": { "text": "Whoever reads the file can use the credential. A credential that was committed or \
            published is leaked, even if the file is deleted afterwards." },
        "help": { "text": "Replace the credential at the provider, revoke the old one, and take it out of the file." },
        "defaultConfiguration": { "level": "error" },
        "properties": { "tags": ["security"], "security-severity": "9.0", "precision": "high" },
    })
}

fn result(find: &Find, kinds: &[&str]) -> Value {
    let fingerprint = find
        .fingerprint
        .map_or_else(|| "none".to_owned(), |print| print.to_string());
    let place = match &find.member {
        Some(member) => format!(" in the member {member}"),
        None => String::new(),
    };
    json!({
        "ruleId": find.kind,
        "ruleIndex": kinds.iter().position(|kind| *kind == find.kind),
        "level": "error",
        "message": { "text": format!("A credential{place}: {}, fingerprint {fingerprint}", find.kind) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": uri(&find.path) },
            "region": { "startLine": find.line },
        } }],
        "partialFingerprints": { "keysideFingerprint/v1": format!("{}:{fingerprint}", find.kind) },
    })
}

/// Returns the reference to a file, relative to the folder of the scan where the path is.
fn uri(path: &[u8]) -> String {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let encoded = percent_encode(path, NOT_IN_PATH);
    match path {
        b"-" => "stdin".to_owned(),
        [b'/', ..] => format!("file://{encoded}"),
        _ => encoded.to_string(),
    }
}

/// The characters to escape in the path of a URI:
/// <https://www.rfc-editor.org/rfc/rfc3986#section-3.3>.
const NOT_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_of_a_file_leads_to_its_bytes() {
        for (path, expected) in [
            (&b"./a b/c.env"[..], "a%20b/c.env"),
            (b"/srv/x", "file:///srv/x"),
            (b"-", "stdin"),
            (b"caf\xe9.env", "caf%E9.env"),
            (b"a\nb\x7f", "a%0Ab%7F"),
            ("\u{e4}".as_bytes(), "%C3%A4"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}
