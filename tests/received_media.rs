//! Media of received messages: an application without a key gets it wherever the vendor documents
//! how.

use keyside::provider::{Evidence, ReceivedMedia, presets};

use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};

/// Providers whose vendors document a way to received media, with the source.
const DOCUMENTED: [(&str, ReceivedMedia, &str); 20] = [
    ("meta", ReceivedMedia::Fetched, "Cloud API, media"),
    (
        "360dialog",
        ReceivedMedia::Fetched,
        "docs.360dialog.com, upload-retrieve-delete-media",
    ),
    (
        "infobip",
        ReceivedMedia::Fetched,
        "infobip-api-java-client, senders/{sender}/media/{mediaId}",
    ),
    (
        "twilio",
        ReceivedMedia::Fetched,
        "docs/messaging/api/media-resource",
    ),
    ("vonage", ReceivedMedia::Fetched, "@vonage/media"),
    (
        "bird-platform",
        ReceivedMedia::Fetched,
        "messagebird-sdk 0.106.0, whatsapp.messages",
    ),
    (
        "ycloud",
        ReceivedMedia::Fetched,
        "@ycloud-cpaas/ycloud-sdk-node 1.15.6, WhatsappInboundMessageMedia.link",
    ),
    (
        "wati",
        ReceivedMedia::Fetched,
        "wati-mcp 0.2.0, conversations/messages/file",
    ),
    (
        "wassenger",
        ReceivedMedia::Fetched,
        "clients of other people, media.links.download of an event",
    ),
    (
        "gupshup",
        ReceivedMedia::Linked,
        "docs.gupshup.io/docs/media, url and urlExpiry of an event",
    ),
    (
        "plivo",
        ReceivedMedia::Linked,
        "plivo-python 4.63.0, Message/{uuid}/Media",
    ),
    (
        "sinch",
        ReceivedMedia::Linked,
        "sinch/skills, media_message.url",
    ),
    (
        "telnyx",
        ReceivedMedia::Named,
        "receiving-webhooks, media of an event",
    ),
    (
        "zenvia",
        ReceivedMedia::Named,
        "@zenvia/sdk 2.4, fileUrl of an event",
    ),
    (
        "messagebird",
        ReceivedMedia::Named,
        "messagebird (Node) 4.0.1, url of an event",
    ),
    (
        "bird",
        ReceivedMedia::Fetched,
        "docs.bird.com, permissions of the Channels API, and clients",
    ),
    (
        "kaleyra",
        ReceivedMedia::Named,
        "developers.kaleyra.io, webhooks of v2, media_url of an event",
    ),
    (
        "route-mobile",
        ReceivedMedia::Fetched,
        "OpenAPI description 1.8.0, media_url of a callback",
    ),
    (
        "clickatell",
        ReceivedMedia::Fetched,
        "guides.clickatell.com, One API, media",
    ),
    (
        "cm",
        ReceivedMedia::Named,
        "developers.cm.com, whatsapp-inbound, mediaUri of an event",
    ),
];

#[test]
fn no_preset_lacks_received_media_although_the_vendor_documents_how_to_get_it() {
    let mut lacking = Vec::new();
    for (name, way, source) in DOCUMENTED {
        let preset = presets::provider(name).unwrap();
        let covers = match way {
            ReceivedMedia::Fetched => "media in",
            ReceivedMedia::Linked => "media in by link",
            ReceivedMedia::Named => "media in by URL",
        };
        if preset.received_media != Some(way) || !preset.coverage().contains(&covers) {
            lacking.push(format!("{name}: {source}"));
        }
    }
    assert!(lacking.is_empty(), "{lacking:#?}");
    // The table is complete: no preset says more than is documented here.
    let told: Vec<_> = presets::names()
        .filter(|name| presets::provider(name).unwrap().received_media.is_some())
        .collect();
    let mut documented: Vec<_> = DOCUMENTED.iter().map(|(name, ..)| *name).collect();
    documented.sort_by_key(|name| told.iter().position(|own| own == name));
    assert_eq!(told, documented);
}

#[test]
fn a_documented_preset_says_how_it_treats_received_media_or_sends_no_events_with_any() {
    // No document or SDK of these vendors tells a way to received media.
    const SILENT: [&str; 2] = ["haptik", "standard-webhooks"];
    for name in presets::names() {
        let is_documented = presets::outline(name).unwrap().evidence == Some(Evidence::Documented);
        let says = presets::provider(name).unwrap().received_media.is_some();
        assert!(!is_documented || says || SILENT.contains(&name), "{name}");
    }
}

