//! The presets that ship with Keyside.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use http::HeaderName;

use super::definition::Provider;
use super::outline::Outline;
use super::schema;
use crate::document::{Document, FaultReport, Reader};

/// Returns the preset of this name, without the values of an account.
pub fn outline(name: &str) -> Option<Arc<Outline>> {
    find(name)?.outline()
}

/// Returns the preset of this name for an account without values.
///
/// The provider has no upstream if a parameter has no default, but events can be checked.
pub fn provider(name: &str) -> Option<Arc<Provider>> {
    let (provider, _missing) = outline(name)?.fill(&BTreeMap::new());
    Some(provider)
}

/// Returns the document of a preset, for a provider that extends the preset.
pub(crate) fn document(name: &str, report: &FaultReport) -> Option<Document> {
    find(name)?.document(report)
}

/// Returns the TOML text of a preset.
pub fn text(name: &str) -> Option<&'static str> {
    Some(find(name)?.text)
}

/// Returns true for the name of a secret of any preset.
pub fn is_secret(name: &str) -> bool {
    let mut presets = PRESETS.iter().filter_map(Preset::outline);
    presets.any(|outline| outline.secrets().any(|secret| secret == name))
}

/// Returns the names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// Returns the preset that a name stands for which is no preset's own: the product's name, a former
/// name, another way to write the name.
pub fn meant_by(name: &str) -> Option<&'static str> {
    let letters = |name: &str| -> String {
        name.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|letter| letter.to_ascii_lowercase())
            .collect()
    };
    let name = letters(name);
    let written_otherwise = names().find(|preset| letters(preset) == name);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let about = PRODUCTS.iter().find(|(product, _)| name.contains(product));
    written_otherwise
        .or(alias.map(|(_, preset)| *preset))
        .or(about.map(|(_, preset)| *preset))
}

/// Other names of providers, in small letters and digits.
const ALIASES: [(&str, &str); 15] = [
    ("360", "360dialog"),
    ("cmcom", "cm"),
    ("cmtelecom", "cm"),
    ("d360", "360dialog"),
    ("dialog360", "360dialog"),
    ("fb", "meta"),
    ("graph", "meta"),
    ("graphapi", "meta"),
    ("haptikai", "haptik"),
    ("nexmo", "vonage"),
    ("routemobileltd", "route-mobile"),
    ("svix", "standard-webhooks"),
    ("waba", "meta"),
    ("wa", "meta"),
    ("wabacloud", "meta"),
];
/// Words in names that people make up, with the preset that they mean: the more special ones first.
const PRODUCTS: [(&str, &str); 7] = [
    ("360dialog", "360dialog"),
    ("twilio", "twilio"),
    ("vonage", "vonage"),
    ("whatsapp", "meta"),
    ("facebook", "meta"),
    ("cloudapi", "meta"),
    ("meta", "meta"),
];

/// Returns every header in which a preset carries a credential, in order.
///
/// No such header may pass from an application to any provider. The headers of a provider of the
/// configuration are in the provider's own `strip`.
pub fn credential_headers() -> Vec<HeaderName> {
    let mut headers: Vec<HeaderName> = names()
        .filter_map(provider)
        .flat_map(|provider| provider.strip.headers.clone())
        .collect();
    headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    headers.dedup();
    headers
}

fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// A preset as it ships: a name, and a provider in TOML.
struct Preset {
    name: &'static str,
    text: &'static str,
    /// The checked form. The text never changes, so a single reading serves every load of a
    /// configuration.
    outline: OnceLock<Option<Arc<Outline>>>,
}

impl Preset {
    const fn new(name: &'static str, text: &'static str) -> Self {
        Self {
            name,
            text,
            outline: OnceLock::new(),
        }
    }

    fn document(&self, report: &FaultReport) -> Option<Document> {
        Document::parse(self.text, &format!("presets/{}.toml", self.name), report)
    }

    fn outline(&self) -> Option<Arc<Outline>> {
        let read = || {
            let report = FaultReport::default();
            let document = self.document(&report)?;
            let outline = schema::read(self.name, Reader::new(&document, &report));
            outline.filter(|_| !report.is_faulty()).map(Arc::new)
        };
        self.outline.get_or_init(read).clone()
    }
}

