//! The files of a configuration: the named file, or every `*.toml` of the named folder, and the
//! included files.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{Faults, unreadable, whole_fault};
use crate::config::{ConfigFile, DEFAULT_PATH, PATH_HERE};
use crate::document::{
    Document, Fault, FaultReport, JoinedKeys, Malformed, Position, Reader, shown_place,
};

/// The text of a configuration, as one document.
pub(super) struct Files {
    /// The document; `None` if the report has a fault.
    pub(super) document: Option<Document>,
    /// The files with their texts, in the order of reading.
    pub(super) texts: Vec<(PathBuf, String)>,
    /// The folders in which further files would count.
    pub(super) folders: Vec<PathBuf>,
    known: HashSet<PathBuf>,
    joined: JoinedKeys,
}

impl ConfigFile {
    /// Returns the named file, or the files of the named folder in the order of names.
    fn named_files(&self) -> io::Result<Vec<PathBuf>> {
        if self.path().is_dir() {
            Pattern::of_folder(self.path()).files()
        } else {
            Ok(vec![self.path().to_owned()])
        }
    }

    /// Reads every file of the configuration and forgets the texts. Whoever must not wait for a
    /// disk does this on a thread of its own first, and parses afterwards where the memory is of
    /// use.
    pub fn reach(&self) {
        let report = FaultReport::default();
        for path in self.named_files().unwrap_or_default() {
            if !names_includes(&path) {
                continue;
            }
            let text = text_of(&path).unwrap_or_default();
            let name = path.display().to_string();
            let Some(document) = Document::parse(&text, &name, &report) else {
                continue;
            };
            for (pattern, _) in included(&document, &path, &report) {
                for file in pattern.files().unwrap_or_default() {
                    names_includes(&file);
                }
            }
        }
    }
}

impl Files {
    /// Reads all files. Faults of form go to the report.
    ///
    /// # Errors
    /// An unreadable file or folder.
    pub(super) fn read(file: &ConfigFile, report: &FaultReport) -> Result<Self, Faults> {
        let whole = file.path();
        let named = file
            .named_files()
            .map_err(|error| Faults(vec![unreadable_file(whole, &error)]))?;
        if named.is_empty() {
            let message = "no file with the ending .toml is in this folder, expected at least one";
            return Err(Faults(vec![whole_fault(whole, message.to_owned())]));
        }
        let mut files = Self {
            document: None,
            texts: Vec::new(),
            folders: Vec::new(),
            known: HashSet::new(),
            joined: JoinedKeys::default(),
        };
        if whole.is_dir() {
            files.folders.push(whole.to_owned());
        }
        for path in named {
            let parsed = files
                .parse(&path, report)
                .map_err(|error| Faults(vec![unreadable_file(&path, &error)]))?;
            let Some(mut document) = parsed else {
                continue;
            };
            let patterns = included(&document, &path, report);
            document.root.remove(INCLUDE);
            files.join(document, report);
            for (pattern, at) in patterns {
                match pattern.files() {
                    Ok(found) => {
                        for path in found {
                            files.include(&path, &at, report);
                        }
                    }
                    Err(error) => {
                        let folder = pattern.folder.as_ref().unwrap_or(&pattern.path);
                        report.fault(&at, INCLUDE, not_included(folder, &error));
                    }
                }
                files.folders.extend(pattern.folder);
            }
        }
        Ok(files)
    }

    /// Reads a file that the `include` at the place `named_at` names.
    fn include(&mut self, path: &Path, named_at: &Position, report: &FaultReport) {
        let mut document = match self.parse(path, report) {
            Ok(Some(document)) => document,
            Ok(None) => return,
            Err(error) => return report.fault(named_at, INCLUDE, not_included(path, &error)),
        };
        if let Some(at) = document.root.place_of(INCLUDE) {
            report.fault(
                at,
                INCLUDE,
                "in an included file, expected it in the named file alone",
            );
            document.root.remove(INCLUDE);
        }
        self.join(document, report);
    }

    /// Parses a file, unless the file was read before.
    fn parse(&mut self, path: &Path, report: &FaultReport) -> io::Result<Option<Document>> {
        if !self.known.insert(path.to_owned()) {
            return Ok(None);
        }
        let text = text_of(path)?;
        let document = Document::parse(&text, &path.display().to_string(), report);
        self.texts.push((path.to_owned(), text));
        Ok(document)
    }

    fn join(&mut self, document: Document, report: &FaultReport) {
        match &mut self.document {
            Some(whole) => whole.join(document, &NAMED_TABLES, &mut self.joined, report),
            None => self.document = Some(document),
        }
    }
}

