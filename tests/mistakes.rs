//! Mistakes of a first configuration: what is said names the place, the fault and the way out.

use std::process::Command;
use std::time::Duration;

use crate::support::TOKEN;
use crate::support::authority::Authority;
use crate::support::keyside::{Directory, Finished, finish, free_port};
use crate::support::webhook::HOOK;

/// A directory with secrets and a small configuration, in which commands run.
struct Place(Directory);

impl Place {
    fn new() -> Self {
        let place = Self(Directory::new());
        place.0.write("token", TOKEN);
        place
            .0
            .write("app_secret", "0123456789abcdef0123456789abcdef");
        place.0.write("verify_token", "a-verify-token");
        place
    }

    fn config(&self) -> String {
        let dir = self.0.path().display();
        format!(
            "[outbound]\nlisten = [\"127.0.0.1:{}\"]\n[admin]\nlisten = [\"127.0.0.1:{}\"]\n\
             [credential.acme]\nprovider = \"meta\"\ntoken = \"file:{dir}/token\"\napp_secret = \"file:{dir}/app_secret\"\n\
             verify_token = \"file:{dir}/verify_token\"\n[[route]]\ncredential = \"acme\"\n",
            free_port(),
            free_port()
        )
    }

    fn run(&self, words: &[&str]) -> Finished {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .args(words)
            .current_dir(self.0.path())
            .env_remove("VAULT_ADDR")
            .env_remove("BAO_ADDR")
            .env("VAULT_TOKEN", "hvs.a-token-of-the-test");
        finish(&mut command, Duration::from_secs(20))
    }

    fn check(&self, bytes: impl AsRef<[u8]>) -> Finished {
        self.0.write("proxy.toml", bytes);
        self.run(&["check"])
    }
}

/// The end of a configuration with a webhook behind a listener with TLS.
fn with_tls(cert: &str, key: &str) -> String {
    format!(
        "[inbound]\nlisten = [\"127.0.0.1:{}\"]\n[inbound.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n\
         [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"http://127.0.0.1:3000/\"\n",
        free_port()
    )
}

#[test]
fn each_mistake_of_a_configuration_is_named_with_its_place_and_the_way_out() {
    let place = Place::new();
    let good = place.config();
    let reference = |text: &str| {
        let token = format!("file:{}/token", place.0.path().display());
        good.replace(&token, text)
    };
    for (text, expected) in [
        (
            good.replace("\"meta\"", "\"whatsapp\""),
            "unknown provider, did you mean `meta`?",
        ),
        (
            reference("vaullt:secret/acme#token"),
            "did you mean vault:?",
        ),
        (
            reference("/run/secrets/token"),
            "did you mean file: before an absolute path",
        ),
        (
            reference("${META_TOKEN}"),
            "did you mean env: before the name of a variable",
        ),
        (
            reference("$META_TOKEN"),
            "did you mean env: before the name of a variable",
        ),
        (
            format!("{good}[reload]\nwatch = 5\n"),
            "reload.watch: wrong type, expected a string, such as \"5s\"",
        ),
        (
            format!("{good}[route.limits]\nper_sender = 80\n"),
            "route.limits.per_sender: wrong type, expected a string, such as \"80/s\"",
        ),
        (
            format!("{good}operations = \"messages\"\n"),
            "route.operations: wrong type, expected an array, such as [\"messages\", \"media\"]",
        ),
        (
            good.replace("\"meta\"", "“meta”"),
            "proxy.toml:6:12: the quotation mark “ of a word processor, expected the plain \"",
        ),
        (
            format!("{good}[log]\nlevel = \"warning\"\n"),
            "log.level: unknown word, did you mean `warn`?",
        ),
        (
            format!("{good}senders = [\"15550001234\"]\n"),
            "route.senders: looks like a phone number, expected its phone number id",
        ),
        (
            format!("{good}senders = [\"106540352242922\", \"106540352242922\"]\n"),
            "route.senders: the same sender twice, expected each of them once",
        ),
        (
            format!("{good}{}", with_tls("/nope.crt", "/nope.key")),
            "inbound.tls: /nope.crt: there is no such file",
        ),
        (
            reference("vault:secret/acme#token"),
            "VAULT_ADDR is not set, and Vault gave no answer at https://127.0.0.1:8200",
        ),
    ] {
        let done = place.check(&text);
        assert!(
            done.output.contains(expected),
            "{expected}\n{}",
            done.output
        );
        assert_eq!(done.output.matches(expected).count().min(1), 1);
        assert!(!done.output.contains(TOKEN), "{}", done.output);
    }
}

