//! The journal of a rotation: from before the exchange until the old secret is proved dead, the
//! secrets and the step under way are kept where a later process finds them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use sha2::{Digest, Sha256};

use super::journal_file::JournalFile;
use super::journal_sealed::{self, SealedJournal};
use super::orphans::{OrphanJournal, OrphanJournals, orphans_in};
use super::record::Record;
use super::target::RotationTarget;
use crate::config::Reference;
use crate::reload::Live;
use crate::secret::Secret;
use crate::state::{State, StateError};

/// The journal of one secret, open for work.
pub struct Journal {
    keeper: Keeper,
    record: Option<Record>,
}

/// The medium of a journal.
enum Keeper {
    File(JournalFile),
    Sealed(SealedJournal),
    /// Memory alone: the journal ends with the process.
    Memory,
}

/// The place of a journal.
#[derive(Clone, Debug)]
pub enum JournalPlace {
    /// A sealed entry of the state folder.
    Sealed {
        /// The state with the folder.
        state: Arc<State>,
        /// The name of the entry, without its kind.
        name: String,
    },
    /// A private file, and the secret beside it if the secret is a file of the same folder.
    File {
        /// The path of the journal.
        path: PathBuf,
        /// The secret beside it.
        beside: Option<PathBuf>,
    },
    /// The memory of the process, where no folder can be written.
    Memory,
}

/// The reason why a journal cannot be used.
#[derive(Debug)]
pub enum JournalError {
    /// The journal is locked: a second process works on a rotation of the secret.
    Busy,
    /// The state folder cannot be used.
    State(StateError),
    /// The key of the state folder cannot be used. Holds the problems.
    NoKey(Vec<String>),
    /// The file cannot be used.
    File {
        /// The path of the journal.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The journal was written to its end, and holds no record.
    NoRecord {
        /// The journal as messages name it.
        journal: String,
    },
}

impl JournalPlace {
    /// Returns the place for this process, by its environment: the place of a rotation that was cut
    /// off before the credential was renamed, if there is one and none of the new name. Waits for
    /// the disk.
    ///
    /// # Errors
    /// If the state folder is to have a key, and the key cannot be used: no secret goes into a file
    /// unsealed then.
    pub fn of(live: &Live, target: &RotationTarget) -> Result<Self, JournalError> {
        let own = Self::of_name(live, target)?;
        if !matches!(own.peek(), Ok(None)) {
            return Ok(own);
        }
        let earlier = own.of_earlier_names(live, target, &OrphanJournals::find(live));
        Ok(earlier.into_iter().next().unwrap_or(own))
    }

    /// Returns the places of rotations that were cut off before the credential was renamed. Waits
    /// for the disk.
    pub(super) fn of_earlier_names(
        &self,
        live: &Live,
        target: &RotationTarget,
        orphans: &OrphanJournals,
    ) -> Vec<Self> {
        match self {
            Self::Sealed { .. } => orphans.of(target).map(Self::from).collect(),
            Self::File { path, beside: None } => {
                let is_known = |name: &str| live.credentials.contains_key(name);
                let folder = path.parent().unwrap_or(path);
                let found = orphans_in(folder, &ending(target), is_known, target);
                let place = |path| Self::File { path, beside: None };
                found.into_iter().map(place).collect()
            }
            // The journal beside a secret has the name of the secret's file.
            Self::File { .. } | Self::Memory => Vec::new(),
        }
    }

    /// Returns the place for the credential by its name of now.
    pub(super) fn of_name(live: &Live, target: &RotationTarget) -> Result<Self, JournalError> {
        let variable = |name: &str| std::env::var_os(name).map(Into::into);
        Self::choose(live, target, variable)
    }

