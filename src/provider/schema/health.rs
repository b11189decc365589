//! `health`: the question for the state of a credential.

use super::names::TemplateNames;
use crate::document::Field;
use crate::provider::definition::HealthCheck;
use crate::provider::path::PathPattern;
use crate::provider::template::Template;

/// Reads `health`: a path, perhaps with a query. `None` for `"none"`, and after a fault.
pub(super) fn health(field: &Field<'_>, names: &TemplateNames<'_>) -> Option<HealthCheck> {
    let Some(line) = field.string().filter(|text| text.contains('/')) else {
        return field
            .choice(&[("graph", Some(())), ("none", None)])?
            .map(|()| HealthCheck::Graph);
    };
    let text = line.strip_prefix("GET ").unwrap_or_default();
    let path = field.parse(|_| Template::parse(text))?;
    // A sample in place of each name makes a path that can be checked.
    let sample = path.names().fold(path.to_string(), |sample, name| {
        sample.replace(&format!("{{{name}}}"), "x")
    });
    let (sample, query) = sample.split_once('?').unwrap_or((&sample, ""));
    let is_query = |c: char| c.is_ascii_graphic() && !"?#{}\"<>\\".contains(c);
    if !query.chars().all(is_query) {
        field.fault("not a query behind the path, expected one such as \"PageSize=1\"");
    }
    if let Err(error) = PathPattern::parse(sample) {
        field.fault(format!(
            "no question, expected \"graph\", \"none\" or \"GET /path\": {error}"
        ));
    }
    names.check_parameters(field, &path);
    Some(HealthCheck::Get(path))
}
