//! A new secret refused by the provider costs no request: requests fall back to the previous
//! secret.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{get, post, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Request, Upstream, answer, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, eventually};

const NEW: &str = "EAASECOND";

/// An upstream with refusals for some tokens, in Meta's form.
struct Provider {
    upstream: Upstream,
    refused: Arc<Mutex<Vec<&'static str>>>,
}

impl Provider {
    fn new() -> Self {
        let refused: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let tokens = Arc::clone(&refused);
        let upstream = Upstream::answering(move |request| {
            let sent = token_of(request);
            if tokens
                .lock()
                .unwrap()
                .iter()
                .any(|token| sent == format!("Bearer {token}"))
            {
                return error(401, 190);
            }
            json(r#"{"messages":[{"id":"wamid.1"}]}"#)
        });
        Self { upstream, refused }
    }

    fn refuse(&self, tokens: &[&'static str]) {
        *self.refused.lock().unwrap() = tokens.to_vec();
    }

    /// Returns the tokens of all requests after the first `from`, in order.
    fn tokens(&self, from: usize) -> Vec<String> {
        self.upstream.requests()[from..]
            .iter()
            .map(token_of)
            .collect()
    }
}

fn token_of(request: &Request) -> String {
    request.header("authorization").unwrap_or_default()
}

fn error(status: u16, code: i64) -> Vec<u8> {
    error_saying("no", status, code)
}

fn error_saying(message: &str, status: u16, code: i64) -> Vec<u8> {
    let body =
        format!(r#"{{"error":{{"message":"{message}","type":"OAuthException","code":{code}}}}}"#);
    format!("HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn rotate(keyside: &Keyside, token: &str) {
    keyside.dir().write("token", token);
    assert_eq!(keyside.reload().status, 200);
}

fn alarms(keyside: &Keyside, what: &str) -> usize {
    keyside
        .log()
        .lines()
        .filter(|line| line.contains(what) && line.contains("ERROR"))
        .count()
}

#[test]
fn requests_fall_back_when_the_new_token_is_refused() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[NEW]);
    rotate(&keyside, NEW);
    let before = provider.upstream.arrivals();
    for _ in 0..5 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    }
    let mut expected = vec![bearer(NEW)];
    expected.extend(vec![bearer(TOKEN); 5]);
    assert_eq!(
        provider.tokens(before),
        expected,
        "one refusal, and then only the token that works"
    );
    assert_eq!(
        alarms(&keyside, "sending with the one before"),
        1,
        "one alarm, not one per request"
    );
    assert_eq!(
        keyside.metric("keyside_rotations_total", &["result=\"fell_back\""]),
        1.0
    );
    assert_eq!(keyside.status()["credentials"][0]["sends"], "previous");
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
}

#[test]
fn the_next_reload_tries_the_new_token_again() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[NEW]);
    rotate(&keyside, NEW);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    provider.refuse(&[]);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(
        token_of(&provider.upstream.last()),
        bearer(TOKEN),
        "not before"
    );
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(token_of(&provider.upstream.last()), bearer(NEW));
    assert_eq!(keyside.status()["credentials"][0]["sends"], "current");
}

#[test]
fn after_two_bad_tokens_requests_carry_the_good_one() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[NEW, "EAATHIRD"]);
    for token in [NEW, "EAATHIRD"] {
        rotate(&keyside, token);
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{token}");
        assert_eq!(
            token_of(&provider.upstream.last()),
            bearer(TOKEN),
            "{token}"
        );
    }
}

#[test]
fn an_error_that_is_no_refusal_of_the_credential_is_passed_on_and_sent_once() {
    for (status, code) in [
        (403, 368),
        (400, 100),
        (400, 130_429),
        (500, 131_057),
        (401, 3),
    ] {
        let upstream = Upstream::answering(move |_| error(status, code));
        let keyside = Setup::new(&upstream).start();
        rotate(&keyside, NEW);
        let before = upstream.arrivals();
        let answer = keyside.post(MESSAGES, "{}");
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_i64()),
            (status, Some(code))
        );
        assert_eq!(upstream.arrivals() - before, 1, "{code}");
    }
}