    /// Chooses the place: sealed in the state folder, where it has a key; else beside the secret's
    /// file, else in `$STATE_DIRECTORY` of systemd, else in the user's folder for state. `variable`
    /// reads the environment.
    fn choose(
        live: &Live,
        target: &RotationTarget,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, JournalError> {
        let has_key = live
            .config
            .state
            .as_ref()
            .is_some_and(|state| !state.key.is_empty());
        match &live.state {
            Some(state) if state.sealed().is_some() => Ok(Self::Sealed {
                state: Arc::clone(state),
                name: format!("{}.{}", target.credential, target.secret),
            }),
            state if has_key => Err(JournalError::NoKey(
                state.iter().flat_map(|state| state.problems()).collect(),
            )),
            _ => Ok(Self::unsealed(target, variable)),
        }
    }

    fn unsealed(target: &RotationTarget, variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let is_writable =
            |place: &Self| place.path().and_then(Path::parent).is_some_and(is_writable);
        if let Some(beside) = beside_file(&target.source).filter(is_writable) {
            return beside;
        }
        let home = || variable("HOME").map(|home| home.join(".local/state"));
        let user = || variable("XDG_STATE_HOME").or_else(home);
        let folders = [
            variable("STATE_DIRECTORY"),
            user().map(|folder| folder.join("keyside")),
        ];
        let is_usable = |folder: &PathBuf| folder.is_absolute() && can_hold_a_journal(folder);
        match folders.into_iter().flatten().find(is_usable) {
            Some(folder) => Self::File {
                path: folder.join(file_name(target)),
                beside: None,
            },
            None => Self::Memory,
        }
    }

    /// Returns the place beside the secret's file, if this process keeps its own journals
    /// elsewhere: a command of another user may have left a journal there.
    pub(super) fn of_other_users(&self, target: &RotationTarget) -> Option<Self> {
        beside_file(&target.source).filter(|beside| beside.path() != self.path())
    }

    /// Returns the time of the last record.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        let path = match self {
            Self::File { path, .. } => path.clone(),
            Self::Sealed { state, name } => SealedJournal::path(state, name),
            Self::Memory => return None,
        };
        std::fs::symlink_metadata(path).ok()?.modified().ok()
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Sealed { .. } | Self::Memory => None,
        }
    }

    /// Reads the journal without opening it for work; `None` if there is none.
    ///
    /// # Errors
    /// If a process works on the rotation now, or the journal cannot be read.
    pub fn peek(&self) -> Result<Option<Record>, JournalError> {
        match self {
            Self::File { path, .. } => JournalFile::peek(path).map_err(fault(path)),
            Self::Sealed { state, name } => SealedJournal::peek(state, name),
            Self::Memory => Ok(None),
        }
    }
}

impl From<&OrphanJournal> for JournalPlace {
    fn from(orphan: &OrphanJournal) -> Self {
        Self::Sealed {
            state: Arc::clone(&orphan.state),
            name: orphan.name.clone(),
        }
    }
}

impl Journal {
    /// Opens the journal for work.
    ///
    /// # Errors
    /// If another process works on the rotation, or the journal cannot be written.
    pub fn open(place: &JournalPlace) -> Result<Self, JournalError> {
        let (keeper, record) = match place {
            JournalPlace::File { path, beside } => {
                let file = JournalFile::open(path, beside.as_deref()).map_err(fault(path))?;
                let record = file.read().map_err(fault(path))?;
                (Keeper::File(file), record)
            }
            JournalPlace::Sealed { state, name } => {
                let sealed = SealedJournal::open(state, name)?;
                let record = SealedJournal::read(state, name)?;
                (Keeper::Sealed(sealed), record)
            }
            JournalPlace::Memory => (Keeper::Memory, None),
        };
        Ok(Self { keeper, record })
    }

