//! `keyside check`: every fault of a configuration and its secrets.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::config::ConfigArgs;
use super::credentials;
use super::problems;
use crate::admin::credential_problems::of_checked;
use crate::admin::credential_status;
use crate::admin::problems::ProblemLine;
use crate::app::Descriptors;
use crate::audit::check_writable;
use crate::config::{Candidate, CandidateError, Config, ConfigFile};
use crate::credential::Verdict;
use crate::json::words::counted;
use crate::reload::{KeptInput, Live, LoadError, load, load_config, questions, verify_all};
use crate::rotation::check_ahead;
use crate::spool::check_usable;

/// The options of `keyside check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration file, as with --config
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Also ask the providers whether they accept the credentials; exit with 1 if a provider gives
    /// no answer
    #[arg(long)]
    online: bool,
    /// Exit with 1 after a warning or a problem, such as a secret older than its max_age
    #[arg(long)]
    strict: bool,
    /// Check the configuration alone: read no secret, run no program, ask nobody
    #[arg(long, conflicts_with = "online")]
    no_secrets: bool,
    /// Prove a new secret with the rest of its credential before it is put into place; may be given
    /// several times
    #[arg(long, value_name = "NAME.SECRET=REF", conflicts_with_all = ["no_secrets", "online"])]
    candidate: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The findings of a check.
#[derive(Default)]
struct Report {
    /// The faults with which no sidecar can run, or not with every credential.
    faults: Vec<String>,
    /// The oddities of the configuration, the secrets and the machine.
    warnings: Vec<String>,
    /// The problems of credentials that work.
    problems: Vec<ProblemLine>,
    /// Facts for the user that are no warnings.
    notes: Vec<String>,
    /// The credentials about which the provider gave no verdict, with the reasons.
    unproved: Vec<String>,
    /// The credentials as in `/status`, if secrets were read.
    credentials: Value,
    /// The parts of the configuration, and what was proved of them.
    summary: String,
}

