//! The files to scan: folders with all they hold, in several threads.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder, WalkState};
use parking_lot::Mutex;

use super::accepted::{Accepted, IGNORE_FILE};
use super::archive::Archive;
use super::find::Find;
use super::scanner::{Buffer, Scanner};

/// The files to scan.
#[derive(Debug)]
pub struct Tree {
    /// The files and folders.
    pub paths: Vec<PathBuf>,
    /// The treatment of files that a `.gitignore` names.
    pub ignored: Ignored,
    /// The files in which credentials belong: the sources of the configuration, as canonical paths.
    pub sources: Vec<PathBuf>,
}

/// The treatment of the files that a `.gitignore` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Left out: git does not commit them.
    Skipped,
    /// Scanned like all others.
    Scanned,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct ScanResult {
    /// The finds, in order of file and line.
    pub finds: Vec<Find>,
    /// The number of finds whose fingerprint is accepted.
    pub accepted: usize,
    /// The number of files.
    pub files: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// The number of archives, of which only the names of members were looked at.
    pub archives: u64,
    /// The number of files left out as sources of the configuration.
    pub sources: u64,
    /// The files and folders that could not be read, each with the reason, fit to be shown.
    pub unread: Vec<String>,
}

impl ScanResult {
    /// Adds finds but for the accepted ones.
    pub fn add(&mut self, finds: Vec<Find>, accepted: &Accepted) {
        for find in finds {
            if accepted.has(&find) {
                self.accepted += 1;
            } else {
                self.finds.push(find);
            }
        }
    }
}

impl Tree {
    /// Scans all files. Symbolic links inside of folders are not followed, and folders named `.git`
    /// are left out.
    #[must_use]
    pub fn scan(&self, scanner: &Scanner, accepted: &Accepted) -> ScanResult {
        let sum = Mutex::new(ScanResult::default());
        if let Some(walk) = self.walk() {
            walk.build_parallel().run(|| {
                let mut buffer = Buffer::new();
                let sum = &sum;
                Box::new(move |entry| {
                    let one = match entry {
                        Ok(entry) => self.scan_entry(&entry, scanner, &mut buffer),
                        Err(error) => ScanResult {
                            unread: vec![scanner.shown(&error.to_string())],
                            ..ScanResult::default()
                        },
                    };
                    let mut all = sum.lock();
                    all.files += one.files;
                    all.bytes += one.bytes;
                    all.archives += one.archives;
                    all.sources += one.sources;
                    all.unread.extend(one.unread);
                    all.add(one.finds, accepted);
                    WalkState::Continue
                })
            });
        }
        let mut outcome = sum.into_inner();
        let place = |find: &Find| (find.file.clone(), find.member.clone(), find.line);
        outcome.finds.sort_by_cached_key(place);
        outcome.unread.sort();
        outcome
    }

