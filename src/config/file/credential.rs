//! `[provider.NAME]` and `[credential.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{check_name, duration, duration_or_off};
use crate::config::{CredentialConfig, ProofForm, Reference, RouteConfig};
use crate::document::{FaultReport, Field, Position, Reader, choices, listed, shown};
use crate::named::ByName;
use crate::provider::{Inject, Outline, presets, schema};
use crate::units;

/// The providers of the configuration. A name without a `[provider.NAME]` is a preset.
pub(super) struct Providers {
    /// `None` for a provider that is too faulty to use.
    own: BTreeMap<String, Option<Arc<Outline>>>,
}

impl Providers {
    /// Reads every `[provider.NAME]`.
    pub(super) fn read(field: Option<Field<'_>>, report: &FaultReport) -> Self {
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
        Self { own }
    }

    /// Returns the provider named by a credential. `None` after a fault.
    fn find(&self, field: &Field<'_>) -> Option<Arc<Outline>> {
        let name = field.string()?;
        if let Some(own) = self.own.get(name) {
            return own.clone();
        }
        let preset = presets::outline(name);
        if preset.is_none() {
            let own = self.own.keys().map(String::as_str);
            let words = presets::names().map(|name| -> &str { name }).chain(own);
            let message = match presets::meant_by(name) {
                Some(meant) => {
                    let words: Vec<&str> = words.collect();
                    format!("did you mean `{meant}`? {}", listed(&words))
                }
                None => choices(name, words),
            };
            field.fault(format!("unknown provider, {message}"));
        }
        preset
    }
}

/// Reads `[provider.NAME]`, laid over the preset named by `extends`.
fn provider(name: &str, mut reader: Reader<'_>, report: &FaultReport) -> Option<Outline> {
    let Some(field) = reader.field("extends") else {
        let preset = presets::names().find(|preset| *preset == name);
        if let Some(preset) = preset.filter(|_| !reader.has("upstream")) {
            reader.fault(format!(
                "neither complete nor an extension, expected extends = \"{preset}\" to change the preset"
            ));
            return None;
        }
        return schema::read(name, reader);
    };
    let preset = field.string()?;
    let Some(document) = presets::document(preset, report) else {
        field.fault(format!(
            "unknown preset, {}",
            choices(preset, presets::names())
        ));
        return None;
    };
    let mut own = reader.table_itself().clone();
    own.remove("extends");
    let merged = document.root.overlaid(&own);
    let merged_reader = Reader::of_table(&merged, reader.at(), reader.path(), report);
    let outline = schema::read(name, merged_reader)?;
    if !reader.has("upstream") {
        return Some(outline);
    }
    let hosts = reader.section("upstreams").fields();
    let named: Vec<&str> = hosts.iter().map(|host| host.key).collect();
    Some(outline.with_further_hosts_at_upstream(&named))
}

/// A credential and its place in the file, so that a route can report a fault there.
pub(super) struct Placed {
    pub(super) config: CredentialConfig,
    /// The parameters without a value. Until they have values, no request can be sent.
    pub(super) missing: Vec<String>,
    pub(super) at: Position,
    /// The key of the table, fit to be shown.
    pub(super) path: String,
}

/// The credentials by name; `None` for a credential that is too faulty to use.
pub(super) type Credentials = BTreeMap<String, Option<Placed>>;

/// Reads every `[credential.NAME]`.
pub(super) fn credentials(mut table: Reader<'_>, providers: &Providers) -> Credentials {
    let mut credentials = BTreeMap::new();
    let fields = table.fields();
    for field in &fields {
        let credential = if check_name(field) {
            field
                .table()
                .and_then(|reader| credential(reader, providers))
        } else {
            // Known all the same: a route that names it has no fault of its own.
            None
        };
        credentials.insert(field.key.to_owned(), credential);
    }
    for field in &fields {
        check_is_no_secret(field, &credentials);
    }
    credentials
}

/// Reports a credential whose name is `NAME.SECRET` of a different one: commands take either.
fn check_is_no_secret(field: &Field<'_>, credentials: &Credentials) {
    let Some((name, secret)) = field.key.rsplit_once('.') else {
        return;
    };
    let owner = credentials.get(name).and_then(Option::as_ref);
    // A secret that the owner lacks may be added later.
    let is_secret = |owner: &Placed| {
        let mut kinds = owner.config.provider.secrets.iter();
        kinds.any(|kind| kind.name == secret)
    };
    if owner.is_some_and(is_secret) {
        field.key_fault(format!(
            "commands such as `keyside rotate` call `{secret}` of the credential `{}` by this name, expected another name",
            shown(name)
        ));
    }
}

/// Returns the credentials without faults, each with the knowledge if a route sends with it.
pub(super) fn with_uses(
    credentials: Credentials,
    routes: &[RouteConfig],
) -> BTreeMap<String, CredentialConfig> {
    let sending: BTreeSet<_> = routes.iter().map(|route| &*route.credential).collect();
    let all = credentials.into_iter().filter_map(|(name, placed)| {
        let mut config = placed?.config;
        config.has_route = sending.contains(&*name);
        Some((name, config))
    });
    all.collect()
}

