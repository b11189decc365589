//! Calls about message templates: list, create, delete.

use http::Method;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Call, read_json};
use super::error::GraphError;
use super::page::Page;
use crate::json::{GraphJson, Part, Selected};
use crate::store::template::{MAX_TEMPLATES, Template, TemplatesError};

/// `/{account}/message_templates`.
pub(crate) async fn handle(
    call: &Call<'_>,
    account: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    match *call.method {
        Method::GET => Ok(list(call, account)),
        Method::POST => create(call, account, &read_json(body).await?),
        _ => delete(call, account),
    }
}

fn list(call: &Call<'_>, account: &str) -> GraphJson {
    let mut templates = call.state.templates.of_account(account);
    for (name, field) in FILTERS {
        if let Some(wanted) = call.query.get(name) {
            templates.retain(|template| field(template).eq_ignore_ascii_case(wanted));
        }
    }
    let total = templates.len();
    let fields = call.query.fields();
    let items = templates
        .into_iter()
        .map(|template| Selected::new(template, fields.as_deref(), "id"));
    let mut page = Page::new(call, items.collect());
    page.summary = call.query.get("summary").map(|names| {
        let summary = Summary {
            total_count: total,
            message_template_count: total,
            message_template_limit: MAX_TEMPLATES,
            are_translations_complete: true,
        };
        Part::new(&summary, names.split(','))
    });
    GraphJson::new(&page)
}

#[derive(Serialize)]
struct Summary {
    total_count: usize,
    message_template_count: usize,
    message_template_limit: usize,
    are_translations_complete: bool,
}

fn create(call: &Call<'_>, account: &str, body: &Value) -> Result<GraphJson, GraphError> {
    let text = |name: &str| {
        let value = body
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        value.ok_or_else(|| GraphError::required(name))
    };
    let name = text("name")?.to_owned();
    let language = text("language")?.to_owned();
    let mut template = Template::pending(name, language, text("category")?);
    if let Ok(format) = text("parameter_format") {
        template.parameter_format = format.to_owned();
    }
    if let Some(components) = body.get("components") {
        template.components = components.clone();
    }
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if !template.name.bytes().all(is_allowed) {
        return Err(GraphError::parameter(
            "Param name must be lower-case letters, digits and underscores.",
        ));
    }
    let created = GraphJson::new(&Created {
        id: &template.id,
        status: template.status,
        category: &template.category,
    });
    call.state.templates.add(account, template)?;
    Ok(created)
}

/// `POST /{template}`: other components or another category, which wait for approval.
pub(crate) async fn edit(
    call: &Call<'_>,
    id: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let body = read_json(body).await?;
    call.state.templates.edit(id, |template| {
        if let Some(components) = body.get("components") {
            template.components = components.clone();
        }
        if let Some(category) = body.get("category").and_then(Value::as_str) {
            template.category = category.to_ascii_uppercase();
        }
        template.status = "PENDING";
    });
    Ok(GraphJson::success())
}

/// `POST /{account}/upsert_message_templates`: a template for authentication in several languages.
pub(crate) async fn upsert(
    call: &Call<'_>,
    account: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let body = read_json(body).await?;
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .ok_or_else(|| GraphError::required("name"))?;
    let languages = body
        .get("languages")
        .and_then(Value::as_array)
        .ok_or_else(|| GraphError::required("languages"))?;
    let mut made = Vec::new();
    for language in languages.iter().filter_map(Value::as_str) {
        let mut template =
            Template::pending(name.to_owned(), language.to_owned(), "AUTHENTICATION");
        template.status = "APPROVED";
        if let Some(components) = body.get("components") {
            template.components = components.clone();
        }
        let known = call
            .state
            .templates
            .of_account(account)
            .into_iter()
            .find(|known| known.name == name && known.language == language);
        let id = known
            .as_ref()
            .map_or(&template.id, |known| &known.id)
            .clone();
        made.push(json!({"id": id, "status": template.status, "language": language}));
        match known {
            Some(known) => call.state.templates.edit(&known.id, |old| {
                old.components = template.components;
            }),
            None => call.state.templates.add(account, template)?,
        }
    }
    Ok(GraphJson::new(&json!({ "data": made })))
}

/// `POST /{account}/message_templates/archive` and `/unarchive`.
pub(crate) async fn archive(
    call: &Call<'_>,
    action: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let body = read_json(body).await?;
    let written = body
        .get("hsm_ids")
        .ok_or_else(|| GraphError::required("hsm_ids"))?;
    // The documentation shows a list; pywa 4.5.0 sends one text.
    let ids: Vec<&str> = match written {
        Value::String(text) => text.split(',').collect(),
        other => other
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect(),
    };
    let (known, unknown): (Vec<&str>, Vec<&str>) = ids
        .into_iter()
        .partition(|id| call.state.templates.get(id).is_some());
    let failed: serde_json::Map<_, _> = unknown
        .into_iter()
        .map(|id| {
            (
                id.to_owned(),
                Value::from("Only approved or rejected templates can be archived"),
            )
        })
        .collect();
    Ok(GraphJson::new(
        &json!({format!("{action}d_templates"): known, "failed_templates": failed}),
    ))
}

#[derive(Serialize)]
struct Created<'a> {
    id: &'a str,
    status: &'a str,
    category: &'a str,
}

fn delete(call: &Call<'_>, account: &str) -> Result<GraphJson, GraphError> {
    let name = call
        .query
        .get("name")
        .ok_or_else(|| GraphError::required("name"))?;
    let id = call.query.get("hsm_id");
    match call.state.templates.remove(account, name, id)? {
        0 => Err(GraphError::no_template(name)),
        _ => Ok(GraphJson::success()),
    }
}

impl From<TemplatesError> for GraphError {
    fn from(error: TemplatesError) -> Self {
        Self::parameter(match error {
            TemplatesError::TooManyTemplates => "Message template limit exceeded",
            TemplatesError::TooManyAccounts => "The sandbox has no room for another account.",
        })
    }
}

type Field = fn(&Template) -> &str;

/// The query parameters that filter the list.
const FILTERS: [(&str, Field); 4] = [
    ("name", |template| &template.name),
    ("status", |template| template.status),
    ("category", |template| &template.category),
    ("language", |template| &template.language),
];
