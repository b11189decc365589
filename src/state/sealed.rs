//! Named entries that hold secrets, each a sealed file.

use zeroize::Zeroizing;

use super::entry::EntryName;
use super::error::StateError;
use super::folder::StateFolder;
use super::key::{StateKey, StateKeys, WeakKey};
use crate::secret::Secret;

/// The entries that hold secrets. The store exists only with a key: no secret can be written
/// without a key.
///
/// Several processes may use the store at a time. Each change is one step, and the later change
/// counts.
pub struct SealedStore {
    folder: StateFolder,
    keys: StateKeys,
}

impl SealedStore {
    pub(super) fn new(folder: StateFolder, keys: StateKeys) -> Self {
        Self { folder, keys }
    }

    /// Derives the keys from secrets, the current one first; `None` if there is no secret.
    pub(super) fn keys<'s>(
        secrets: impl IntoIterator<Item = &'s Secret>,
    ) -> Result<Option<StateKeys>, WeakKey> {
        let mut keys = secrets.into_iter().map(StateKey::derive);
        let Some(current) = keys.next().transpose()? else {
            return Ok(None);
        };
        let older = keys.collect::<Result<_, _>>()?;
        Ok(Some(StateKeys { current, older }))
    }

    /// Seals bytes under a name. After a crash the entry is as before, or as it should be.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn put(&self, name: &EntryName, bytes: &[u8]) -> Result<(), StateError> {
        let sealed = self.keys.current.seal(name, bytes)?;
        let locked = self.folder.lock()?;
        // An entry that no key opens is not overwritten: its key may come back.
        let before = self.folder.read(&name.file())?;
        if before.is_some_and(|before| self.keys.open(name, before).is_err()) {
            locked.set_aside(&name.file())?;
        }
        locked.write(&name.file(), &sealed)
    }

    /// Returns the bytes under a name; `None` if there is no entry.
    ///
    /// # Errors
    /// If the entry cannot be read, is damaged, or is sealed with a key that is not configured.
    pub fn get(&self, name: &EntryName) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let Some(entry) = self.folder.read(&name.file())? else {
            return Ok(None);
        };
        Ok(Some(self.keys.open(name, entry)?.text))
    }

    /// Removes the entry under a name, if there is one.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn remove(&self, name: &EntryName) -> Result<(), StateError> {
        self.folder.lock()?.remove(&name.file())
    }

    /// Seals the entry under a name anew, if an older key has sealed it. The older key can then be
    /// taken out of the configuration.
    ///
    /// # Errors
    /// If the entry cannot be opened or written.
    pub fn reseal(&self, name: &EntryName) -> Result<(), StateError> {
        let locked = self.folder.lock()?;
        let Some(entry) = self.folder.read(&name.file())? else {
            return Ok(());
        };
        let opened = self.keys.open(name, entry)?;
        if opened.is_of_older_key {
            let sealed = self.keys.current.seal(name, &opened.text)?;
            locked.write(&name.file(), &sealed)?;
        }
        Ok(())
    }

    /// Returns the keys from which the spool derives the keys of records, the current key first.
    pub(super) fn spool_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.keys.all().map(StateKey::spool_key)
    }

    /// Returns the names of all entries of a kind.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn names(&self, kind: &str) -> Result<Vec<EntryName>, StateError> {
        let mut names = self.all_names()?;
        names.retain(|name| name.is_of(kind));
        Ok(names)
    }

    /// Returns the names of all entries.
    pub(super) fn all_names(&self) -> Result<Vec<EntryName>, StateError> {
        let files = self.folder.files(SEALED)?;
        Ok(files
            .iter()
            .filter_map(|file| EntryName::of_file(file))
            .collect())
    }
}

impl std::fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedStore")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// The end of the file of each sealed entry.
const SEALED: &str = ".sealed";
