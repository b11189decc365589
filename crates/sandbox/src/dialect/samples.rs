//! The requests of each provider that a sandbox answers with a plain sample: the rest of an
//! application's job, beside the requests of [`super::table`] with answers of a special form.
//!
//! Each line is `METHODS /path`: `{name}` is any segment and `{...}` at the end is any rest. The
//! requests come from the vendors' documents and SDKs.

use super::answer::Answer;

pub(super) const DIALOG_360: &[&str] = &[
    "POST /media",
    "GET /{id}",
    "GET POST /whatsapp_business/attachments/{...}",
    "DELETE /{id}",
    "GET /call_permissions",
    "GET POST /groups",
    "GET POST DELETE /groups/{group}",
    "GET POST DELETE /groups/{group}/participants",
    "GET POST DELETE /groups/{group}/invite_link",
    "GET POST DELETE /groups/{group}/join_requests",
    "POST DELETE /message_templates",
    "GET POST /message_templates/{template}",
    "GET /message_template_library",
    "POST /uploads",
    "GET POST /upload:{...}",
    "POST /v1/configs/templates",
    "DELETE /v1/configs/templates/{template}",
    "GET /health_status",
    "GET POST /v1/configs/webhook",
];

/// The answers are those of the Cloud API.
pub(super) const DIALOG_360_OTHERS: &[(&str, &str, Answer)] = &[
    (
        "GET",
        "/whatsapp_business_profile",
        Answer::json(
            200,
            r#"{"data":[{"about":"A sandbox","vertical":"OTHER","websites":[],"messaging_product":"whatsapp"}]}"#,
        ),
    ),
    ("POST", "/whatsapp_business_profile", SUCCESS),
    ("GET", "/block_users", Answer::json(200, r#"{"data":[]}"#)),
    (
        "POST",
        "/block_users",
        Answer::json(
            200,
            r#"{"messaging_product":"whatsapp","block_users":{"added_users":[]}}"#,
        ),
    ),
    (
        "DELETE",
        "/block_users",
        Answer::json(
            200,
            r#"{"messaging_product":"whatsapp","block_users":{"removed_users":[]}}"#,
        ),
    ),
    (
        "POST",
        "/calls",
        Answer::json(
            200,
            r#"{"messaging_product":"whatsapp","calls":[{"id":"wacid.sample"}],"success":true}"#,
        ),
    ),
];

const SUCCESS: Answer = Answer::json(200, r#"{"success":true}"#);

pub(super) const INFOBIP: &[&str] = &[
    "DELETE /whatsapp/1/senders/{sender}/media",
    "POST /whatsapp/2/senders/{sender}/templates",
    "GET PATCH DELETE /whatsapp/2/senders/{sender}/templates/{template}",
    "POST /messages-api/1/messages/validate",
    "GET /messages-api/1/inbound",
    "GET PUT DELETE /whatsapp/1/{sender}/contacts/{user}/identity",
    "GET /whatsapp/1/senders/{sender}/calls/{user}/permissions",
    "GET /whatsapp/1/senders/{sender}/payments/{scheme}/{payment}",
    "GET /whatsapp/1/senders/{sender}/payments/{scheme}/{gateway}/{payment}",
    "POST /whatsapp/1/events",
    "POST /whatsapp/1/conversions/waba",
    "GET PATCH /whatsapp/1/senders/{sender}/business-info",
    "GET /whatsapp/1/senders/{sender}/business-info/logo",
    "GET /whatsapp/1/senders/quality",
    "GET POST /whatsapp/1/senders/{sender}/public-key",
];

pub(super) const TWILIO: &[&str] = &[
    "POST /v2/Indicators/Typing.json",
    "POST /v3/Indicators/Typing.json",
    "GET POST /v2/Channels/Senders",
    "GET POST DELETE /v2/Channels/Senders/{sender}",
    "DELETE /2010-04-01/Accounts/{account_sid}/Messages/{message}/Media/{media}",
    "POST DELETE /2010-04-01/Accounts/{account_sid}/Messages/{message}",
    "POST /2010-04-01/Accounts/{account_sid}/Messages/{message}/Feedback.json",
    "POST /v1/Content",
    "GET PUT DELETE /v1/Content/{template}",
    "GET /v1/Content/{template}/ApprovalRequests",
    "POST PATCH /v1/Content/{template}/ApprovalRequests/whatsapp",
    "GET /v1/ContentAndApprovals",
    "GET /v1/LegacyContent",
    "GET /v2/Content",
    "GET /v2/ContentAndApprovals",
];

pub(super) const VONAGE: &[&str] = &[
    "POST /v3/media",
    "DELETE /v3/media/{media}",
    "GET /v3/media",
    "PUT /v3/media/{media}",
    "GET POST /v2/whatsapp-manager/wabas/{waba}/templates",
    "GET PUT DELETE /v2/whatsapp-manager/wabas/{waba}/templates/{template}",
];

pub(super) const BIRD: &[&str] = &[
    "GET /workspaces/{workspace}/channels/{sender}/messages/{message}",
    "GET /workspaces/{workspace}/channels/{sender}/messages/{message}/interactions",
    "GET /workspaces/{workspace}/messages/{message}/media/{media}",
    "POST /workspaces/{workspace}/channels/{sender}/presigned-upload",
    "GET /workspaces/{workspace}/channels/{sender}/messages",
    "GET /workspaces/{workspace}/projects",
    "GET /workspaces/{workspace}/projects/{project}",
    "GET /workspaces/{workspace}/projects/{project}/channel-templates",
    "GET /workspaces/{workspace}/projects/{project}/channel-templates/{template}",
    "GET POST /workspaces/{workspace}/contacts",
    "GET /workspaces/{workspace}/contacts/{contact}",
    "GET /organizations/{organization}/workspaces",
    "GET /organizations/{organization}/workspaces/{workspace}",
    "GET /workspaces/{workspace}/channels",
    "GET /workspaces/{workspace}/channels/{sender}",
    "GET /workspaces/{workspace}/connectors",
    "GET /workspaces/{workspace}/connectors/{connector}",
    "GET /workspaces/{workspace}/available-webhooks",
    "POST /organizations/{organization}/workspaces/{workspace}/webhook-subscriptions",
];

pub(super) const BIRD_PLATFORM: &[&str] = &[
    "GET POST /v1/whatsapp/keyword-rules",
    "GET PATCH DELETE /v1/whatsapp/keyword-rules/{rule}",
    "GET POST /v1/whatsapp/agents/notifications",
    "GET /v1/whatsapp/agents/notifications/{notification}",
    "GET /v1/whatsapp/messages/{message}/media/{media}",
    "GET /v1/whatsapp/messages",
    "PUT DELETE /v1/whatsapp/messages/{message}/reaction",
    "GET /v1/whatsapp/messages/{message}/reaction-events",
    "GET /v1/whatsapp/conversations",
    "GET PATCH /v1/whatsapp/conversations/{conversation}",
    "GET /v1/whatsapp/conversations/{conversation}/events",
    "GET /v1/whatsapp/conversations/{conversation}/messages",
    "GET /v1/whatsapp/conversations/{conversation}/messages/{message}",
    "GET POST /v1/whatsapp/groups",
    "GET PATCH DELETE /v1/whatsapp/groups/{group}",
    "POST /v1/whatsapp/groups/{group}/invite-link/rotate",
    "GET /v1/whatsapp/groups/{group}/join-requests",
    "POST /v1/whatsapp/groups/{group}/join-requests/{action}",
    "DELETE /v1/whatsapp/groups/{group}/participants/{participant}",
    "POST /v1/whatsapp/groups/{group}/pinned-messages",
    "DELETE /v1/whatsapp/groups/{group}/pinned-messages/{message}",
    "GET POST /v1/whatsapp/templates",
    "GET PATCH DELETE /v1/whatsapp/templates/{template}",
    "POST /v1/whatsapp/templates/{template}/duplicate",
    "GET POST /v1/whatsapp/templates/{template}/versions",
    "GET DELETE /v1/whatsapp/templates/{template}/versions/{version}",
    "POST /v1/whatsapp/templates/{template}/versions/{version}/submit",
    "GET /v1/whatsapp/templates/{template}/versions/{version}/languages",
    "GET PUT DELETE /v1/whatsapp/templates/{template}/versions/{version}/languages/{language}",
    "POST /v1/whatsapp/templates/{template}/versions/{version}/languages/{language}/discard",
    "GET /v1/whatsapp/numbers",
    "GET /v1/whatsapp/numbers/{number}",
    "GET /v1/whatsapp/numbers/{number}/events",
    "GET PATCH /v1/whatsapp/numbers/{number}/profile",
    "GET /v1/whatsapp/business-accounts",
    "GET /v1/whatsapp/business-accounts/{account}",
    "GET /v1/whatsapp/stats/{...}",
    "GET POST /v1/whatsapp/suppressions",
    "GET DELETE /v1/whatsapp/suppressions/{suppression}",
    "GET POST /v1/webhooks",
    "GET PATCH DELETE /v1/webhooks/{webhook}",
];

pub(super) const MESSAGEBIRD: &[&str] = &[
    "GET POST /v2/platforms/whatsapp/templates",
    "GET DELETE /v2/platforms/whatsapp/templates/{template}",
    "GET PUT DELETE /v2/platforms/whatsapp/templates/{template}/{language}",
    "GET /v3/platforms/whatsapp/templates",
    "GET PATCH /v1/conversations/{conversation}",
    "GET /v1/conversations/{conversation}/messages",
    "GET POST /v1/webhooks",
    "GET PATCH DELETE /v1/webhooks/{webhook}",
];

pub(super) const SINCH: &[&str] = &[
    "GET POST /v1/projects/{project_id}/templates",
    "GET PATCH DELETE /v1/projects/{project_id}/templates/{template}",
    "GET /v1/projects/{project_id}/events/{event}",
    "PATCH DELETE /v1/projects/{project_id}/messages/{message}",
    "DELETE /v1/projects/{project_id}/events/{event}",
    "GET /v1/projects/{project_id}/messages",
    "GET /v1/projects/{project_id}/events",
    "POST /v1/projects/{project_id}/messages:fetch-last-message",
    "POST /v1/projects/{project_id}/messages:transcode",
    "POST /v1/projects/{project_id}/capability:query",
    "GET POST /v1/projects/{project_id}/conversations",
    "GET /v1/projects/{project_id}/conversations:recent",
    "GET POST PATCH DELETE /v1/projects/{project_id}/conversations/{conversation}",
    "GET POST /v1/projects/{project_id}/contacts",
    "GET POST PATCH DELETE /v1/projects/{project_id}/contacts/{contact}",
    "POST /v1/projects/{project_id}/contacts:getChannelProfile",
    "GET /v1/projects/{project_id}/contacts:identityConflicts",
    "GET POST /v2/projects/{project_id}/templates",
    "GET PUT DELETE /v2/projects/{project_id}/templates/{template}",
    "GET /v2/projects/{project_id}/templates/{template}/translations",
    "GET POST /v1/projects/{project_id}/apps/{app}/consents/{list}",
    "GET /v1/projects/{project_id}/apps/{app}/consents/identities/{identity}",
    "GET POST /v1/projects/{project_id}/apps",
    "GET PATCH DELETE /v1/projects/{project_id}/apps/{app}",
    "GET PATCH /v1/projects/{project_id}/settings",
    "POST /v1/projects/{project_id}/webhooks",
    "GET /v1/projects/{project_id}/apps/{app}/webhooks",
    "GET PATCH DELETE /v1/projects/{project_id}/webhooks/{webhook}",
];

pub(super) const YCLOUD: &[&str] = &[
    "POST /v2/whatsapp/{number}/groups/inviteLink/messages",
    "GET POST /v2/whatsapp/{number}/groups",
    "GET DELETE /v2/whatsapp/{number}/groups/{group}",
    "GET /v2/whatsapp/{number}/groups/{group}/inviteLink",
    "POST /v2/whatsapp/{number}/groups/{group}/inviteLink/reset",
    "GET /v2/whatsapp/{number}/groups/{group}/joinRequests",
    "POST /v2/whatsapp/{number}/groups/{group}/joinRequests/{action}",
    "PATCH /v2/whatsapp/{number}/groups/{group}/settings",
    "POST /v2/whatsapp/groups/{group}/participants/remove",
    "POST /v2/whatsapp/{number}/blockUsers",
    "GET /v2/whatsapp/{number}/blockedUsers",
    "POST /v2/whatsapp/media/{number}/upload",
    "GET /v2/whatsapp/media/download/{...}",
    "GET POST /v2/whatsapp/templates",
    "DELETE /v2/whatsapp/templates/{waba}/{name}",
    "GET PATCH DELETE /v2/whatsapp/templates/{waba}/{name}/{language}",
    "POST /v2/whatsapp/calls/{action}",
    "GET POST /v2/whatsapp/flows",
    "GET DELETE /v2/whatsapp/flows/{flow}",
    "GET POST PATCH /v2/whatsapp/flows/{flow}/{part}",
    "GET /v2/whatsapp/phoneNumbers",
    "GET /v2/whatsapp/phoneNumbers/{waba}/{number}",
    "GET POST PATCH /v2/whatsapp/phoneNumbers/{waba}/{number}/{part}",
    "GET /v2/whatsapp/businessAccounts",
    "GET /v2/whatsapp/businessAccounts/{waba}",
];

pub(super) const TELNYX: &[&str] = &[
    "DELETE /v2/media/{media}",
    "GET /v2/media",
    "PUT /v2/media/{media}",
    "DELETE /v2/messages/{message}",
    "GET /v2/whatsapp/phone_numbers/{number}/conversation_window",
    "GET POST /v2/whatsapp/message_templates",
    "GET PATCH DELETE /v2/whatsapp_message_templates/{template}",
    "GET /v2/whatsapp/phone_numbers",
    "GET DELETE /v2/whatsapp/phone_numbers/{number}",
    "GET PATCH /v2/whatsapp/phone_numbers/{number}/profile",
    "GET POST DELETE /v2/whatsapp/phone_numbers/{number}/profile/photo",
    "GET PATCH /v2/whatsapp/phone_numbers/{number}/calling_routing",
    "POST /v2/whatsapp/phone_numbers/{number}/verify",
    "POST /v2/whatsapp/phone_numbers/{number}/resend_verification",
    "GET /v2/whatsapp/signup",
    "GET /v2/whatsapp/signup/{signup}/status",
    "GET POST /v2/whatsapp/hosted_signups",
    "GET /v2/whatsapp/hosted_signups/{signup}",
    "GET PATCH /v2/whatsapp/phone_numbers/{number}/calling_settings",
    "GET PATCH /v2/whatsapp/phone_numbers/{number}/conversational_components",
    "GET /v2/whatsapp/business_accounts",
    "GET DELETE /v2/whatsapp/business_accounts/{waba}",
    "GET POST /v2/whatsapp/business_accounts/{waba}/phone_numbers",
    "GET PATCH /v2/whatsapp/business_accounts/{waba}/settings",
    "GET PATCH /v2/whatsapp/user_data",
];

pub(super) const WATI: &[&str] = &[
    "POST /{tenant}/api/v1/sendTemplateMessageCSV",
    "POST /api/v1/sendTemplateMessageCSV",
    "GET /{tenant}/api/v1/getMedia",
    "GET /api/v1/getMedia",
    "GET /api/ext/v3/conversations/{conversation}/messages",
    "GET /{tenant}/api/v1/getMessages/{number}",
    "GET /api/v1/getMessages/{number}",
    "PUT /api/ext/v3/conversations/{conversation}/operator",
    "PUT /api/ext/v3/conversations/{conversation}/status",
    "GET POST PUT /api/ext/v3/contacts",
    "PUT /api/ext/v3/contacts/teams",
    "GET /api/ext/v3/contacts/{contact}",
    "GET /{tenant}/api/v1/getContacts",
    "GET /api/v1/getContacts",
    "POST /{tenant}/api/v1/addContact/{number}",
    "POST /api/v1/addContact/{number}",
    "POST /{tenant}/api/v1/updateContactAttributes/{number}",
    "POST /api/v1/updateContactAttributes/{number}",
    "GET /api/ext/v3/broadcasts",
    "GET /api/ext/v3/broadcasts/{broadcast}",
    "GET /api/ext/v3/channels",
    "GET /api/ext/v3/messageTemplates",
    "GET /api/ext/v3/messageTemplates/{template}",
    "GET /{tenant}/api/v1/getMessageTemplates",
    "GET /api/v1/getMessageTemplates",
    "POST /{tenant}/api/v1/assignOperator",
    "POST /api/v1/assignOperator",
];

pub(super) const ZENVIA: &[&str] = &[
    "POST /v2/message-batches",
    "GET POST /v2/templates",
    "GET PATCH DELETE /v2/templates/{template}",
    "GET /v2/reports/{report}/entries",
    "GET POST /v2/subscriptions",
    "GET PATCH DELETE /v2/subscriptions/{subscription}",
];

pub(super) const PLIVO: &[&str] = &[
    "GET /v1/Account/{auth_id}/Media/{media}/",
    "GET /v1/Account/{auth_id}/Media/",
    "GET /v1/Account/{auth_id}/Message/",
    "GET POST /v1/Account/{auth_id}/WhatsApp/Template/{waba}/",
    "GET DELETE /v1/Account/{auth_id}/WhatsApp/Template/{waba}/{template}/",
];

pub(super) const WASSENGER: &[&str] = &[
    "GET /v1/chat/{device}/files/{file}/download",
    "POST /v1/files",
    "GET DELETE /v1/messages/{message}",
    "POST /v1/chat/{device}/typing",
    "GET /v1/chat/{device}/messages/",
    "GET POST /v1/io/{device}/chats/{chat}/notes",
    "PATCH /v1/chats/{chat}",
    "PATCH /v1/chat/{device}/chats/{chat}/owner",
    "PUT DELETE /v1/io/{device}/chats/{chat}/archive",
    "GET /v1/devices",
    "GET POST /v1/devices/{device}/labels",
    "GET POST /v1/webhooks",
    "DELETE /v1/webhooks/{webhook}",
];

pub(super) const HAPTIK: &[&str] = &[
    "POST /v1.0/log_file_from_user/",
    "POST /v1.0/user/",
    "POST /v1.0/log_feedback_from_user/",
    "POST /v1.0/webhook/",
];

pub(super) const KALEYRA: &[&str] = &[
    "POST /v2/{sid}/whatsapp/{sender}/media",
    "POST /v1/{sid}/whatsapp/template",
    "GET POST DELETE /v2/{sid}/whatsapp/{waba}/message_templates",
    "GET POST /v2/{sid}/whatsapp/{waba}/resumable_media",
];

pub(super) const ROUTE_MOBILE: &[&str] = &[
    "POST /wba/media/v1/get-media-id",
    "GET /wba/v1/media",
    "GET /wba/templates",
    "POST /wba/template/create",
    "PATCH /wba/template/update",
    "DELETE /wba/template/",
    "POST /wba/templates/media-id",
    "POST /wbo/v2/optin/store",
    "POST /wbo/v2/optinout/store",
    "GET /wbo/v2/optin/check",
    "POST /whatsapp/report/v1/create_report/myaccounts_panel",
    "POST /whatsapp/report/v1/create_campaign_specific_report/myaccounts_panel",
    "GET /whatsapp/report/v1/{...}",
    "GET /wba/management/v1/wbp-account-details",
    "POST /wba/management/v1/settings/profile/photo",
];

pub(super) const CLICKATELL: &[&str] = &[
    "POST /v1/notification",
    "GET POST /v1/media",
    "GET /v1/media/{file}",
];

pub(super) const GUPSHUP: &[&str] = &[
    "POST /wa/app/{app}/user/block",
    "POST /wa/app/{app}/user/unblock",
    "POST /sm/api/v1/msg",
    "POST /sm/api/v1/template/msg",
    "PUT /wa/app/{app}/msg/{message}/read",
    "POST /wa/api/v1/app/{app}/media",
    "GET POST /wa/app/{app}/template",
    "GET /sm/api/v1/template/list/{app}",
    "GET /wa/app/{app}/msg/{message}",
    "POST /wa/api/v1/app/opt/in",
    "POST /sm/api/v1/app/opt/in/{app}",
];

pub(super) const RESPOND_IO: &[&str] = &[
    "GET /v2/contact/{contact}/message/{message}",
    "POST /v2/contact/{contact}/conversation/assignee",
    "POST /v2/contact/{contact}/conversation/status",
    "POST /v2/contact/{contact}/comment",
    "GET POST PUT DELETE /v2/contact/{contact}",
    "POST /v2/contact/create_or_update/{contact}",
    "GET /v2/contact/{contact}/channels",
    "POST /v2/contact/{contact}/lifecycle/update",
    "GET /v2/space/channel/{channel}/template",
    "GET /v2/space/channel/{channel}/mtm",
    "GET /v2/space/mtm/{template}",
    "GET POST PUT DELETE /v2/space/{kind}",
    "GET /v2/space/{kind}/{id}",
];
