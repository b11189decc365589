//! Keyside asks the provider about a new token before using it, and status shows the answer.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::client::get;
use crate::support::keyside::{Finished, Keyside, Setup, finish};
use crate::support::upstream::{Upstream, json};
use crate::support::webhook::spooled;
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const NEW: &str = "EAASECONDTOKEN";
const SENDER: &str = "106540352242922";

/// The upstream's answers to questions. Any other request is a send, which succeeds.
struct Meta {
    upstream: Upstream,
    about_token: Arc<Mutex<Vec<u8>>>,
    about_sender: Arc<Mutex<Vec<u8>>>,
}

impl Meta {
    fn new() -> Self {
        let about_token = Arc::new(Mutex::new(described("")));
        let about_sender = Arc::new(Mutex::new(json(&format!(r#"{{"id":"{SENDER}"}}"#))));
        let (token, sender) = (Arc::clone(&about_token), Arc::clone(&about_sender));
        let upstream = Upstream::answering(move |request| match request.target() {
            target if target.starts_with("/debug_token") => token.lock().unwrap().clone(),
            target if target.contains("fields=id") => sender.lock().unwrap().clone(),
            _ => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
        });
        Self {
            upstream,
            about_token,
            about_sender,
        }
    }

    fn says_of_token(&self, answer: Vec<u8>) {
        *self.about_token.lock().unwrap() = answer;
    }

    fn keyside(&self) -> Keyside {
        Setup::new(&self.upstream)
            .check()
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .start()
    }

    /// The token of the last send through Keyside.
    fn token_sent(&self, keyside: &Keyside) -> String {
        let path = MESSAGES.replace("1234567890", SENDER);
        assert_eq!(keyside.post(&path, "{}").status, 200);
        self.upstream
            .last_to(&path)
            .header("authorization")
            .unwrap()
    }
}

/// Meta's answer to debug_token for a good token. `more` comes first, and so outweighs the rest.
fn described(more: &str) -> Vec<u8> {
    json(&format!(
        r#"{{"data":{{{more}"app_id":"634974688087057","type":"SYSTEM_USER","data_access_expires_at":0,"expires_at":0,"is_valid":true,"scopes":["whatsapp_business_management","whatsapp_business_messaging"]}}}}"#
    ))
}

fn error(code: i64, message: &str) -> Vec<u8> {
    let body =
        format!(r#"{{"error":{{"message":"{message}","type":"OAuthException","code":{code}}}}}"#);
    refusing(&body)
}

/// The answer of Graph to a question with a token that has expired.
fn expired() -> Vec<u8> {
    refusing(r#"{"error":{"message":"Session has expired","code":190,"error_subcode":463}}"#)
}

fn refusing(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn check(keyside: &Keyside) -> serde_json::Value {
    keyside.status()["credentials"][0]["check"].clone()
}

fn in_days(days: u64) -> u64 {
    (SystemTime::now() + Duration::from_secs(days * 86_400 + 3600))
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn a_good_token_is_proved_before_use() {
    let meta = Meta::new();
    let keyside = meta.keyside();
    meta.says_of_token(
        json(r#"{"data":{"app_id":"1","type":"SYSTEM_USER","data_access_expires_at":0,"expires_at":4102444800,"is_valid":true,"scopes":["whatsapp_business_management","whatsapp_business_messaging"]}}"#),
    );
    assert!(
        eventually(Duration::from_secs(5), || check(&keyside)["result"]
            == "proved"),
        "the first one, at the start"
    );
    keyside.dir().write("token", NEW);
    meta.upstream.forget();
    assert_eq!(keyside.reload().status, 200);
    let asked = meta.upstream.requests();
    assert_eq!(asked[0].target(), format!("/debug_token?input_token={NEW}"));
    assert_eq!(
        asked[0].header("authorization").unwrap(),
        format!("Bearer {NEW}"),
        "it is asked about with itself"
    );
    assert_eq!(asked[1].target(), format!("/{SENDER}?fields=id"));
    let check = check(&keyside);
    assert_eq!(
        (&check["result"], &check["expires"]),
        (&"proved".into(), &4_102_444_800_u64.into())
    );
    assert_eq!(meta.token_sent(&keyside), format!("Bearer {NEW}"));
}

#[test]
fn a_refused_token_keeps_the_token_before_in_use() {
    let past = r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":1700000000,"is_valid":true,"scopes":[]}}"#;
    let invalid = r#"{"data":{"app_id":"1","error":{"code":190,"message":"EAASECONDTOKEN","subcode":460},"is_valid":false,"scopes":[]}}"#;
    let table = [
        (
            "invalid",
            json(invalid),
            "not valid (code 190, subcode 460)",
        ),
        ("expired", json(past), "has expired"),
        (
            "revoked",
            error(190, "Error validating access token"),
            "refuses it (code 190)",
        ),
        (
            "expired, by the question itself",
            expired(),
            "refuses it (code 190, subcode 463): it has expired",
        ),
        (
            "another app's",
            error(100, "Invalid appsecret_proof provided in the API argument"),
            "the app secret is not",
        ),
    ];
    for (what, answer, reason) in table {
        let meta = Meta::new();
        let keyside = meta.keyside();
        meta.says_of_token(answer);
        keyside.dir().write("token", NEW);
        let refused = keyside.reload();
        assert_eq!(refused.status, 422, "{what}");
        assert!(
            refused.text().contains(reason),
            "{what}: {}",
            refused.text()
        );
        assert!(
            !refused.text().contains(NEW) && !keyside.log().contains(NEW),
            "{what}: no secret is told"
        );
        assert_eq!(
            meta.token_sent(&keyside),
            format!("Bearer {TOKEN}"),
            "{what}"
        );
        assert!(
            keyside
                .metrics()
                .contains("keyside_rotations_total{credential=\"acme\",result=\"refused\"} 1"),
            "{what}"
        );
    }
}

#[test]
fn a_token_with_an_unusual_begin_is_used_with_a_warning_that_does_not_repeat_it() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).file("token", "XYAtokenofmeta");
    let warning = "credential.acme.token: `file:";
    let checked = setup.finish("check --strict");
    assert_eq!(checked.code, Some(1), "{}", checked.output);
    assert!(
        checked.output.contains("does not begin with EAA"),
        "{}",
        checked.output
    );
    let keyside = setup.start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let log = keyside.log();
    assert!(
        log.contains(warning) && log.contains("does not begin with EAA"),
        "{log}"
    );
    assert!(!log.contains("XYAtokenofmeta"), "{log}");
}

#[test]
fn a_token_that_cannot_see_a_sender_is_refused() {
    let meta = Meta::new();
    let keyside = meta.keyside();
    *meta.about_sender.lock().unwrap() =
        error(100, "Unsupported get request. Object does not exist");
    keyside.dir().write("token", NEW);
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(
        refused
            .text()
            .contains(&format!("cannot see sender {SENDER}")),
        "{}",
        refused.text()
    );
}

#[test]
fn a_token_that_is_granted_for_other_accounts_than_its_senders_is_refused() {
    let both = "\"whatsapp_business_messaging\",\"whatsapp_business_management\"";
    let messaging = "\"whatsapp_business_messaging\"";
    let told = r#""health_status":{"can_send_message":"AVAILABLE","entities":[{"entity_type":"PHONE_NUMBER","id":"1"},{"entity_type":"WABA","id":"102"}]}"#;
    for (scopes, in_use, new, health, status) in [
        (both, r#"["102"]"#, r#"["101"]"#, told, 422),
        (both, r#"["102"]"#, r#"["101","102"]"#, told, 200),
        // The token in use may not send for the account either.
        (both, r#"["103"]"#, r#"["101"]"#, told, 200),
        // Without an answer about the account, nothing is known.
        (both, r#"["102"]"#, r#"["101"]"#, r#""x":1"#, 200),
        // A token for messages alone may not ask.
        (messaging, r#"["102"]"#, r#"["101"]"#, told, 200),
    ] {
        let of_token = move |accounts: &str| {
            let granted =
                format!(r#"{{"scope":"whatsapp_business_messaging","target_ids":{accounts}}}"#);
            json(&format!(
                r#"{{"data":{{"app_id":"1","expires_at":0,"is_valid":true,"scopes":[{scopes}],"granular_scopes":[{granted}]}}}}"#
            ))
        };
        let upstream = Upstream::answering(move |request| match request.target() {
            target if target.contains(&format!("input_token={NEW}")) => of_token(new),
            target if target.starts_with("/debug_token") => of_token(in_use),
            target if target.contains("fields=health_status") => {
                json(&format!(r#"{{"id":"{SENDER}",{health}}}"#))
            }
            _ => json(&format!(r#"{{"id":"{SENDER}"}}"#)),
        });
        let senders = format!("senders = [\"{SENDER}\"]\n");
        let keyside = Setup::new(&upstream).check().route(&senders).start();
        keyside.dir().write("token", NEW);
        let reloaded = keyside.reload();
        let text = reloaded.text();
        assert_eq!(
            reloaded.status, status,
            "{scopes} {in_use} {new} {health}: {text}"
        );
        let is_told = text.contains("is granted for other accounts than the one of sender");
        assert_eq!(is_told, status == 422, "{text}");
    }
}

#[test]
fn a_token_that_may_do_less_than_its_routes_need_is_refused() {
    let messaging = r#""scopes":["whatsapp_business_messaging"]"#;
    let management = r#""scopes":["whatsapp_business_management"]"#;
    let idle = r#""scopes":["whatsapp_business_messaging"],"granular_scopes":[{"scope":"whatsapp_business_messaging","target_ids":[]}]"#;
    let granted = r#""scopes":["whatsapp_business_messaging"],"granular_scopes":[{"scope":"whatsapp_business_messaging","target_ids":["1"]}]"#;
    let sends = "operations = [\"messages\", \"media\"]\n";
    let administrates = "operations = [\"templates\"]\n";
    let both = "operations = [\"messages\", \"templates\"]\n";
    for (scopes, operations, missing) in [
        (messaging, sends, None),
        (granted, sends, None),
        (idle, sends, Some("whatsapp_business_messaging")),
        (management, sends, Some("whatsapp_business_messaging")),
        (r#""scopes":[]"#, sends, Some("whatsapp_business_messaging")),
        (management, administrates, None),
        (
            messaging,
            administrates,
            Some("whatsapp_business_management"),
        ),
        (messaging, both, Some("whatsapp_business_management")),
        (r#""type":"SYSTEM_USER""#, both, None),
    ] {
        let meta = Meta::new();
        let keyside = Setup::new(&meta.upstream).check().route(operations).start();
        meta.says_of_token(json(&format!(
            r#"{{"data":{{"app_id":"1","expires_at":0,"is_valid":true,{scopes}}}}}"#
        )));
        keyside.dir().write("token", NEW);
        let reloaded = keyside.reload();
        let what = format!("{scopes} {operations}: {}", reloaded.text());
        match missing {
            None => assert_eq!(reloaded.status, 200, "{what}"),
            Some(scope) => {
                assert_eq!(reloaded.status, 422, "{what}");
                assert!(
                    reloaded.text().contains("may do less") && reloaded.text().contains(scope),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn a_token_without_a_further_scope_that_the_one_in_use_has_is_refused() {
    let core = "whatsapp_business_messaging\",\"whatsapp_business_management";
    let all = format!("{core}\",\"business_management");
    for (now, new, status) in [
        (all.as_str(), core, 422),
        (core, core, 200),
        (core, &all, 200),
    ] {
        let says = |scopes: &str| {
            json(&format!(
                r#"{{"data":{{"app_id":"1","expires_at":0,"is_valid":true,"scopes":["{scopes}"]}}}}"#
            ))
        };
        let meta = Meta::new();
        meta.says_of_token(says(now));
        let keyside = Setup::new(&meta.upstream)
            .check()
            .route("operations = [\"messages\", \"account\"]\n")
            .start();
        let is_asked = || keyside.status()["credentials"][0]["check"]["result"] == "proved";
        assert!(eventually(Duration::from_secs(5), is_asked), "{now}");
        meta.says_of_token(says(new));
        keyside.dir().write("token", NEW);
        let reloaded = keyside.reload();
        assert_eq!(
            reloaded.status,
            status,
            "{now} -> {new}: {}",
            reloaded.text()
        );
        let concerns = keyside.status()["credentials"][0]["concerns"].to_string();
        let is_told = concerns.contains("some requests of its routes need");
        assert_eq!(
            is_told,
            new == core && status == 200,
            "{now} -> {new}: {concerns}"
        );
    }
}

#[test]
fn a_token_that_may_send_for_unnamed_pages_is_told_on_a_route_without_senders() {
    let granted = |pages: &str| {
        json(&format!(
            r#"{{"data":{{"app_id":"1","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging","pages_messaging"],"granular_scopes":[{{"scope":"pages_messaging"{pages}}}]}}}}"#
        ))
    };
    for (pages, senders, is_told) in [
        ("", "", true),
        (r#","target_ids":["5551"]"#, "", false),
        ("", "senders = [\"106540352242922\"]\n", false),
    ] {
        let meta = Meta::new();
        meta.says_of_token(granted(pages));
        let keyside = Setup::new(&meta.upstream).check().route(senders).start();
        let check = || keyside.status()["credentials"][0].clone();
        let is_asked = || check()["check"]["result"] == "proved";
        assert!(eventually(Duration::from_secs(5), is_asked), "{}", check());
        let concerns = check()["concerns"].to_string();
        let words = "may send for pages that Meta does not name (pages_messaging)";
        assert_eq!(
            concerns.contains(words),
            is_told,
            "{pages} {senders}: {concerns}"
        );
        assert_eq!(
            concerns.contains("`senders` of route acme"),
            is_told,
            "{concerns}"
        );
    }
}

/// The recommended token can only send, and may not read the sending number.
#[test]
fn a_token_that_can_only_send_is_accepted() {
    let meta = Meta::new();
    let keyside = meta.keyside();
    *meta.about_sender.lock().unwrap() = error(
        200,
        "(#200) Requires whatsapp_business_management permission",
    );
    meta.says_of_token(json(
        r#"{"data":{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging","public_profile"]}}"#,
    ));
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(meta.token_sent(&keyside), format!("Bearer {NEW}"));
    let credential = keyside.status()["credentials"][0].clone();
    assert_eq!(
        (&credential["check"]["result"], &credential["concerns"]),
        (&"proved".into(), &serde_json::json!([]))
    );
}

#[test]
fn a_question_without_an_answer_refuses_no_token() {
    for (what, answer) in [
        (
            "an error of the server's",
            b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno".to_vec(),
        ),
        ("another API's answer", json("{}")),
        ("a throttle", error(4, "Application request limit reached")),
        (
            "no answer",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec(),
        ),
    ] {
        let meta = Meta::new();
        let keyside = meta.keyside();
        meta.says_of_token(answer);
        keyside.dir().write("token", NEW);
        assert_eq!(keyside.reload().status, 200, "{what}");
        assert_eq!(check(&keyside)["result"], "unproved", "{what}");
        assert_eq!(meta.token_sent(&keyside), format!("Bearer {NEW}"), "{what}");
    }
}

#[test]
fn a_question_carries_the_proof() {
    let meta = Meta::new();
    let keyside = Setup::new(&meta.upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    let asked = || {
        meta.upstream
            .requests()
            .into_iter()
            .find(|request| request.target().starts_with("/debug_token"))
    };
    assert!(eventually(Duration::from_secs(5), || asked().is_some()));
    assert!(
        asked().unwrap().target().contains("&appsecret_proof="),
        "{}",
        asked().unwrap().target()
    );
    drop(keyside);
}

#[test]
fn the_start_does_not_wait_for_the_answer_and_a_bad_token_is_an_alarm() {
    let meta = Meta::new();
    meta.says_of_token(error(190, "Error validating access token"));
    let keyside = meta.keyside();
    assert!(eventually(
        Duration::from_secs(5),
        || check(&keyside)["result"] == "refused"
    ));
    assert!(
        keyside.log().contains("the provider refuses the token"),
        "{}",
        keyside.log()
    );
    let ready = || keyside.ask_admin(&get("/readyz")).status;
    assert_eq!(
        (ready(), keyside.metric("keyside_credential_usable", &[])),
        (503, 0.0)
    );
    assert_eq!(meta.token_sent(&keyside), format!("Bearer {TOKEN}"));
    assert_eq!(
        (ready(), keyside.metric("keyside_credential_usable", &[])),
        (200, 1.0),
        "what a send shows counts more"
    );
}

/// The provider refuses sends, and says why only when it is asked.
#[test]
fn after_a_refusal_the_log_names_the_secret_at_fault_and_the_reason() {
    let invalid = |subcode: u16| {
        json(&format!(
            r#"{{"data":{{"app_id":"1","error":{{"code":190,"message":"m","subcode":{subcode}}},"is_valid":false,"scopes":[]}}}}"#
        ))
    };
    let proof = error(100, "Invalid appsecret_proof provided in the API argument");
    let (token, app_secret) = ("db518ff0a98f", "9ea4cc47d779");
    for (about_token, blamed, reason) in [
        (invalid(463), token, "it has expired"),
        (invalid(460), token, "password of its user was changed"),
        (invalid(467), token, "revoked or has ended"),
        (invalid(458), token, "the app was removed"),
        (
            proof,
            app_secret,
            "the app secret is not that of the token's app: it was probably reset",
        ),
    ] {
        let is_refused = Arc::new(Mutex::new(false));
        let (refuses, about) = (Arc::clone(&is_refused), about_token);
        let upstream = Upstream::answering(move |request| {
            let is_question = request.target().starts_with("/debug_token");
            match (*refuses.lock().unwrap(), is_question) {
                (false, true) => described(""),
                (true, true) => about.clone(),
                (false, false) => json("{}"),
                (true, false) => error(190, "Error validating access token"),
            }
        });
        let keyside = Setup::new(&upstream)
            .check()
            .file("app_secret", APP_SECRET)
            .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
            .start();
        assert!(eventually(
            Duration::from_secs(5),
            || check(&keyside)["result"] == "proved"
        ));
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        *is_refused.lock().unwrap() = true;
        assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
        let line = || {
            let log = keyside.log();
            let found = log
                .lines()
                .find(|line| line.contains(reason))
                .map(str::to_owned);
            found.unwrap_or_default()
        };
        assert!(
            eventually(Duration::from_secs(5), || !line().is_empty()),
            "{}",
            keyside.log()
        );
        assert!(
            line().contains(blamed) && line().contains("ERROR"),
            "{}",
            line()
        );
        assert!(check(&keyside)["reason"].as_str().unwrap().contains(reason));
    }
}

#[test]
fn a_token_with_more_scopes_than_needed_is_a_warning() {
    let meta = Meta::new();
    meta.says_of_token(json(
        r#"{"data":{"app_id":"1","type":"USER","expires_at":0,"is_valid":true,"scopes":["whatsapp_business_messaging","business_management"]}}"#,
    ));
    let keyside = meta.keyside();
    assert!(eventually(
        Duration::from_secs(5),
        || check(&keyside)["result"] == "proved"
    ));
    let log = keyside.log();
    assert!(
        log.contains("business_management") && log.contains("without these scopes"),
        "{log}"
    );
    assert!(log.contains("a person's own"), "{log}");
    let status = status(&keyside, &[]);
    assert!(
        status.contains("make one without these scopes: business_management\n"),
        "{status}"
    );
    assert!(status.contains("use a System User's"), "{status}");
}

/// The output of `keyside status`.
fn status(keyside: &Keyside, more: &[&str]) -> String {
    run_status(keyside, more).output
}

fn run_status(keyside: &Keyside, more: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .args(["status", "--admin", &keyside.admin().to_string()])
        .args(more);
    finish(&mut command, Duration::from_secs(10))
}

#[test]
fn the_age_of_a_token_is_the_providers_where_the_provider_tells() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let day = 86_400;
    for (issued, days, since, is_overdue) in [
        (Some(now - 400 * day), 400, "provider", true),
        (Some(now - 80 * day), 80, "provider", false),
        (Some(now + 3 * day), 0, "provider", false),
        (Some(0), 0, "source", false),
        (None, 0, "source", false),
    ] {
        let meta = Meta::new();
        let issued_at = issued.map_or_else(String::new, |at| format!("\"issued_at\":{at},"));
        meta.says_of_token(json(&format!(
            r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":0,{issued_at}"is_valid":true,"scopes":["whatsapp_business_messaging"]}}}}"#,
        )));
        let keyside = meta.keyside();
        assert!(eventually(
            Duration::from_secs(5),
            || check(&keyside)["result"] == "proved"
        ));
        let secret = || {
            let credential = &keyside.status()["credentials"][0];
            let secrets = credential["secrets"].as_array().unwrap();
            let token = secrets.iter().find(|secret| secret["name"] == "token");
            token.unwrap().clone()
        };
        let token = secret();
        assert_eq!(token["since_from"], since, "{issued:?}: {token}");
        let age = token["age_seconds"].as_u64().unwrap();
        assert!(
            (days * day..days * day + 60).contains(&age),
            "{issued:?}: {age}"
        );
        let metric = keyside.metric("keyside_credential_age_seconds", &["secret=\"token\""]);
        assert!((metric - age as f64).abs() < 60.0, "{issued:?}: {metric}");
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(secret()["since_from"], since, "after a reload");
        let checked = run_status(&keyside, &["--check"]);
        let expected = if is_overdue {
            (
                Some(1),
                "acme: token is 400d old, and max_age is 90d: rotate it\n",
            )
        } else {
            (Some(0), "")
        };
        assert_eq!(
            (checked.code, checked.output.as_str()),
            expected,
            "{issued:?}"
        );
        let told = || keyside.log().contains("the secret is 400 days old");
        assert!(!is_overdue || eventually(Duration::from_secs(5), told));
    }
}

#[test]
fn the_status_check_fails_for_what_is_wrong_and_the_problems_have_the_notices_too() {
    for (days, code) in [(30, 0), (10, 0), (6, 1), (1, 1)] {
        let meta = Meta::new();
        meta.says_of_token(json(&format!(
            r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":{},"is_valid":true,"scopes":["whatsapp_business_messaging"]}}}}"#,
            in_days(days)
        )));
        let keyside = meta.keyside();
        assert!(eventually(
            Duration::from_secs(5),
            || check(&keyside)["result"] == "proved"
        ));
        let checked = run_status(&keyside, &["--check"]);
        assert_eq!(checked.code, Some(code), "{days}: {}", checked.output);
        assert_eq!(
            checked.output.is_empty(),
            code == 0,
            "{days}: {}",
            checked.output
        );
        assert_eq!(run_status(&keyside, &["acme", "--check"]).code, Some(code));
        let problems = run_status(&keyside, &["--problems"]);
        assert_eq!(problems.code, Some(0));
        assert_eq!(
            problems.output.is_empty(),
            days == 30,
            "{days}: {}",
            problems.output
        );
        assert!(
            !problems.output.contains("CREDENTIAL"),
            "{}",
            problems.output
        );
        let unknown = run_status(&keyside, &["acme", TOKEN]);
        assert_eq!(unknown.code, Some(1));
        assert!(
            unknown.output.contains("has name 2") && !unknown.output.contains(TOKEN),
            "a secret in the place of a name is not repeated: {}",
            unknown.output
        );
    }
}

#[test]
fn a_refused_reload_is_wrong_and_a_name_shows_only_what_belongs_to_it() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .more("[credential.other]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"other\"\npath = \"/other\"\n")
        .start();
    let all = run_status(&keyside, &[]);
    assert!(all.output.contains("other"), "{}", all.output);
    let acme = run_status(&keyside, &["acme"]);
    assert!(
        acme.output.contains("acme") && !acme.output.contains("other"),
        "{}",
        acme.output
    );
    let good = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    keyside
        .dir()
        .write("proxy.toml", format!("nonsense = 1\n{good}"));
    assert_eq!(keyside.reload().status, 422);
    let wrong = run_status(&keyside, &["--check"]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.output.contains("last reload refused"),
        "{}",
        wrong.output
    );
    assert_eq!(
        run_status(&keyside, &["acme", "--check"]).code,
        Some(0),
        "not about acme"
    );
    assert_eq!(run_status(&keyside, &[]).code, Some(0), "without --check");
}

#[test]
fn with_check_off_no_question_is_asked() {
    let meta = Meta::new();
    let keyside = Setup::new(&meta.upstream).start();
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    assert_eq!(meta.upstream.arrivals(), 0);
    assert_eq!(check(&keyside), serde_json::Value::Null);
}

#[test]
fn an_old_secret_is_logged_once() {
    for (days, expected) in [
        (70, ""),
        (75, "reaches max_age soon"),
        (100, "past max_age"),
    ] {
        let upstream = Upstream::ok();
        let setup = Setup::new(&upstream);
        let file = std::fs::File::options()
            .write(true)
            .open(setup.dir().join("token"))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400))
            .unwrap();
        let keyside = setup.start();
        let told = || {
            keyside
                .log()
                .lines()
                .filter(|line| line.contains("rotate it"))
                .count()
        };
        if expected.is_empty() {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(told(), 0, "{days} days");
        } else {
            assert!(
                eventually(Duration::from_secs(5), || keyside.log().contains(expected)),
                "{days} days"
            );
            assert_eq!(told(), 1, "{days} days");
        }
    }
}

#[test]
fn a_token_near_its_end_is_an_alarm() {
    for (days, alarms) in [(30, 0), (13, 1), (1, 1)] {
        let meta = Meta::new();
        meta.says_of_token(json(&format!(
            r#"{{"data":{{"app_id":"1","type":"SYSTEM_USER","expires_at":0,"data_access_expires_at":{},"is_valid":true,"scopes":["whatsapp_business_messaging"]}}}}"#,
            in_days(days)
        )));
        let keyside = meta.keyside();
        assert!(eventually(
            Duration::from_secs(5),
            || check(&keyside)["result"] == "proved"
        ));
        std::thread::sleep(Duration::from_millis(100));
        let told = keyside
            .log()
            .lines()
            .filter(|line| line.contains("the token ends"))
            .count();
        assert_eq!(told, alarms, "{days} days");
        let unit = if days == 1 { "day" } else { "days" };
        let task = format!(
            "acme: the token expires in {days} {unit}: exchange it with `keyside rotate acme`"
        );
        assert_eq!(
            status(&keyside, &[]).contains(&task),
            alarms == 1,
            "{days} days: {}",
            status(&keyside, &[])
        );
        let left = || {
            keyside.metric(
                "keyside_credential_expires_seconds",
                &["credential=\"acme\""],
            )
        };
        assert!(
            (left() - (days * 86_400) as f64).abs() < 7200.0,
            "{}",
            left()
        );
        meta.says_of_token(described(""));
        keyside.dir().write("token", NEW);
        assert_eq!(keyside.reload().status, 200);
        assert!(
            !keyside
                .metrics()
                .contains("keyside_credential_expires_seconds{"),
            "the new one has no end"
        );
    }
}

#[test]
fn check_asks_the_provider_only_with_online() {
    let meta = Meta::new();
    let setup = Setup::new(&meta.upstream)
        .check()
        .route(&format!("senders = [\"{SENDER}\"]\n"));
    assert_eq!(setup.finish("check").code, Some(0));
    assert_eq!(meta.upstream.arrivals(), 0);
    let config = setup.write_config();
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        finish(
            command
                .args(["check", "--online", "--config"])
                .arg(&config)
                .args(more),
            Duration::from_secs(10),
        )
    };
    let online = || check(&[]);
    let good = online();
    assert_eq!(good.code, Some(0), "{}", good.output);
    assert!(
        ["proved", "never", "whatsapp_business_messaging"]
            .iter()
            .all(|part| good.output.contains(part)),
        "{}",
        good.output
    );
    meta.says_of_token(error(190, "Error validating access token"));
    let bad = online();
    assert_eq!(bad.code, Some(78), "{}", bad.output);
    assert!(
        bad.output.contains("refused") && !bad.output.contains(TOKEN),
        "{}",
        bad.output
    );
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"]).output).unwrap();
    assert_eq!(
        json["credentials"][0]["check"]["result"], "refused",
        "{json}"
    );
    assert!(
        json["faults"][0]
            .as_str()
            .unwrap()
            .contains("proxy.toml:24:9: credential.acme.token: the provider refuses it"),
        "{json}"
    );
}

#[test]
fn the_status_shows_what_is_wrong_and_what_to_do() {
    let meta = Meta::new();
    meta.says_of_token(error(190, "Error validating access token"));
    let keyside = meta.keyside();
    assert!(eventually(
        Duration::from_secs(5),
        || check(&keyside)["result"] == "refused"
    ));
    let status = status(&keyside, &[]);
    assert!(
        status.contains("acme: the provider refuses the secret: put a new secret in its place"),
        "{status}"
    );
}

#[test]
fn the_status_shows_every_slot_with_its_age_and_source() {
    let meta = Meta::new();
    let keyside = Setup::new(&meta.upstream)
        .check()
        .file("app_secret", APP_SECRET)
        .file("app_secret.next", "the next app secret")
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\", \"file:@DIR@/app_secret.next\"]\n",
        )
        .start();
    keyside.dir().write("token", NEW);
    assert_eq!(keyside.reload().status, 200);
    let status = status(&keyside, &[]);
    let rows: Vec<Vec<&str>> = status
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for (secret, slot, words) in [
        (
            "app_secret",
            "current",
            ["90d", "source", "ok", "/app_secret"],
        ),
        (
            "app_secret",
            "accepted",
            ["90d", "source", "-", "/app_secret.next"],
        ),
        ("token", "current", ["90d", "change", "ok", "/token"]),
        ("token", "previous", ["90d", "source", "ends in", "/token"]),
    ] {
        let row = rows
            .iter()
            .find(|row| row.get(1..3) == Some(&[secret, slot]));
        let row = row
            .unwrap_or_else(|| panic!("no {slot} {secret}:\n{status}"))
            .join(" ");
        assert!(words.iter().all(|word| row.contains(word)), "{row}");
    }
    assert!(
        !rows
            .iter()
            .any(|row| row.get(1..3) == Some(&["app_secret", "previous"])),
        "it was not replaced:\n{status}"
    );
}

#[test]
fn a_good_configuration_is_counted_in_plain_english() {
    let upstream = Upstream::ok();
    let more = "[[route]]\nname = \"other\"\ncredential = \"acme\"\npath = \"/other\"\n";
    for (more, expected) in [
        (
            "",
            "1 credential, 1 route, 0 webhooks: the configuration and 1 secret",
        ),
        (
            more,
            "1 credential, 2 routes, 0 webhooks: the configuration and 1 secret",
        ),
    ] {
        let done = Setup::new(&upstream).more(more).finish("check");
        assert!(done.output.contains(expected), "{}", done.output);
    }
}

#[test]
fn a_password_that_would_cross_a_network_in_clear_text_is_warned_about() {
    let upstream = Upstream::ok();
    for (url, is_warned) in [
        ("redis://:CANARY@limits.example:6379", true),
        ("redis+cluster://u:CANARY@127.0.0.1,limits.example", true),
        ("rediss://:CANARY@limits.example:6379", false),
        ("redis://:CANARY@127.0.0.1:6379", false),
        ("redis://limits.example:6379", false),
    ] {
        let done = Setup::new(&upstream)
            .more("[limits]\nredis = \"env:LIMITS_URL\"")
            .env("LIMITS_URL", url)
            .finish("check");
        assert_eq!(done.code, Some(0), "{}", done.output);
        let warning =
            "limits.redis: `env:LIMITS_URL`: the password crosses the network in clear text";
        assert_eq!(
            done.output.contains(warning),
            is_warned,
            "{url}: {}",
            done.output
        );
        assert!(!done.output.contains("CANARY"), "{url}");
    }
}

#[test]
fn a_spool_that_works_in_a_folder_that_cannot_be_written_passes_the_check() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root, who alone can run programs as another user");
        return;
    }
    let keyside = spooled("forward = \"http://127.0.0.1:1/\"").start();
    let folder = keyside.dir().join("spool");
    let mut own = vec![folder.clone(), folder.join("spool.redb")];
    let files = std::fs::read_dir(keyside.dir().path()).unwrap();
    own.extend(files.map(|file| file.unwrap().path()));
    for path in own {
        std::os::unix::fs::chown(path, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    let mut command = Command::new("setpriv");
    let user = OTHER_USER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.args([env!("CARGO_BIN_EXE_keyside"), "check", "-c"]);
    command.arg(keyside.dir().join("proxy.toml"));
    let done = finish(&mut command, Duration::from_secs(10));
    assert_eq!(done.code, Some(0), "{}", done.output);
}

/// The user of a check that is not root.
const OTHER_USER: u32 = 65_534;
