//! `keyside scan`: credentials where none belong.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::own_secrets::{OwnSecretFault, own_references, own_secrets};
use super::progress::ReadingProgress;
use crate::config::ConfigFile;
use crate::credential::CredentialFault;
use crate::credential::source::path_of;
use crate::json::words::counted;
use crate::provider::Provider;
use crate::reload::{Live, LoadError, load};
use crate::scan::{Accepted, ConfiguredSecret, Find, Ignored, ScanResult, Scanner, Tree, sarif};

/// The options of `keyside scan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file .keysideignore leaves out what its lines name, as .gitignore does, and
a line
  fingerprint:0123456789ab
accepts one credential wherever it stands. Folders named .git are left out:
  git log -p --all | keyside scan -
looks at the history.
Exit status: 0 nothing found, 1 a find or an unreadable file, 2 wrong usage,
78 bad configuration.")]
pub(super) struct ScanArgs {
    /// Files and folders, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also look for the secrets of this configuration, in any spelling and in base64
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of the output
    #[arg(long, default_value = "text")]
    format: Format,
    /// Also scan the files that a .gitignore names
    #[arg(long)]
    no_ignore: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines `FILE:LINE: kind fingerprint`.
    Text,
    /// A JSON object.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

/// Scans, and prints what was found. A file that could not be read fails the command as a find
/// does: nobody can say that there is nothing.
pub(super) async fn run(args: ScanArgs) -> ExitCode {
    super::harden();
    let (input, paths): (Vec<_>, Vec<_>) = args
        .paths
        .iter()
        .cloned()
        .partition(|path| path == Path::new("-"));
    if let Some(number) = first_missing(&args.paths) {
        // The argument may be a secret, pasted at the wrong place: the message does not repeat it.
        complain!("keyside: argument {number} of `scan` is not a file or a folder");
        return ExitCode::from(2);
    }
    let configured = match &args.config {
        None => Configured::default(),
        Some(path) => match Configured::load(path).await {
            Ok(configured) => configured,
            Err(error) => {
                complain!("{error}");
                return ExitCode::from(super::BAD_CONFIGURATION);
            }
        },
    };
    for short in &configured.too_short {
        complain!("keyside: warning: {short} is too short to be looked for");
    }
    let scanner = match Scanner::new(configured.secrets, &configured.providers) {
        Ok(scanner) => scanner,
        Err(error) => {
            complain!("keyside: the search cannot be prepared: {error}");
            return ExitCode::FAILURE;
        }
    };
    let here = (!input.is_empty()).then_some(Path::new("."));
    let accepted = Accepted::for_paths(paths.iter().map(PathBuf::as_path).chain(here));
    for fault in &accepted.faults {
        complain!("keyside: warning: {fault}");
    }
    let tree = Tree {
        paths,
        ignored: if args.no_ignore {
            Ignored::Scanned
        } else {
            Ignored::Skipped
        },
        sources: configured.sources,
    };
    let progress = ReadingProgress::start(scanner.bytes_read());
    let mut outcome = tree.scan(&scanner, &accepted);
    if !input.is_empty() {
        scan_input(&scanner, &accepted, &mut outcome);
    }
    drop(progress);
    print(&outcome, args.format);
    if outcome.finds.is_empty() && outcome.unread.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the number of the first argument that names nothing, from 1.
fn first_missing(paths: &[PathBuf]) -> Option<usize> {
    let missing = |path: &PathBuf| path != Path::new("-") && !path.exists();
    paths.iter().position(missing).map(|index| index + 1)
}

fn scan_input(scanner: &Scanner, accepted: &Accepted, outcome: &mut ScanResult) {
    outcome.files += 1;
    match scanner.scan("-", &mut std::io::stdin().lock()) {
        Ok(finds) => outcome.add(finds, accepted),
        Err(error) => outcome.unread.push(format!("standard input: {error}")),
    }
}

/// The secrets of a configuration, and the forms that its providers describe.
#[derive(Default)]
struct Configured {
    secrets: Vec<ConfiguredSecret>,
    /// The secrets that are too short to be looked for.
    too_short: Vec<String>,
    /// The files in which the secrets belong.
    sources: Vec<PathBuf>,
    /// The providers of the credentials, which may describe forms of their own.
    providers: Vec<Arc<Provider>>,
}

impl Configured {
    /// Reads a configuration and all its secrets.
    ///
    /// # Errors
    /// Every fault: a secret that cannot be read cannot be looked for.
    async fn load(path: &Path) -> Result<Self, NotConfigured> {
        let file = ConfigFile::Named(path.to_owned());
        let live = load(&file, &super::unread_metrics())
            .await
            .map_err(NotConfigured::Load)?;
        let unread: Vec<_> = live
            .credentials
            .values()
            .flat_map(|credential| live.unread_secrets(credential))
            .collect();
        if !unread.is_empty() {
            return Err(NotConfigured::Credentials(unread));
        }
        let own = own_secrets(&live).await.map_err(NotConfigured::Own)?;
        let (secrets, short): (Vec<_>, Vec<_>) = secrets_of(&live)
            .into_iter()
            .chain(own)
            .partition(ConfiguredSecret::is_long);
        Ok(Self {
            secrets,
            too_short: short.into_iter().map(|secret| secret.kind).collect(),
            sources: sources_of(&live),
            providers: providers_of(&live),
        })
    }
}

/// The faults of a configuration whose secrets cannot be looked for.
#[derive(Debug)]
enum NotConfigured {
    /// The configuration itself.
    Load(LoadError),
    /// Secrets of credentials that cannot be read.
    Credentials(Vec<CredentialFault>),
    /// Secrets outside of credentials that cannot be read.
    Own(Vec<OwnSecretFault>),
}

/// Shows each fault as a line of its own.
impl fmt::Display for NotConfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = match self {
            Self::Load(error) => error.reasons(),
            Self::Credentials(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Own(faults) => faults.iter().map(ToString::to_string).collect(),
        };
        f.write_str(&lines.join("\n"))
    }
}

fn secrets_of(live: &Live) -> Vec<ConfiguredSecret> {
    let mut secrets = Vec::new();
    for credential in live.credentials.values() {
        for (name, slot) in credential.slots() {
            secrets.extend(slot.versions().map(|version| ConfiguredSecret {
                kind: format!("credential.{}.{name}", credential.name),
                fingerprint: version.fingerprint(),
                secret: version.shared(),
            }));
        }
    }
    secrets
}

fn providers_of(live: &Live) -> Vec<Arc<Provider>> {
    let credentials = live.credentials.values();
    credentials
        .map(|credential| Arc::clone(&credential.provider))
        .collect()
}

/// Returns the files in which the secrets of the configuration live, as canonical paths.
fn sources_of(live: &Live) -> Vec<PathBuf> {
    let references = live
        .config
        .credentials
        .values()
        .flat_map(|credential| credential.secrets.values().flatten());
    let own = own_references(&live.config);
    let files: BTreeSet<PathBuf> = references
        .chain(own.iter().map(|own| own.reference))
        .filter_map(path_of)
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    files.into_iter().collect()
}

fn print(outcome: &ScanResult, format: Format) {
    match format {
        Format::Text => {
            for find in &outcome.finds {
                say!("{find}");
            }
        }
        Format::Json => say!("{:#}", as_json(outcome)),
        Format::Sarif => say!("{:#}", sarif(&outcome.finds, env!("CARGO_PKG_VERSION"))),
    }
    for unread in &outcome.unread {
        complain!("not scanned: {unread}");
    }
    complain!("{}", summary(outcome));
}

fn as_json(outcome: &ScanResult) -> Value {
    let finds: Vec<Value> = outcome.finds.iter().map(find_as_json).collect();
    json!({
        "finds": finds,
        "accepted": outcome.accepted,
        "unread": outcome.unread,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "archives": outcome.archives,
        "sources": outcome.sources,
    })
}

fn find_as_json(find: &Find) -> Value {
    json!({
        "file": find.file,
        "member": find.member,
        "line": find.line,
        "kind": find.kind,
        "fingerprint": find.fingerprint.map(|fingerprint| fingerprint.to_string()),
    })
}

/// Returns what was looked at, and what was not.
fn summary(outcome: &ScanResult) -> String {
    let count = |count: usize, noun| counted(count as u64, noun);
    let mut parts = vec![format!(
        "{} in {}",
        count(outcome.finds.len(), "find"),
        counted(outcome.files, "file")
    )];
    if outcome.accepted > 0 {
        parts.push(format!("{} accepted by fingerprint", outcome.accepted));
    }
    if outcome.archives > 0 {
        let archives = counted(outcome.archives, "archive");
        parts.push(format!("of {archives} only the names of the members"));
    }
    if outcome.sources > 0 {
        let sources = counted(outcome.sources, "file");
        parts.push(format!(
            "{sources} left out, where the configuration has its secrets"
        ));
    }
    if !outcome.unread.is_empty() {
        parts.push(format!("{} not scanned", outcome.unread.len()));
    }
    parts.join("; ")
}