fn route(upstream: &Upstream, preset: &str, more: &str, credential: &str) -> Keyside {
    let config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[log]\nlevel = \"debug\"\n\
         [provider.here]\nextends = \"{preset}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{more}\n\
         [credential.here]\nprovider = \"here\"\ncheck = \"off\"\n{credential}\n[[route]]\ncredential = \"here\"\n"
    );
    Setup::new(upstream)
        .file("key", "CANARY0123456789CANARY0123456789")
        .config(&config)
        .start()
}

#[test]
fn a_media_link_of_360dialog_leads_to_keyside_and_the_bytes_come_from_360dialogs_host() {
    let upstream = Upstream::answering(|request| match request.target().as_str() {
        "/1234567890" => json(
            r#"{"url":"https:\/\/lookaside.fbsbx.com\/whatsapp_business\/attachments\/?mid=1&ext=2&hash=a","id":"1234567890"}"#,
        ),
        _ => answer("200 OK", &[("Content-Type", "image/png")], b"pixels"),
    });
    let keyside = route(&upstream, "360dialog", "", "api_key = \"file:@DIR@/key\"");
    for asked in ["/v23.0/1234567890", "/1234567890"] {
        upstream.forget();
        let url = keyside.get(asked).json()["url"]
            .as_str()
            .unwrap()
            .to_owned();
        let path = url.strip_prefix("http://localhost").unwrap();
        assert_eq!(path, "/whatsapp_business/attachments/?mid=1&ext=2&hash=a");
        let media = keyside.get(path);
        assert_eq!((media.status, media.text().as_str()), (200, "pixels"));
        let sent = upstream.last();
        assert_eq!(sent.target(), path);
        assert_eq!(sent.all("host"), [upstream.authority()]);
        assert_eq!(
            sent.all("d360-api-key"),
            ["CANARY0123456789CANARY0123456789"]
        );
        assert!(sent.all("authorization").is_empty(), "no token of Meta's");
        assert_eq!(upstream.heads(), 2);
    }
}

/// The `MediaUrl0` of an event of Twilio's.
const MEDIA_URL: &str = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/MM2/Media/ME3";

#[test]
fn the_media_url_of_a_twilio_event_is_reachable_and_its_redirect_is_handed_on() {
    const SIGNED: &str = "https://mms.twiliocdn.com/AC1/abc?Expires=1&Signature=s&Key-Pair-Id=k";
    let upstream =
        Upstream::answering(|_| answer("307 Temporary Redirect", &[("Location", SIGNED)], b""));
    let credential = "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"";
    let keyside = route(&upstream, "twilio", "", credential);
    let path = MEDIA_URL.strip_prefix("https://api.twilio.com").unwrap();
    let redirect = keyside.get(path);
    assert_eq!(redirect.status, 307);
    assert_eq!(redirect.header("location"), Some(SIGNED));
    let sent = upstream.last();
    assert_eq!(sent.target(), path);
    assert_eq!(sent.all("authorization").len(), 1);
    // Keyside follows no redirect.
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn media_of_other_providers_is_fetched_with_the_key() {
    for (preset, credential, path, header) in [
        (
            "bird-platform",
            "region = \"eu1\"\napi_key = \"file:@DIR@/key\"",
            "/v1/whatsapp/messages/wam_1/media/waf_2",
            "authorization",
        ),
        (
            "ycloud",
            "api_key = \"file:@DIR@/key\"",
            "/v2/whatsapp/media/download/abc?sig=x",
            "x-api-key",
        ),
        (
            "wati",
            "tenant = \"1\"\ntoken = \"file:@DIR@/key\"",
            "/api/ext/v3/conversations/messages/file/m1",
            "authorization",
        ),
        (
            "wassenger",
            "token = \"file:@DIR@/key\"",
            "/v1/chat/60a1/files/60b2/download",
            "token",
        ),
        (
            "infobip",
            "base = \"x\"\napi_key = \"file:@DIR@/key\"",
            "/whatsapp/1/senders/15550001111/media/m1",
            "authorization",
        ),
    ] {
        let upstream =
            Upstream::answering(|_| answer("200 OK", &[("Content-Type", "image/png")], b"pixels"));
        let keyside = route(&upstream, preset, "", credential);
        let media = keyside.get(path);
        assert_eq!(
            (media.status, media.text().as_str()),
            (200, "pixels"),
            "{preset}"
        );
        let sent = upstream.last();
        assert_eq!(sent.target(), path, "{preset}");
        let key = sent.header(header).unwrap();
        assert!(
            key.ends_with("CANARY0123456789CANARY0123456789"),
            "{preset}"
        );
    }
}