/// Prints every fault. Exits with 78 after a fault, and with 1 if something could not be proved or,
/// with `--strict`, after a warning.
pub(super) async fn run(args: CheckArgs) -> ExitCode {
    let file = match &args.file {
        None => args.config.clone().file(),
        Some(path) if path.exists() => ConfigFile::Named(path.clone()),
        Some(_) => {
            // The argument may be a secret, pasted at the wrong place: the message does not repeat
            // it.
            complain!("keyside: the argument of `check` is not the path of a file");
            return ExitCode::from(2);
        }
    };
    let mut report = if args.no_secrets {
        without_secrets(&file)
    } else if !args.candidate.is_empty() {
        match of_candidates(&file, &args.candidate).await {
            Ok(report) => report,
            Err(error) => {
                complain!("keyside: --candidate: {error}");
                return ExitCode::from(2);
            }
        }
    } else {
        super::harden();
        match load(&file, &super::unread_metrics()).await {
            Ok(live) => {
                let live = Arc::new(live);
                check_ahead(&live).await;
                let mut report = if args.online {
                    online(&live).await
                } else {
                    offline(&live)
                };
                report.faults.extend(live.limits_fault());
                report
                    .faults
                    .extend(live.egress.problem().map(str::to_owned));
                report.faults.extend(live.loops().await);
                report
            }
            Err(error) => Report {
                faults: error.reasons(),
                ..Report::default()
            },
        }
    };
    Config::with_places(&file, &mut report.faults);
    if args.json {
        print_json(&report, &args);
    } else {
        print_text(file.path(), &report, &args);
    }
    if !report.faults.is_empty() {
        ExitCode::from(super::BAD_CONFIGURATION)
    } else if !report.unproved.is_empty() || (args.strict && report.has_warnings()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Report {
    fn has_warnings(&self) -> bool {
        !(self.warnings.is_empty() && self.problems.is_empty())
    }
}

/// Checks the configuration alone.
fn without_secrets(file: &ConfigFile) -> Report {
    match Config::load(file) {
        Ok(config) => Report {
            warnings: config.warnings.iter().map(ToString::to_string).collect(),
            notes: [config.unbound_by_senders(), config.numbers_beside_ids()].concat(),
            summary: format!(
                "{}: the configuration is well formed; secrets were not read",
                parts(&config)
            ),
            ..Report::default()
        },
        Err(faults) => Report {
            faults: faults.iter().map(ToString::to_string).collect(),
            ..Report::default()
        },
    }
}

/// Checks candidates: loads their credentials with each candidate in the place of the current
/// secret, and asks the providers. Nothing is written, and no sidecar is told.
///
/// # Errors
/// A candidate for a secret that the configuration does not have.
async fn of_candidates(file: &ConfigFile, candidates: &[String]) -> Result<Report, CandidateError> {
    let candidates: Vec<Candidate> = candidates
        .iter()
        .map(|candidate| candidate.parse())
        .collect::<Result<_, _>>()?;
    super::harden();
    let config = match Config::load(file) {
        Ok(config) => config.with_candidates(&candidates)?,
        Err(faults) => {
            return Ok(Report {
                faults: faults.iter().map(ToString::to_string).collect(),
                ..Report::default()
            });
        }
    };
    let names: Vec<String> = config.credentials.keys().cloned().collect();
    let live = match load_config(config, &super::unread_metrics()).await {
        Ok(live) => live,
        Err(error) => {
            return Ok(Report {
                faults: error.reasons(),
                ..Report::default()
            });
        }
    };
    let mut report = online(&live).await;
    let asked = questions(&live);
    // A candidate is there to be proved: without a question, all that is known is its form. A fault
    // of a value is told.
    let has_fault = |name: &String| {
        let credential = live.credentials.get(name);
        credential.is_some_and(|credential| !live.unread_secrets(credential).is_empty())
    };
    let unasked = names
        .iter()
        .filter(|name| !asked.contains(*name) && !has_fault(name));
    report.unproved.extend(unasked.map(|name| {
        format!(
            "credential.{name}: the form of the secret is good, and the provider cannot be asked about it: the credential has \
             no route, or the provider has no harmless question"
        )
    }));
    report.summary += "; nothing was changed";
    Ok(report)
}

/// Checks what can be seen without asking a provider.
fn offline(live: &Live) -> Report {
    let proof = if questions(live).is_empty() {
        NOTHING_TO_ASK
    } else {
        "no provider was asked: add --online"
    };
    let mut report = report(live);
    report.summary = format!("{}; {proof}", well_formed(live));
    report
}

/// Checks everything: asks the providers about every credential, and connects to the shared server.
async fn online(live: &Live) -> Report {
    let mut refused = Vec::new();
    let mut unproved = Vec::new();
    let mut proved = 0;
    live.connect_shared().await;
    if let Some((limits, shared)) = live.config.limits.as_ref().zip(live.shared())
        && let Some(problem) = shared.status().problem
    {
        refused.push(format!("limits.redis: `{}`: {problem}", limits.redis));
    }
    for (credential, verification) in verify_all(live).await {
        let name = &credential.name;
        match &verification.verdict {
            Verdict::Proved(_) => proved += 1,
            Verdict::Unproved(reason) => unproved.push(format!("credential.{name}: {reason}")),
            Verdict::Refused(refusal) => {
                let secret = refusal.secret.as_ref();
                let place = secret.map_or_else(String::new, |secret| format!(".{secret}"));
                refused.push(format!("credential.{name}{place}: {refusal}"));
                credential.acceptance().note_refusal();
            }
        }
        credential.keep_verification(verification);
    }
    refused.sort();
    unproved.sort();
    let mut report = report(live);
    report.faults.extend(refused);
    let all = live.credentials.len();
    let proof = match (unproved.len(), proved) {
        (0, 0) => NOTHING_TO_ASK.to_owned(),
        (0, _) if proved == all => {
            format!(
                "the provider accepts {}: good",
                counted(all as u64, "credential")
            )
        }
        (0, _) => format!(
            "the provider accepts {}; {} not asked about",
            counted(proved as u64, "credential"),
            counted((all - proved) as u64, "credential")
        ),
        (silent, _) => format!(
            "{} could not be proved",
            counted(silent as u64, "credential")
        ),
    };
    report.summary = format!("{}; {proof}", well_formed(live));
    if let Some((limits, _)) = live.config.limits.as_ref().zip(live.shared()) {
        report.summary += &format!("; limits are shared through {}", limits.redis);
    }
    report.unproved = unproved;
    report
}

/// Returns the findings in a load.
fn report(live: &Live) -> Report {
    let unread = live
        .credentials
        .values()
        .flat_map(|credential| live.unread_secrets(credential));
    let (stopping, kept): (Vec<_>, Vec<_>) = live
        .kept_inputs
        .iter()
        .partition(|kept| kept.stops_events() || kept.is_of_authorities());
    let mut warnings = live.warnings.clone();
    warnings.extend(kept.into_iter().map(KeptInput::line));
    warnings.extend(Descriptors::available().shortage(&live.config));
    let no_seal = seal_fault(live);
    if let Some(state) = &live.state {
        state.check();
        let problems = state.problems().into_iter();
        warnings.extend(problems.filter(|problem| no_seal.as_ref() != Some(problem)));
    }
    let mut notes = live.config.unbound_by_senders();
    notes.extend(live.config.numbers_beside_ids());
    notes.extend(way_out(live));
    notes.extend(forgotten_at_restart(live));
    let credentials = credential_status::credentials(live);
    let faults = unread.map(|fault| fault.to_string());
    Report {
        faults: faults
            .chain(audit_fault(live))
            .chain(spool_fault(live))
            .chain(no_seal)
            .chain(stopping.into_iter().map(KeptInput::line))
            .collect(),
        warnings,
        problems: of_checked(&credentials),
        notes,
        credentials,
        ..Report::default()
    }
}

/// Returns a line about the proxy, if there is one.
fn way_out(live: &Live) -> Option<String> {
    let except = match live.egress.bypass().len() {
        0 => String::new(),
        count => format!(", but for {} of no_proxy", counted_entries(count)),
    };
    live.egress.proxy().map(|proxy| {
        format!(
            "connections to providers leave through the proxy {proxy} ({}){except}",
            live.egress.source()
        )
    })
}

fn counted_entries(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}

/// Returns a line if a restart ends the overlap of replaced secrets.
fn forgotten_at_restart(live: &Live) -> Option<String> {
    let mut settings = live.config.credentials.values();
    let has_overlap = settings.any(|settings| !settings.overlap.is_zero());
    let is_kept = live.state.iter().any(|state| state.sealed().is_some());
    (has_overlap && !is_kept).then(|| {
        "a restart within `overlap` forgets the replaced secret, unless the configuration lists it second; [state] with a key keeps it"
            .to_owned()
    })
}

/// Returns a line for an audit file that cannot be written.
fn audit_fault(live: &Live) -> Option<String> {
    let path = live.config.audit.as_ref()?.file.clone();
    let problem = check_writable(&path).err()?.to_string();
    Some(LoadError::Audit { path, problem }.to_string())
}

/// Returns a line for a folder of events that cannot be used.
fn spool_fault(live: &Live) -> Option<String> {
    let error = check_usable(&live.config.spool.as_ref()?.dir).err()?;
    Some(LoadError::Spool(error).to_string())
}

/// Returns a line for a key that cannot be had and without which the spool accepts no event.
fn seal_fault(live: &Live) -> Option<String> {
    live.config.spool.as_ref()?;
    live.state.as_ref()?.key_problem()
}

fn print_json(report: &Report, args: &CheckArgs) {
    let json = json!({
        "faults": report.faults,
        "warnings": report.warnings,
        "problems": report.problems.iter().map(|problem| &problem.text).collect::<Vec<_>>(),
        "notes": report.notes,
        "unproved": report.unproved,
        "credentials": report.credentials,
        "secrets_read": !args.no_secrets,
        "providers_asked": args.online || !args.candidate.is_empty(),
    });
    say!("{json:#}");
}

fn print_text(path: &Path, report: &Report, args: &CheckArgs) {
    for warning in &report.warnings {
        complain!("warning: {warning}");
    }
    if !report.credentials.is_null() {
        credentials::print_tables(&report.credentials);
        // Without problems, the last line tells what that is worth.
        if !report.problems.is_empty() {
            problems::print(&report.problems);
        }
        say!();
    }
    for note in &report.notes {
        say!("note: {note}");
    }
    for unproved in &report.unproved {
        complain!("not proved: {unproved}");
    }
    if report.faults.is_empty() {
        say!("{}: {}", path.display(), report.summary);
        if args.strict && report.has_warnings() {
            let count = report.warnings.len() + report.problems.len();
            complain!(
                "{}, which --strict does not pass",
                counted(count as u64, "warning")
            );
        }
    } else {
        for fault in &report.faults {
            complain!("{fault}");
        }
        complain!("{}", counted(report.faults.len() as u64, "fault"));
    }
}

/// Returns the parts of a configuration and the number of its secrets, all of which were read.
fn well_formed(live: &Live) -> String {
    let secrets = live
        .credentials
        .values()
        .flat_map(|credential| credential.slots())
        .map(|(_, slot)| slot.versions().count())
        .sum::<usize>();
    format!(
        "{}: the configuration and {} are well formed",
        parts(&live.config),
        counted(secrets as u64, "secret")
    )
}

/// Returns the parts of a configuration, counted.
pub(super) fn parts(config: &Config) -> String {
    format!(
        "{}, {}, {}",
        counted(config.credentials.len() as u64, "credential"),
        counted(config.routes.len() as u64, "route"),
        counted(config.webhooks.len() as u64, "webhook")
    )
}

/// The proof of a configuration with `check = "off"` everywhere, or with providers that have no
/// harmless question.
const NOTHING_TO_ASK: &str = "there is nothing to ask a provider";