/// A path in `include`, perhaps with a star in the file name.
struct Pattern {
    path: PathBuf,
    /// The folder to look through; `None` for a path without a star.
    folder: Option<PathBuf>,
    before: String,
    after: String,
}

impl Pattern {
    /// Reads a path relative to `base`.
    fn parse(text: &str, base: &Path) -> Result<Self, Malformed> {
        let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
        if folder.contains('*') || name.is_empty() || text.contains('\0') {
            return Err(NOT_A_PATTERN);
        }
        let path = base.join(text);
        let Some((before, after)) = name.split_once('*') else {
            return Ok(Self {
                path,
                folder: None,
                before: String::new(),
                after: String::new(),
            });
        };
        if after.contains('*') {
            return Err(NOT_A_PATTERN);
        }
        Ok(Self {
            path,
            folder: Some(base.join(folder)),
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    fn of_folder(folder: &Path) -> Self {
        Self {
            path: folder.to_owned(),
            folder: Some(folder.to_owned()),
            before: String::new(),
            after: ".toml".to_owned(),
        }
    }

    /// Returns the matching files, in the order of names. A star matches no hidden file: editors
    /// leave such files behind.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let Some(folder) = &self.folder else {
            return Ok(vec![self.path.clone()]);
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let fits = name.len() >= self.before.len() + self.after.len()
                && name.starts_with(&self.before)
                && name.ends_with(&self.after)
                && !name.starts_with('.');
            // The reading tells of an unreadable file: left out, the tenants of the file would be
            // gone.
            if fits && !path.is_dir() {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Returns the patterns in the `include` of a document, each with its place.
fn included(document: &Document, path: &Path, report: &FaultReport) -> Vec<(Pattern, Position)> {
    let base = path.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(document, report);
    let fields = reader.array(INCLUDE).unwrap_or_default();
    fields
        .iter()
        .filter_map(|field| {
            let pattern = field.parse(|text: &str| Pattern::parse(text, base))?;
            Some((pattern, field.at().clone()))
        })
        .collect()
}

/// Reads a regular file to its end, line by line, and returns true if a line has the key of
/// includes. A text of megabytes that is forgotten at once would leave a hole in the heap.
fn names_includes(path: &Path) -> bool {
    let Some(file) = path.is_file().then(|| File::open(path).ok()).flatten() else {
        return false;
    };
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    let has_key = |line: &Vec<u8>| memchr::memmem::find(line, INCLUDE.as_bytes()).is_some();
    // Counted, since a search that ends at the first line would leave the rest unread.
    lines.filter(has_key).count() > 0
}

/// Reads a regular file: reading a FIFO would wait for a writer, and no reload would ever follow.
fn text_of(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            io::Error::other("it is a link to a file that does not exist")
        }
        _ => error,
    })?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::other(not_utf8(error.as_bytes(), at))
    })
}

/// Returns the fault of a file whose byte at `at` is no part of a character in UTF-8.
fn not_utf8(bytes: &[u8], at: usize) -> String {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "it is in UTF-16, as some editors on Windows save; save it as UTF-8".to_owned()
        }
        _ => format!(
            "it is not in UTF-8 (the byte at offset {at} is no part of a character); save it as UTF-8"
        ),
    }
}

/// Returns the fault of a path in `include`.
fn not_included(path: &Path, error: &io::Error) -> String {
    let name = path.display().to_string();
    let why = match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        // The error is Keyside's own.
        io::ErrorKind::Other => format!("cannot be read: {error}"),
        kind => format!("cannot be read: {kind}"),
    };
    format!(
        "{} {why}, expected files or folders that are there",
        shown_place(&name)
    )
}

fn unreadable_file(path: &Path, error: &io::Error) -> Fault {
    let name = path.display().to_string();
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    if is_missing && path == Path::new(DEFAULT_PATH) && !Path::new(PATH_HERE).exists() {
        let message = format!(
            "neither {PATH_HERE} in this folder nor {DEFAULT_PATH} exists: write one (`keyside init` prints the smallest), or name \
             another with --config"
        );
        return whole_fault(path, message);
    }
    whole_fault(
        Path::new(shown_place(&name)),
        format!("cannot be read: {}", unreadable(error)),
    )
}

/// The key of the files to include.
const INCLUDE: &str = "include";
/// The tables of named tables. Several files may have named tables.
const NAMED_TABLES: [&str; 2] = ["credential", "provider"];
const NOT_A_PATTERN: Malformed = Malformed::new(
    "not a path, expected one such as \"tenants.toml\" or \"conf.d/*.toml\", with one star at most, in the file name",
);
