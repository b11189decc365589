//! Keys of other providers.

use std::sync::{Arc, Mutex};

use super::{HIGH_LIMITS, load, wait, with_each};
use crate::support::base64;
use crate::support::client::{post, with_body};
use crate::support::key::SigningKey;
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::upstream::{Request, Upstream, answer, json as json_answer};

/// A provider with several good keys.
struct Keys<K> {
    upstream: Upstream,
    good: Arc<Mutex<Vec<K>>>,
}

/// The ways in which the third key is broken.
const BREAKS: [fn(&Directory); 4] = [
    |dir| std::fs::remove_file(dir.join("broken")).unwrap(),
    |dir| drop(dir.write("broken", "\"quoted\"")),
    |dir| drop(dir.write("broken", "ffffffffffffffffffffffffffffffff")),
    |dir| drop(dir.write("broken", "")),
];

impl<K: Clone + Send + Sync + 'static> Keys<K> {
    /// With these good keys, and with a further key, good for ever, of the credentials beside.
    fn new(good: &[K], beside: K, has_made: fn(&K, &Request) -> bool) -> Self {
        let good = Arc::new(Mutex::new(good.to_vec()));
        let keys = Arc::clone(&good);
        let upstream = Upstream::answering(move |request| {
            let keys = keys.lock().unwrap();
            let mut keys = keys.iter().chain([&beside]);
            let is_good = keys.any(|key| has_made(key, request));
            match is_good {
                true => json_answer("{\"messages\":[{\"id\":\"1\"}],\"sid\":\"SM1\"}"),
                false => answer(
                    "401 Unauthorized",
                    &[("Content-Type", "application/json")],
                    b"{\"code\":20003,\"message\":\"wrong key\",\"status\":401}",
                ),
            }
        });
        Self { upstream, good }
    }

    fn take(&self, keys: &[K]) {
        *self.good.lock().unwrap() = keys.to_vec();
    }

    /// A sidecar for a preset with three credentials of one secret each, in the files `key`,
    /// `other` and `broken`.
    fn keyside(&self, preset: &str, credential: &str, key: &str, beside: &str) -> Keyside {
        let account = |name: &str, file: &str, path: &str| {
            let credential = credential.replace("/key", &format!("/{file}"));
            format!(
                "[credential.{name}]\nprovider = \"test\"\n{credential}\n[[route]]\ncredential = \"{name}\"\n\
                 path = \"{path}\"\n{HIGH_LIMITS}"
            )
        };
        let accounts = [
            account("acme", "key", "/"),
            account("other", "other", "/other"),
            account("broken", "broken", "/broken"),
        ];
        let config = format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"100ms\"\n\
             [provider.test]\nextends = \"{preset}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{}",
            accounts.concat()
        );
        Setup::new(&self.upstream)
            .file("key", key)
            .file("other", beside)
            .file("broken", beside)
            .config(&config)
            .start()
    }
}

/// Lets something happen under load, with the third key broken in each way; `start` makes a sidecar
/// with its provider, and `request` the request of a path.
fn must_not_fail<K>(
    name: &str,
    start: impl Fn() -> (Keys<K>, Keyside),
    request: impl Fn(&str) -> Vec<u8>,
    happens: impl Fn(&Keys<K>, &Directory),
) {
    for (number, break_it) in BREAKS.into_iter().enumerate() {
        let (provider, keyside) = start();
        let (sent, failures) = load(&with_each(&request)).during(&keyside, || {
            break_it(keyside.dir());
            happens(&provider, keyside.dir());
            wait(300);
        });
        assert!(
            failures.is_empty(),
            "{name}, broken in way {number}: {} of {sent}: {:?}\n{}",
            failures.len(),
            failures.first(),
            keyside.log()
        );
    }
}

