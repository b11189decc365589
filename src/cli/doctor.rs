//! `keyside doctor`: the whole way, outside in, and for each step what to mend.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::check::parts;
use super::config::ConfigArgs;
use super::output::{TextStyle, styled};
use crate::admin::credential_problems::of_credentials;
use crate::admin::problems::{Gravity, ProblemLine, of_routes, of_sidecar};
use crate::config::ListenAddress;
use crate::doctor::{
    DoctorSection, DoctorStep, MAX_EXAMINATION, MAX_LOAD, SectionKind, StatusError, StepOutcome,
    StepReporter, ask_status, examine,
};
use crate::document::shown_place;
use crate::json::words::{counted, duration, list};
use crate::provider::SecretOrigin;
use crate::reload::{Live, load};

/// The options of `keyside doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The number of steps of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StepTally {
    ok: u64,
    skipped: u64,
    warn: u64,
    fail: u64,
}

impl StepTally {
    fn count(&mut self, outcome: StepOutcome) {
        let count = match outcome {
            StepOutcome::Ok => &mut self.ok,
            StepOutcome::Skipped => &mut self.skipped,
            StepOutcome::Warn => &mut self.warn,
            StepOutcome::Fail => &mut self.fail,
        };
        *count += 1;
    }
}

/// Examines the configuration, and prints each step as it comes. Exits with 78 for a bad
/// configuration or a secret without a value, and with 1 if a step is wrong.
pub(super) async fn run(args: DoctorArgs) -> ExitCode {
    super::harden();
    let deadline = Instant::now() + MAX_EXAMINATION;
    let file = args.config.file();
    let path = file.path().to_owned();
    let mut report = Report::new(if args.json {
        ReportForm::Json
    } else {
        ReportForm::Lines
    });
    let metrics = super::unread_metrics();
    let live = match timeout(MAX_LOAD, load(&file, &metrics)).await {
        Ok(Ok(live)) => Arc::new(live),
        Ok(Err(error)) => {
            let faults = error.reasons().into_iter().map(|reason| fault(&reason));
            report.whole_section(&path, faults);
            report.finish();
            return ExitCode::from(super::BAD_CONFIGURATION);
        }
        Err(_) => {
            report.whole_section(&path, [late()]);
            report.finish();
            return ExitCode::FAILURE;
        }
    };
    let mut credentials = live.credentials.values();
    let is_unread = credentials.any(|credential| !live.unread_secrets(credential).is_empty());
    let summary = DoctorStep::ok(
        "configuration",
        format!("{}: well formed", parts(&live.config)),
    );
    let mut sections = examine(&live, &path, summary, deadline);
    sections.extend(sidecars(&live, deadline));
    for section in sections {
        report.section(section).await;
    }
    let tally = report.finish();
    match (is_unread, tally.fail) {
        (true, _) => ExitCode::from(super::BAD_CONFIGURATION),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    }
}

/// Returns a fault of a configuration, whose text says what is expected.
fn fault(reason: &str) -> DoctorStep {
    DoctorStep {
        name: "configuration".to_owned(),
        outcome: StepOutcome::Fail,
        found: reason.to_owned(),
        mend: None,
    }
}

fn late() -> DoctorStep {
    DoctorStep::fail(
        "secrets",
        "the sources of the secrets do not answer",
        "look at the secret manager and at the programs of `exec:` references; `keyside check` waits for them",
    )
}

/// Begins a section for each admin listener of the configuration.
fn sidecars(live: &Arc<Live>, deadline: Instant) -> Vec<DoctorSection> {
    let begin = |address: &ListenAddress| {
        let live = Arc::clone(live);
        let address = address.clone();
        let name = address.to_string();
        let ask = move |reporter: StepReporter| async move {
            let status = ask_status(&address).await;
            reporter.report_all(sidecar_steps(status, &live));
        };
        DoctorSection::begin(SectionKind::Sidecar, name, deadline, ask)
    };
    live.config.admin.listen.iter().map(begin).collect()
}

