//! The table of all dialects.
//!
//! The comment above each row cites the source of each part. Parts without a citation are those of
//! [`PLAIN`]. A value inside an answer may be made up where only the form of the answer is known.
//! Vendors' texts were read in November 2026, SDKs in the cited versions.

use super::answer::Answer;
use super::protocol::{BodyFormat, Dialect, EventSigning, Exchange, Key, KeyKind, Place};
use super::sign::{self, EventToSign, HeaderLines};
use super::{keeping, samples};

/// The plain form of unknown parts.
const PLAIN: Dialect = Dialect {
    name: "",
    host: "",
    parameters: &[],
    names: &[],
    key: Key {
        name: "api_key",
        kind: KeyKind::Text,
    },
    events: None,
    places: &[],
    required_headers: &[],
    exchange: None,
    others: &[],
    samples: &[],
    kept_objects: &[],
    kept_files: None,
    kept_messages: None,
    further: &[],
    sends: &[],
    receipt: None,
    sender: &["/from"],
    recipient: &["/to"],
    id: "{uuid}",
    accepted: json(200, r#"{"id":"{id}"}"#),
    refused: json(
        401,
        r#"{"error":{"code":"unauthorized","message":"The key is missing or wrong"}}"#,
    ),
    throttled: json(
        429,
        r#"{"error":{"code":"too_many_requests","message":"Too many requests"}}"#,
    ),
    pair_throttled: None,
};

const fn json(status: u16, body: &'static str) -> Answer {
    Answer::json(status, body)
}

/// Events in JSON.
const fn events(
    secret: &'static str,
    kind: KeyKind,
    sign: fn(&EventToSign<'_>) -> HeaderLines,
) -> Option<EventSigning> {
    Some(EventSigning {
        key: Key { name: secret, kind },
        format: BodyFormat::Json,
        sign,
    })
}

/// The usual place of a key.
const BEARER: Place = Place::Header("authorization", "Bearer ");

/// The rows, the best known providers first.
pub(super) static TABLE: [Dialect; 24] = [
    // docs.360dialog.com: header, path, and the statement that messages, answers and most errors
    // are those of the Cloud API, with no sender in the path. The status for a wrong key is not
    // known.
    Dialect {
        name: "360dialog",
        samples: samples::DIALOG_360,
        kept_objects: keeping::DIALOG_360_TEMPLATES,
        kept_files: Some(keeping::DIALOG_360_MEDIA),
        host: "waba-v2.360dialog.io",
        places: &[Place::Header("d360-api-key", "")],
        sends: &["/messages", "/marketing_messages"],
        receipt: Some(("/status", json(200, r#"{"success":true}"#))),
        others: samples::DIALOG_360_OTHERS,
        id: "wamid.{hex}",
        accepted: json(
            200,
            r#"{"messaging_product":"whatsapp","contacts":[{"input":"{to}","wa_id":"{to}"}],"messages":[{"id":"{id}"}]}"#,
        ),
        throttled: json(
            429,
            r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"fbtrace_id":"sandbox"}}"#,
        ),
        pair_throttled: Some(json(
            429,
            r#"{"error":{"message":"(#131056) (Business Account, Consumer Account) pair rate limit hit","type":"OAuthException","code":131056,"fbtrace_id":"sandbox"}}"#,
        )),
        events: events("platform_secret", KeyKind::Text, sign::dialog360),
        ..PLAIN
    },
    // OpenAPI of the vendor, @infobip-api/sdk 0.3.2: paths, header, exchange (parameters in the
    // query, as in the SDK, or in the body; the client is `sandbox-client`), the code for too many
    // messages.
    Dialect {
        name: "infobip",
        samples: samples::INFOBIP,
        kept_objects: keeping::INFOBIP_TEMPLATES,
        kept_messages: Some(keeping::INFOBIP_REPORTS),
        host: "sandbox.api.infobip.com",
        parameters: &[("base", "sandbox")],
        places: &[
            Place::Header("authorization", "App "),
            Place::Exchanged("Bearer "),
        ],
        exchange: Some(Exchange {
            has_own_host: false,
            path: "/auth/1/oauth2/token",
            places: &[Place::Login("client_id", "sandbox-client", "client_secret")],
            required: &[("grant_type", "client_credentials")],
            granted: json(
                200,
                r#"{"access_token":"{token}","token_type":"Bearer","expires_in":{life}}"#,
            ),
            expired: PLAIN.refused,
        }),
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "POST",
                "/whatsapp/1/senders/{sender}/message/{message}/read",
                json(200, r#"{}"#),
            ),
            ("GET", "/whatsapp/1/senders/{sender}/media/{media}", FILE),
            ("HEAD", "/whatsapp/1/senders/{sender}/media/{media}", FILE),
            (
                "POST",
                "/messages-api/1/events",
                json(
                    200,
                    r#"{"bulkId":"sample","messages":[{"messageId":"sample","destination":"1"}]}"#,
                ),
            ),
            (
                "GET",
                "/messages-api/1/reports",
                json(
                    200,
                    r#"{"results":[{"event":"DELIVERY","channel":"WHATSAPP","sender":"15550001111","destination":"15550001234","sentAt":"2026-11-29T12:00:00.000+0000","doneAt":"2026-11-29T12:00:01.000+0000","bulkId":"sample","messageId":"sample","messageCount":1,"status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET","description":"Message delivered to handset"},"error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","description":"No Error","permanent":false}}]}"#,
                ),
            ),
        ],
        sends: &[
            "/whatsapp/1/message/{kind}",
            "/whatsapp/1/message/interactive/{kind}",
            "/messages-api/1/messages",
        ],
        sender: &["/from", "/messages/0/from", "/messages/0/sender"],
        recipient: &["/to", "/messages/0/to", "/messages/0/destinations/0/to"],
        // Infobip answers a single message and a list of messages with different fields. The answer
        // here has the fields of both.
        accepted: json(
            200,
            r#"{"bulkId":"{id}","messages":[{"messageId":"{id}","status":{"groupId":1,"groupName":"PENDING","id":7,"name":"PENDING_ENROUTE","description":"Message sent to next instance"},"destination":"{to}"}],"to":"{to}","messageCount":1,"messageId":"{id}","status":{"groupId":1,"groupName":"PENDING","id":7,"name":"PENDING_ENROUTE","description":"Message sent to next instance"}}"#,
        ),
        throttled: json(
            429,
            r#"{"errorCode":"E429","description":"Too many requests"}"#,
        ),
        events: events("callback_login", KeyKind::Login, sign::basic),
        ..PLAIN
    },
    // twilio-node 6.2.0, twilio-python 9.13.0: paths, answer, form of an error. The vendor's pages
    // on errors 20003 and 20429: their texts.
    Dialect {
        name: "twilio",
        samples: samples::TWILIO,
        kept_objects: keeping::TWILIO_CONTENT,
        kept_messages: Some(keeping::TWILIO_MESSAGES),
        host: "api.twilio.com",
        further: &[
            ("messaging", "messaging.twilio.com"),
            ("content", "content.twilio.com"),
        ],
        parameters: &[("account_sid", "AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b")],
        key: Key {
            name: "auth_token",
            kind: KeyKind::Text,
        },
        places: &[Place::Basic("account_sid")],
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "GET",
                "/2010-04-01/Accounts/{account_sid}.json",
                json(
                    200,
                    r#"{"sid":"{account_sid}","friendly_name":"Sandbox","status":"active","type":"Full"}"#,
                ),
            ),
            (
                "GET",
                "/2010-04-01/Accounts/{account_sid}/Messages.json",
                json(200, r#"{"messages":[],"page":0,"page_size":1}"#),
            ),
            (
                "GET",
                "/2010-04-01/Accounts/{account_sid}/Messages/{message}",
                json(
                    200,
                    r#"{"account_sid":"{account_sid}","sid":"SM0","status":"delivered","num_media":"0"}"#,
                ),
            ),
            (
                "GET",
                "/2010-04-01/Accounts/{account_sid}/Messages/{message}/Media.json",
                json(
                    200,
                    r#"{"media_list":[{"account_sid":"{account_sid}","sid":"ME0","content_type":"image/png"}],"page":0,"page_size":50}"#,
                ),
            ),
            (
                "GET",
                "/2010-04-01/Accounts/{account_sid}/Messages/{message}/Media/{media}.json",
                json(
                    200,
                    r#"{"account_sid":"{account_sid}","sid":"ME0","content_type":"image/png"}"#,
                ),
            ),
            // The bytes are elsewhere, at a signed URL.
            (
                "GET",
                "/2010-04-01/Accounts/{account_sid}/Messages/{message}/Media/{media}",
                Answer {
                    status: 307,
                    headers: &[(
                        "location",
                        "https://mms.twiliocdn.com/sample?Signature=sample",
                    )],
                    body: "",
                },
            ),
        ],
        sends: &["/2010-04-01/Accounts/{account_sid}/Messages.json"],
        sender: &["/From"],
        recipient: &["/To"],
        id: "SM{hex}",
        accepted: json(
            201,
            r#"{"account_sid":"{account_sid}","api_version":"2010-04-01","body":"","date_created":null,"date_sent":null,"date_updated":null,"direction":"outbound-api","error_code":null,"error_message":null,"from":"{from}","messaging_service_sid":null,"num_media":"0","num_segments":"1","price":null,"price_unit":null,"sid":"{id}","status":"queued","subresource_uris":{},"to":"{to}","uri":"/2010-04-01/Accounts/{account_sid}/Messages/{id}.json"}"#,
        ),
        refused: json(
            401,
            r#"{"code":20003,"message":"Authenticate","more_info":"https://www.twilio.com/docs/errors/20003","status":401}"#,
        ),
        throttled: json(
            429,
            r#"{"code":20429,"message":"Too Many Requests","more_info":"https://www.twilio.com/docs/errors/20429","status":429}"#,
        ),
        events: Some(EventSigning {
            key: Key {
                name: "auth_token",
                kind: KeyKind::Text,
            },
            format: BodyFormat::Form,
            sign: sign::twilio,
        }),
        ..PLAIN
    },
    // @vonage/messages 1.24.0, @vonage/jwt 1.14.0, vonage-python-sdk: path, token, answer, the
    // titles of both errors.
    Dialect {
        name: "vonage",
        samples: samples::VONAGE,
        further: &[("region", "api-us.vonage.com")],
        kept_files: Some(keeping::VONAGE_MEDIA),
        host: "api.nexmo.com",
        parameters: &[("application_id", "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b")],
        key: Key {
            name: "private_key",
            kind: KeyKind::Rsa,
        },
        places: &[Place::Minted("application_id")],
        // Forms of the answers are those that the SDKs read.
        others: &[
            ("PATCH", "/v1/messages/{message}", json(200, r#"{}"#)),
            ("GET", "/v3/media/{media}", FILE),
            (
                "GET",
                "/v3/media/{media}/info",
                json(200, r#"{"id":"sample","mime_type":"image/png"}"#),
            ),
        ],
        sends: &["/v1/messages"],
        accepted: json(202, r#"{"message_uuid":"{id}"}"#),
        refused: Answer {
            status: 401,
            headers: PROBLEM,
            body: r#"{"type":"https://developer.vonage.com/api-errors#unauthorized","title":"Unauthorized","detail":"You did not provide correct credentials.","instance":"sandbox"}"#,
        },
        throttled: Answer {
            status: 429,
            headers: PROBLEM,
            body: r#"{"type":"https://developer.vonage.com/api-errors#throttled","title":"Rate Limit Hit","detail":"Please wait, then retry your request","instance":"sandbox"}"#,
        },
        events: events("signature_secret", KeyKind::Text, sign::vonage),
        ..PLAIN
    },
    // docs.bird.com: header, webhooks, path, the status of an accepted message.
    Dialect {
        name: "bird",
        samples: samples::BIRD,
        host: "api.bird.com",
        parameters: &[("workspace", "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b")],
        key: Key {
            name: "access_key",
            kind: KeyKind::Text,
        },
        places: &[ACCESS_KEY],
        sends: &["/workspaces/{workspace}/channels/{channel}/messages"],
        accepted: json(202, r#"{"id":"{id}"}"#),
        events: events("signing_key", KeyKind::Text, sign::bird),
        ..PLAIN
    },
    // messagebird-sdk (Python) 0.106.0: host, header, paths, the form of an error, Standard
    // Webhooks.
    Dialect {
        name: "bird-platform",
        samples: samples::BIRD_PLATFORM,
        host: "eu1.platform.bird.com",
        parameters: &[("region", "eu1")],
        places: &[BEARER],
        // messagebird-sdk 0.106.0: the form of an id, and the fields that each answer must have.
        others: &[
            (
                "GET",
                "/v1/whatsapp/messages/{message}",
                json(
                    200,
                    r#"{"id":"{message}","direction":"outbound","from":{"phone_number":"+15550001111"},"to":{"phone_number":"+15550001234"},"status":"delivered","created_at":"2026-01-01T00:00:00Z"}"#,
                ),
            ),
            (
                "POST",
                "/v1/whatsapp/messages/{message}/read",
                json(202, r#"{"typing_indicator":false}"#),
            ),
            (
                "GET",
                "/v1/whatsapp/messages/{message}/events",
                json(200, r#"{"data":[]}"#),
            ),
        ],
        sends: &["/v1/whatsapp/messages"],
        id: "wam_{hex26}",
        accepted: json(
            202,
            r#"{"id":"{id}","direction":"outbound","from":{"phone_number":"{from}"},"to":{"phone_number":"{to}"},"status":"accepted","created_at":"2026-01-01T00:00:00Z"}"#,
        ),
        refused: json(
            401,
            r#"{"error":{"type":"auth_error","code":"auth_error","message":"The key is missing or wrong"}}"#,
        ),
        throttled: Answer {
            status: 429,
            headers: &[("retry-after", "1")],
            body: r#"{"error":{"type":"rate_limit_error","code":"rate_limit_error","message":"Too many requests"}}"#,
        },
        events: events("webhook_secret", KeyKind::Text, sign::standard_webhooks),
        ..PLAIN
    },
    // messagebird (Node) 4.0.1: host, header, paths, the names of an error's parts.
    Dialect {
        name: "messagebird",
        samples: samples::MESSAGEBIRD,
        further: &[("integrations", "integrations.messagebird.com")],
        host: "conversations.messagebird.com",
        key: Key {
            name: "access_key",
            kind: KeyKind::Text,
        },
        places: &[ACCESS_KEY],
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "GET",
                "/v1/messages/{message}",
                json(200, r#"{"id":"{message}","status":"delivered"}"#),
            ),
            (
                "GET",
                "/v1/conversations",
                json(
                    200,
                    r#"{"count":0,"items":[],"limit":10,"offset":0,"totalCount":0}"#,
                ),
            ),
        ],
        sends: &[
            "/v1/send",
            "/v1/conversations/start",
            "/v1/conversations/{id}/messages",
        ],
        // A message and a conversation have answers of their own. This is both at once.
        accepted: json(
            200,
            r#"{"id":"{id}","status":"accepted","contactId":"sample","channels":[],"messages":{"totalCount":1,"href":"https://conversations.messagebird.com/v1/conversations/{id}/messages","lastMessageId":"{id}"}}"#,
        ),
        refused: json(
            401,
            r#"{"errors":[{"code":2,"description":"The access key is missing or wrong","parameter":"access_key"}]}"#,
        ),
        throttled: json(
            429,
            r#"{"errors":[{"code":429,"description":"Too many requests","parameter":null}]}"#,
        ),
        events: events("signing_key", KeyKind::Text, sign::messagebird),
        ..PLAIN
    },
    // sinch/skills, @sinch/conversation 1.4.0, @sinch/sdk-client: paths, exchange, the parts of an
    // answer, and the `WWW-Authenticate: ... expired` that makes the SDK ask for a new token.
    Dialect {
        name: "sinch",
        samples: samples::SINCH,
        host: "us.conversation.api.sinch.com",
        further: &[("template", "us.template.api.sinch.com")],
        parameters: &[
            ("region", "us"),
            ("project_id", "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b"),
            ("key_id", "6b5e7c1f-4a3d-4f2a-9b8c-0d1e2f3a4b5c"),
        ],
        key: Key {
            name: "key_secret",
            kind: KeyKind::Text,
        },
        places: &[Place::Exchanged("Bearer ")],
        exchange: Some(Exchange {
            has_own_host: true,
            path: "/oauth2/token",
            places: &[Place::Basic("key_id")],
            required: &[("grant_type", "client_credentials")],
            granted: json(
                200,
                r#"{"access_token":"{token}","expires_in":{life},"scope":"","token_type":"bearer"}"#,
            ),
            expired: Answer {
                status: 401,
                headers: &[(
                    "www-authenticate",
                    r#"Bearer error="invalid_token", error_description="expired""#,
                )],
                body: PLAIN.refused.body,
            },
        }),
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "POST",
                "/v1/projects/{project_id}/events:send",
                json(200, r#"{"event_id":"sample"}"#),
            ),
            (
                "GET",
                "/v1/projects/{project_id}/messages/{message}",
                json(
                    200,
                    r#"{"id":"{message}","direction":"TO_CONTACT","contact_id":"sample","conversation_id":"sample","accept_time":"2026-01-01T00:00:00Z","channel_identity":{"channel":"WHATSAPP","identity":"15550001234","app_id":""},"app_message":{"text_message":{"text":"sample"}}}"#,
                ),
            ),
        ],
        sends: &["/v1/projects/{project_id}/messages:send"],
        sender: &["/app_id"],
        recipient: &[
            "/recipient/identified_by/channel_identities/0/identity",
            "/recipient/contact_id",
        ],
        accepted: json(
            200,
            r#"{"message_id":"{id}","accepted_time":"2026-01-01T00:00:00Z"}"#,
        ),
        events: events("webhook_secret", KeyKind::Text, sign::sinch),
        ..PLAIN
    },
    // docs.ycloud.com: paths, header, the code of a wrong key, Retry-After.
    Dialect {
        name: "ycloud",
        samples: samples::YCLOUD,
        host: "api.ycloud.com",
        places: &[Place::Header("x-api-key", "")],
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "POST",
                "/v2/whatsapp/inboundMessages/{message}/markAsRead",
                json(200, r#"{"success":true}"#),
            ),
            (
                "POST",
                "/v2/whatsapp/inboundMessages/{message}/typing",
                json(200, r#"{"success":true}"#),
            ),
            (
                "POST",
                "/v2/whatsapp/inboundMessages/{message}/typingIndicator",
                json(200, r#"{"success":true}"#),
            ),
            (
                "GET",
                "/v2/whatsapp/messages/{message}",
                json(200, r#"{"id":"{message}","status":"delivered"}"#),
            ),
        ],
        sends: &[
            "/v2/whatsapp/messages",
            "/v2/whatsapp/messages/sendDirectly",
        ],
        refused: json(
            401,
            r#"{"error":{"status":401,"code":"UNAUTHORIZED","message":"The API key is missing or wrong"}}"#,
        ),
        throttled: Answer {
            status: 429,
            headers: &[("retry-after", "1")],
            body: r#"{"error":{"status":429,"code":"TOO_MANY_REQUESTS","message":"Too many requests"}}"#,
        },
        // docs.ycloud.com/reference-link/whatsapp-errors: Meta's error stands in
        // `whatsappApiError`.
        pair_throttled: Some(json(
            429,
            r#"{"error":{"status":429,"code":"TOO_MANY_REQUESTS","message":"Too many requests","whatsappApiError":{"code":"131056","message":"(#131056) (Business Account, Consumer Account) pair rate limit hit"}}}"#,
        )),
        events: events("webhook_secret", KeyKind::Text, sign::ycloud),
        ..PLAIN
    },
    // developers.telnyx.com, telnyx (Node): path, header, the code and headers for too many
    // messages (the reset in seconds from now), the place of the id.
    Dialect {
        name: "telnyx",
        samples: samples::TELNYX,
        host: "api.telnyx.com",
        places: &[BEARER],
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "GET",
                "/v2/messages/{message}",
                json(
                    200,
                    r#"{"data":{"id":"{message}","record_type":"message","to":[{"phone_number":"+15550001234","status":"delivered"}]}}"#,
                ),
            ),
            (
                "POST",
                "/v2/media",
                json(
                    200,
                    r#"{"data":{"media_name":"sample","content_type":"image/png"}}"#,
                ),
            ),
            (
                "GET",
                "/v2/media/{media}",
                json(
                    200,
                    r#"{"data":{"media_name":"sample","content_type":"image/png"}}"#,
                ),
            ),
            ("GET", "/v2/media/{media}/download", FILE),
        ],
        sends: &["/v2/messages/whatsapp"],
        accepted: json(
            200,
            r#"{"data":{"record_type":"message","direction":"outbound","id":"{id}","type":"WHATSAPP"}}"#,
        ),
        refused: json(
            401,
            r#"{"errors":[{"code":"unauthorized","title":"The key is missing or wrong"}]}"#,
        ),
        throttled: Answer {
            status: 429,
            headers: &[
                ("x-ratelimit-limit", "1"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1"),
            ],
            body: r#"{"errors":[{"code":"10011","title":"Too many requests"}]}"#,
        },
        events: events("public_key", KeyKind::Ed25519, sign::telnyx),
        ..PLAIN
    },
    // docs.wati.io, support.wati.io: paths of both versions, header, an occasional Retry-After.
    Dialect {
        name: "wati",
        samples: samples::WATI,
        host: "live-mt-server.wati.io",
        parameters: &[("tenant", "12345")],
        key: Key {
            name: "token",
            kind: KeyKind::Text,
        },
        places: &[BEARER],
        // Forms of the answers are those that the SDKs read.
        others: &[(
            "GET",
            "/api/ext/v3/conversations/messages/file/{message}",
            json(200, r#"{"id":"sample"}"#),
        )],
        sends: &[
            "/api/ext/v3/conversations/messages/text",
            "/api/ext/v3/messagetemplates/send",
            "/api/ext/v3/messageTemplates/send",
            "/{tenant}/api/v1/sendTemplateMessage",
            "/api/ext/v3/conversations/messages/file",
            "/api/ext/v3/conversations/messages/fileViaUrl",
            "/api/ext/v3/conversations/messages/interactive",
            "/{tenant}/api/v1/sendTemplateMessages",
            "/{tenant}/api/v1/sendSessionMessage/{number}",
            "/{tenant}/api/v1/sendSessionFile/{number}",
            "/{tenant}/api/v1/sendSessionFileViaUrl/{number}",
            "/api/v1/sendTemplateMessage",
            "/api/v1/sendTemplateMessage/{number}",
            "/api/v1/sendTemplateMessages",
            "/api/v1/sendSessionMessage/{number}",
            "/api/v1/sendSessionFile/{number}",
            "/api/v1/sendSessionFileViaUrl/{number}",
            "/{tenant}/api/v1/sendInteractiveButtonsMessage",
            "/{tenant}/api/v1/sendInteractiveListMessage",
            "/{tenant}/api/v2/sendTemplateMessage",
            "/{tenant}/api/v2/sendTemplateMessages",
            "/api/v1/sendInteractiveButtonsMessage",
            "/api/v1/sendInteractiveListMessage",
            "/api/v2/sendTemplateMessage",
            "/api/v2/sendTemplateMessages",
            "/api/ext/v3/messageTemplates/schedule",
            "/api/ext/v3/chatbots/start",
            "/{tenant}/api/v1/chatbots/start",
            "/api/v1/chatbots/start",
        ],
        // Events have no signature. The token is in the callback URL.
        events: events("webhook_token", KeyKind::Text, sign::unsigned),
        ..PLAIN
    },
    // zenvia-openapi-spec, @zenvia/sdk: path, header, the code of a wrong key. A 429 is not
    // documented.
    Dialect {
        name: "zenvia",
        samples: samples::ZENVIA,
        host: "api.zenvia.com",
        key: Key {
            name: "token",
            kind: KeyKind::Text,
        },
        places: &[Place::Header("x-api-token", "")],
        sends: &["/v2/channels/whatsapp/messages"],
        refused: json(
            401,
            r#"{"code":"AUTHENTICATION_ERROR","message":"The token is missing or wrong"}"#,
        ),
        events: events("webhook_token", KeyKind::Text, sign::webhook_token),
        ..PLAIN
    },
    // text-sdk-php of the vendor: path, and both places of the key. text-sdk-dotnet 2.12.0:
    // one-time passwords, the code of a wrong key, the parts of answers.
    Dialect {
        name: "cm",
        host: "gw.messaging.cm.com",
        further: &[("api", "api.cm.com")],
        others: &[
            ("POST", "/otp/v2/otp", CM_PASSWORD),
            ("POST", "/otp/v2/otp/{otp}/verify", CM_PASSWORD),
        ],
        key: Key {
            name: "product_token",
            kind: KeyKind::Text,
        },
        places: &[
            Place::Header("x-cm-producttoken", ""),
            Place::Field("/messages/authentication/productToken"),
        ],
        sends: &["/v1.0/message"],
        sender: &["/messages/msg/0/from"],
        recipient: &["/messages/msg/0/to/0/number"],
        accepted: json(
            200,
            r#"{"details":"Created 1 message(s)","errorCode":0,"messages":[{"to":"{to}","status":"Accepted","reference":"{id}","parts":1,"messageDetails":null,"messageErrorCode":0}]}"#,
        ),
        refused: json(
            401,
            r#"{"details":"The API key is incorrect","errorCode":103,"messages":[]}"#,
        ),
        ..PLAIN
    },
    // plivo (Node), plivo-go, plivo-python: path, Basic, 401, the names of an answer's parts.
    Dialect {
        name: "plivo",
        samples: samples::PLIVO,
        host: "api.plivo.com",
        parameters: &[("auth_id", "MAXXXXXXXXXXXXXXXXXX")],
        key: Key {
            name: "auth_token",
            kind: KeyKind::Text,
        },
        places: &[Place::Basic("auth_id")],
        // Forms of the answers are those that the SDKs read.
        others: &[
            (
                "GET",
                "/v1/Account/{auth_id}/Message/{message}/",
                json(
                    200,
                    r#"{"api_id":"sample","message_state":"delivered","message_uuid":"{message}"}"#,
                ),
            ),
            (
                "GET",
                "/v1/Account/{auth_id}/Message/{message}/Media/",
                json(
                    200,
                    r#"{"api_id":"sample","objects":[{"content_type":"image/png","media_id":"sample","media_url":"https://media.plivo.com/sample","message_uuid":"sample","size":5}]}"#,
                ),
            ),
            (
                "POST",
                "/v1/Account/{auth_id}/Media/",
                json(
                    200,
                    r#"{"api_id":"sample","objects":[{"content_type":"image/png","media_id":"sample","status":"success","status_code":201}]}"#,
                ),
            ),
        ],
        sends: &["/v1/Account/{auth_id}/Message/"],
        sender: &["/src"],
        recipient: &["/dst"],
        accepted: json(
            202,
            r#"{"api_id":"sandbox","message":"message(s) queued","message_uuid":["{id}"]}"#,
        ),
        refused: json(
            401,
            r#"{"api_id":"sandbox","error":"authentication failed"}"#,
        ),
        throttled: json(429, r#"{"api_id":"sandbox","error":"too many requests"}"#),
        events: Some(EventSigning {
            key: Key {
                name: "auth_token",
                kind: KeyKind::Text,
            },
            format: BodyFormat::Form,
            sign: sign::plivo,
        }),
        ..PLAIN
    },
    // A catalogue that cites docs.gupshup.io: paths, header, 202. Events have no signature: the
    // token is in the callback URL.
    Dialect {
        name: "gupshup",
        samples: samples::GUPSHUP,
        host: "api.gupshup.io",
        places: &[Place::Header("apikey", "")],
        sends: &["/wa/api/v1/msg", "/wa/api/v1/template/msg"],
        sender: &["/source"],
        recipient: &["/destination"],
        // apprise 2.3.0: the forms of answers and errors.
        accepted: json(202, r#"{"status":"submitted","messageId":"{id}"}"#),
        refused: json(
            401,
            r#"{"status":"error","message":"Authentication Failed"}"#,
        ),
        throttled: json(429, r#"{"status":"error","message":"Too Many Requests"}"#),
        events: events("webhook_token", KeyKind::Text, sign::unsigned),
        ..PLAIN
    },
    // wassengerhq/whatsapp-skills: path, header, webhooks.
    Dialect {
        name: "wassenger",
        samples: samples::WASSENGER,
        host: "api.wassenger.com",
        key: Key {
            name: "token",
            kind: KeyKind::Text,
        },
        places: &[Place::Header("token", "")],
        sends: &["/v1/messages"],
        sender: &["/device"],
        recipient: &["/phone"],
        events: events("webhook_secret", KeyKind::Text, sign::wassenger),
        ..PLAIN
    },
    // The vendor's text: path, header without a scheme, 202, errors.
    Dialect {
        name: "clickatell",
        samples: samples::CLICKATELL,
        host: "platform.clickatell.com",
        places: &[Place::Header("authorization", "")],
        sends: &["/v1/message"],
        sender: &["/messages/0/from"],
        recipient: &["/messages/0/to"],
        accepted: json(202, PLAIN.accepted.body),
        events: events("callback_login", KeyKind::Login, sign::basic),
        refused: json(
            401,
            r#"{"messages":[],"error":{"code":1,"description":"Invalid or missing integration API Key."}}"#,
        ),
        throttled: json(
            400,
            r#"{"messages":[],"error":{"code":43,"description":"Rate limit exceeded."}}"#,
        ),
        ..PLAIN
    },
    // docs.haptik.ai: both headers, the path, webhooks. Each account of this bot platform has a
    // host of its own.
    Dialect {
        name: "haptik",
        samples: samples::HAPTIK,
        host: "haptik.example",
        parameters: &[("host", "haptik.example"), ("client_id", "sandbox-client")],
        key: Key {
            name: "token",
            kind: KeyKind::Text,
        },
        places: &[BEARER],
        required_headers: &[("client-id", "client_id")],
        sends: &["/v1.0/log_message_from_user/"],
        events: events("webhook_secret", KeyKind::Text, sign::haptik),
        refused: json(401, r#"{"error_message":"invalid authorization details"}"#),
        ..PLAIN
    },
    // Third-party code: path, key in the query.
    Dialect {
        name: "chat-api",
        host: "api.chat-api.com",
        parameters: &[("instance", "12345")],
        key: Key {
            name: "token",
            kind: KeyKind::Text,
        },
        places: &[Place::Query("token")],
        sends: &[
            "/instance{instance}/sendMessage",
            "/instance{instance}/message",
        ],
        recipient: &["/phone", "/chatId"],
        refused: json(
            401,
            r#"{"error":"Wrong token. Please provide token as a GET parameter."}"#,
        ),
        ..PLAIN
    },
    // Third-party code: path, header. The vendor's Postman collection: the text for too many
    // messages.
    Dialect {
        name: "interakt",
        host: "api.interakt.ai",
        places: &[Place::Header("authorization", "Basic ")],
        sends: &["/v1/public/message/"],
        samples: samples::INTERAKT,
        recipient: &["/fullPhoneNumber", "/phoneNumber"],
        throttled: json(
            429,
            r#"{"result":false,"message":"Rate limit exceeded for this resource"}"#,
        ),
        events: events("webhook_secret", KeyKind::Text, sign::interakt),
        ..PLAIN
    },
    // The vendor's text: path, key in the body. Third-party code: the header of webhooks.
    Dialect {
        name: "aisensy",
        host: "backend.aisensy.com",
        places: &[Place::Field("/apiKey")],
        sends: &["/campaign/t1/api", "/campaign/t1/api/v2"],
        samples: &["POST /campaign/t1/api/campaign-details"],
        recipient: &["/destination"],
        events: events("webhook_secret", KeyKind::Text, sign::aisensy),
        ..PLAIN
    },
    // Third-party code with the key in a form, and a catalogue with the key in a header: path, both
    // places. apprise 2.3.0: the forms of answers and errors. The vendor's text: v2, its codes.
    Dialect {
        name: "kaleyra",
        host: "api.kaleyra.io",
        parameters: &[("sid", "HXAP0000000000IN")],
        places: &[Place::Header("api-key", ""), Place::Field("/api-key")],
        samples: samples::KALEYRA,
        sends: &["/v1/{sid}/messages", "/v2/{sid}/whatsapp/{sender}/messages"],
        recipient: &["/to", "/messaging_object/to"],
        receipt: Some(("/messaging_object/status", json(200, r#"{"success":true}"#))),
        accepted: json(
            200,
            r#"{"id":"{id}","type":"DEFAULT","totalCount":1,"data":[{"message_id":"{id}:0"}],"error":{}}"#,
        ),
        refused: json(
            401,
            r#"{"code":"RBC001","message":"Incorrect SID or API Key.","data":[],"error":{"error":"Unauthorized"}}"#,
        ),
        throttled: json(
            429,
            r#"{"code":"429","message":"Too many requests","data":[],"error":{"error":"Too many requests"}}"#,
        ),
        events: events("webhook_token", KeyKind::Text, sign::webhook_token),
        ..PLAIN
    },
    // The vendor's text and a catalogue: path, header, the headers beside 429. The signature of
    // events is not known: here the token is in the callback URL.
    Dialect {
        name: "respond-io",
        host: "api.respond.io",
        key: Key {
            name: "token",
            kind: KeyKind::Text,
        },
        places: &[BEARER],
        sends: &["/v2/contact/{identifier}/message"],
        samples: samples::RESPOND_IO,
        throttled: Answer {
            status: 429,
            headers: &[
                ("retry-after", "1"),
                ("x-ratelimit-limit", "5"),
                ("x-ratelimit-remaining", "0"),
            ],
            body: PLAIN.throttled.body,
        },
        events: events("webhook_token", KeyKind::Text, sign::unsigned),
        ..PLAIN
    },
    // The vendor's OpenAPI description 1.8.0: paths, the login, the token without a scheme, the
    // form of errors.
    Dialect {
        name: "route-mobile",
        samples: samples::ROUTE_MOBILE,
        host: "apis.rmlconnect.net",
        names: &[("username", "sandbox")],
        key: Key {
            name: "password",
            kind: KeyKind::Text,
        },
        places: &[Place::Exchanged("")],
        exchange: Some(Exchange {
            has_own_host: false,
            path: "/auth/v1/login/",
            places: &[Place::Login("username", "sandbox", "password")],
            required: &[],
            granted: json(201, r#"{"JWTAUTH":"{token}"}"#),
            expired: ROUTE_MOBILE_EXPIRED,
        }),
        sends: &["/wba/v1/messages"],
        recipient: &["/phone"],
        events: events("webhook_token", KeyKind::Text, sign::authorization),
        ..PLAIN
    },
];

const ACCESS_KEY: Place = Place::Header("authorization", "AccessKey ");
/// A one-time password: text-sdk-dotnet 2.12.0 (OtpResult).
const CM_PASSWORD: Answer = json(
    200,
    r#"{"id":"sample","channel":"whatsapp","verified":true,"createdAt":"2026-11-30T12:00:00Z","expiresAt":"2026-11-30T12:05:00Z"}"#,
);
const ROUTE_MOBILE_EXPIRED: Answer = json(
    401,
    r#"{"message":"unable to process campaign request","reason":"jwt token expired","status":"failure"}"#,
);
const PROBLEM: &[(&str, &str)] = &[("content-type", "application/problem+json")];

/// The bytes of a file.
const FILE: Answer = Answer {
    status: 200,
    headers: &[("content-type", "image/png")],
    body: "sample",
};
