//! `keyside providers [NAME]`: lists the presets, or prints one as TOML.

use std::process::ExitCode;

use super::output::to_stdout;
use crate::document::choices;
use crate::provider::{Evidence, presets};

/// The options of `keyside providers`.
#[derive(Debug, clap::Args)]
pub(super) struct ProvidersArgs {
    /// The preset to print, in the form of [provider.NAME] in a configuration
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Prints to standard output. Exits with 2 for an unknown preset.
pub(super) fn run(args: ProvidersArgs) -> ExitCode {
    let Some(name) = args.name else {
        list().iter().for_each(|line| say!("{line}"));
        return ExitCode::SUCCESS;
    };
    match presets::text(&name) {
        Some(text) => to_stdout(format_args!("{text}")),
        None => {
            complain!(
                "keyside: no such preset, {}",
                choices(&name, presets::names())
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Returns the lines of the list of presets.
fn list() -> Vec<String> {
    let mut rows = vec![["NAME", "TITLE", "COVERS", "EVIDENCE"].map(str::to_owned)];
    for name in presets::names() {
        let (Some(outline), Some(provider)) = (presets::outline(name), presets::provider(name))
        else {
            continue;
        };
        let covers = provider.coverage().join(", ");
        let evidence = match outline.evidence {
            Some(Evidence::Documented) => "documented by the vendor",
            Some(Evidence::Unverified) | None => "unverified: try it before relying on it",
            Some(Evidence::Experimental) => "experimental: parts are guesses",
        };
        rows.push([name, outline.title(), &covers, evidence].map(str::to_owned));
    }
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let [name_width, title_width, covers_width] = [0, 1, 2].map(width);
    let row = |[name, title, covers, evidence]: &[String; 4]| {
        format!("{name:name_width$}  {title:title_width$}  {covers:covers_width$}  {evidence}")
    };
    let mut lines: Vec<_> = rows.iter().map(row).collect();
    lines.push(String::new());
    lines.push("`keyside providers NAME` prints a preset as TOML, with its sources.".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_line_for_each_preset() {
        let lines = list();
        assert_eq!(lines.len(), presets::names().count() + 3);
        for [name, title, covers] in [
            ["NAME", "TITLE", "COVERS"],
            [
                "twilio",
                "Twilio",
                "send, media in, typing, status, templates, webhooks",
            ],
            ["cm", "CM.com", "send, media in by URL"],
            ["standard-webhooks", "Standard Webhooks", "webhooks"],
        ] {
            let is_row = |line: &String| {
                let cells: Vec<_> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
                cells.len() == 4
                    && cells
                        .iter()
                        .map(|cell| cell.trim())
                        .take(3)
                        .eq([name, title, covers])
            };
            assert!(lines.iter().any(is_row), "{name}\n{lines:#?}");
        }
    }

    #[test]
    fn the_readme_has_the_presets_that_cover_each_part_of_the_job() {
        let text = include_str!("../../README.md");
        let parts = [
            "send",
            "media in",
            "media out",
            "read",
            "typing",
            "status",
            "templates",
            "webhooks",
        ];
        let covers = |name: &&str, part: &&str| {
            let coverage = presets::provider(name).map(|provider| provider.coverage());
            coverage.is_some_and(|coverage| coverage.contains(part))
        };
        let rows = parts.map(|part| {
            let names = presets::names().filter(|name| covers(name, &part));
            let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
            format!("| {part} | {} |", names.join(", "))
        });
        let missing: Vec<_> = rows
            .into_iter()
            .filter(|row| !text.lines().any(|line| line == row))
            .collect();
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn the_documentation_has_the_coverage_of_each_preset() {
        let text = include_str!("../../docs/providers.md");
        let missing: Vec<_> = presets::names()
            .filter_map(|name| {
                let covers = presets::provider(name)?.coverage().join(", ");
                let word = match presets::outline(name)?.evidence {
                    Some(Evidence::Documented) => "documented",
                    Some(Evidence::Unverified) | None => "unverified",
                    Some(Evidence::Experimental) => "experimental",
                };
                Some(format!("| `{name}` | {covers} | {word} |"))
            })
            .filter(|row| !text.lines().any(|line| line == row))
            .collect();
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }
}
