//! Signing by hand: `keyside sign` prints the header lines that a provider would send.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::keyside::Directory;
use crate::support::webhook::{EVENT, application, event, setup};
use crate::support::{APP_SECRET, contains};

/// The output and the exit code of `keyside sign`.
struct Signed {
    code: Option<i32>,
    lines: String,
    error: String,
}

/// Runs `keyside sign` with a secret in a file and in the environment, and a body on its standard
/// input.
fn sign(secret: &str, words: &[&str], body: &[u8]) -> Signed {
    let dir = Directory::new();
    let file = format!("file:{}", dir.write("secret", secret).display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command
        .arg("sign")
        .args(words.iter().map(|word| word.replace("@FILE@", &file)));
    command.env("SIGNING_SECRET", secret);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("keyside starts");
    // A refused command ends without reading its input.
    let _ = child.stdin.take().expect("it is a pipe").write_all(body);
    let output = child.wait_with_output().expect("it is our child");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let signed = Signed {
        code: output.status.code(),
        lines: text(&output.stdout),
        error: text(&output.stderr),
    };
    for said in [&output.stdout, &output.stderr] {
        assert!(
            !contains(said, secret.as_bytes()),
            "the secret is in what {words:?} says"
        );
    }
    signed
}

#[test]
fn signed_lines_equal_those_published_by_vendors() {
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let form = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    for (secret, words, body, expected) in [
        // docs.github.com: Meta and GitHub sign alike.
        (
            "It's a Secret to Everybody",
            &["--secret", "@FILE@"][..],
            "Hello, World!",
            "X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\n",
        ),
        (
            "mysecret",
            &["--secret", "env:SIGNING_SECRET", "--scheme", "meta"],
            r#"{"foo":"bar"}"#,
            "X-Hub-Signature-256: sha256=4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3\n",
        ),
        // twilio-python
        (
            "12345",
            &[
                "--secret", "@FILE@", "--scheme", "twilio", "--url", url, "--form",
            ],
            form,
            "X-Twilio-Signature: RSOYDt4T1cUTdK1PDd93/VVr8B8=\n",
        ),
        // standard-webhooks
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &[
                "--secret",
                "@FILE@",
                "--scheme",
                "standard-webhooks",
                "--timestamp",
                "1614265330",
                "--id",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
            ],
            r#"{"test": 2432232314}"#,
            "Webhook-Signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\nWebhook-Timestamp: 1614265330\n\
             Webhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\n",
        ),
        // sinch-sdk-node and sinch-sdk-java
        (
            "foo_secret1234",
            &[
                "--secret",
                "@FILE@",
                "--scheme",
                "sinch",
                "--timestamp",
                "1634579353",
                "--nonce",
                "01FJA8B4A7BM43YGWSG9GBV067",
            ],
            SINCH,
            "X-Sinch-Webhook-Signature: 6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE=\n\
             X-Sinch-Webhook-Signature-Timestamp: 1634579353\n\
             X-Sinch-Webhook-Signature-Nonce: 01FJA8B4A7BM43YGWSG9GBV067\n\
             X-Sinch-Webhook-Signature-Algorithm: HmacSHA256\n",
        ),
    ] {
        let signed = sign(secret, words, body.as_bytes());
        assert_eq!(
            (signed.code, signed.lines.as_str(), signed.error.as_str()),
            (Some(0), expected, ""),
            "{words:?}"
        );
    }
}

#[test]
fn a_webhook_accepts_a_signed_body_and_refuses_any_other() {
    let application = application();
    let keyside = setup(&application).start();
    let signed = sign(APP_SECRET, &["--secret", "@FILE@"], EVENT.as_bytes());
    let line = signed.lines.trim_end();
    assert_eq!(keyside.event(&event(&[line], EVENT.as_bytes())).status, 200);
    assert_eq!(application.last().body, EVENT.as_bytes());
    assert_eq!(keyside.event(&event(&[line], b"another body")).status, 401);
}

#[test]
fn a_missing_nonce_is_random_and_a_missing_time_is_now() {
    let lines = || {
        let signed = sign(
            "a secret of the test",
            &["--secret", "@FILE@", "--scheme", "sinch"],
            b"{}",
        );
        assert_eq!(signed.code, Some(0), "{}", signed.error);
        signed.lines
    };
    let (first, second) = (lines(), lines());
    let nonce = |lines: &str| {
        lines
            .lines()
            .find(|line| line.contains("-Nonce: "))
            .unwrap()
            .to_owned()
    };
    assert_ne!(nonce(&first), nonce(&second));
    let time = first
        .lines()
        .find_map(|line| line.strip_prefix("X-Sinch-Webhook-Signature-Timestamp: "));
    let time: u64 = time.unwrap().parse().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    assert!(now.abs_diff(time) < 60, "{time}");
}

#[test]
fn an_unsignable_event_is_an_error_and_prints_no_lines() {
    let secret = "EAACANARY0123456789";
    for (words, code, expected) in [
        (&[][..], 2, "--secret"),
        // A mistake: a secret instead of a reference.
        (&["--secret", secret], 2, "--secret: not a reference"),
        (
            &["--secret", "@FILE@", "--scheme", "mate"],
            2,
            "did you mean `meta`?",
        ),
        (
            &["--secret", "@FILE@", "--scheme", "chat-api"],
            2,
            "--scheme: no such provider",
        ),
        (
            &["--secret", "@FILE@", "--timestamp", "soon"],
            2,
            "--timestamp",
        ),
        (
            &["--secret", "file:/nowhere/secret"],
            78,
            "`file:/nowhere/secret`: cannot be read",
        ),
        (
            &["--secret", "env:NOT_SET_ANYWHERE"],
            78,
            "the environment variable is not set",
        ),
        (
            &["--secret", "@FILE@", "--scheme", "twilio"],
            1,
            "give the URL with --url",
        ),
        (
            &[
                "--secret",
                "@FILE@",
                "--scheme",
                "twilio",
                "--url",
                "https://a/b",
            ],
            1,
            "add `bodySHA256=",
        ),
        (
            &[
                "--secret",
                "@FILE@",
                "--scheme",
                "plivo",
                "--url",
                "https://a/b",
            ],
            1,
            "the body must be a form",
        ),
        (
            &["--secret", "@FILE@", "--scheme", "zenvia"],
            1,
            "this provider signs nothing",
        ),
        (
            &["--secret", "@FILE@", "--scheme", "telnyx"],
            1,
            "the secret is not a key to sign with",
        ),
    ] {
        let signed = sign(secret, words, b"{}");
        assert_eq!(
            (signed.code, signed.lines.as_str()),
            (Some(code), ""),
            "{words:?}: {}",
            signed.error
        );
        assert!(
            signed.error.contains(expected),
            "{words:?}: {}",
            signed.error
        );
    }
}

/// An event of Sinch's.
const SINCH: &str = r#"{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z","project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4","contact_create_notification":{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS","identity":"48123456789","app_id":""}],"display_name":"New Test Contact","email":"new.contact@email.com","external_id":"","metadata":"","language":"EN_US"}},"message_metadata":""}"#;
