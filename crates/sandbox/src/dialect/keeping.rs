//! The things that each provider keeps beside messages. The forms of the answers are those that the
//! SDKs of the vendors read, or of the vendors' documents.

use super::answer::Answer;
use super::kept::{KeptFiles, KeptMessages, KeptObjects};

/// docs.360dialog.com on templates: the older list is `waba_templates`, and a template is deleted
/// by its name in the path; the newer list is the one of the Cloud API.
pub(super) const DIALOG_360_TEMPLATES: &[KeptObjects] = &[
    KeptObjects {
        path: "/message_templates",
        made: 200,
        list: "data",
        id: ("id", "{digits}"),
        name: "name",
        state: ("status", "PENDING"),
        deleted: Answer::json(200, r#"{"success":true}"#),
        missing: Answer::json(
            404,
            r#"{"error":{"message":"Template not found","type":"OAuthException","code":100,"fbtrace_id":"sandbox"}}"#,
        ),
    },
    KeptObjects {
        path: "/v1/configs/templates",
        made: 201,
        list: "waba_templates",
        id: ("id", "{digits}"),
        name: "name",
        state: ("status", "submitted"),
        deleted: Answer::json(200, r#"{"meta":{"success":true}}"#),
        missing: Answer::json(
            404,
            r#"{"meta":{"success":false,"http_code":404,"developer_message":"Template not found"}}"#,
        ),
    },
];

/// docs.360dialog.com on media: the answers are those of the Cloud API, and `url` names Meta's
/// host.
pub(super) const DIALOG_360_MEDIA: KeptFiles = KeptFiles {
    upload: "/media",
    uploaded: Answer::json(200, r#"{"id":"{id}"}"#),
    id: "{digits}",
    about: (
        "/{id}",
        Answer::json(
            200,
            r#"{"messaging_product":"whatsapp","url":"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid={id}","mime_type":"{type}","sha256":"{sha256}","file_size":{size},"id":"{id}"}"#,
        ),
    ),
    download: "/whatsapp_business/attachments/",
    delete: "/{id}",
    deleted: Answer::json(200, r#"{"success":true}"#),
    missing: Answer::json(
        404,
        r#"{"error":{"message":"(#100) Object does not exist","type":"OAuthException","code":100,"error_subcode":33,"fbtrace_id":"sandbox"}}"#,
    ),
};

/// Infobip's OpenAPI: `templates`, and a new one is `PENDING`.
pub(super) const INFOBIP_TEMPLATES: &[KeptObjects] = &[KeptObjects {
    path: "/whatsapp/2/senders/{sender}/templates",
    made: 201,
    list: "templates",
    id: ("id", "{digits}"),
    name: "name",
    state: ("status", "PENDING"),
    deleted: Answer {
        status: 204,
        headers: &[],
        body: "",
    },
    missing: Answer::json(
        404,
        r#"{"requestError":{"serviceException":{"messageId":"NOT_FOUND","text":"Template not found"}}}"#,
    ),
}];

/// Infobip's reports, asked for with the id of a message.
pub(super) const INFOBIP_REPORTS: KeptMessages = KeptMessages {
    path: "/messages-api/1/reports",
    answer: Answer::json(
        200,
        r#"{"results":[{"event":"DELIVERY","channel":"WHATSAPP","sender":"{from}","destination":"{to}","sentAt":"2026-11-29T12:00:00.000+0000","doneAt":"2026-11-29T12:00:01.000+0000","bulkId":"{id}","messageId":"{id}","messageCount":1,"status":{"groupId":3,"groupName":"DELIVERED","id":5,"name":"DELIVERED_TO_HANDSET","description":"Message delivered to handset"},"error":{"groupId":0,"groupName":"OK","id":0,"name":"NO_ERROR","description":"No Error","permanent":false}}]}"#,
    ),
};

/// twilio-node 6.2.0, rest/content/v1: `sid`, `friendly_name`, `contents`; 204 for a deletion, and
/// 20404 for a missing one.
pub(super) const TWILIO_CONTENT: &[KeptObjects] = &[KeptObjects {
    path: "/v1/Content",
    made: 201,
    list: "contents",
    id: ("sid", "HX{hex}"),
    name: "friendly_name",
    state: ("date_created", "2026-11-29T12:00:00Z"),
    deleted: Answer {
        status: 204,
        headers: &[],
        body: "",
    },
    missing: Answer::json(
        404,
        r#"{"code":20404,"message":"The requested resource was not found","more_info":"https://www.twilio.com/docs/errors/20404","status":404}"#,
    ),
}];

/// twilio-node 6.2.0, rest/api/v2010/account/message.
pub(super) const TWILIO_MESSAGES: KeptMessages = KeptMessages {
    path: "/2010-04-01/Accounts/{account_sid}/Messages/{message}",
    answer: Answer::json(
        200,
        r#"{"account_sid":"{account_sid}","api_version":"2010-04-01","direction":"outbound-api","error_code":null,"from":"{from}","num_media":"0","sid":"{id}","status":"delivered","to":"{to}","uri":"/2010-04-01/Accounts/{account_sid}/Messages/{id}.json"}"#,
    ),
};

/// @vonage/media: an upload is told by `Location`, and described under `/info`.
pub(super) const VONAGE_MEDIA: KeptFiles = KeptFiles {
    upload: "/v3/media",
    uploaded: Answer {
        status: 201,
        headers: &[("location", "/v3/media/{id}")],
        body: r#"{"id":"{id}"}"#,
    },
    id: "{uuid}",
    about: (
        "/v3/media/{media}/info",
        Answer::json(
            200,
            r#"{"id":"{id}","mime_type":"{type}","media_size":{size}}"#,
        ),
    ),
    download: "/v3/media/{media}",
    delete: "/v3/media/{media}",
    deleted: Answer {
        status: 204,
        headers: &[],
        body: "",
    },
    missing: Answer::json(
        404,
        r#"{"type":"NOT_FOUND","error_title":"Media not found"}"#,
    ),
};
