//! A journal as a private file: each record is a line, and the last whole line counts. A line that
//! a crash has cut lacks its end.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::record::Record;

/// An open journal. The lock on the file lasts until the journal is dropped, so that one process at
/// a time works on a rotation.
pub(super) struct JournalFile {
    path: PathBuf,
    file: File,
}

impl JournalFile {
    /// Opens the journal at a path, or creates an empty one that belongs to the owner of the
    /// folder's secret.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process works on the rotation; else if the file
    /// cannot be written, or other users can.
    pub(super) fn open(path: &Path, beside: Option<&Path>) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(FOLDER_MODE)
                .create(folder)?;
        }
        for _ in 0..MAX_ATTEMPTS {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(FILE_MODE)
                .custom_flags(no_follow())
                .open(path)?;
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
            let metadata = file.metadata()?;
            // A peek holds the lock for a moment, and the process before may have just removed the
            // file.
            if locked == Err(Errno::WOULDBLOCK) || metadata.nlink() == 0 {
                std::thread::sleep(RETRY_INTERVAL);
                continue;
            }
            locked?;
            must_be_private(&metadata, path)?;
            if metadata.len() == 0 {
                give_to_owner(&file, &metadata, beside)?;
                sync_folder(path)?;
            }
            let path = path.to_owned();
            return Ok(Self { path, file });
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Returns the record of the last whole line, if there is one.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a line that is no record; else if the file cannot be
    /// read.
    pub(super) fn read(&self) -> io::Result<Option<Record>> {
        last_record(&self.file)
    }

    /// Reads a journal without opening it for work; `None` if there is none.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if a process works on the rotation now,
    /// [`io::ErrorKind::InvalidData`] for a last line that is no record; else if the file cannot be
    /// read.
    pub(super) fn peek(path: &Path) -> io::Result<Option<Record>> {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(no_follow())
            .open(path);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(file) => {
                flock(&file, FlockOperation::NonBlockingLockShared)?;
                last_record(&file)
            }
        }
    }

    /// Appends a record, and waits until the disk has it.
    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        // A line cut by a crash goes first: with an end, it would count.
        let whole = whole_lines(&read_all(&self.file)?).len();
        self.file
            .set_len(u64::try_from(whole).unwrap_or(u64::MAX))?;
        self.file.write_all(&record.to_line())?;
        self.file.sync_all()
    }

    /// Overwrites and removes the file.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        // The open file appends: overwriting takes a second handle.
        let mut whole = OpenOptions::new()
            .write(true)
            .custom_flags(no_follow())
            .open(&self.path)?;
        io::copy(&mut io::repeat(0).take(length), &mut whole)?;
        whole.sync_all()?;
        std::fs::remove_file(&self.path)?;
        sync_folder(&self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the record of the last whole line. Such a line was written to its end, so one that is no
/// record was written by another version or another hand, and a secret in it may be alive.
fn last_record(file: &File) -> io::Result<Option<Record>> {
    let bytes = read_all(file)?;
    let mut lines = whole_lines(&bytes).rsplit(|byte| *byte == b'\n');
    let Some(last) = lines.find(|line| !line.is_empty()) else {
        return Ok(None);
    };
    let record = Record::of_line(last);
    record
        .map(Some)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns the lines that have their end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|end| bytes.get(..=end)).unwrap_or_default()
}

