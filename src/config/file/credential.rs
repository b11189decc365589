//! `[provider.NAME]` and `[credential.NAME]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{check_name, duration, duration_or_off, parse_duration_or_off};
use crate::config::{CredentialConfig, Proof, Reference};
use crate::document::{Field, Position, Reader, Report, choices};
use crate::provider::{Inject, Outline, PRESETS, Provider, preset_document, schema};

/// The providers of the configuration; behind them the presets, each read once.
pub(super) struct Providers {
    own: BTreeMap<String, Option<Arc<Outline>>>,
    presets: BTreeMap<String, Arc<Outline>>,
}

impl Providers {
    pub(super) fn read(field: Option<Field<'_>>, report: &Report) -> Self {
        let mut own = BTreeMap::new();
        let table = field.and_then(|field| field.table());
        for field in table.map(|mut table| table.fields()).unwrap_or_default() {
            if check_name(&field)
                && let Some(reader) = field.table()
            {
                let provider = provider(field.key, reader, report).map(Arc::new);
                own.insert(field.key.to_owned(), provider);
            }
        }
        Self { own, presets: BTreeMap::new() }
    }

    /// The provider that a credential names. `None` where that is a fault, which is then in the report.
    fn find(&mut self, field: &Field<'_>) -> Option<Arc<Outline>> {
        let name = field.string()?;
        if let Some(own) = self.own.get(name) {
            return own.clone();
        }
        if let Some(preset) = self.presets.get(name) {
            return Some(Arc::clone(preset));
        }
        if let Some(preset) = Outline::preset(name).map(Arc::new) {
            self.presets.insert(name.to_owned(), Arc::clone(&preset));
            return Some(preset);
        }
        let presets = PRESETS.iter().map(|(preset, _)| *preset);
        let words = presets.chain(self.own.keys().map(String::as_str));
        field.fault(format!("unknown provider, {}", choices(name, words)));
        None
    }
}

/// `[provider.NAME]`, laid over the preset that it extends.
fn provider(name: &str, mut reader: Reader<'_>, report: &Report) -> Option<Outline> {
    let Some(field) = reader.field("extends") else {
        let preset = PRESETS.iter().find(|(preset, _)| *preset == name);
        if let Some((preset, _)) = preset.filter(|_| !reader.has("upstream")) {
            reader.fault(format!(
                "neither complete nor an extension, expected extends = \"{preset}\" to change the preset"
            ));
            return None;
        }
        return schema::read(name, reader);
    };
    let preset = field.string()?;
    let Some(document) = preset_document(preset, report) else {
        let words = PRESETS.iter().map(|(preset, _)| *preset);
        field.fault(format!("unknown preset, {}", choices(preset, words)));
        return None;
    };
    let mut own = reader.table_itself().clone();
    own.remove("extends");
    let whole = document.root.overlaid(&own);
    let whole = Reader::of_table(&whole, reader.at(), reader.path(), report);
    schema::read(name, whole)
}

/// A credential with what is needed to tell a fault of it where a route uses it.
pub(super) struct Placed {
    pub(super) config: CredentialConfig,
    /// The parameters without which no request can be sent.
    pub(super) missing: Vec<String>,
    pub(super) at: Position,
    pub(super) path: String,
}

/// The credentials by name; `None` where one is too faulty to say more about it.
pub(super) type Credentials = BTreeMap<String, Option<Placed>>;

pub(super) fn credentials_of(mut table: Reader<'_>, providers: &mut Providers) -> Credentials {
    let mut credentials = BTreeMap::new();
    for field in table.fields() {
        if check_name(&field)
            && let Some(reader) = field.table()
        {
            credentials.insert(field.key.to_owned(), credential(reader, providers));
        }
    }
    credentials
}