/// Decides about a running sidecar.
fn sidecar_steps(status: Result<Value, StatusError>, live: &Live) -> Vec<DoctorStep> {
    let status = match status {
        Ok(status) => status,
        Err(reason) => {
            let why = format!("no sidecar answers, so none is asked: {reason}");
            return vec![DoctorStep::skipped("running", why)];
        }
    };
    let mut steps = vec![running(&status)];
    steps.extend(secrets_apart(&status, &|credential, secret| {
        let credential = live.credentials.get(credential)?;
        let kind = credential.provider.secret(secret)?;
        // The fingerprint of a value that a person chose is made with a key of each process.
        let is_comparable = kind.origin == SecretOrigin::Random;
        let fingerprint = credential.fingerprint_of(secret)?;
        is_comparable.then(|| fingerprint.to_string())
    }));
    let part = |key: &str| status.get(key).unwrap_or(&Value::Null);
    let problems = of_sidecar(&status)
        .into_iter()
        .chain(of_credentials(part("credentials")))
        .chain(of_routes(part("routes")));
    steps.extend(problems.map(problem_step));
    steps
}

fn running(status: &Value) -> DoctorStep {
    let version = status["version"].as_str().unwrap_or("unknown");
    let uptime = status["uptime_seconds"].as_u64().unwrap_or_default();
    let found = format!(
        "version {version}, generation {}, for {}",
        status["generation"],
        duration(uptime)
    );
    if status["draining"] == true {
        return DoctorStep::warn(
            "running",
            format!("{found}: it drains"),
            "wait for the new one",
        );
    }
    if version == env!("CARGO_PKG_VERSION") {
        DoctorStep::ok("running", found)
    } else {
        DoctorStep::warn(
            "running",
            format!(
                "{found}, and this program is version {}",
                env!("CARGO_PKG_VERSION")
            ),
            "restart the sidecar with this version, or examine with the other",
        )
    }
}

/// Returns a step for each secret that the sidecar has in another version than its source. `read`
/// gives the fingerprint of the version that the source holds now.
fn secrets_apart(status: &Value, read: &dyn Fn(&str, &str) -> Option<String>) -> Vec<DoctorStep> {
    let of_credential = |credential: &Value| {
        let name = credential["name"].as_str().unwrap_or_default().to_owned();
        let secrets: Vec<_> = list(&credential["secrets"]).cloned().collect();
        let apart = secrets.into_iter().filter_map(move |secret| {
            let field = |key: &str| secret.get(key)?.as_str();
            let secret_name = field("name")?;
            let source = read(&name, secret_name)?;
            let sent = field("fingerprint").unwrap_or("none");
            (sent != source).then(|| {
                DoctorStep::warn(
                    "secrets",
                    format!(
                        "{name}.{secret_name}: the sidecar has {sent}, and the source holds {source}"
                    ),
                    "`keyside reload`, and see what it says",
                )
            })
        });
        apart.collect::<Vec<_>>()
    };
    list(&status["credentials"])
        .flat_map(of_credential)
        .collect()
}

/// Returns a problem, whose text has its remedy.
fn problem_step(problem: ProblemLine) -> DoctorStep {
    DoctorStep {
        name: "problem".to_owned(),
        outcome: match problem.gravity {
            Gravity::Wrong => StepOutcome::Fail,
            Gravity::Notice => StepOutcome::Warn,
        },
        found: problem.text,
        mend: None,
    }
}

/// The form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportForm {
    /// Lines as they come.
    Lines,
    /// A JSON object at the end.
    Json,
}

/// The report of an examination.
struct Report {
    form: ReportForm,
    sections: Vec<Value>,
    tally: StepTally,
}

impl Report {
    fn new(form: ReportForm) -> Self {
        Self {
            form,
            sections: Vec::new(),
            tally: StepTally::default(),
        }
    }

    /// Reports the only section of an examination that ends early.
    fn whole_section(&mut self, path: &Path, steps: impl IntoIterator<Item = DoctorStep>) {
        // The argument may be a secret, pasted in the place of the path.
        let path = path.display().to_string();
        let name = shown_place(&path);
        self.begin(SectionKind::Configuration, name);
        let steps: Vec<_> = steps.into_iter().map(|step| self.step(&step)).collect();
        self.end(SectionKind::Configuration, name, &steps);
    }

