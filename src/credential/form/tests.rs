//! Values of each form, and the hints for what is none.

use zeroize::Zeroizing;

use super::*;

const TOKEN: &str = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1v";

fn hint(form: SecretForm, origin: SecretOrigin, value: &str) -> Option<&'static str> {
    let secret = Secret::parse_text_or_pem(Zeroizing::new(value.as_bytes().to_vec()));
    misplaced(form, origin, &secret.unwrap())
}

#[test]
fn what_no_provider_made_at_random_is_refused_with_a_hint() {
    let base64_of_token = "RUFBR20wUFg0WkNwc0JBS3paQmhaQVE2ZDF2";
    for (value, expected) in [
        ("TOKEN=EAAGm0PX4ZCpsBAKz", "assignment"),
        ("api-key=a1b2", "assignment"),
        ("D360.API_KEY=a1b2==", "assignment"),
        ("{\"token\":\"EAAGm0PX4\"}", "#FIELD"),
        ("{ \"token\": 1 }", "#FIELD"),
        ("${WHATSAPP_TOKEN}", "placeholder"),
        ("{{ .Values.token }}", "placeholder"),
        ("<your token>", "placeholder"),
        ("[token]", "placeholder"),
        ("$(cat token)", "placeholder"),
        ("$TOKEN", "placeholder"),
        ("%TOKEN%", "placeholder"),
        ("EAA...", "placeholder"),
        ("EAA123", "placeholder"),
        ("EAAxxxx", "placeholder"),
        ("changeme", "placeholder"),
        ("CHANGE_ME", "placeholder"),
        ("your-access-token", "placeholder"),
        ("xxxx-xxxx-xxxx", "placeholder"),
        ("********", "placeholder"),
        ("EAAGm0PX4 ZCpsBAKz", "space"),
        ("App a1b2c3", "space"),
        ("-----BEGIN PRIVATE KEY-----MIIE", "PEM"),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
            "PEM",
        ),
        (
            "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JSUUKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo=",
            "PEM",
        ),
        (base64_of_token, "access token"),
    ] {
        for form in [SecretForm::MetaToken, SecretForm::Text] {
            let hint = hint(form, SecretOrigin::Random, value).unwrap_or("none");
            assert!(hint.contains(expected), "{form:?} {value}: {hint}");
            assert!(!hint.contains("Gm0PX4"), "{form:?} {value}: {hint}");
        }
    }
}

#[test]
fn what_is_around_a_value_or_leads_to_one_is_refused_with_a_hint() {
    for (value, expected) in [
        ("token:EAAGm0PX4ZCpsBAKz", "around"),
        ("EAAGm0PX4ZCpsBAKz,", "comma"),
        ("EAAGm0PX4ZCpsBAKz\"", "quotation mark"),
        ("(EAAGm0PX4ZCpsBAKz)", "bracket"),
        ("EAAGm0PX4ZCpsBAKz\\n", "backslash"),
        ("{\"token\":\"EAAGm0PX4\"},", "quotation mark"),
        ("Bearer%20EAAGm0PX4ZCpsBAKz", "percent-encoded"),
        ("Authorization:EAAGm0PX4ZCpsBAKz", "around"),
        ("export TOKEN=EAAGm0PX4ZCpsBAKz", "space"),
        (
            "https://graph.facebook.com/me?access_token=EAAGm0PX4ZCps",
            "URL",
        ),
        ("file:/run/secrets/Gm0PX4/token", "reference"),
        ("vault:secret/acme#token", "reference"),
        ("op://vault/acme/token", "URL"),
        ("/run/secrets/Gm0PX4/token", "path"),
        ("./Gm0PX4.txt", "path"),
        ("ENC[AES256_GCM,data:Gm0PX4,type:str]", "comma"),
        ("106540352242922", "number"),
        ("+15550001234", "number"),
        ("634974688087057|Gm0PX4aHq1", "of an app"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N",
            "JSON Web Token",
        ),
        ("1234567890", "placeholder"),
        ("my_token", "placeholder"),
        ("nil", "placeholder"),
    ] {
        let hint = hint(SecretForm::MetaToken, SecretOrigin::Random, value);
        let hint = hint.unwrap_or("none");
        assert!(
            hint.contains(expected) && hint.contains("put"),
            "{value}: {hint}"
        );
        assert!(!hint.contains("Gm0PX4"), "{value}: {hint}");
    }
    for value in [
        "app_secret:d41d8cd98f00b204e9800998ecf8427e",
        "export APP_SECRET=d41d8cd98f00b204e9800998ecf8427e",
        "d41d8cd98f00b204e9800998ecf8427e,",
        "634974688087057|d41d8cd98f00b204e9800998ecf8427e",
        "file:/run/secrets/app_secret",
        "null",
        "undefined",
        "password",
        "Password:",
        "Basic YTpi",
        "ENC[AES256_GCM,data:ab,iv:cd,tag:ef,type:str]",
        "KEY0187A3E5C6B4D2F1_dX9vJpQ2aLm8rTz5WkYb3N",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    ] {
        let hint = hint(SecretForm::AppSecret, SecretOrigin::Random, value);
        assert!(hint.is_some(), "{value}");
    }
}