/// Permission errors: Meta's codes, the code of an object that the token cannot see, and a status
/// alone. The provider's answers to a request that the token may not make, each with its name and
/// status.
fn permission_errors() -> [(&'static str, u16, Vec<u8>); 5] {
    let unseen = r#"{"error":{"message":"Unsupported post request.","type":"GraphMethodException","code":100,"error_subcode":33}}"#;
    [
        ("10", 403, error(403, 10)),
        ("200", 403, error(403, 200)),
        ("299", 400, error(400, 299)),
        ("100/33", 400, answer("400 No", &[], unseen.as_bytes())),
        ("no code", 403, answer("403 No", &[], b"{}")),
    ]
}

/// A credential whose provider knows forbidden requests by their status as well.
fn with_status(upstream: &Upstream) -> Keyside {
    Setup::new(upstream)
        .provider("[provider.test.errors]\ncode = \"/error/code\"\nsubcode = \"/error/error_subcode\"\nrefused = [190]\nforbidden = [10, \"200-299\", \"100/33\"]\nforbidden_status = [403]\n")
        .start()
}

#[test]
fn a_new_token_that_may_do_too_little_is_replaced_by_the_one_before() {
    for (what, _, forbidden) in permission_errors() {
        let upstream = Upstream::answering(move |request| {
            if token_of(request) == bearer(NEW) {
                forbidden.clone()
            } else {
                json(r#"{"messages":[{"id":"wamid.1"}]}"#)
            }
        });
        let keyside = with_status(&upstream);
        rotate(&keyside, NEW);
        let before = upstream.arrivals();
        for _ in 0..3 {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{what}");
        }
        let sent: Vec<_> = upstream.requests()[before..].iter().map(token_of).collect();
        let expected = [bearer(NEW), bearer(TOKEN), bearer(TOKEN), bearer(TOKEN)];
        assert_eq!(
            sent, expected,
            "{what}: one replay, and then the token that works"
        );
        // A later load, whatever its cause, must not bring the weak token back.
        assert_eq!(keyside.reload().status, 200, "{what}");
        let before = upstream.arrivals();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{what}");
        let sent: Vec<_> = upstream.requests()[before..].iter().map(token_of).collect();
        assert_eq!(sent, [bearer(TOKEN)], "{what}: after a load");
        assert_eq!(
            alarms(&keyside, "may do too little"),
            1,
            "{what}: {}",
            keyside.log()
        );
        assert_eq!(alarms(&keyside, "refuses the new secret"), 0, "{what}");
        assert_eq!(
            keyside.status()["credentials"][0]["sends"],
            "previous",
            "{what}"
        );
    }
}

#[test]
fn a_request_that_no_token_may_make_blames_no_token() {
    for (what, status, forbidden) in permission_errors() {
        let upstream = Upstream::answering(move |request| match request.target() {
            target if target.contains("/media") => json("{}"),
            _ => forbidden.clone(),
        });
        let keyside = with_status(&upstream);
        rotate(&keyside, NEW);
        for _ in 0..2 {
            let before = upstream.arrivals();
            let answer = keyside.post(MESSAGES, "{}");
            assert_eq!(answer.status, status, "{what}");
            assert!(upstream.arrivals() - before <= 2, "{what}");
        }
        assert_eq!(
            keyside.status()["credentials"][0]["sends"],
            "current",
            "{what}"
        );
        assert_eq!(alarms(&keyside, "may do too little"), 0, "{what}");
    }
}

#[test]
fn a_permission_error_of_another_sender_or_of_before_hides_no_weak_token() {
    let unassigned = "/v23.0/999/messages";
    for (what, before, after) in [
        ("another sender, before the change", Some(unassigned), None),
        ("another sender, after the change", None, Some(unassigned)),
        ("the same sender, before the change", Some(MESSAGES), None),
    ] {
        let is_routine = Arc::new(Mutex::new(true));
        let routine = Arc::clone(&is_routine);
        let upstream = Upstream::answering(move |request| {
            let is_weak = token_of(request) == bearer(NEW);
            if is_weak || request.target().contains("/999/") || *routine.lock().unwrap() {
                return error(403, 10);
            }
            json(r#"{"messages":[{"id":"wamid.1"}]}"#)
        });
        let keyside = Setup::new(&upstream).start();
        if let Some(path) = before {
            assert_eq!(keyside.post(path, "{}").status, 403, "{what}");
        }
        *is_routine.lock().unwrap() = false;
        rotate(&keyside, NEW);
        if let Some(path) = after {
            assert_eq!(keyside.post(path, "{}").status, 403, "{what}");
        }
        for _ in 0..3 {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{what}");
        }
        assert_eq!(
            keyside.status()["credentials"][0]["sends"],
            "previous",
            "{what}"
        );
    }
}

#[test]
fn the_codes_of_a_refused_credential_count_whatever_the_status() {
    for (status, code) in [(400, 190), (401, 102), (500, 104), (401, 0)] {
        let upstream = Upstream::answering(move |request| {
            if token_of(request) == bearer(NEW) {
                error(status, code)
            } else {
                json("{}")
            }
        });
        let keyside = Setup::new(&upstream).start();
        rotate(&keyside, NEW);
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{status} {code}");
    }
}

#[test]
fn a_refused_proof_is_a_refusal_of_the_credential() {
    let upstream = Upstream::answering(move |request| {
        if token_of(request) == bearer(NEW) {
            error_saying(
                "Invalid appsecret_proof provided in the API argument",
                400,
                100,
            )
        } else {
            json("{}")
        }
    });
    let keyside = Setup::new(&upstream).start();
    rotate(&keyside, NEW);
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "with the token and app secret from before"
    );
    assert_eq!(keyside.status()["credentials"][0]["sends"], "previous");
}

#[test]
fn the_application_gets_the_refusal_while_every_secret_is_refused() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[TOKEN]);
    for _ in 0..3 {
        let answer = keyside.post(MESSAGES, "{}");
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_i64()),
            (401, Some(190))
        );
    }
    assert_eq!(alarms(&keyside, "refuses the credential"), 1);
    let ready = keyside.ask_admin(&get("/readyz"));
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("refuses"), "{}", ready.text());
    assert_eq!(keyside.metric("keyside_credential_usable", &[]), 0.0);
    provider.refuse(&[]);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    assert_eq!(keyside.metric("keyside_credential_usable", &[]), 1.0);
}

