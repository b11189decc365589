//! What is known of each provider's way to speak.
//!
//! The comment of each says where its form is from; a part that is not named there is the plain one. Where the form of an
//! answer is known and a value in it is not, the value is made up. Vendors' texts were read in November 2026, SDKs in the
//! versions that are named.

use super::{Answer, Dialect, Exchange, Key, Kind, Place, Webhook, sign};

/// What is not known of a provider.
const PLAIN: Dialect = Dialect {
    name: "",
    host: "",
    parameters: &[],
    names: &[],
    key: Key { name: "api_key", kind: Kind::Text },
    webhook: None,
    places: &[],
    demanded: &[],
    exchange: None,
    questions: &[],
    sends: &[],
    sender: &["/from"],
    recipient: &["/to"],
    id: "{uuid}",
    accepted: json(200, r#"{"id":"{id}"}"#),
    refused: json(401, r#"{"error":{"code":"unauthorized","message":"The key is missing or wrong"}}"#),
    throttled: json(429, r#"{"error":{"code":"too_many_requests","message":"Too many requests"}}"#),
};

const fn json(status: u16, body: &'static str) -> Answer {
    Answer { status, headers: &[], body }
}

/// An event in JSON.
const fn webhook(secret: &'static str, kind: Kind, sign: fn(&super::Event<'_>) -> super::Lines) -> Option<Webhook> {
    Some(Webhook { key: Key { name: secret, kind }, form: false, sign })
}

const BEARER: Place = Place::Header("authorization", "Bearer ");

/// All of them; the less sure towards the end.
pub(super) static TABLE: [Dialect; 23] = [
    // docs.360dialog.com. A message is the Cloud API's, and so is its answer; the sender is in no path. Errors are Meta's
    // where Meta answers; the status for a wrong key is not known.
    Dialect {
        name: "360dialog",
        host: "waba-v2.360dialog.io",
        places: &[Place::Header("d360-api-key", "")],
        sends: &["/messages"],
        id: "wamid.{hex}",
        accepted: json(
            200,
            r#"{"messaging_product":"whatsapp","contacts":[{"input":"{to}","wa_id":"{to}"}],"messages":[{"id":"{id}"}]}"#,
        ),
        throttled: json(
            429,
            r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"fbtrace_id":"sandbox"}}"#,
        ),
        webhook: webhook("platform_secret", Kind::Text, sign::dialog360),
        ..PLAIN
    },
    // OpenAPI of the vendor, @infobip-api/sdk 0.3.2: paths, header, exchange (in the query, as the SDK asks, or in the
    // body; for a client `sandbox-client`), the code for too many.
    Dialect {
        name: "infobip",
        host: "sandbox.api.infobip.com",
        parameters: &[("base", "sandbox")],
        places: &[Place::Header("authorization", "App "), Place::Exchanged("Bearer ")],
        exchange: Some(Exchange {
            is_elsewhere: false,
            path: "/auth/1/oauth2/token",
            places: &[Place::Login("client_id", "sandbox-client", "client_secret")],
            demanded: &[("grant_type", "client_credentials")],
            granted: json(200, r#"{"access_token":"{token}","token_type":"Bearer","expires_in":{life}}"#),
            expired: PLAIN.refused,
        }),
        sends: &["/whatsapp/1/message/{kind}", "/whatsapp/1/message/interactive/{kind}"],
        sender: &["/from", "/messages/0/from"],
        recipient: &["/to", "/messages/0/to"],
        throttled: json(429, r#"{"errorCode":"E429","description":"Too many requests"}"#),
        webhook: webhook("callback_login", Kind::Login, sign::basic),
        ..PLAIN
    },
    // twilio-node 6.2.0, twilio-python 9.13.0: paths, answer, form of an error. Errors 20429 and 20003: the vendor's pages of
    // that name.
    Dialect {
        name: "twilio",
        host: "api.twilio.com",
        parameters: &[("account_sid", "AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b")],
        key: Key { name: "auth_token", kind: Kind::Text },
        places: &[Place::Basic("account_sid")],
        questions: &[(
            "/2010-04-01/Accounts/{account_sid}.json",
            json(200, r#"{"sid":"{account_sid}","friendly_name":"Sandbox","status":"active","type":"Full"}"#),
        )],
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
        webhook: Some(Webhook { key: Key { name: "auth_token", kind: Kind::Text }, form: true, sign: sign::twilio }),
        ..PLAIN
    },
    // @vonage/messages 1.24.0, @vonage/jwt 1.14.0, vonage-python-sdk: path, token, answer, the titles of both errors.
    Dialect {
        name: "vonage",
        host: "api.nexmo.com",
        parameters: &[("application_id", "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b")],
        key: Key { name: "private_key", kind: Kind::Rsa },
        places: &[Place::Minted("application_id")],
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
        webhook: webhook("signature_secret", Kind::Text, sign::vonage),
        ..PLAIN
    },
    // docs.bird.com: header, webhooks. A catalogue: path, the status of a message that is taken.
    Dialect {
        name: "bird",
        host: "api.bird.com",
        parameters: &[("workspace", "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b")],
        key: Key { name: "access_key", kind: Kind::Text },
        places: &[ACCESS_KEY],
        sends: &["/workspaces/{workspace}/channels/{channel}/messages"],
        accepted: json(202, r#"{"id":"{id}"}"#),
        webhook: webhook("signing_key", Kind::Text, sign::bird),
        ..PLAIN
    },
    // messagebird (Node) 4.0.1: host, header, paths, the names of an error's parts.
    Dialect {
        name: "messagebird",
        host: "conversations.messagebird.com",
        key: Key { name: "access_key", kind: Kind::Text },
        places: &[ACCESS_KEY],
        sends: &["/v1/send", "/v1/conversations/start", "/v1/conversations/{id}/messages"],
        accepted: json(200, r#"{"id":"{id}","status":"accepted"}"#),
        refused: json(
            401,
            r#"{"errors":[{"code":2,"description":"The access key is missing or wrong","parameter":"access_key"}]}"#,
        ),
        throttled: json(429, r#"{"errors":[{"code":429,"description":"Too many requests","parameter":null}]}"#),
        webhook: webhook("signing_key", Kind::Text, sign::messagebird),
        ..PLAIN
    },
    // sinch/skills, @sinch/conversation 1.4.0, @sinch/sdk-client: paths, exchange, the parts of an answer. An SDK asks for a
    // new token where WWW-Authenticate says that the old one is expired.
    Dialect {
        name: "sinch",
        host: "us.conversation.api.sinch.com",
        parameters: &[
            ("region", "us"),
            ("project_id", "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b"),
            ("key_id", "6b5e7c1f-4a3d-4f2a-9b8c-0d1e2f3a4b5c"),
        ],
        key: Key { name: "key_secret", kind: Kind::Text },
        places: &[Place::Exchanged("Bearer ")],
        exchange: Some(Exchange {
            is_elsewhere: true,
            path: "/oauth2/token",
            places: &[Place::Basic("key_id")],
            demanded: &[("grant_type", "client_credentials")],
            granted: json(200, r#"{"access_token":"{token}","expires_in":{life},"scope":"","token_type":"bearer"}"#),
            expired: Answer {
                status: 401,
                headers: &[("www-authenticate", r#"Bearer error="invalid_token", error_description="expired""#)],
                body: PLAIN.refused.body,
            },
        }),
        sends: &["/v1/projects/{project_id}/messages:send"],
        sender: &["/app_id"],
        recipient: &["/recipient/identified_by/channel_identities/0/identity", "/recipient/contact_id"],
        accepted: json(200, r#"{"message_id":"{id}","accepted_time":"2026-01-01T00:00:00Z"}"#),
        webhook: webhook("webhook_secret", Kind::Text, sign::sinch),
        ..PLAIN
    },
    // docs.ycloud.com: paths, header, the code of a wrong key, Retry-After.
    Dialect {
        name: "ycloud",
        host: "api.ycloud.com",
        places: &[Place::Header("x-api-key", "")],
        sends: &["/v2/whatsapp/messages", "/v2/whatsapp/messages/sendDirectly"],
        refused: json(
            401,
            r#"{"error":{"status":401,"code":"UNAUTHORIZED","message":"The API key is missing or wrong"}}"#,
        ),
        throttled: Answer {
            status: 429,
            headers: &[("retry-after", "1")],
            body: r#"{"error":{"status":429,"code":"TOO_MANY_REQUESTS","message":"Too many requests"}}"#,
        },
        webhook: webhook("webhook_secret", Kind::Text, sign::ycloud),
        ..PLAIN
    },
    // developers.telnyx.com, telnyx (Node): path, header, the code for too many and the headers beside it (the reset in
    // seconds from now), the place of the id.
    Dialect {
        name: "telnyx",
        host: "api.telnyx.com",
        places: &[BEARER],
        sends: &["/v2/messages/whatsapp"],
        accepted: json(
            200,
            r#"{"data":{"record_type":"message","direction":"outbound","id":"{id}","type":"WHATSAPP"}}"#,
        ),
        refused: json(401, r#"{"errors":[{"code":"unauthorized","title":"The key is missing or wrong"}]}"#),
        throttled: Answer {
            status: 429,
            headers: &[("x-ratelimit-limit", "1"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
            body: r#"{"errors":[{"code":"10011","title":"Too many requests"}]}"#,
        },
        webhook: webhook("public_key", Kind::Ed25519, sign::telnyx),
        ..PLAIN
    },
    // docs.wati.io, support.wati.io: paths of both versions, header; Retry-After is there sometimes.
    Dialect {
        name: "wati",
        host: "live-mt-server.wati.io",
        parameters: &[("tenant", "12345")],
        key: Key { name: "token", kind: Kind::Text },
        places: &[BEARER],
        sends: &[
            "/api/ext/v3/conversations/messages/text",
            "/api/ext/v3/messagetemplates/send",
            "/api/ext/v3/messageTemplates/send",
            "/{tenant}/api/v1/sendTemplateMessage",
        ],
        // Nothing is signed. The token is in the callback URL.
        webhook: webhook("webhook_token", Kind::Text, sign::nothing),
        ..PLAIN
    },
    // zenvia-openapi-spec, @zenvia/sdk: path, header, the code of a wrong key. It has no 429.
    Dialect {
        name: "zenvia",
        host: "api.zenvia.com",
        key: Key { name: "token", kind: Kind::Text },
        places: &[Place::Header("x-api-token", "")],
        sends: &["/v2/channels/whatsapp/messages"],
        refused: json(401, r#"{"code":"AUTHENTICATION_ERROR","message":"The token is missing or wrong"}"#),
        webhook: webhook("webhook_token", Kind::Text, sign::webhook_token),
        ..PLAIN
    },
    // text-sdk-php, the vendor's own: path, header, and the other place of the key.
    Dialect {
        name: "cm",
        host: "gw.messaging.cm.com",
        key: Key { name: "product_token", kind: Kind::Text },
        places: &[Place::Header("x-cm-producttoken", ""), Place::Field("/messages/authentication/productToken")],
        sends: &["/v1.0/message"],
        sender: &["/messages/msg/0/from"],
        recipient: &["/messages/msg/0/to/0/number"],
        ..PLAIN
    },
    // plivo (Node), plivo-go, plivo-python: path, Basic, 401, the names of an answer's parts.
    Dialect {
        name: "plivo",
        host: "api.plivo.com",
        parameters: &[("auth_id", "MAXXXXXXXXXXXXXXXXXX")],
        key: Key { name: "auth_token", kind: Kind::Text },
        places: &[Place::Basic("auth_id")],
        sends: &["/v1/Account/{auth_id}/Message/"],
        sender: &["/src"],
        recipient: &["/dst"],
        accepted: json(202, r#"{"api_id":"sandbox","message":"message(s) queued","message_uuid":["{id}"]}"#),
        refused: json(401, r#"{"api_id":"sandbox","error":"authentication failed"}"#),
        throttled: json(429, r#"{"api_id":"sandbox","error":"too many requests"}"#),
        webhook: Some(Webhook { key: Key { name: "auth_token", kind: Kind::Text }, form: true, sign: sign::plivo }),
        ..PLAIN
    },
    // A catalogue that cites docs.gupshup.io: paths, header, 202. Events are not signed: the token is in the callback URL.
    Dialect {
        name: "gupshup",
        host: "api.gupshup.io",
        places: &[Place::Header("apikey", "")],
        sends: &["/wa/api/v1/msg", "/wa/api/v1/template/msg"],
        sender: &["/source"],
        recipient: &["/destination"],
        accepted: json(202, PLAIN.accepted.body),
        webhook: webhook("webhook_token", Kind::Text, sign::nothing),
        ..PLAIN
    },
    // wassengerhq/whatsapp-skills: path, header, webhooks.
    Dialect {
        name: "wassenger",
        host: "api.wassenger.com",
        key: Key { name: "token", kind: Kind::Text },
        places: &[Place::Header("token", "")],
        sends: &["/v1/messages"],
        sender: &["/device"],
        recipient: &["/phone"],
        webhook: webhook("webhook_secret", Kind::Text, sign::wassenger),
        ..PLAIN
    },
    // The vendor's text: path, header without a scheme, 202.
    Dialect {
        name: "clickatell",
        host: "platform.clickatell.com",
        places: &[Place::Header("authorization", "")],
        sends: &["/v1/message"],
        sender: &["/messages/0/from"],
        recipient: &["/messages/0/to"],
        accepted: json(202, PLAIN.accepted.body),
        webhook: webhook("callback_login", Kind::Login, sign::basic),
        ..PLAIN
    },
    // docs.haptik.ai: both headers, the path, webhooks. It is a platform for bots; the host is an account's own.
    Dialect {
        name: "haptik",
        host: "haptik.example",
        parameters: &[("host", "haptik.example"), ("client_id", "sandbox-client")],
        key: Key { name: "token", kind: Kind::Text },
        places: &[BEARER],
        demanded: &[("client-id", "client_id")],
        sends: &["/v1.0/log_message_from_user/"],
        webhook: webhook("webhook_secret", Kind::Text, sign::haptik),
        ..PLAIN
    },
    // Other people's code: path, key in the query.
    Dialect {
        name: "chat-api",
        host: "api.chat-api.com",
        parameters: &[("instance", "12345")],
        key: Key { name: "token", kind: Kind::Text },
        places: &[Place::Query("token")],
        sends: &["/instance{instance}/sendMessage", "/instance{instance}/message"],
        recipient: &["/phone", "/chatId"],
        ..PLAIN
    },
    // Other people's code: path, header. Its Postman collection: the words for too many.
    Dialect {
        name: "interakt",
        host: "api.interakt.ai",
        places: &[Place::Header("authorization", "Basic ")],
        sends: &["/v1/public/message/"],
        recipient: &["/fullPhoneNumber", "/phoneNumber"],
        throttled: json(429, r#"{"result":false,"message":"Rate limit exceeded for this resource"}"#),
        webhook: webhook("webhook_secret", Kind::Text, sign::interakt),
        ..PLAIN
    },
    // The vendor's text: path, key in the body. Other people's code: the header of webhooks.
    Dialect {
        name: "aisensy",
        host: "backend.aisensy.com",
        places: &[Place::Field("/apiKey")],
        sends: &["/campaign/t1/api", "/campaign/t1/api/v2"],
        recipient: &["/destination"],
        webhook: webhook("webhook_secret", Kind::Text, sign::aisensy),
        ..PLAIN
    },
    // Other people's code, which has the key in a form, and a catalogue, which has it in a header: path, both places.
    Dialect {
        name: "kaleyra",
        host: "api.kaleyra.io",
        parameters: &[("sid", "HXAP0000000000IN")],
        places: &[Place::Header("api-key", ""), Place::Field("/api-key")],
        sends: &["/v1/{sid}/messages"],
        webhook: webhook("webhook_token", Kind::Text, sign::webhook_token),
        ..PLAIN
    },
    // The vendor's text and a catalogue: path, header, the headers beside 429. Events are signed in a way that is not known:
    // here the token is in the callback URL.
    Dialect {
        name: "respond-io",
        host: "api.respond.io",
        key: Key { name: "token", kind: Kind::Text },
        places: &[BEARER],
        sends: &["/v2/contact/{identifier}/message"],
        throttled: Answer {
            status: 429,
            headers: &[("retry-after", "1"), ("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "0")],
            body: PLAIN.throttled.body,
        },
        webhook: webhook("webhook_token", Kind::Text, sign::nothing),
        ..PLAIN
    },
    // A catalogue: paths, the life of a token. Its text has the token with and without a scheme. Other people's code: the name
    // of the token in an answer.
    Dialect {
        name: "route-mobile",
        host: "apis.rmlconnect.net",
        names: &[("username", "sandbox")],
        key: Key { name: "password", kind: Kind::Text },
        places: &[Place::Exchanged("Bearer "), Place::Exchanged("")],
        exchange: Some(Exchange {
            is_elsewhere: false,
            path: "/auth/v1/login/",
            places: &[Place::Login("username", "sandbox", "password")],
            demanded: &[],
            granted: json(200, r#"{"JWTAUTH":"{token}"}"#),
            expired: PLAIN.refused,
        }),
        sends: &["/wba/v1/messages"],
        recipient: &["/phone"],
        webhook: webhook("webhook_token", Kind::Text, sign::authorization),
        ..PLAIN
    },
];

const ACCESS_KEY: Place = Place::Header("authorization", "AccessKey ");
const PROBLEM: &[(&str, &str)] = &[("content-type", "application/problem+json")];
