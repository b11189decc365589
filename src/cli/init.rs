//! `keyside init`: the smallest configuration for a provider, with what to fill in.

use std::process::ExitCode;

use super::output::to_stdout;
use crate::document::choices;
use crate::provider::{Outline, ParameterForm, Provider, presets};

/// The options of `keyside init`.
#[derive(Debug, clap::Args)]
pub(super) struct InitArgs {
    /// The provider; `keyside providers` lists them
    #[arg(long, value_name = "NAME", default_value = "meta")]
    provider: String,
}

/// Prints to standard output. Exits with 2 for an unknown provider.
pub(super) fn run(args: &InitArgs) -> ExitCode {
    let name = args.provider.as_str();
    match (presets::outline(name), presets::provider(name)) {
        (Some(outline), Some(provider)) => {
            to_stdout(format_args!("{}", configuration(name, &outline, &provider)));
            ExitCode::SUCCESS
        }
        _ => {
            complain!(
                "keyside: no such provider, {}",
                choices(name, presets::names())
            );
            ExitCode::from(2)
        }
    }
}

/// Returns the text of a configuration.
fn configuration(name: &str, outline: &Outline, provider: &Provider) -> String {
    let mut lines = vec![
        format!("# Keyside for {}. Save this as proxy.toml, fill in the lines with <-, then:", outline.title()),
        "#   keyside check --online     is it complete, and does the provider accept the secrets?".to_owned(),
        "#   keyside run                applications send to http://127.0.0.1:8080, without a credential".to_owned(),
        "# Each secret stands in a file of its own, with mode 0400. proxy.toml.example has every key.".to_owned(),
        String::new(),
        "[credential.main]".to_owned(),
        format!("provider = \"{name}\""),
    ];
    for parameter in outline
        .parameters
        .iter()
        .filter(|one| one.default.is_none())
    {
        let example = match parameter.form {
            ParameterForm::Segment => "ACCOUNT",
            ParameterForm::Label => "eu",
            ParameterForm::Host => "api.example.com",
        };
        lines.push(format!(
            "{} = \"{example}\"   # <- as the provider's console shows it",
            parameter.name
        ));
    }
    let is_needed = |secret: &str| {
        let is_checked = provider.webhook.as_ref().is_some_and(|webhook| {
            let schemes = webhook.schemes.iter().take(1);
            schemes
                .map(|scheme| scheme.secret.as_str())
                .chain(webhook.challenge.as_deref())
                .any(|own| own == secret)
        });
        !outline.takes_requests() && is_checked
    };
    for secret in &provider.secrets {
        let (mark, advice) = if secret.required || is_needed(&secret.name) {
            ("", "<- put the secret there")
        } else {
            ("#", "<- if you have it; webhooks may need it")
        };
        let key = &secret.name;
        lines.push(format!(
            "{mark}{key} = \"file:/etc/keyside/secrets/{key}\"   # {advice}"
        ));
    }
    if outline.takes_requests() {
        lines.extend(["", "[[route]]", "credential = \"main\""].map(str::to_owned));
    }
    lines.extend(webhook_lines(outline, provider));
    lines.push(String::new());
    lines.join("\n")
}

/// Returns the lines of a webhook: with a mark in front where the provider accepts requests as
/// well.
fn webhook_lines(outline: &Outline, provider: &Provider) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(webhook) = &provider.webhook {
        let mark = if outline.takes_requests() { "#" } else { "" };
        lines.push(String::new());
        if outline.takes_requests() {
            lines.push("# Events, if the application accepts them:".to_owned());
        }
        lines.push(format!("{mark}[[webhook]]"));
        lines.push(format!("{mark}path       = \"/webhooks/whatsapp\""));
        lines.push(format!("{mark}credential = \"main\""));
        lines.push(format!(
            "{mark}forward    = \"http://127.0.0.1:3000/webhooks/whatsapp\"   # <- the application"
        ));
        if webhook.needs_url() {
            lines.push(format!("{mark}public_url = \"https://hooks.example.com/webhooks/whatsapp\"   # <- as the provider has it"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configuration_of_each_provider_is_valid_and_marks_what_to_fill_in() {
        for name in presets::names() {
            let outline = presets::outline(name).unwrap();
            let provider = presets::provider(name).unwrap();
            let text = configuration(name, &outline, &provider);
            let config = Config::parse(&text, "proxy.toml");
            assert!(config.is_ok(), "{name}: {}\n{text}", config.unwrap_err());
            assert!(text.contains("# <- "), "{text}");
        }
    }
}
