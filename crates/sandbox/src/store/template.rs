//! Message templates of accounts.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::ids;

/// A template, with the fields in Graph's order.
#[derive(Clone, Serialize)]
pub(crate) struct Template {
    pub(crate) name: String,
    pub(crate) parameter_format: String,
    pub(crate) components: Value,
    pub(crate) language: String,
    pub(crate) status: &'static str,
    pub(crate) category: String,
    pub(crate) id: String,
}

/// The templates of all accounts.
#[derive(Default)]
pub(crate) struct Templates(Mutex<HashMap<String, Vec<Template>>>);

impl Templates {
    /// Returns a template by id.
    pub(crate) fn get(&self, id: &str) -> Option<Template> {
        let accounts = self.0.lock();
        let found = accounts.values().flatten().find(|known| known.id == id);
        found
            .cloned()
            .or_else(|| samples().into_iter().find(|sample| sample.id == id))
    }

    /// Returns the templates of an account.
    pub(crate) fn of_account(&self, account: &str) -> Vec<Template> {
        self.0.lock().get(account).cloned().unwrap_or_else(samples)
    }

    /// Adds a template to an account.
    ///
    /// # Errors
    /// The account has [`MAX_TEMPLATES`], or there are too many accounts.
    pub(crate) fn add(&self, account: &str, template: Template) -> Result<(), TemplatesError> {
        self.change(account, |templates| {
            if templates.len() >= MAX_TEMPLATES {
                return Err(TemplatesError::TooManyTemplates);
            }
            templates.push(template);
            Ok(())
        })?
    }

    /// Changes a template. A sample belongs to the fixed account, until another account has changed
    /// its templates.
    pub(crate) fn edit(&self, id: &str, change: impl FnOnce(&mut Template)) {
        let mut accounts = self.0.lock();
        if !accounts.values().flatten().any(|known| known.id == id) {
            let fixed = accounts.entry(ids::ACCOUNT.to_owned());
            fixed.or_insert_with(samples);
        }
        let mut templates = accounts.values_mut().flatten();
        if let Some(template) = templates.find(|template| template.id == id) {
            change(template);
        }
    }

    /// Removes the templates with a name, and with an id if there is one, and returns the number of
    /// removed templates.
    ///
    /// # Errors
    /// There are too many accounts.
    pub(crate) fn remove(
        &self,
        account: &str,
        name: &str,
        id: Option<&str>,
    ) -> Result<usize, TemplatesError> {
        self.change(account, |templates| {
            let before = templates.len();
            templates
                .retain(|template| template.name != name || id.is_some_and(|id| id != template.id));
            before - templates.len()
        })
    }

    fn change<T>(
        &self,
        account: &str,
        change: impl FnOnce(&mut Vec<Template>) -> T,
    ) -> Result<T, TemplatesError> {
        let mut accounts = self.0.lock();
        if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(account) {
            return Err(TemplatesError::TooManyAccounts);
        }
        let templates = accounts.entry(account.to_owned()).or_insert_with(samples);
        Ok(change(templates))
    }
}

/// The reason for refusing a change of templates.
#[derive(Debug)]
pub(crate) enum TemplatesError {
    /// The account has as many templates as Meta allows.
    TooManyTemplates,
    /// The sandbox keeps templates of no further account.
    TooManyAccounts,
}

impl Template {
    /// Makes a template that waits for approval, with a new id.
    pub(crate) fn pending(name: String, language: String, category: &str) -> Self {
        Self {
            name,
            parameter_format: "POSITIONAL".to_owned(),
            components: json!([]),
            language,
            status: "PENDING",
            category: category.to_ascii_uppercase(),
            id: ids::object_id(),
        }
    }
}

/// Returns the templates of a new account.
fn samples() -> Vec<Template> {
    let sample = |(id, name, language, category, text): (&str, &str, &str, &str, &str)| Template {
        name: name.to_owned(),
        parameter_format: "POSITIONAL".to_owned(),
        components: body_component(text),
        language: language.to_owned(),
        status: "APPROVED",
        category: category.to_owned(),
        id: id.to_owned(),
    };
    SAMPLES.map(sample).to_vec()
}

fn body_component(text: &str) -> Value {
    if text.contains("{{1}}") {
        return json!([{"type": "BODY", "text": text, "example": {"body_text": [["3"]]}}]);
    }
    json!([{"type": "BODY", "text": text}])
}

/// The templates of one account, from Meta's documentation.
pub(crate) const MAX_TEMPLATES: usize = 250;

/// The accounts with templates of their own: a bound for a process that runs for days.
const MAX_ACCOUNTS: usize = 1000;

/// Each sample with id, name, language, category and text, as a new account at Meta has them.
#[rustfmt::skip]
const SAMPLES: [(&str, &str, &str, &str, &str); 5] = [
    ("711633970112948", "hello_world", "en_US", "MARKETING", "Welcome and congratulations!! This message demonstrates your ability to send a message notification from WhatsApp Business Platform\u{2019}s Cloud API. Thank you for taking the time to test with us."),
    ("1350788845398345", "sample_purchase_feedback", "en_US", "MARKETING", "Thank you for purchasing {{1}}! We value your feedback and would like to learn more about your experience."),
    ("5367414413280831", "sample_issue_resolution", "en_US", "UTILITY", "Hi {{1}}, were we able to solve the issue that you were facing?"),
    ("413970837002183", "sample_issue_resolution", "es", "MARKETING", "Hola, {{1}}. \u{bf}Pudiste solucionar el problema que ten\u{ed}as?"),
    ("419824263320619", "sample_shipping_confirmation", "en_US", "UTILITY", "Your package has been shipped. It will be delivered in {{1}} business days."),
];
