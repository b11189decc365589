//! A request about the whole account names a sender of the route, and a sender with several names
//! is known by each name that the route lists.

use crate::support::client::{Answer, with_body};
use crate::support::keyside::{Keyside, route, route_setup};
use crate::support::upstream::Upstream;

const ALLOWED: (u16, &str) = (200, "");
const FOREIGN: (u16, &str) = (403, "sender_not_allowed");
const UNNAMED: (u16, &str) = (403, "sender_not_named");

const WASSENGER: &str = "token = \"file:@DIR@/key\"";

/// A sidecar for Wassenger whose route bounds no device.
fn any_device(upstream: &Upstream) -> Keyside {
    let lines = "operations = [\"subscriptions\"]";
    route(upstream, "wassenger", WASSENGER, lines)
}
const MESSAGEBIRD: &str = "access_key = \"file:@DIR@/key\"";
const INFOBIP: &str = "base = \"x\"\napi_key = \"file:@DIR@/key\"";
const TWILIO: &str = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
const WATI: &str = "tenant = \"1\"\ntoken = \"file:@DIR@/key\"";

fn asked(keyside: &Keyside, line: &str, body: &str) -> Answer {
    let (method, target) = line.split_once(' ').unwrap();
    if body.is_empty() {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        return keyside.send(request.as_bytes());
    }
    keyside.send(&with_body(
        method,
        target,
        "application/json",
        body.as_bytes(),
    ))
}

/// Asks each, and looks at the answer and at what went out.
fn judged(keyside: &Keyside, upstream: &Upstream, rows: &[(&str, &str, (u16, &str))]) {
    for (line, body, expected) in rows {
        upstream.forget();
        let answer = asked(keyside, line, body);
        let seen = (answer.status, answer.slug());
        assert_eq!(seen, *expected, "{line} {body}: {}", answer.text());
        let went_out = usize::from(expected.0 == 200);
        assert_eq!(upstream.heads(), went_out, "{line} {body}");
    }
}