fn read_all(mut file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    file.seek(SeekFrom::Start(0))?;
    let length = file.metadata()?.len().min(MAX_SIZE);
    // Sized once: a growing buffer would leave copies of secrets behind.
    let size = usize::try_from(length).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn must_be_private(metadata: &Metadata, path: &Path) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let folder = path
        .parent()
        .and_then(|folder| std::fs::metadata(folder).ok());
    let is_trusted = |uid: u32| uid == own || uid == 0 || folder.is_some_and(|f| f.uid() == uid);
    if metadata.is_file() && metadata.mode() & 0o077 == 0 && is_trusted(metadata.uid()) {
        return Ok(());
    }
    let text = "it is not a private file (mode 0600) of this user";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Gives a new journal to the owner of the secret: the command may run as root, and the sidecar
/// must read the journal.
fn give_to_owner(file: &File, metadata: &Metadata, beside: Option<&Path>) -> io::Result<()> {
    let Some(secret) = beside.and_then(|secret| std::fs::metadata(secret).ok()) else {
        return Ok(());
    };
    if rustix::process::geteuid().is_root() && secret.uid() != metadata.uid() {
        std::os::unix::fs::fchown(file, Some(secret.uid()), Some(secret.gid()))?;
    }
    Ok(())
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// A link in the place of the journal could lead the secrets elsewhere.
fn no_follow() -> i32 {
    i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default()
}

/// The mode of a journal: secrets are in it.
const FILE_MODE: u32 = 0o600;
/// The mode of a folder that is made for journals: the owner alone, because journals hold secrets.
const FOLDER_MODE: u32 = 0o700;
/// The bound on a journal. A rotation writes some ten records of at most a few KiB each.
const MAX_SIZE: u64 = 4 << 20;
/// The number of tries to open a journal that a different process reads or removes at the same
/// moment: such a process is done within milliseconds.
pub(super) const MAX_ATTEMPTS: usize = 5;
/// The time between two attempts: as long as a write with its sync.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::super::record::{Author, RotationOrigin, RotationStep};
    use super::*;
    use crate::secret::Secret;

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("keyside-journal-{}-{name}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        std::fs::create_dir(&path).unwrap();
        path
    }

    fn record(step: RotationStep) -> Record {
        let secret = |value: &str| {
            let bytes = Zeroizing::new(value.as_bytes().to_vec());
            Arc::new(Secret::parse(bytes).unwrap())
        };
        Record {
            author: Author::Command,
            origin: RotationOrigin::Exchanged,
            step,
            credential: "acme".to_owned(),
            secret: "token".to_owned(),
            place: "file:/token".to_owned(),
            began: SystemTime::UNIX_EPOCH,
            revoke_at: None,
            old: Some(secret("EAAOLD")),
            new: Some(secret("EAANEW")),
            program: None,
        }
    }

    #[test]
    fn the_last_whole_record_counts_and_the_file_is_private() {
        let folder = folder("whole");
        let path = folder.join(".token.journal");
        let mut journal = JournalFile::open(&path, None).unwrap();
        assert!(journal.read().unwrap().is_none());
        for step in [RotationStep::Exchanging, RotationStep::Placing] {
            journal.write(&record(step)).unwrap();
            assert_eq!(journal.read().unwrap().unwrap().step, step);
        }
        let whole = std::fs::read(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let cut = whole.len() - 20;
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(
            journal.read().unwrap().unwrap().step,
            RotationStep::Exchanging
        );
        journal.write(&record(RotationStep::Placed)).unwrap();
        let busy = JournalFile::peek(&path).err().unwrap();
        assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
        drop(journal);
        let peeked = JournalFile::peek(&path).unwrap().unwrap();
        assert_eq!(peeked.step, RotationStep::Placed);
        let mut journal = JournalFile::open(&path, None).unwrap();
        journal.remove().unwrap();
        assert!(JournalFile::peek(&path).unwrap().is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_whole_line_that_is_no_record_is_kept_and_told() {
        let folder = folder("other");
        let path = folder.join(".token.journal");
        let mut journal = JournalFile::open(&path, None).unwrap();
        journal.write(&record(RotationStep::Placing)).unwrap();
        drop(journal);
        let whole = std::fs::read_to_string(&path).unwrap();
        let newer = "{\"version\":2}\n";
        for (text, expected) in [
            (String::new(), Ok(None)),
            (whole.clone(), Ok(Some(RotationStep::Placing))),
            (format!("{whole}\n"), Ok(Some(RotationStep::Placing))),
            (format!("{whole}{{\"ver"), Ok(Some(RotationStep::Placing))),
            (format!("{newer}{whole}"), Ok(Some(RotationStep::Placing))),
            // The file of a journal that is being wiped.
            ("\0".repeat(40), Ok(None)),
            ("{\"ver".to_owned(), Ok(None)),
            (newer.to_owned(), Err(io::ErrorKind::InvalidData)),
            (format!("{whole}{newer}"), Err(io::ErrorKind::InvalidData)),
            (format!("{whole}{newer}\n"), Err(io::ErrorKind::InvalidData)),
        ] {
            std::fs::write(&path, &text).unwrap();
            let journal = JournalFile::open(&path, None).unwrap();
            let step = |read: io::Result<Option<Record>>| match read {
                Ok(record) => Ok(record.map(|record| record.step)),
                Err(error) => Err(error.kind()),
            };
            assert_eq!(step(journal.read()), expected, "{text:?}");
            drop(journal);
            assert_eq!(step(JournalFile::peek(&path)), expected, "{text:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_process_at_a_time_has_the_journal() {
        let folder = folder("lock");
        let path = folder.join(".token.journal");
        let mut journal = JournalFile::open(&path, None).unwrap();
        let second = JournalFile::open(&path, None).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        journal.remove().unwrap();
        drop(journal);
        assert!(JournalFile::open(&path, None).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_journal_that_others_can_read_or_that_is_a_link_is_refused() {
        let folder = folder("private");
        let path = folder.join(".token.journal");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(JournalFile::open(&path, None).is_err());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.join("elsewhere"), &path).unwrap();
        assert!(JournalFile::open(&path, None).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
