//! Where secrets go, and which names may stand in a template.

use super::{ACCESS_TOKEN, header_name, is_header_text, parameter};
use crate::document::{Field, Reader};
use crate::provider::parse::pointer;
use crate::provider::{Inject, Origin, Parameter, SecretForm, SecretKind, Template};

/// The names that may stand in templates of one provider.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) secrets: &'a [SecretKind],
    pub(super) parameters: &'a [Parameter],
    /// Whether there is an access token, here.
    pub(super) has_access_token: bool,
}

impl Names<'_> {
    /// Notes a name that may have no value, or none that may be sent: nothing may leave half filled in.
    pub(super) fn check(&self, field: &Field<'_>, name: &str) {
        let is_known = (self.has_access_token && name == ACCESS_TOKEN) || self.is_parameter(name);
        match self.secrets.iter().find(|secret| secret.name == name) {
            Some(secret) if secret.form == SecretForm::PrivateKey => {
                field.fault(format!("`{name}` is a key that signs, expected what may be sent"));
            }
            Some(secret) if secret.required => {}
            Some(secret) => field.fault(format!(
                "`{}` may be missing, expected `required = true` for a secret that is put in",
                secret.name
            )),
            None if is_known => {}
            None => field.fault(format!("an unknown name in braces, {}", self.known())),
        }
    }

    /// Notes every name that is not one of a parameter: what stands there may be seen by anybody.
    pub(crate) fn check_parameters(&self, field: &Field<'_>, template: &Template) {
        if let Some(name) = template.names().find(|name| !self.is_parameter(name)) {
            field.fault(format!("`{name}` is no parameter, expected the name of one"));
        }
    }

    /// Whether a name stands for something of the account's own.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.is_parameter(name) || self.secrets.iter().any(|secret| secret.name == name)
    }

    /// An origin, perhaps with parameters in its host.
    pub(crate) fn origin(&self, field: &Field<'_>) -> Option<Template> {
        let template = field.parse(Template::parse)?;
        let mut sample = template.clone();
        let forms = self.parameters.iter().filter(|parameter| parameter.form.is_of_hosts());
        sample.fill(&forms.map(|parameter| (parameter.name.clone(), "x".to_owned())).collect());
        let Some(sample) = sample.text() else {
            field.fault("an unknown name in braces, expected parameters with form = \"label\" or form = \"host\"");
            return None;
        };
        // A port in braces would be no number.
        field.parse(|_| sample.parse::<Origin>())?;
        Some(template)
    }

    fn is_parameter(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.name == name)
    }

    fn known(&self) -> String {
        let list = |names: Vec<&str>| format!("`{}`", names.join("`, `"));
        let secrets = list(self.secrets.iter().map(|secret| secret.name.as_str()).collect());
        match self.parameters {
            [] => format!("the secrets are {secrets}"),
            all => {
                let parameters = list(all.iter().map(|parameter| parameter.name.as_str()).collect());
                format!("the secrets are {secrets}, the parameters {parameters}")
            }
        }
    }
}

/// What goes into a request, each with something of the account's own.
pub(crate) fn injects(field: &Field<'_>, names: &Names<'_>) -> Vec<Inject> {
    each(field, names, |field, names| {
        let template = carried(field, names)?;
        if template.names().next().is_none() {
            field.fault("no secret in it, expected the name of one in braces; the secret itself never stands here");
            return None;
        }
        Some(template)
    })
}

/// What goes into an exchange, where some of it is the same for everybody, as `grant_type` is.
pub(crate) fn exchanged(field: &Field<'_>, names: &Names<'_>) -> Vec<Inject> {
    each(field, names, carried)
}

type ReadValue = fn(&Field<'_>, &Names<'_>) -> Option<Template>;

fn each(field: &Field<'_>, names: &Names<'_>, value: ReadValue) -> Vec<Inject> {
    let fields = field.array().unwrap_or_default();
    let readers = fields.iter().filter_map(|field| field.table());
    readers.filter_map(|reader| inject(reader, names, value)).collect()
}

fn inject(mut reader: Reader<'_>, names: &Names<'_>, read_value: ReadValue) -> Option<Inject> {
    let header = reader.field("header");
    let query = reader.field("query");
    let form = reader.field("form");
    let json = reader.field("json");
    let proof = reader.field("appsecret_proof");
    let places = [&header, &query, &form, &json, &proof];
    if places.iter().filter(|place| place.is_some()).count() != 1 {
        reader.fault("expected exactly one of `header`, `query`, `form`, `json`, `appsecret_proof`");
    }
    let inject = if let Some(token) = proof {
        let key = reader.required("key", "the secret that signs")?;
        let (token, key) = (secret_name(&token, names.secrets)?, secret_name(&key, names.secrets)?);
        Some(Inject::AppSecretProof { token, key })
    } else {
        let value = reader.required("value", "what goes there, such as \"Bearer {token}\"")?;
        let template = read_value(&value, names)?;
        let place = |field: Field<'_>| field.parse(parameter);
        if let Some(field) = header {
            if !is_header_text(&template) {
                value.fault("not text for a header, expected visible ASCII");
            }
            let name = field.parse(header_name);
            name.map(|name| Inject::Header { name, value: template })
        } else if let Some(field) = query {
            place(field).map(|name| Inject::Query { name, value: template })
        } else if let Some(field) = form {
            place(field).map(|name| Inject::FormField { name, value: template })
        } else if let Some(field) = json {
            let keys = field.parse(pointer);
            keys.map(|pointer| Inject::JsonField { pointer, value: template })
        } else {
            None
        }
    };
    reader.finish();
    inject
}

pub(crate) fn secret_name(field: &Field<'_>, secrets: &[SecretKind]) -> Option<String> {
    let words: Vec<_> = secrets.iter().map(|s| (s.name.as_str(), ())).collect();
    field.choice(&words)?;
    field.string().map(str::to_owned)
}

/// A template all of whose names have values in every credential that a route uses.
fn carried(field: &Field<'_>, names: &Names<'_>) -> Option<Template> {
    let template = field.parse(Template::parse)?;
    for name in template.names() {
        names.check(field, name);
    }
    Some(template)
}