#[test]
fn a_secret_of_another_kind_is_refused_with_a_hint() {
    let app_secret = "d41d8cd98f00b204e9800998ecf8427e";
    for (form, value, expected) in [
        (SecretForm::MetaToken, app_secret, "are an app secret"),
        (SecretForm::AppSecret, TOKEN, "is an access token"),
        (SecretForm::Text, TOKEN, "this provider's own key"),
        (
            SecretForm::AppSecret,
            "ZDQxZDhjZDk4ZjAwYjIwNGU5ODAwOTk4ZWNmODQyN2U=",
            "base64 of an app secret",
        ),
        (
            SecretForm::AppSecret,
            "RUFBR20wUFg0WkNwc0JBS3paQmhaQVE2ZDF2Cg==",
            "with an access token inside",
        ),
        (
            SecretForm::MetaToken,
            // With the line break that `echo` adds, and without padding.
            "RUFBR20wUFg0WkNwc0JBS3paQmhaQVE2ZDF2Cg",
            "base64 of an access token",
        ),
        (SecretForm::PrivateKey, "secret", "not an RSA private key"),
    ] {
        let hint = hint(form, SecretOrigin::Random, value).unwrap_or("none");
        assert!(hint.contains(expected), "{form:?} {value}: {hint}");
    }
}

#[test]
fn a_secret_that_is_wrapped_cut_or_of_another_service_is_refused_with_a_hint() {
    let long = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1vEAGm0PX4ZCpsBAKzZBhZAQ6d1v";
    let twice = format!("{TOKEN}{TOKEN}");
    let tok = format!("tok:{long}");
    let json = base64(&format!("{{\"token\":\"{long}\"}}"));
    let layers = base64(&base64(long));
    let bearer = base64(&format!("Bearer {long}"));
    for (form, value, expected) in [
        (SecretForm::MetaToken, &*twice, "twice"),
        (SecretForm::MetaToken, &layers, "encoded"),
        (SecretForm::MetaToken, &bearer, "encoded"),
        (SecretForm::MetaToken, "hvs.CAESIJ1a2b3c", "another service"),
        (
            SecretForm::MetaToken,
            "AKIAIOSFODNN7EXAMPLE",
            "another service",
        ),
        (
            SecretForm::MetaToken,
            "SK0123456789abcdef0123456789abcdef",
            "another service",
        ),
        (SecretForm::MetaToken, "PASTE_HERE", "placeholder"),
        (SecretForm::MetaToken, "insert-token-here", "placeholder"),
        (SecretForm::AppSecret, "634974688087057", "id of an app"),
        (
            SecretForm::AppSecret,
            "d41d8cd98f00b204e9800998ecf8427",
            "not 32",
        ),
        (
            SecretForm::AppSecret,
            "0xd41d8cd98f00b204e9800998ecf8427e",
            "around",
        ),
        (SecretForm::AppSecret, "changeme", "placeholder"),
        (SecretForm::AppSecret, "xxxx", "placeholder"),
        (SecretForm::Text, &tok, "of Meta"),
        (SecretForm::Text, &json, "of Meta"),
        (SecretForm::Text, &layers, "of Meta"),
        (
            SecretForm::Text,
            "634974688087057|d41d8cd98f00b204e9800998ecf8427e",
            "app of Meta",
        ),
    ] {
        let hint = hint(form, SecretOrigin::Random, value).unwrap_or("none");
        assert!(hint.contains(expected), "{form:?} {value}: {hint}");
        assert!(!hint.contains("Gm0PX4"), "{form:?} {value}: {hint}");
    }
}