#[test]
fn a_fallback_after_a_time_without_a_good_secret_raises_its_alarm() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[TOKEN, NEW]);
    rotate(&keyside, NEW);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 401);
    provider.refuse(&[NEW]);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(alarms(&keyside, "sending with the one before"), 1);
    let fell_back = keyside.metric("keyside_rotations_total", &["result=\"fell_back\""]);
    assert_eq!(fell_back, 1.0);
}

#[test]
fn a_streamed_upload_is_not_sent_again() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[NEW]);
    rotate(&keyside, NEW);
    let before = provider.upstream.arrivals();
    let upload = with_body(
        "POST",
        "/v23.0/1234567890/media",
        "multipart/form-data; boundary=b",
        b"--b--\r\n",
    );
    assert_eq!(keyside.send(&upload).status, 401);
    assert_eq!(provider.upstream.arrivals() - before, 1);
}

#[test]
fn a_refused_request_under_way_is_sent_again_with_the_newer_token() {
    let revoked = Arc::new(Mutex::new(false));
    let held = Arc::clone(&revoked);
    let upstream = Upstream::answering(move |request| {
        if token_of(request) == bearer(NEW) {
            return json("{}");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !*held.lock().unwrap() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        error(401, 190)
    });
    let keyside = Arc::new(
        Setup::new(&upstream)
            .credential("token = \"file:@DIR@/token\"\noverlap = \"off\"")
            .start(),
    );
    let sender = Arc::clone(&keyside);
    let under_way = thread::spawn(move || sender.post(MESSAGES, "{}").status);
    assert!(eventually(Duration::from_secs(5), || upstream.heads() == 1));
    rotate(&keyside, NEW);
    *revoked.lock().unwrap() = true;
    assert_eq!(under_way.join().unwrap(), 200);
    assert_eq!(token_of(&upstream.last()), bearer(NEW));
}

#[test]
fn a_replaced_token_ends_with_its_overlap() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream)
        .credential("token = \"file:@DIR@/token\"\noverlap = \"1s\"")
        .start();
    rotate(&keyside, NEW);
    let previous = |keyside: &Keyside| keyside.status()["credentials"][0]["previous"].clone();
    assert_eq!(
        previous(&keyside)[0]["secrets"][0]["name"],
        "token",
        "{}",
        previous(&keyside)
    );
    assert!(eventually(Duration::from_secs(5), || previous(&keyside)
        .as_array()
        .unwrap()
        .is_empty()));
    provider.refuse(&[NEW]);
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        401,
        "the old one is gone"
    );
}

#[test]
fn a_replaced_token_is_redacted_from_answers() {
    let upstream = Upstream::answering(|_| json(&format!(r#"{{"a":"{TOKEN}"}}"#)));
    let keyside = Setup::new(&upstream).start();
    rotate(&keyside, "EAASECONDTOKEN");
    let text = keyside.get(MEDIA).text();
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn a_post_that_is_sent_again_has_the_same_bytes() {
    let provider = Provider::new();
    let keyside = Setup::new(&provider.upstream).start();
    provider.refuse(&[NEW]);
    rotate(&keyside, NEW);
    let before = provider.upstream.arrivals();
    let body = r#"{ "to" : "16505551234", "text":{"body":"é"} }"#;
    assert_eq!(keyside.send(&post(MESSAGES, body)).status, 200);
    let requests = provider.upstream.requests();
    let [first, second] = &requests[before..] else {
        panic!("two arrivals")
    };
    assert_eq!(first.body, body.as_bytes());
    assert_eq!(second.body, first.body);
}

#[test]
fn a_set_that_lacked_its_app_secret_is_no_fallback() {
    let upstream = Upstream::answering(|request| match request.target() {
        target if target.contains("appsecret_proof") => error_saying(
            "Invalid appsecret_proof provided in the API argument",
            400,
            100,
        ),
        _ => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
    });
    let keyside = Setup::new(&upstream)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n")
        .start();
    let absent = keyside.post(MESSAGES, "{}");
    assert_eq!(absent.status, 503, "{}", absent.text());
    keyside
        .dir()
        .write("app_secret", "0123456789abcdef0123456789abcdef");
    assert_eq!(keyside.reload().status, 200);
    for _ in 0..2 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
    }
    let requests = upstream.requests();
    assert!(!requests.is_empty());
    for request in requests {
        let target = request.target();
        assert!(target.contains("appsecret_proof"), "{target}");
    }
    assert_eq!(keyside.status()["credentials"][0]["sends"], "current");
}
