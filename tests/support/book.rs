//! The book of a provider of Meta's form: apps with their secrets, and tokens with their rights and
//! ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::hmac_sha256;
use super::upstream::{Request, Upstream, answer, json};

/// The tokens and apps that a provider knows. Clones share the pages.
#[derive(Clone)]
pub struct Book(Arc<Mutex<Pages>>);

struct Pages {
    tokens: HashMap<String, Token>,
    /// The secrets of each app that make a proof.
    secrets: HashMap<&'static str, Vec<&'static str>>,
    /// The time that a question about a token takes.
    thought: Duration,
}

/// A token in the book.
#[derive(Clone)]
struct Token {
    app: &'static str,
    scopes: &'static str,
    /// The reason for which the token is refused.
    end: Option<&'static str>,
    expires: Option<Instant>,
    /// The error of every send: what only sending shows.
    forbidden: Option<(i64, i64)>,
}

impl Book {
    /// With the apps `one`, `two` and `beside`, and no token.
    pub fn new() -> Self {
        let secrets = HashMap::from([
            ("one", vec!["secret of one"]),
            ("two", vec!["secret of two"]),
            ("beside", vec!["secret beside"]),
        ]);
        Self(Arc::new(Mutex::new(Pages {
            tokens: HashMap::new(),
            secrets,
            thought: Duration::ZERO,
        })))
    }

    /// A provider that answers by the book.
    pub fn provider(&self) -> Upstream {
        let book = self.clone();
        Upstream::answering(move |request| book.answer(request))
    }

    /// Enters a good token of an app.
    pub fn issue(&self, token: &str, app: &'static str) {
        let entry = Token {
            app,
            scopes: r#""whatsapp_business_messaging""#,
            end: None,
            expires: None,
            forbidden: None,
        };
        self.pages().tokens.insert(token.to_owned(), entry);
    }

    fn change(&self, token: &str, change: impl FnOnce(&mut Token)) {
        change(self.pages().tokens.get_mut(token).expect("an issued token"));
    }

    /// Ends a token, with the reason that the provider tells.
    pub fn end(&self, token: &str, why: &'static str) {
        self.change(token, |token| token.end = Some(why));
    }

    /// Revokes a token.
    pub fn revoke(&self, token: &str) {
        self.end(
            token,
            "Error validating access token: The session has been invalidated",
        );
    }

    /// Sets the scopes of a token, as JSON strings.
    pub fn scope(&self, token: &str, scopes: &'static str) {
        self.change(token, |token| token.scopes = scopes);
    }

    /// Lets a token expire after a time.
    pub fn expire(&self, token: &str, after: Duration) {
        self.change(token, |token| token.expires = Some(Instant::now() + after));
    }

    /// Refuses every send with a token, by code and subcode, though the token is valid.
    pub fn forbid(&self, token: &str, code: i64, subcode: i64) {
        self.change(token, |token| token.forbidden = Some((code, subcode)));
    }

    /// Makes these app secrets good, and no other.
    pub fn set_secrets(&self, app: &'static str, secrets: &[&'static str]) {
        self.pages().secrets.insert(app, secrets.to_vec());
    }

    /// Lets each question about a token take a time.
    pub fn think(&self, thought: Duration) {
        self.pages().thought = thought;
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap()
    }

    /// Returns the answer to a request.
    pub fn answer(&self, request: &Request) -> Vec<u8> {
        let is_question = request.target().starts_with("/debug_token");
        if is_question {
            let thought = self.pages().thought;
            std::thread::sleep(thought);
        }
        let pages = self.pages();
        let sent = request.header("authorization").unwrap_or_default();
        let sent = sent.replace("Bearer ", "");
        let Some(token) = pages.tokens.get(&sent) else {
            return refusal(
                190,
                0,
                "Invalid OAuth access token - Cannot parse access token",
            );
        };
        let is_over = token.expires.is_some_and(|end| end <= Instant::now());
        if let Some(why) = token.end.or(is_over.then_some(EXPIRED)) {
            return refusal(190, 0, why);
        }
        let is_proved = pages.secrets[token.app].iter().any(|secret| {
            let proof = hmac_sha256(secret, &sent);
            request
                .target()
                .contains(&format!("appsecret_proof={proof}"))
        });
        if !is_proved {
            return refusal(
                100,
                0,
                "Invalid appsecret_proof provided in the API argument",
            );
        }
        if is_question {
            return token.described();
        }
        match token.forbidden {
            Some((code, subcode)) => refusal(code, subcode, "No permission"),
            None => json(r#"{"messages":[{"id":"wamid.1"}]}"#),
        }
    }
}

impl Token {
    fn described(&self) -> Vec<u8> {
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        let expires = self.expires.map_or(0, |end| {
            let end = SystemTime::now() + left(end);
            end.duration_since(UNIX_EPOCH).unwrap().as_secs()
        });
        json(&format!(
            r#"{{"data":{{"app_id":"{}","type":"SYSTEM_USER","expires_at":{expires},"is_valid":true,"scopes":[{}]}}}}"#,
            self.app, self.scopes
        ))
    }
}

fn refusal(code: i64, subcode: i64, message: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"error":{{"message":"{message}","type":"OAuthException","code":{code},"error_subcode":{subcode}}}}}"#
    );
    answer(
        "400 No",
        &[("Content-Type", "application/json")],
        body.as_bytes(),
    )
}

const EXPIRED: &str = "Error validating access token: Session has expired";
