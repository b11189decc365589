//! The names allowed in the templates of a provider.

use crate::document::Field;
use crate::provider::access::ACCESS_TOKEN;
use crate::provider::origin::Origin;
use crate::provider::parameter::Parameter;
use crate::provider::secret::{SecretForm, SecretKind};
use crate::provider::template::Template;

/// The names allowed in the templates of a provider.
#[derive(Clone, Copy)]
pub(super) struct TemplateNames<'a> {
    /// The secrets of a credential.
    pub(super) secrets: &'a [SecretKind],
    /// The parameters of an account.
    pub(super) parameters: &'a [Parameter],
    /// True if `{access_token}` may stand in the template.
    pub(super) has_access_token: bool,
}

impl TemplateNames<'_> {
    /// Reports a name without a meaning, without a certain value, or with a value for signing only.
    ///
    /// No request may leave half filled in, so every name in a template must have a value in every
    /// credential.
    pub(super) fn check(&self, field: &Field<'_>, name: &str) {
        let is_known = (self.has_access_token && name == ACCESS_TOKEN) || self.is_parameter(name);
        match self.secrets.iter().find(|secret| secret.name == name) {
            Some(secret) if secret.form == SecretForm::PrivateKey => field.fault(format!(
                "`{name}` is a private key, which signs and is never sent, expected another secret"
            )),
            Some(secret) if secret.required => {}
            Some(_) => field.fault(format!(
                "`{name}` is optional, expected `required = true` for a secret that requests carry"
            )),
            None if is_known => {}
            None => field.fault(format!("an unknown name in braces, {}", self.described())),
        }
    }

    /// Reports every name but parameters, in a template with public text.
    pub(super) fn check_parameters(&self, field: &Field<'_>, template: &Template) {
        if let Some(name) = template.names().find(|name| !self.is_parameter(name)) {
            field.fault(format!(
                "`{name}` is not a parameter, expected the name of a parameter"
            ));
        }
    }

    /// Returns true for a name whose value belongs to the account: a parameter or a secret.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.is_parameter(name) || self.secrets.iter().any(|secret| secret.name == name)
    }

    /// Reads an origin, perhaps with parameters in its host.
    pub(super) fn origin(&self, field: &Field<'_>) -> Option<Template> {
        let template = field.parse(Template::parse)?;
        let mut sample = template.clone();
        let for_hosts = self
            .parameters
            .iter()
            .filter(|parameter| parameter.form.is_for_hosts());
        sample.fill(
            &for_hosts
                .map(|parameter| (parameter.name.clone(), "x".to_owned()))
                .collect(),
        );
        let Some(sample) = sample.text() else {
            field.fault("an unknown name in braces, expected parameters with form = \"label\" or form = \"host\"");
            return None;
        };
        // A parameter in the place of the port makes `x` the port, and `x` is no number, hence a
        // fault.
        field.parse(|_| sample.parse::<Origin>())?;
        Some(template)
    }

    fn is_parameter(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|parameter| parameter.name == name)
    }

    fn described(&self) -> String {
        let secrets = quoted(self.secrets.iter().map(|secret| secret.name.as_str()));
        if self.parameters.is_empty() {
            return format!("the secrets are {secrets}");
        }
        let parameters = quoted(
            self.parameters
                .iter()
                .map(|parameter| parameter.name.as_str()),
        );
        format!("the secrets are {secrets}, the parameters {parameters}")
    }
}

fn quoted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    format!("`{}`", names.collect::<Vec<_>>().join("`, `"))
}

/// Reads the name of a secret.
pub(super) fn secret_name(field: &Field<'_>, secrets: &[SecretKind]) -> Option<String> {
    let words: Vec<_> = secrets
        .iter()
        .map(|secret| (secret.name.as_str(), ()))
        .collect();
    field.choice(&words)?;
    field.string().map(str::to_owned)
}