/// The presets, in the order of lists.
static PRESETS: [Preset; 27] = [
    Preset::new("meta", include_str!("presets/meta.toml")),
    Preset::new("360dialog", include_str!("presets/360dialog.toml")),
    Preset::new("infobip", include_str!("presets/infobip.toml")),
    Preset::new("twilio", include_str!("presets/twilio.toml")),
    Preset::new("vonage", include_str!("presets/vonage.toml")),
    Preset::new("bird", include_str!("presets/bird.toml")),
    Preset::new("bird-platform", include_str!("presets/bird-platform.toml")),
    Preset::new("messagebird", include_str!("presets/messagebird.toml")),
    Preset::new("sinch", include_str!("presets/sinch.toml")),
    Preset::new("ycloud", include_str!("presets/ycloud.toml")),
    Preset::new("telnyx", include_str!("presets/telnyx.toml")),
    Preset::new("wati", include_str!("presets/wati.toml")),
    Preset::new("zenvia", include_str!("presets/zenvia.toml")),
    Preset::new("cm", include_str!("presets/cm.toml")),
    Preset::new("plivo", include_str!("presets/plivo.toml")),
    Preset::new("gupshup", include_str!("presets/gupshup.toml")),
    Preset::new("wassenger", include_str!("presets/wassenger.toml")),
    Preset::new("clickatell", include_str!("presets/clickatell.toml")),
    Preset::new("haptik", include_str!("presets/haptik.toml")),
    Preset::new("interakt", include_str!("presets/interakt.toml")),
    Preset::new("aisensy", include_str!("presets/aisensy.toml")),
    Preset::new("kaleyra", include_str!("presets/kaleyra.toml")),
    Preset::new("respond-io", include_str!("presets/respond-io.toml")),
    Preset::new("route-mobile", include_str!("presets/route-mobile.toml")),
    Preset::new("chat-api", include_str!("presets/chat-api.toml")),
    Preset::new(
        "standard-webhooks",
        include_str!("presets/standard-webhooks.toml"),
    ),
    Preset::new("generic", include_str!("presets/generic.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::inject::Inject;

    #[test]
    fn a_name_that_a_newcomer_types_leads_to_the_preset_that_is_meant() {
        for (name, expected) in [
            ("whatsapp", Some("meta")),
            ("WhatsApp Business", Some("meta")),
            ("facebook", Some("meta")),
            ("cloud-api", Some("meta")),
            ("whatsapp-cloud-api", Some("meta")),
            ("graph", Some("meta")),
            ("waba", Some("meta")),
            ("360", Some("360dialog")),
            ("d360", Some("360dialog")),
            ("360Dialog-WhatsApp", Some("360dialog")),
            ("twilio-whatsapp", Some("twilio")),
            ("MessageBird", Some("messagebird")),
            ("respondio", Some("respond-io")),
            ("chatapi", Some("chat-api")),
            ("nexmo", Some("vonage")),
            ("acme", None),
        ] {
            assert_eq!(meant_by(name), expected, "{name}");
        }
    }

    #[test]
    fn every_preset_reads_without_fault() {
        for name in names() {
            let report = FaultReport::default();
            let text = document(name, &report).unwrap();
            schema::read(name, Reader::new(&text, &report));
            let (faults, _) = report.into_parts();
            assert_eq!(faults, [], "{name}");
            assert!(provider(name).is_some(), "{name}");
            assert!(outline(name).unwrap().evidence.is_some(), "{name}");
        }
        assert!(provider("mate").is_none());
    }

    #[test]
    fn the_media_host_gets_the_token_and_no_proof() {
        let meta = provider("meta").unwrap();
        let requests = meta.operations.iter().flat_map(|o| &o.requests);
        let media: Vec<_> = requests.filter(|request| request.media).collect();
        assert_eq!(media.len(), 1);
        assert!(matches!(
            media[0].inject.as_deref(),
            Some([Inject::Header { name, value }])
                if name == "authorization" && value.to_string() == "Bearer {token}"
        ));
    }

    #[test]
    fn the_further_host_of_meta_takes_the_archive_of_templates_alone() {
        let meta = provider("meta").unwrap();
        let requests = meta.operations.iter().flat_map(|o| &o.requests);
        let there: Vec<_> = requests
            .filter(|request| request.upstream.as_deref() == Some("api"))
            .map(|request| request.path.to_string())
            .collect();
        assert_eq!(
            there,
            [
                "/{v}/{id}/message_templates/archive",
                "/{v}/{id}/message_templates/unarchive"
            ]
        );
        let origins: Vec<_> = meta.origins().map(ToString::to_string).collect();
        assert_eq!(
            origins,
            [
                "https://graph.facebook.com",
                "https://lookaside.fbsbx.com",
                "https://api.facebook.com"
            ]
        );
    }

    #[test]
    fn every_header_that_a_preset_injects_is_stripped_from_every_request() {
        let names: Vec<String> = credential_headers()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "api-key",
            "apikey",
            "authorization",
            "client-id",
            "d360-api-key",
            "token",
            "x-api-key",
            "x-api-token",
            "x-cm-producttoken",
        ];
        assert_eq!(names, expected);
    }
}
