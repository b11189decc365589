//! Known answers of third parties.

use super::*;
use crate::provider::presets;

fn signed(preset: &str, secret: &str, event: &UnsignedEvent<'_>) -> Result<Vec<String>, SignError> {
    let webhook = presets::provider(preset).unwrap().webhook.clone().unwrap();
    let secret = Secret::parse(Zeroizing::new(secret.as_bytes().to_vec())).unwrap();
    let lines = sign(&webhook, &secret, event)?;
    Ok(lines
        .into_iter()
        .map(|line| format!("{}: {}", line.name, line.value))
        .collect())
}

fn event<'a>(
    body: &'a str,
    url: Option<&'a str>,
    time: u64,
    nonce: &'a str,
    id: &'a str,
) -> UnsignedEvent<'a> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
    let is_form = body.contains('=') && !body.starts_with('{');
    UnsignedEvent {
        body: body.as_bytes(),
        is_form,
        url,
        time,
        nonce,
        id,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn signatures_equal_those_published_by_third_parties() {
    let form = "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212";
    let json = r#"{"property": "value", "boolean": true}"#;
    let hashed = "https://mycompany.com/myapp.php?bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let report = r#"{"at":"2025-01-13T09:22:40.914Z","batch_id":"01JHFFHQ0P99JPPNQPJDV7JTBP","client_reference":"a client reference","code":0,"operator_status_at":"2025-01-13T09:22:00Z","recipient":"33662162466","status":"Delivered","type":"recipient_delivery_report_sms"}"#;
    let table = [
        // hexdocs.pm/whatsapp_sdk
        (
            "meta",
            "secret",
            event("test", None, 0, "", ""),
            vec![
                "x-hub-signature-256: sha256=0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914",
            ],
        ),
        // adnanh/webhook
        (
            "haptik",
            "secret",
            event(r#"{"a": "z"}"#, None, 0, "", ""),
            vec!["x-hub-signature: sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e"],
        ),
        // standard-webhooks
        (
            "standard-webhooks",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            event(
                r#"{"test": 2432232314}"#,
                None,
                1_614_265_330,
                "",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
            ),
            vec![
                "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                "webhook-timestamp: 1614265330",
                "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
            ],
        ),
        // twilio-python
        (
            "twilio",
            "12345",
            event(
                form,
                Some("https://mycompany.com/myapp.php?foo=1&bar=2"),
                0,
                "",
                "",
            ),
            vec!["x-twilio-signature: RSOYDt4T1cUTdK1PDd93/VVr8B8="],
        ),
        // twilio-node
        (
            "twilio",
            "12345",
            event(json, Some(hashed), 0, "", ""),
            vec!["x-twilio-signature: y77kIzt2vzLz71DgmJGsen2scGs="],
        ),
        // sinch-sdk-node
        (
            "sinch",
            "SMSWebhooksSecret",
            event(
                report,
                None,
                1_736_760_161,
                "01JHFFHWYY7HSS4FWTMDTQEK8V",
                "",
            ),
            vec![
                "x-sinch-webhook-signature: ZoHei66PPN/kZjw7hFVfGhJOnml3iGNCMWoyQVcE5o0=",
                "x-sinch-webhook-signature-timestamp: 1736760161",
                "x-sinch-webhook-signature-nonce: 01JHFFHWYY7HSS4FWTMDTQEK8V",
                "x-sinch-webhook-signature-algorithm: HmacSHA256",
            ],
        ),
        // plivo-python
        (
            "plivo",
            "12345",
            event(
                "c=y&b=x&b=x",
                Some("https://example.com/hook?a=2&a=1&a=1"),
                0,
                "7",
                "",
            ),
            vec![
                "x-plivo-signature-v3: AoJfIu+gJYp0rox2d2/q7Tx4ipfQwHo71MV62pYqMYQ=",
                "x-plivo-signature-v3-nonce: 7",
            ],
        ),
    ];
    for (preset, secret, event, expected) in table {
        assert_eq!(
            signed(preset, secret, &event).unwrap(),
            expected,
            "{preset}"
        );
    }
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn an_ed25519_signature_agrees_with_the_rfc() {
    let mut webhook = presets::provider("telnyx")
        .unwrap()
        .webhook
        .clone()
        .unwrap();
    if let SchemeKind::Signature(signature) = &mut webhook.schemes[0].kind {
        signature.message = vec![MessagePart::Body];
        signature.encoding = Encoding::Hex;
    }
    // Seed and public key.
    let seed = Zeroizing::new(
        b"TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJgszy7ElozAzVXxKvRmDA=="
            .to_vec(),
    );
    let lines = sign(
        &webhook,
        &Secret::parse(seed).unwrap(),
        &event("r", None, 0, "", ""),
    )
    .unwrap();
    assert_eq!(
        lines[0].value,
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
}

#[test]
fn a_missing_url_form_or_key_is_an_error() {
    let plain = event("{}", None, 0, "n", "i");
    assert_eq!(signed("wati", "x", &plain), Err(SignError::NothingSigned));
    assert_eq!(signed("twilio", "x", &plain), Err(SignError::NoUrl));
    assert_eq!(
        signed("plivo", "x", &event("{}", Some("https://a/b"), 0, "n", "")),
        Err(SignError::NotAForm)
    );
    let public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    for secret in ["x", public] {
        assert_eq!(
            signed("telnyx", secret, &plain),
            Err(SignError::Key(ED25519_PRIVATE)),
            "{secret}"
        );
    }
    let hash = signed("twilio", "x", &event("{}", Some("https://a/b"), 0, "", ""));
    assert!(
        matches!(hash, Err(SignError::HashBelongsInUrl(hash)) if hash.starts_with("bodySHA256=44136fa355b3"))
    );
}
