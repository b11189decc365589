//! `keyside providers [NAME]`: lists the presets, or prints one as TOML.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::document::choices;
use crate::provider::schema::{Evidence, evidence};
use crate::provider::{Outline, PRESETS};

/// The options of `keyside providers`.
#[derive(Debug, clap::Args)]
pub(super) struct ProvidersArgs {
    /// The preset to print; the form of [provider.NAME] is the same
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Writes to standard output. 1 where that fails, 2 where there is no such preset.
pub(super) fn run(args: ProvidersArgs) -> ExitCode {
    let mut out = io::stdout().lock();
    let written = match args.name {
        None => list(&mut out),
        Some(name) => match PRESETS.iter().find(|(preset, _)| *preset == name) {
            Some((_, text)) => out.write_all(text.as_bytes()),
            None => {
                let presets = PRESETS.iter().map(|(preset, _)| *preset);
                eprintln!("keyside: no such preset, {}", choices(&name, presets));
                return ExitCode::from(2);
            }
        },
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `keyside providers | head -1` has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyside: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list(out: &mut impl Write) -> io::Result<()> {
    let mut rows = vec![["NAME", "TITLE", "TAKES", "HOW SURE"].map(str::to_owned)];
    for (name, _) in PRESETS {
        let Some(outline) = Outline::preset(name) else {
            continue;
        };
        let takes = match (outline.takes_requests(), outline.sends_events()) {
            (true, true) => "requests, webhooks",
            (true, false) => "requests",
            (false, _) => "webhooks",
        };
        let sure = match evidence(name) {
            Some(Evidence::Documented) => "documented by the vendor",
            Some(Evidence::Unverified) | None => "unverified: try it before relying on it",
            Some(Evidence::Experimental) => "experimental: parts are guesses",
        };
        rows.push([*name, outline.title(), takes, sure].map(str::to_owned));
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (name_width, title_width, takes_width) = (width(0), width(1), width(2));
    for [name, title, takes, sure] in &rows {
        writeln!(out, "{name:name_width$}  {title:title_width$}  {takes:takes_width$}  {sure}")?;
    }
    writeln!(out, "\n`keyside providers NAME` prints one, with its sources.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_line_for_each_preset() {
        let mut out = Vec::new();
        list(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), PRESETS.len() + 3);
        for line in [
            "NAME               TITLE                        TAKES               HOW SURE",
            "meta               Meta WhatsApp Cloud API      requests, webhooks  documented by the vendor",
            "cm                 CM.com                       requests            documented by the vendor",
            "aisensy            AiSensy                      requests, webhooks  experimental: parts are guesses",
            "standard-webhooks  Standard Webhooks            webhooks            documented by the vendor",
            "generic            Generic signed webhook       webhooks            unverified: try it before relying on it",
        ] {
            assert!(lines.contains(&line), "{line}\n{text}");
        }
    }
}
