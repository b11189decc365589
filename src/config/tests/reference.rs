//! References to secrets, by example.

use crate::config::{Reference, ReferenceError};

/// Returns the Cargo feature of a reference if the build lacks the feature.
fn missing_feature(text: &str) -> Option<&'static str> {
    let features = [
        ("aws-sm:", "aws", cfg!(feature = "aws")),
        ("gcp-sm:", "gcp", cfg!(feature = "gcp")),
        ("azure-kv:", "azure", cfg!(feature = "azure")),
    ];
    features
        .into_iter()
        .find(|(scheme, _, is_built)| text.starts_with(scheme) && !is_built)
        .map(|(_, feature, _)| feature)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_reference_names_where_the_secret_lives() {
    let exec = |program: &str, arguments: &[&str]| Reference::Exec {
        program: program.into(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
    };
    let vault = |path: &str, field: &str| Reference::Vault {
        path: path.into(),
        field: field.into(),
    };
    let aws = |name: &str, field: Option<&str>| Reference::Aws {
        name: name.into(),
        field: field.map(Into::into),
    };
    let gcp = |secret: &str| Reference::Gcp {
        secret: secret.into(),
    };
    let azure = |vault: &str, name: &str| Reference::Azure {
        vault: vault.into(),
        name: name.into(),
    };
    let kubernetes = |namespace: Option<&str>, name: &str, key: &str| Reference::Kubernetes {
        namespace: namespace.map(Into::into),
        name: name.into(),
        key: key.into(),
    };
    for (text, expected) in [
        (
            "k8s:acme-whatsapp#app_secret",
            kubernetes(None, "acme-whatsapp", "app_secret"),
        ),
        (
            "k8s:shop/acme.prod#tls.key",
            kubernetes(Some("shop"), "acme.prod", "tls.key"),
        ),
        ("env:ACME_TOKEN", Reference::Env("ACME_TOKEN".into())),
        ("env:_X", Reference::Env("_X".into())),
        (
            "file:/run/secrets/a b",
            Reference::File("/run/secrets/a b".into()),
        ),
        (
            "file:/run/secrets/acme.json#app_secret",
            Reference::FileField {
                path: "/run/secrets/acme.json".into(),
                field: "app_secret".into(),
            },
        ),
        ("file:/a#b/c", Reference::File("/a#b/c".into())),
        (
            "systemd:acme.token",
            Reference::Systemd("acme.token".into()),
        ),
        ("exec:/bin/pass", exec("/bin/pass", &[])),
        (
            "exec:/bin/pass show  acme",
            exec("/bin/pass", &["show", "acme"]),
        ),
        (
            "exec:/bin/op read \"op://v/my item\" \"\"",
            exec("/bin/op", &["read", "op://v/my item", ""]),
        ),
        (
            "exec:\"/opt/my tools/pass\" a\"b c\"d",
            exec("/opt/my tools/pass", &["ab cd"]),
        ),
        (
            "vault:kv/whatsapp/acme#token",
            vault("kv/whatsapp/acme", "token"),
        ),
        (
            "vault:secret/apps/a_b.c-d#app_secret",
            vault("secret/apps/a_b.c-d", "app_secret"),
        ),
        ("aws-sm:prod/acme", aws("prod/acme", None)),
        ("aws-sm:prod/acme#token", aws("prod/acme", Some("token"))),
        (
            "aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/acme-AbC123#token",
            aws(
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/acme-AbC123",
                Some("token"),
            ),
        ),
        (
            "gcp-sm:projects/acme-prod/secrets/token",
            gcp("projects/acme-prod/secrets/token"),
        ),
        (
            "gcp-sm:projects/12345/secrets/token/versions/7",
            gcp("projects/12345/secrets/token/versions/7"),
        ),
        (
            "azure-kv:acme-keys/wa-token",
            azure("acme-keys", "wa-token"),
        ),
        (
            "azure-kv:acme-keys.vault.azure.cn/wa-token",
            azure("acme-keys.vault.azure.cn", "wa-token"),
        ),
    ] {
        let expected = match missing_feature(text) {
            Some(feature) => Err(ReferenceError::Unsupported(feature)),
            None => Ok(expected),
        };
        assert_eq!(text.parse(), expected, "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_text_that_is_no_reference_is_refused_and_not_repeated() {
    use ReferenceError::{Literal, Malformed, Probable, Unsupported};
    for (text, expected) in [
        ("EAACANARY", "literal"),
        ("Bearer CANARY", "literal"),
        ("123456:CANARY", "literal"),
        ("ENV:CANARY", "probable"),
        ("/run/CANARY", "probable"),
        ("~/CANARY", "probable"),
        ("${CANARY}", "probable"),
        ("$CANARY", "probable"),
        ("vaullt:kv/CANARY#a", "probable"),
        ("aws:CANARY", "probable"),
        ("gcp:projects/p/secrets/CANARY", "probable"),
        ("kubernetes:shop/canary#CANARY", "probable"),
        ("k8:shop/canary#CANARY", "probable"),
        ("K8S:shop/canary#CANARY", "probable"),
        ("", "literal"),
        ("vault:CANARY", "malformed"),
        ("vault:kv#CANARY", "malformed"),
        ("vault:kv/CANARY", "malformed"),
        ("vault:kv/a#", "malformed"),
        ("vault:/kv/CANARY#a", "malformed"),
        ("vault:kv/../CANARY#a", "malformed"),
        ("vault:kv//CANARY#a", "malformed"),
        ("vault:kv/a?CANARY#a", "malformed"),
        (
            "vault:kv/a#EAACANARY0123456789abcdefghijklmnopq",
            "malformed",
        ),
        ("aws-sm:", "malformed"),
        ("aws-sm:CANARY#", "malformed"),
        ("aws-sm:EAACANARY0123456789abcdefghijklmnopq", "malformed"),
        ("gcp-sm:CANARY", "malformed"),
        ("gcp-sm:projects/p/secrets/CANARY/versions/x", "malformed"),
        ("gcp-sm:projects//secrets/CANARY", "malformed"),
        ("k8s:CANARY", "malformed"),
        ("k8s:canary#", "malformed"),
        ("k8s:#CANARY", "malformed"),
        ("k8s:Shop/canary#CANARY", "malformed"),
        ("k8s:shop/../CANARY#token", "malformed"),
        ("k8s:shop/-canary#CANARY", "malformed"),
        ("k8s:a/b/canary#CANARY", "malformed"),
        ("k8s:canary#..", "malformed"),
        (
            "k8s:canary#EAACANARY0123456789abcdefghijklmnopq",
            "malformed",
        ),
        ("azure-kv:CANARY", "malformed"),
        ("azure-kv:a/b/CANARY", "malformed"),
        ("azure-kv:a/CAN_ARY", "malformed"),
        ("env:", "malformed"),
        ("env:A B", "malformed"),
        ("env:A-B", "malformed"),
        ("env:1A", "malformed"),
        ("env:EAACANARY0123456789abcdefghijklmnopq", "malformed"),
        ("file:run/secrets/CANARY", "malformed"),
        ("file:", "malformed"),
        ("file:/run/secrets/", "malformed"),
        ("file:/run/secrets/acme#", "malformed"),
        (
            "file:/run/a#EAACANARY0123456789abcdefghijklmnopq",
            "malformed",
        ),
        ("file:~/CANARY", "malformed"),
        ("systemd:/CANARY", "malformed"),
        ("systemd:..", "malformed"),
        ("exec:CANARY", "malformed"),
        ("exec:", "malformed"),
        ("exec:/bin/a \"CANARY", "malformed"),
    ] {
        let error = text.parse::<Reference>().unwrap_err();
        let kind = match error {
            Literal => "literal",
            Probable(_) => "probable",
            Unsupported(_) => "unsupported",
            Malformed(_) => "malformed",
        };
        let is_built = missing_feature(text).is_none();
        assert_eq!(
            kind,
            if is_built { expected } else { "unsupported" },
            "{text}"
        );
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{text}");
    }
}

#[test]
fn a_reference_is_displayed_as_written_but_without_arguments() {
    for (text, shown) in [
        ("env:A", "env:A"),
        ("file:/a/b", "file:/a/b"),
        ("file:/a/b#token", "file:/a/b#token"),
        ("systemd:a", "systemd:a"),
        ("exec:/bin/pass CANARY", "exec:/bin/pass"),
        ("vault:kv/acme#token", "vault:kv/acme#token"),
        ("aws-sm:acme", "aws-sm:acme"),
        ("aws-sm:acme#token", "aws-sm:acme#token"),
        ("gcp-sm:projects/p/secrets/s", "gcp-sm:projects/p/secrets/s"),
        ("azure-kv:v/n", "azure-kv:v/n"),
        ("k8s:acme#token", "k8s:acme#token"),
        ("k8s:shop/acme#token", "k8s:shop/acme#token"),
    ] {
        if missing_feature(text).is_none() {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), shown);
        }
    }
}