#[test]
fn a_key_of_another_provider_that_is_named_wrapped_twice_or_foreign_is_refused_with_a_hint() {
    let key = "d0ZkTQr5Zc1PVd2hT8mQw7XkAK";
    for (value, expected) in [
        (format!("D360-API-KEY:{key}"), "name with the key"),
        (format!("x-api-key:{key}"), "name with the key"),
        (format!("token:{key}"), "name with the key"),
        (base64(&format!("{{\"api_key\":\"{key}\"}}")), "encoded"),
        (base64(&format!("API_KEY={key}")), "encoded"),
        (base64(&format!("D360-API-KEY: {key}\n")), "encoded"),
        (base64(&format!("Bearer {key}")), "encoded"),
        (base64(&base64(&format!("Bearer {key}"))), "encoded"),
        ("@/run/secrets/token".to_owned(), "path"),
        ("@./d360.key".to_owned(), "path"),
        (
            "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok".to_owned(),
            "another service",
        ),
        (
            "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq".to_owned(),
            "another service",
        ),
        ("hvs.CAESIJ1a2b3c".to_owned(), "another service"),
        (
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a".to_owned(),
            "another service",
        ),
        ("AKIAIOSFODNN7EXAMPLE".to_owned(), "another service"),
        (format!("{key}{key}"), "twice"),
    ] {
        let hint = hint(SecretForm::Text, SecretOrigin::Random, &value).unwrap_or("none");
        assert!(
            hint.contains(expected) && hint.contains("put"),
            "{value}: {hint}"
        );
        assert!(!hint.contains("d0ZkTQr5"), "{value}: {hint}");
    }
}

fn base64(text: &str) -> String {
    data_encoding::BASE64.encode(text.as_bytes())
}

#[test]
fn genuine_keys_and_tokens_pass() {
    for value in [
        "eyJhbGciOiJIUzI1NiJ9",
        "d41d8cd98f00b204e9800998ecf8427e",
        "AC0123456789abcdef0123456789abcdef",
        "KEY0187A3E5_dX9vJpQ2",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD==",
        "qZ4/8Jt+Yw==",
        "YWJjZGVm/+=",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "dXNlcjpwYXNzd29yZA==",
        "f1e2d3c4-b5a6-4978-8a9b-0c1d2e3f4a5b",
        "live_1.a~b|c:d@e",
        "tokentoken",
        "your1a2b3c4d5e6f",
        "id:a=b",
        "a1b2c3:d0ZkTQr5Zc1PVd2hT8mQw7XkAK",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        // base64 of `a1b2c3d4e5f6:`, as Interakt shows its keys.
        "YTFiMmMzZDRlNWY2Og==",
    ] {
        let hint = hint(SecretForm::Text, SecretOrigin::Random, value);
        assert_eq!(hint, None, "{value}");
    }
    for value in [TOKEN, "EAATESTTOKEN"] {
        let hint = hint(SecretForm::MetaToken, SecretOrigin::Random, value);
        assert_eq!(hint, None, "{value}");
    }
    for value in [
        "d41d8cd98f00b204e9800998ecf8427e",
        "It's a Secret to Everybody",
    ] {
        let hint = hint(SecretForm::AppSecret, SecretOrigin::Random, value);
        assert_eq!(hint, None, "{value}");
    }
}

#[test]
fn a_value_that_a_person_chose_may_look_like_anything_but_a_file_of_another_kind() {
    for value in [
        "my-verify-token=1",
        "correct horse battery staple",
        "changeme",
        "<x>",
        "{curly}",
        "{}",
        "$ecret",
        TOKEN,
    ] {
        let hint = hint(SecretForm::Text, SecretOrigin::Chosen, value);
        assert_eq!(hint, None, "{value}");
    }
    for value in [
        "${VERIFY_TOKEN}",
        "{{ .verify_token }}",
        "{\"verify_token\":\"a\"}",
        "-----BEGIN CERTIFICATE-----",
    ] {
        let hint = hint(SecretForm::Text, SecretOrigin::Chosen, value);
        assert!(hint.is_some(), "{value}");
    }
}