    /// Returns the last record, if there is one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Returns the time of the last record, as far as the disk has it.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        let path = match &self.keeper {
            Keeper::File(file) => file.path().to_owned(),
            Keeper::Sealed(sealed) => sealed.own_path(),
            Keeper::Memory => return None,
        };
        std::fs::symlink_metadata(path).ok()?.modified().ok()
    }

    /// True if the journal outlives the process.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !matches!(self.keeper, Keeper::Memory)
    }

    /// Writes a record, and waits until the disk has it.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn write(&mut self, record: Record) -> Result<(), JournalError> {
        match &mut self.keeper {
            Keeper::File(file) => file.write(&record).map_err(fault(file.path()))?,
            Keeper::Sealed(sealed) => sealed.write(&record)?,
            Keeper::Memory => {}
        }
        self.record = Some(record);
        Ok(())
    }

    /// Notes a new secret that the file cannot take.
    pub(super) fn keep_in_memory(&mut self, new: Arc<Secret>) {
        if let Some(record) = &mut self.record {
            record.new = Some(new);
        }
    }

    /// Wipes and removes the journal: no secret in it is of use any more.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remove(&mut self) -> Result<(), JournalError> {
        match &mut self.keeper {
            Keeper::File(file) => file.remove().map_err(fault(file.path()))?,
            Keeper::Sealed(sealed) => sealed.remove()?,
            Keeper::Memory => {}
        }
        self.record = None;
        self.keeper = Keeper::Memory;
        Ok(())
    }
}

impl Drop for Journal {
    /// An empty journal is removed: nothing began.
    fn drop(&mut self) {
        if self.record.is_none()
            && let Keeper::File(file) = &mut self.keeper
        {
            file.remove().ok();
        }
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.keeper {
            Keeper::File(file) => write!(f, "{}", file.path().display()),
            Keeper::Sealed(sealed) => write!(f, "{sealed}"),
            Keeper::Memory => f.write_str("the memory of this process"),
        }
    }
}

impl fmt::Display for JournalPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Sealed { state, name } => f.write_str(&journal_sealed::shown(state, name)),
            Self::Memory => f.write_str("the memory of this process"),
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str(
                "another process is rotating this secret at this moment: wait until it has ended, and try again",
            ),
            Self::State(error) => fmt::Display::fmt(error, f),
            Self::NoKey(problems) => write!(
                f,
                "the journal cannot be sealed: {}",
                problems.join("; ")
            ),
            Self::File { path, error } => {
                write!(f, "the journal {} cannot be used: {error}", path.display())
            }
            Self::NoRecord { journal } => {
                write!(f, "the journal {journal} cannot be used: {NO_RECORD}, or move the journal away once the \
                     provider accepts no secret but the one in use")
            }
        }
    }
}

impl std::error::Error for JournalError {}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock => JournalError::Busy,
        io::ErrorKind::InvalidData => JournalError::NoRecord {
            journal: path.display().to_string(),
        },
        _ => JournalError::File { path, error },
    }
}

/// Returns the place beside a secret's file.
fn beside_file(source: &Reference) -> Option<JournalPlace> {
    let Reference::File(path) = source else {
        return None;
    };
    // The secret itself is written behind a symbolic link, so its journal stands there as well.
    let folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let secret = path.canonicalize().ok().or_else(folder)?;
    let name = secret.file_name()?.to_string_lossy().into_owned();
    Some(JournalPlace::File {
        path: secret.with_file_name(format!(".{name}.keyside-journal")),
        beside: Some(secret),
    })
}

/// Returns the name of a journal in a folder of many: two configurations may use one name for
/// different secrets.
fn file_name(target: &RotationTarget) -> String {
    format!("{}{}", target.credential, ending(target))
}

/// Returns the name of a journal without the credential.
fn ending(target: &RotationTarget) -> String {
    let digest = Sha256::digest(target.source.to_string());
    let distinction = HEXLOWER.encode(digest.first_chunk::<4>().map_or(&[][..], |bytes| bytes));
    format!(".{}.{distinction}.journal", target.secret)
}

/// The problem of a journal without a record. A record ends with a secret that may be alive, so the
/// journal stays.
pub(super) const NO_RECORD: &str =
    "its last record is none that this version of Keyside knows: take the version that wrote it";

fn is_writable(folder: &Path) -> bool {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, folder, access, AtFlags::EACCESS).is_ok()
}

/// True if the folder can be written, or made.
fn can_hold_a_journal(folder: &Path) -> bool {
    let nearest = folder.ancestors().find(|ancestor| ancestor.exists());
    nearest.is_some_and(|nearest| nearest.is_dir() && is_writable(nearest))
}