fn credential(mut reader: Reader<'_>, providers: &Providers) -> Option<Placed> {
    let outline = reader
        .required(
            "provider",
            "the API that the secrets are for, such as \"meta\"",
        )
        .and_then(|field| providers.find(&field));
    let max_age = duration(&mut reader, "max_age", DEFAULT_MAX_AGE);
    let overlap = duration_or_off(&mut reader, "overlap", Some(DEFAULT_OVERLAP));
    let hold = duration_or_off(&mut reader, "hold", Some(DEFAULT_HOLD));
    let proof = reader.field("proof");
    let proof_form = proof.as_ref().and_then(|field| field.choice(&PROOF_FORMS));
    let check = reader
        .choice("check", &[("auto", true), ("off", false)])
        .unwrap_or(true);
    let place = place(&mut reader);
    let renew = reader.field("renew");
    let renew_time = renew
        .as_ref()
        .and_then(|field| field.parse(units::duration_or_off))
        .flatten();
    // The provider defines the keys of secrets and parameters. Without a provider, no other key can
    // be judged; a value of what is a secret everywhere must be a reference all the same.
    let Some(outline) = outline else {
        let fields = reader.fields();
        for field in fields.iter().filter(|field| presets::is_secret(field.key)) {
            references(field);
        }
        return None;
    };
    let (provider, missing) = outline.fill(&parameters(&mut reader, &outline));
    let mut secrets = ByName::default();
    for secret in &provider.secrets {
        if let Some(field) = reader.field(&secret.name) {
            secrets.insert(secret.name.clone(), references(&field));
        }
    }
    reader.finish();
    let config = CredentialConfig {
        provider,
        secrets,
        max_age,
        overlap: overlap.unwrap_or_default(),
        hold: hold.unwrap_or_default(),
        proof: proof_form.unwrap_or(ProofForm::Auto),
        check,
        place,
        renew: renew_time,
        // The routes are read later.
        has_route: false,
    };
    if let Some(field) = proof.filter(|_| config.proof == ProofForm::Classic) {
        check_classic_proof(&field, &config);
    }
    if let Some(field) = renew.filter(|_| config.renew.is_some()) {
        check_renewal(&field, &config);
    }
    Some(Placed {
        config,
        missing,
        at: reader.at().clone(),
        path: reader.path().to_owned(),
    })
}

/// Reads the values of the account that are not secret. The file holds the values themselves.
fn parameters(reader: &mut Reader<'_>, outline: &Outline) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for parameter in &outline.parameters {
        let checked = |text: &str| parameter.form.check(text).map(|()| text.to_owned());
        if let Some(value) = reader.parse(&parameter.name, checked) {
            values.insert(parameter.name.clone(), value);
        }
    }
    values
}

/// Reads a reference, or several, of which the first is current.
pub(super) fn references(field: &Field<'_>) -> Vec<Reference> {
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
    // Nearly always one: a vector that grows begins with room for four.
    references.shrink_to_fit();
    references
}

/// Reads the place for new secrets. The empty text is the source that a secret is read from.
fn place(reader: &mut Reader<'_>) -> Option<Reference> {
    let field = reader.field("place")?;
    if field.string()?.is_empty() {
        return None;
    }
    let place: Reference = field.parse(str::parse)?;
    if let Some(advice) = place.why_not_a_place() {
        field.fault(format!("cannot be written: {advice}"));
    }
    Some(place)
}

fn check_classic_proof(field: &Field<'_>, credential: &CredentialConfig) {
    let key = credential
        .provider
        .inject
        .iter()
        .find_map(|inject| match inject {
            Inject::AppSecretProof { key, .. } => Some(key),
            _ => None,
        });
    match key {
        None => field.fault("the provider has no appsecret_proof, expected \"auto\" or \"off\""),
        Some(key) if !credential.secrets.contains_key(key) => field.fault(format!(
            "there is no `{key}` to sign with, expected one in this credential"
        )),
        Some(_) => {}
    }
}

/// Reports a token that cannot be exchanged, or a place where Keyside cannot write the new token.
fn check_renewal(field: &Field<'_>, credential: &CredentialConfig) {
    if !credential.provider.is_asked_as_graph() {
        field.fault("only Meta's tokens can be exchanged, expected \"off\"");
        return;
    }
    if !credential.check {
        field
            .fault("with check = \"off\" the end of a token is unknown, expected check = \"auto\"");
        return;
    }
    if !credential.secrets.contains_key("app_secret") {
        field
            .fault("Meta exchanges no token without `app_secret`, expected one in this credential");
        return;
    }
    let token = credential.secrets.get("token");
    let source = token.and_then(|references| references.first());
    let Some(source) = source.filter(|_| credential.place.is_none()) else {
        return;
    };
    if source.why_not_a_place().is_some() || matches!(source, Reference::Exec { .. }) {
        field.fault(format!(
            "the token comes from {source}, which cannot be written, expected `place` with a place that can"
        ));
    }
}

const PROOF_FORMS: [(&str, ProofForm); 3] = [
    ("auto", ProofForm::Auto),
    ("classic", ProofForm::Classic),
    ("off", ProofForm::Off),
];

/// The default of `max_age`: 90 days, a common bound of rotation policies.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(90 * 86_400);
/// The default of `hold`: applications seldom wait longer for an answer.
const DEFAULT_HOLD: Duration = Duration::from_secs(5);
/// The default of `overlap`: a day, long enough to notice and undo a bad rotation.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(86_400);