#[test]
fn a_file_that_no_editor_of_unix_wrote_is_named_by_its_coding() {
    let place = Place::new();
    let good = place.config();
    let utf_16: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(good.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let latin_1 = [b"# caf\xe9\n", good.as_bytes()].concat();
    for (bytes, expected) in [
        (
            utf_16,
            "it is in UTF-16, as some editors on Windows save; save it as UTF-8",
        ),
        (
            latin_1,
            "it is not in UTF-8 (the byte at offset 5 is no part of a character)",
        ),
    ] {
        let done = place.check(&bytes);
        assert_eq!(done.code, Some(78));
        assert!(
            done.output.contains(expected),
            "{expected}\n{}",
            done.output
        );
    }
    // A byte order mark and line ends of Windows are no mistakes.
    let done = place.check(format!("\u{feff}{}", good.replace('\n', "\r\n")));
    assert_eq!(done.code, Some(0), "{}", done.output);
}

#[test]
fn a_certificate_of_an_old_version_is_at_fault_and_not_its_key() {
    let place = Place::new();
    let cert = include_str!("data/version-1.crt.pem");
    let (_, key) = Authority::trusted().server_pem();
    let cert = place.0.write("cert.pem", cert).display().to_string();
    let key = place.0.write("key.pem", key).display().to_string();
    let done = place.check(format!("{}{}", place.config(), with_tls(&cert, &key)));
    assert_eq!(done.code, Some(78), "{}", done.output);
    let expected = format!(
        "inbound.tls: {cert}: the certificate cannot be used: expected one of X.509 version 3"
    );
    assert!(done.output.contains(&expected), "{}", done.output);
}

#[test]
fn a_command_without_a_configuration_says_where_it_looked() {
    let place = Place::new();
    let done = place.run(&["check"]);
    assert_eq!(done.code, Some(78));
    // The machine of a test may have a configuration of its own.
    if !std::path::Path::new("/etc/keyside/proxy.toml").exists() {
        let expected = "neither proxy.toml in this folder nor /etc/keyside/proxy.toml exists";
        assert!(done.output.contains(expected), "{}", done.output);
        assert!(done.output.contains("keyside init"), "{}", done.output);
    }
    let done = place.run(&["check", "-c", "none.toml"]);
    assert!(
        done.output
            .contains("none.toml: cannot be read: there is no such file"),
        "{}",
        done.output
    );
}

#[test]
fn explain_takes_a_pasted_url_and_knows_the_path_of_a_webhook() {
    let place = Place::new();
    let hook = format!(
        "[inbound]\nlisten = [\"127.0.0.1:{}\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"http://127.0.0.1:3000/\"\n",
        free_port()
    );
    place
        .0
        .write("proxy.toml", format!("{}{hook}", place.config()));
    for (words, expected) in [
        (
            [
                "explain",
                "POST",
                "http://localhost:8080/v23.0/106540352242922/messages",
            ],
            "operation   messages",
        ),
        (["explain", "POST", HOOK], "webhook"),
    ] {
        let done = place.run(&words);
        assert!(done.output.contains(expected), "{words:?}\n{}", done.output);
        assert!(
            !done.output.contains("no operation"),
            "{words:?}\n{}",
            done.output
        );
    }
}

#[test]
fn the_documents_name_every_slug_that_an_answer_may_have() {
    // The slugs stand in the sources of the two sides, each beside its status.
    let sources = [
        include_str!("../src/outbound/error.rs"),
        include_str!("../src/inbound/error.rs"),
    ];
    let documents = [
        include_str!("../docs/sending.md"),
        include_str!("../docs/webhooks.md"),
    ]
    .concat();
    let mut slugs = Vec::new();
    for source in sources {
        let source = source.split("#[cfg(test)]").next().unwrap();
        for before in [
            "RefusalKind::new(\"",
            "RefusalKind::new(\n        \"",
            "kind(\"",
        ] {
            let found = source.split(before).skip(1);
            slugs.extend(found.filter_map(|rest| rest.split('"').next()));
        }
    }
    slugs.sort_unstable();
    slugs.dedup();
    assert!(slugs.len() > 20, "{slugs:?}");
    let missing: Vec<_> = slugs
        .iter()
        .filter(|slug| !documents.contains(&format!("`{slug}`")))
        .collect();
    assert!(missing.is_empty(), "no document names {missing:?}");
}