#[test]
fn a_webhook_of_wassenger_is_for_devices_of_the_route() {
    let upstream = Upstream::ok();
    let lines = "senders = [\"60a1\", \"60a2\"]\noperations = [\"subscriptions\"]";
    let keyside = route(&upstream, "wassenger", WASSENGER, lines);
    let new = "POST /v1/webhooks";
    judged(
        &keyside,
        &upstream,
        &[
            (
                new,
                r#"{"url":"https://a.example","device":"60a1"}"#,
                ALLOWED,
            ),
            (
                new,
                r#"{"url":"https://a.example","devices":["60a1","60a2"]}"#,
                ALLOWED,
            ),
            (
                new,
                r#"{"url":"https://a.example","device":"60b2"}"#,
                FOREIGN,
            ),
            (
                new,
                r#"{"url":"https://a.example","devices":["60a1","60b2"]}"#,
                FOREIGN,
            ),
            (new, r#"{"device":"60a1","devices":["60b2"]}"#, FOREIGN),
            (new, r#"{"device":"60a1","Devices":["60b2"]}"#, FOREIGN),
            (
                "POST /v1/webhooks?devices=60b2",
                r#"{"device":"60a1"}"#,
                FOREIGN,
            ),
            // Without a device, the webhook is for the whole account.
            (new, r#"{"url":"https://a.example"}"#, UNNAMED),
            (new, r#"{"url":"https://a.example","devices":[]}"#, UNNAMED),
            (new, r#"{"url":"https://a.example","device":""}"#, UNNAMED),
            (new, "{}", UNNAMED),
            (new, r#""""#, UNNAMED),
            (
                "POST /v1/webhooks?device=60a1",
                r#"{"url":"https://a.example"}"#,
                UNNAMED,
            ),
            ("GET /v1/webhooks", "", ALLOWED),
        ],
    );
    let told = asked(&keyside, new, r#"{"url":"https://a.example"}"#).text();
    assert!(
        told.contains("in the body, at /device or /devices/*"),
        "{told}"
    );
    let any = any_device(&upstream);
    judged(
        &any,
        &upstream,
        &[(new, r#"{"url":"https://a.example"}"#, ALLOWED)],
    );
}

#[test]
fn what_is_about_the_whole_account_without_a_sender_names_one() {
    let upstream = Upstream::ok();
    let event = |senders: &str| format!(r#"{{"events":[{senders}]}}"#);
    let one = |sender: &str| {
        format!(r#"{{"sender":"{sender}","channel":"WHATSAPP","event":"TYPING_STARTED"}}"#)
    };
    let (own, foreign, none) = (one("15550001111"), one("15559999999"), one(""));
    let both = format!("{own},{none}");
    let number = "senders = [\"15550001111\"]";
    for (preset, credential, operation, line, allowed, refused, unnamed) in [
        (
            "messagebird",
            MESSAGEBIRD,
            "subscriptions",
            "POST /v1/webhooks",
            r#"{"channelId":"15550001111","url":"https://a.example"}"#.to_owned(),
            r#"{"channelId":"15559999999"}"#.to_owned(),
            r#"{"url":"https://a.example"}"#.to_owned(),
        ),
        (
            "infobip",
            INFOBIP,
            "read",
            "POST /messages-api/1/events",
            event(&own),
            event(&format!("{own},{foreign}")),
            event(&both),
        ),
        (
            "zenvia",
            WASSENGER,
            "templates",
            "POST /v2/templates",
            r#"{"name":"a","senderId":"15550001111"}"#.to_owned(),
            r#"{"name":"a","senderId":"15559999999"}"#.to_owned(),
            r#"{"name":"a"}"#.to_owned(),
        ),
        (
            "twilio",
            TWILIO,
            "phone_numbers",
            "POST /v2/Channels/Senders",
            r#"{"sender_id":"whatsapp:+15550001111"}"#.to_owned(),
            r#"{"sender_id":"whatsapp:+15559999999"}"#.to_owned(),
            r#"{"profile":{}}"#.to_owned(),
        ),
        (
            "cm",
            "product_token = \"file:@DIR@/key\"",
            "otp",
            "POST /otp/v2/otp",
            r#"{"from":"15550001111","to":"1","channel":"whatsapp"}"#.to_owned(),
            r#"{"from":"15559999999","to":"1","channel":"whatsapp"}"#.to_owned(),
            r#"{"to":"1","channel":"whatsapp"}"#.to_owned(),
        ),
    ] {
        let lines = format!("{number}\noperations = [\"{operation}\"]");
        let keyside = route(&upstream, preset, credential, &lines);
        judged(
            &keyside,
            &upstream,
            &[
                (line, &allowed, ALLOWED),
                (line, &refused, FOREIGN),
                (line, &unnamed, UNNAMED),
            ],
        );
    }
}

#[test]
fn a_sender_at_a_place_that_the_request_ignores_is_no_sender_of_the_request() {
    let upstream = Upstream::ok();
    for (preset, credential, operation, line, bodies) in [
        (
            "messagebird",
            MESSAGEBIRD,
            "subscriptions",
            "POST /v1/webhooks",
            &[
                r#"{"from":"1","url":"https://a.example"}"#,
                r#"{"fallback":{"from":"1"},"url":"https://a.example"}"#,
                r#"{"from":"1","channelId":null}"#,
            ][..],
        ),
        (
            "zenvia",
            WASSENGER,
            "templates",
            "POST /v2/templates",
            &[r#"{"from":"1","name":"a"}"#],
        ),
        (
            "twilio",
            TWILIO,
            "phone_numbers",
            "POST /v2/Channels/Senders",
            &[
                r#"{"From":"1","profile":{}}"#,
                r#"{"MessagingServiceSid":"1"}"#,
            ],
        ),
        (
            "cm",
            "product_token = \"file:@DIR@/key\"",
            "otp",
            "POST /otp/v2/otp",
            &[
                r#"{"to":"2","channel":"whatsapp","messages":{"msg":[{"from":"1","allowedChannels":["WhatsApp"]}]}}"#,
            ],
        ),
        (
            "infobip",
            INFOBIP,
            "read",
            "POST /messages-api/1/events",
            &[
                r#"{"from":"1"}"#,
                r#"{"from":"1","events":[]}"#,
                r#"{"from":"1","events":[{"channel":"WHATSAPP"}]}"#,
            ],
        ),
    ] {
        let lines = format!("senders = [\"1\"]\noperations = [\"{operation}\"]");
        let keyside = route(&upstream, preset, credential, &lines);
        for body in bodies {
            judged(&keyside, &upstream, &[(line, body, UNNAMED)]);
        }
    }
}

#[test]
fn a_change_may_leave_its_senders_out_and_names_those_of_the_route_or_none() {
    let upstream = Upstream::ok();
    let lines = "senders = [\"60a1\"]\noperations = [\"subscriptions\"]";
    let wassenger = route(&upstream, "wassenger", WASSENGER, lines);
    let new = "POST /v1/webhooks";
    let change = "PATCH /v1/webhooks/w1";
    judged(
        &wassenger,
        &upstream,
        &[
            (change, r#"{"url":"https://a.example"}"#, ALLOWED),
            (change, r#"{"device":"60a1"}"#, ALLOWED),
            (change, r#"{"devices":["60a1"]}"#, ALLOWED),
            (change, r#"{"devices":["60b2"]}"#, FOREIGN),
            (change, r#"{"devices":["60a1","60b2"]}"#, FOREIGN),
            (change, r#"{"device":"60b2"}"#, FOREIGN),
            ("PATCH /v1/webhooks/w1?devices=60b2", "{}", FOREIGN),
            // A change to no device makes a webhook of the whole account.
            (change, r#"{"device":null}"#, UNNAMED),
            (change, r#"{"device":""}"#, UNNAMED),
            (change, r#"{"devices":null}"#, UNNAMED),
            (change, r#"{"devices":[]}"#, UNNAMED),
            (change, r#"{"devices":{}}"#, UNNAMED),
            (change, r#"{"devices":[null]}"#, UNNAMED),
            (change, r#"{"device":"60a1","devices":[]}"#, UNNAMED),
            (change, r#"{"device":"60a1","Device":null}"#, UNNAMED),
            (new, r#"{"device":"60a1","devices":[]}"#, UNNAMED),
            (new, r#"{"device":"60a1","devices":null}"#, UNNAMED),
            (new, r#"{"device":null,"devices":["60a1"]}"#, UNNAMED),
            (new, r#"{"devices":["60a1",null]}"#, UNNAMED),
        ],
    );
    let lines = "senders = [\"1\"]\noperations = [\"templates\"]";
    let zenvia = route(&upstream, "zenvia", WASSENGER, lines);
    let change = "PATCH /v2/templates/t1";
    judged(
        &zenvia,
        &upstream,
        &[
            (change, r#"{"name":"a"}"#, ALLOWED),
            (change, r#"{"senderId":"1"}"#, ALLOWED),
            (change, r#"{"senderId":"9"}"#, FOREIGN),
            (change, r#"{"senderId":null}"#, UNNAMED),
        ],
    );
    let any = any_device(&upstream);
    judged(
        &any,
        &upstream,
        &[("PATCH /v1/webhooks/w1", r#"{"device":null}"#, ALLOWED)],
    );
}

#[test]
fn the_channel_of_a_password_is_not_that_of_a_message_in_the_same_body() {
    let upstream = Upstream::ok();
    let token = "product_token = \"file:@DIR@/key\"";
    let lines = "channels = [\"whatsapp\"]\noperations = [\"otp\", \"messages\"]";
    let keyside = route(&upstream, "cm", token, lines);
    let refused = (403, "operation_not_allowed");
    let message = r#""messages":{"msg":[{"from":"1","allowedChannels":["WhatsApp"]}]}"#;
    let hidden = format!(r#"{{"to":"2","from":"1",{message}}}"#);
    let alone = format!("{{{message}}}");
    let password = "POST /otp/v2/otp";
    judged(
        &keyside,
        &upstream,
        &[
            (
                password,
                r#"{"to":"2","from":"1","channel":"whatsapp"}"#,
                ALLOWED,
            ),
            (
                password,
                r#"{"to":"2","from":"1","channel":"sms"}"#,
                refused,
            ),
            (password, r#"{"to":"2","from":"1"}"#, refused),
            (password, &hidden, refused),
            ("POST /v1.0/message", &alone, ALLOWED),
        ],
    );
}

#[test]
fn a_sender_is_known_by_each_name_that_the_route_lists() {
    let upstream = Upstream::ok();
    let lines = "senders = [\"+15550001111\", \"XE1\"]\noperations = [\"phone_numbers\"]";
    let twilio = route(&upstream, "twilio", TWILIO, lines);
    judged(
        &twilio,
        &upstream,
        &[
            ("GET /v2/Channels/Senders/XE1", "", ALLOWED),
            ("GET /v2/Channels/Senders/XE2", "", FOREIGN),
            ("DELETE /v2/Channels/Senders/XE2", "", FOREIGN),
            ("POST /v2/Channels/Senders/XE2", "{}", FOREIGN),
            ("GET /v2/Channels/Senders/15550001111", "", ALLOWED),
        ],
    );
    let lines = "senders = [\"15550001111\", \"app-1\", \"acme\"]\noperations = [\"read\", \"status\", \"templates\"]";
    let gupshup = route(&upstream, "gupshup", "api_key = \"file:@DIR@/key\"", lines);
    judged(
        &gupshup,
        &upstream,
        &[
            ("GET /wa/app/app-1/msg/m1", "", ALLOWED),
            ("GET /sm/api/v1/template/list/acme", "", ALLOWED),
            ("GET /wa/app/app-2/msg/m1", "", FOREIGN),
            ("PUT /wa/app/app-2/msg/m1/read", "", FOREIGN),
            ("GET /sm/api/v1/template/list/other", "", FOREIGN),
        ],
    );
}

#[test]
fn a_channel_before_the_person_of_a_sign_of_typing_is_the_sender() {
    let upstream = Upstream::ok();
    let lines = "senders = [\"1555\"]\noperations = [\"read\", \"conversation_change\"]";
    let keyside = route(&upstream, "wati", WATI, lines);
    let typing = "POST /api/ext/v3/conversations/typingIndicator";
    let assign = "POST /1/api/v1/assignOperator?whatsappNumber=";
    let [own, other] = ["1555:2", "1999:2"].map(|target| format!("{assign}{target}"));
    judged(
        &keyside,
        &upstream,
        &[
            (typing, r#"{"target":"1555:15550001234"}"#, ALLOWED),
            (typing, r#"{"target":"1999:15550001234"}"#, FOREIGN),
            (&own, "{}", ALLOWED),
            (&other, "{}", FOREIGN),
        ],
    );
}

#[test]
fn check_tells_of_senders_that_paths_name_otherwise() {
    let upstream = Upstream::ok();
    let key = "api_key = \"file:@DIR@/key\"";
    for (preset, credential, senders, expected) in [
        ("gupshup", key, "[\"+15550001111\"]", Some("read, status")),
        ("gupshup", key, "[\"+15550001111\", \"app-1\"]", None),
        ("gupshup", key, "[]", None),
    ] {
        let lines =
            format!("senders = {senders}\noperations = [\"messages\", \"read\", \"status\"]");
        let done = route_setup(&upstream, preset, credential, &lines).finish("check");
        assert_eq!(done.code, Some(0), "{}", done.output);
        let mut told = done.output.lines();
        let note = told.find(|line| line.contains("`senders` are numbers alone"));
        assert_eq!(note.is_some(), expected.is_some(), "{}", done.output);
        assert!(
            note.is_none_or(|note| note.contains(expected.unwrap())),
            "{note:?}"
        );
    }
}

#[test]
fn check_names_no_operation_whose_requests_need_a_sender() {
    let upstream = Upstream::ok();
    let lines = "senders = [\"1555\"]\noperations = [\"messages\", \"read\"]";
    let done = route_setup(&upstream, "infobip", INFOBIP, lines).finish("check");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(!done.output.contains("does not bound"), "{}", done.output);
}