fn credential(mut reader: Reader<'_>, providers: &mut Providers) -> Option<Placed> {
    let expected = "the API that the secrets are for, such as \"meta\"";
    let provider = reader.required("provider", expected);
    let provider = provider.and_then(|field| providers.find(&field));
    let max_age = duration(&mut reader, "max_age", Duration::from_secs(90 * 86_400));
    let overlap = duration_or_off(&mut reader, "overlap", Some(Duration::from_secs(86_400))).unwrap_or_default();
    let proof = reader.field("proof");
    let kind = proof
        .as_ref()
        .and_then(|field| field.choice(&[("auto", Proof::Auto), ("classic", Proof::Classic), ("off", Proof::Off)]));
    let check = reader.field("check").and_then(|field| field.choice(&[("auto", true), ("off", false)]));
    let renew_field = reader.field("renew");
    let renew = renew_field.as_ref().and_then(|field| field.parse(parse_duration_or_off)).flatten();
    // Which keys there are is the provider's to say, so without one the rest cannot be judged.
    let outline = provider?;
    let (provider, missing) = outline.fill(&parameters(&mut reader, &outline));
    let mut secrets = BTreeMap::new();
    for secret in &provider.secrets {
        if let Some(field) = reader.field(&secret.name) {
            secrets.insert(secret.name.clone(), references(&field));
        }
    }
    if let Some(field) = proof.filter(|_| kind == Some(Proof::Classic)) {
        check_classic_proof(&field, &provider, &secrets);
    }
    if let Some(field) = renew_field.filter(|_| renew.is_some()) {
        check_renewal(&field, &provider, &secrets, check.unwrap_or(true));
    }
    let (at, path) = (reader.at().clone(), reader.path().to_owned());
    reader.finish();
    Some(Placed {
        config: CredentialConfig {
            check: check.unwrap_or(true),
            renew,
            provider,
            secrets,
            max_age,
            overlap,
            proof: kind.unwrap_or(Proof::Auto),
        },
        missing,
        at,
        path,
    })
}

/// The values that an account has beside its secrets, written here themselves.
fn parameters(reader: &mut Reader<'_>, outline: &Outline) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for parameter in &outline.parameters {
        let checked = |text: &str| parameter.form.check(text).map(|()| text.to_owned());
        let value = reader.field(&parameter.name).and_then(|field| field.parse(checked));
        values.extend(value.map(|value| (parameter.name.clone(), value)));
    }
    values
}

fn references(field: &Field<'_>) -> Vec<Reference> {
    let Some(fields) = field.one_or_more() else {
        return Vec::new();
    };
    if fields.is_empty() {
        field.fault("empty, expected at least one reference");
    }
    let mut references = Vec::new();
    for field in &fields {
        let reference = field.parse(str::parse);
        if let Some(Reference::Env(_)) = reference {
            field.warn(
                "an environment can be read by every process of the same user, and its value cannot be replaced \
                 while running; prefer file: or systemd:",
            );
        }
        references.extend(reference);
    }
    references
}

fn check_classic_proof(field: &Field<'_>, provider: &Provider, secrets: &BTreeMap<String, Vec<Reference>>) {
    let key = provider.inject.iter().find_map(|inject| match inject {
        Inject::AppSecretProof { key, .. } => Some(key),
        _ => None,
    });
    match key {
        None => field.fault("the provider has no appsecret_proof, expected \"auto\" or \"off\""),
        Some(key) if !secrets.contains_key(key) => {
            field.fault(format!("there is no `{key}` to sign with, expected one in this credential"))
        }
        Some(_) => {}
    }
}

/// What can be exchanged, and what can be written to.
fn check_renewal(field: &Field<'_>, provider: &Provider, secrets: &BTreeMap<String, Vec<Reference>>, is_checked: bool) {
    let home = secrets.get("token").and_then(|references| references.first());
    match home {
        _ if !provider.is_asked_as_graph() => {
            field.fault("only tokens of Meta's can be exchanged, expected \"off\"");
        }
        _ if !is_checked => {
            field.fault("with check = \"off\" nothing tells when a token ends, expected check = \"auto\"")
        }
        _ if !secrets.contains_key("app_secret") => {
            field.fault(
                "there is no `app_secret`, without which Meta exchanges no token, expected one in this credential",
            );
        }
        Some(Reference::File(_) | Reference::Vault { .. }) | None => {}
        Some(home) => {
            field.fault(format!("the token comes from {home}, expected a file or Vault, which can be written"))
        }
    }
}