    async fn section(&mut self, mut section: DoctorSection) {
        self.begin(section.kind, &section.name);
        let mut steps = Vec::new();
        while let Some(step) = section.next().await {
            steps.push(self.step(&step));
        }
        self.end(section.kind, &section.name, &steps);
    }

    fn begin(&self, kind: SectionKind, name: &str) {
        if self.form == ReportForm::Lines {
            say!("{}", styled(&format!("{kind} {name}"), TextStyle::Bold));
        }
    }

    fn step(&mut self, step: &DoctorStep) -> Value {
        self.tally.count(step.outcome);
        if self.form == ReportForm::Lines {
            print_step(step);
        }
        step.to_json()
    }

    fn end(&mut self, kind: SectionKind, name: &str, steps: &[Value]) {
        if self.form == ReportForm::Lines {
            say!();
            return;
        }
        let section = json!({ "kind": kind.as_str(), "name": name, "steps": steps });
        self.sections.push(section);
    }

    fn finish(self) -> StepTally {
        let StepTally {
            ok,
            skipped,
            warn,
            fail,
        } = self.tally;
        if self.form == ReportForm::Json {
            let json = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "well": fail == 0,
                "counts": { "ok": ok, "skipped": skipped, "warn": warn, "fail": fail },
                "sections": self.sections,
            });
            say!("{json:#}");
        } else {
            let (words, style) = match (fail, warn) {
                (0, 0) => ("nothing is wrong".to_owned(), TextStyle::Green),
                (0, _) => (
                    format!("nothing is wrong, {} to look at", counted(warn, "step")),
                    TextStyle::Yellow,
                ),
                _ => (
                    format!(
                        "{} wrong, {warn} to look at: mend from the top, one often causes the next",
                        counted(fail, "step")
                    ),
                    TextStyle::Red,
                ),
            };
            say!("{}; {ok} ok, {skipped} skipped", styled(&words, style));
        }
        self.tally
    }
}

fn print_step(step: &DoctorStep) {
    let style = match step.outcome {
        StepOutcome::Ok => TextStyle::Green,
        StepOutcome::Skipped => TextStyle::Grey,
        StepOutcome::Warn => TextStyle::Yellow,
        StepOutcome::Fail => TextStyle::Red,
    };
    let word = format!("{:7}", step.outcome.as_str());
    say!("  {} {}: {}", styled(&word, style), step.name, step.found);
    if let Some(mend) = &step.mend {
        say!("          -> {mend}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_with_another_secret_than_its_source_is_told() {
        let status = json!({"credentials": [{"name": "acme", "secrets": [
            {"name": "token", "fingerprint": "aaaaaaaaaaaa"},
            {"name": "app_secret", "fingerprint": "bbbbbbbbbbbb"},
        ]}]});
        let read = |credential: &str, secret: &str| match (credential, secret) {
            ("acme", "token") => Some("cccccccccccc".to_owned()),
            ("acme", "app_secret") => Some("bbbbbbbbbbbb".to_owned()),
            _ => None,
        };
        let steps = secrets_apart(&status, &read);
        assert_eq!(steps.len(), 1, "{steps:?}");
        assert!(steps[0].found.contains("acme.token"), "{steps:?}");
    }

    #[test]
    fn a_running_sidecar_of_another_version_or_on_its_way_out_is_told() {
        for (version, draining, outcome) in [
            (env!("CARGO_PKG_VERSION"), false, StepOutcome::Ok),
            ("0.0.1", false, StepOutcome::Warn),
            (env!("CARGO_PKG_VERSION"), true, StepOutcome::Warn),
        ] {
            let status = json!({"version": version, "draining": draining, "generation": 3,
                "uptime_seconds": 90});
            let step = running(&status);
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains("generation 3, for 1m"), "{step:?}");
        }
    }
}