    fn walk(&self) -> Option<WalkBuilder> {
        let named = Named::of(&self.paths);
        let (first, others) = named.paths.split_first()?;
        let mut walk = WalkBuilder::new(first);
        for path in others {
            walk.add(path);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        // Files with a dot before their names are the point: `.env`. What a user has set up for
        // other tools, or for git on this machine alone, must not decide what is found.
        walk.hidden(false)
            .ignore(false)
            .git_global(false)
            .git_exclude(false)
            .git_ignore(self.ignored == Ignored::Skipped)
            .add_custom_ignore_filename(IGNORE_FILE)
            .filter_entry(move |entry| entry.file_name() != ".git" && !named.has_within(entry))
            .threads(threads);
        Some(walk)
    }

    fn scan_entry(&self, entry: &DirEntry, scanner: &Scanner, buffer: &mut Buffer) -> ScanResult {
        let mut outcome = ScanResult::default();
        let path = entry.path();
        let content = match entry.file_type() {
            // A path of the command line may be a link, or a pipe: the user has named the path.
            _ if entry.depth() == 0 => PathContent::of_named(path),
            Some(kind) if kind.is_file() => Some(PathContent::File),
            _ => None,
        };
        let Some(content) = content else {
            return outcome;
        };
        if self.is_source(path) {
            outcome.sources = 1;
            return outcome;
        }
        outcome.files = 1;
        let name = path.as_os_str().as_bytes();
        let scanned = match content {
            PathContent::File => scan_file(path, name, scanner, buffer, &mut outcome),
            PathContent::Stream => File::open(path)
                .and_then(|mut text| scan_text(&mut text, name, scanner, buffer, &mut outcome)),
        };
        if let Err(error) = scanned {
            let name = scanner.shown(&path.display().to_string());
            outcome.unread.push(format!("{name}: {error}"));
        }
        outcome
    }

    fn is_source(&self, path: &Path) -> bool {
        !self.sources.is_empty()
            && path
                .canonicalize()
                .is_ok_and(|path| self.sources.contains(&path))
    }
}

/// The paths that a user has named, each once.
struct Named {
    paths: Vec<PathBuf>,
    /// The canonical paths; none for a single path, within which no other can be.
    canonical: HashSet<PathBuf>,
    /// The last names of the canonical paths: most entries have none of them, and need no look at
    /// the disk.
    names: HashSet<OsString>,
}

impl Named {
    fn of(all: &[PathBuf]) -> Self {
        let mut canonical = HashSet::new();
        // A pipe has no canonical path, and is read as often as it is named.
        let mut is_new =
            |path: &&PathBuf| path.canonicalize().map_or(true, |of| canonical.insert(of));
        let paths: Vec<_> = all.iter().filter(|path| is_new(path)).cloned().collect();
        if paths.len() < 2 {
            canonical.clear();
        }
        let names = canonical.iter().filter_map(|path| path.file_name());
        Self {
            paths,
            names: names.map(ToOwned::to_owned).collect(),
            canonical,
        }
    }

    /// True for an entry of a folder that is named by itself as well: it is scanned under that
    /// name.
    fn has_within(&self, entry: &DirEntry) -> bool {
        entry.depth() > 0
            && self.names.contains(entry.file_name())
            && entry
                .path()
                .canonicalize()
                .is_ok_and(|path| self.canonical.contains(&path))
    }
}

/// The content behind a path.
enum PathContent {
    /// A regular file.
    File,
    /// A pipe or a device, read from begin to end.
    Stream,
}

impl PathContent {
    /// Returns the content of a path of the command line; `None` for a folder.
    fn of_named(path: &Path) -> Option<Self> {
        if path.is_file() {
            Some(Self::File)
        } else if path.is_dir() {
            None
        } else {
            Some(Self::Stream)
        }
    }
}

fn scan_file(
    path: &Path,
    name: &[u8],
    scanner: &Scanner,
    buffer: &mut Buffer,
    outcome: &mut ScanResult,
) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer_of_begin = [0; 512];
    let length = read_beginning(&mut file, &mut buffer_of_begin)?;
    let beginning = buffer_of_begin.get(..length).unwrap_or_default();
    if let Some(archive) = Archive::of(beginning) {
        outcome.archives = 1;
        for member in archive.member_names(&mut file)? {
            outcome.finds.extend(scanner.member_finds(name, &member));
        }
        return Ok(());
    }
    let mut text = Cursor::new(beginning).chain(file);
    scan_text(&mut text, name, scanner, buffer, outcome)
}

fn scan_text(
    text: &mut dyn Read,
    name: &[u8],
    scanner: &Scanner,
    buffer: &mut Buffer,
    outcome: &mut ScanResult,
) -> std::io::Result<()> {
    let scanned = scanner.scan_text(text, buffer)?;
    outcome.bytes = scanned.length;
    outcome.finds = scanner.finds(name, scanned.hits);
    Ok(())
}

fn read_beginning(file: &mut File, beginning: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(free) = beginning.get_mut(length..).filter(|free| !free.is_empty()) {
        match file.read(free) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