/// A new key of 360dialog ends the old one at once.
#[test]
fn a_new_key_of_360dialog_fails_no_request_within_the_hold() {
    type Case = (&'static str, fn(&Keys<&'static str>, &Directory));
    let cases: [Case; 4] = [
        ("the file 0.3 s later", |provider, dir| {
            provider.take(&["new-key-of-the-number"]);
            wait(300);
            dir.write("key", "new-key-of-the-number");
        }),
        ("the file 2 s later", |provider, dir| {
            provider.take(&["new-key-of-the-number"]);
            wait(2000);
            dir.write("key", "new-key-of-the-number");
        }),
        ("a wrong key while the old one is good", |_, dir| {
            dir.write("key", "wrong-key-of-the-number");
            wait(500);
        }),
        ("a wrong key, then the right one", |provider, dir| {
            dir.write("key", "wrong-key-of-the-number");
            wait(300);
            provider.take(&["new-key-of-the-number"]);
            wait(500);
            dir.write("key", "new-key-of-the-number");
        }),
    ];
    for (name, happens) in cases {
        let start = || {
            let old = "old-key-of-the-number";
            let beside = "key-of-a-number-beside";
            let provider = Keys::new(&[old], beside, |key, request| {
                request.header("d360-api-key").as_deref() == Some(key)
            });
            let credential = "api_key = \"file:@DIR@/key\"";
            let keyside = provider.keyside("360dialog", credential, old, beside);
            (provider, keyside)
        };
        let text = r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;
        let request = |path: &str| post(&format!("{path}/messages"), text);
        must_not_fail(name, start, request, happens);
    }
}

#[test]
fn a_new_token_of_twilio_fails_no_request_within_the_hold() {
    const ACCOUNT: &str = "AC11111111111111111111111111111111";
    const FIRST: &str = "0123456789abcdef0123456789abcdef";
    const SECOND: &str = "fedcba9876543210fedcba9876543210";
    const BESIDE: &str = "00112233445566778899aabbccddeeff";
    type Case = (&'static str, fn(&Keys<&'static str>, &Directory));
    let cases: [Case; 2] = [
        ("the file, then the promotion", |provider, dir| {
            provider.take(&[FIRST, SECOND]);
            dir.write("key", SECOND);
            wait(500);
            provider.take(&[SECOND]);
        }),
        ("the promotion, 1.5 s later the file", |provider, dir| {
            provider.take(&[SECOND]);
            wait(1500);
            dir.write("key", SECOND);
        }),
    ];
    for (name, happens) in cases {
        let start = || {
            let provider = Keys::new(&[FIRST], BESIDE, |key, request| {
                let login = base64(format!("{ACCOUNT}:{key}").as_bytes());
                request.header("authorization") == Some(format!("Basic {login}"))
            });
            let credential =
                format!("account_sid = \"{ACCOUNT}\"\nauth_token = \"file:@DIR@/key\"");
            let keyside = provider.keyside("twilio", &credential, FIRST, BESIDE);
            (provider, keyside)
        };
        let request = |path: &str| {
            with_body(
                "POST",
                &format!("{path}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"),
                "application/x-www-form-urlencoded",
                b"From=whatsapp%3A%2B1&To=whatsapp%3A%2B2&Body=x",
            )
        };
        must_not_fail(name, start, request, happens);
    }
}

#[test]
fn a_new_private_key_of_vonage_fails_no_request() {
    let [old, new, beside] =
        [SigningKey::new(), SigningKey::new(), SigningKey::new()].map(Arc::new);
    let start = || {
        let provider = Keys::new(&[Arc::clone(&old)], Arc::clone(&beside), |key, request| {
            let token = request.header("authorization").unwrap_or_default();
            key.has_signed(token.trim_start_matches("Bearer "))
        });
        let credential = "application_id = \"a\"\nprivate_key = \"file:@DIR@/key\"";
        let keyside = provider.keyside("vonage", credential, &old.pem(), &beside.pem());
        (provider, keyside)
    };
    let body = r#"{"channel":"whatsapp","from":"1","to":"2","message_type":"text","text":"x"}"#;
    let request = |path: &str| post(&format!("{path}/v1/messages"), body);
    must_not_fail("vonage", start, request, |provider, dir| {
        provider.take(&[Arc::clone(&old), Arc::clone(&new)]);
        dir.write("key", new.pem());
        wait(500);
        provider.take(&[Arc::clone(&new)]);
    });
}
