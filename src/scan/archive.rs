//! Archives: the names of their members. The contents are not looked at.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;

/// The kind of a file that holds other files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archive {
    Zip,
    Tar,
    /// Compressed with gzip: a tar file, or a single file.
    Gzip,
}

impl Archive {
    /// Returns the kind of archive with this beginning.
    pub(super) fn of(beginning: &[u8]) -> Option<Self> {
        if beginning.starts_with(b"PK\x03\x04") || beginning.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if beginning.starts_with(&[0x1f, 0x8b, 8]) {
            Some(Self::Gzip)
        } else if is_tar(beginning) {
            Some(Self::Tar)
        } else {
            None
        }
    }

    /// Returns the names of the members.
    ///
    /// # Errors
    /// If the archive is cut short or malformed, or has more than a bound.
    pub(super) fn member_names(self, file: &mut File) -> io::Result<Vec<String>> {
        file.rewind()?;
        match self {
            Self::Zip => zip_names(file),
            Self::Tar => tar_names(&mut BufReader::new(file)),
            Self::Gzip => {
                let mut unpacked = MultiGzDecoder::new(BufReader::new(file)).take(MAX_UNPACKED);
                tar_names(&mut unpacked)
            }
        }
    }
}

fn is_tar(beginning: &[u8]) -> bool {
    beginning.get(257..262) == Some(b"ustar")
}

/// Reads the headers of a tar file:
/// <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>. A text that is no tar
/// file has no members.
fn tar_names(tar: &mut impl Read) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut long_name = None;
    let mut header = [0; TAR_BLOCK];
    while read_block(tar, &mut header)? && is_tar(&header) {
        let size = tar_size(&header).ok_or_else(|| malformed("a member without a size"))?;
        let padded = size.div_ceil(TAR_BLOCK as u64) * TAR_BLOCK as u64;
        match header.get(156) {
            // A name too long for a header, as GNU tar and as POSIX write it.
            Some(kind @ (b'L' | b'x')) if size <= MAX_NAME => {
                let mut content = Vec::new();
                tar.take(padded).read_to_end(&mut content)?;
                content.truncate(usize::try_from(size).unwrap_or_default());
                long_name = match kind {
                    b'L' => Some(text(&content)),
                    _ => pax_path(&content).or(long_name),
                };
                continue;
            }
            Some(b'x' | b'g' | b'L' | b'K') => {}
            _ => names.push(long_name.take().unwrap_or_else(|| short_name(&header))),
        }
        if names.len() > MAX_MEMBERS {
            return Err(malformed("more members than are listed"));
        }
        io::copy(&mut tar.take(padded), &mut io::sink())?;
    }
    Ok(names)
}

/// Reads a block; false at the end.
fn read_block(tar: &mut impl Read, block: &mut [u8; TAR_BLOCK]) -> io::Result<bool> {
    match tar.read_exact(block) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads the size of a member: octal digits, or a binary number behind a byte 0x80.
fn tar_size(header: &[u8]) -> Option<u64> {
    let field = header.get(124..136)?;
    if let Some(number) = field.strip_prefix(&[0x80]) {
        let low = number.get(number.len() - 8..)?;
        return Some(u64::from_be_bytes(low.try_into().ok()?)).filter(|size| *size < 1 << 60);
    }
    let digits = text(field);
    u64::from_str_radix(digits.trim(), 8).ok()
}

fn short_name(header: &[u8]) -> String {
    let name = text(header.get(..100).unwrap_or_default());
    let prefix = text(header.get(345..500).unwrap_or_default());
    // GNU tar keeps times where POSIX has a prefix.
    let is_posix = header.get(257..263) == Some(b"ustar\0");
    if prefix.is_empty() || !is_posix {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

/// Returns the path in the records `LENGTH KEY=VALUE` of a POSIX header.
fn pax_path(records: &[u8]) -> Option<String> {
    let mut rest = records;
    while let Some(space) = rest.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(rest.get(..space)?).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Some(text(path.strip_suffix(b"\n").unwrap_or(path)));
        }
        rest = rest.get(length..)?;
    }
    None
}

/// Reads the central directory of a zip file:
/// <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>.
fn zip_names(file: &mut File) -> io::Result<Vec<String>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail_length = length.min(ZIP_TAIL);
    file.seek(SeekFrom::Start(length - tail_length))?;
    let mut tail = Vec::new();
    file.take(tail_length).read_to_end(&mut tail)?;
    let end =
        memchr::memmem::rfind(&tail, b"PK\x05\x06").ok_or_else(|| malformed("no directory"))?;
    let record = tail.get(end..).unwrap_or_default();
    let short = number(record, 12, 4).zip(number(record, 16, 4));
    let (mut size, mut offset) = short.ok_or_else(|| malformed("a short directory"))?;
    if offset == u64::from(u32::MAX) || size == u64::from(u32::MAX) {
        let large = memchr::memmem::rfind(&tail, b"PK\x06\x06")
            .and_then(|at| tail.get(at..))
            .and_then(|record| number(record, 40, 8).zip(number(record, 48, 8)));
        (size, offset) = large.ok_or_else(|| malformed("a short directory"))?;
    }
    if size > MAX_DIRECTORY {
        return Err(malformed("a directory larger than any that is listed"));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut directory = Vec::new();
    file.take(size).read_to_end(&mut directory)?;
    let mut names = Vec::new();
    let mut rest = directory.as_slice();
    while rest.starts_with(b"PK\x01\x02") {
        let part = |at| number(rest, at, 2).and_then(|length| usize::try_from(length).ok());
        let (Some(name), Some(extra), Some(comment)) = (part(28), part(30), part(32)) else {
            break;
        };
        names.push(text(rest.get(46..46 + name).unwrap_or_default()));
        rest = rest.get(46 + name + extra + comment..).unwrap_or_default();
    }
    Ok(names)
}

/// Reads a number with the low byte first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(bytes.iter().rev().fold(0, add))
}

/// Returns the text before the first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The unit of tar files, in bytes: POSIX, ustar interchange format.
const TAR_BLOCK: usize = 512;
/// The longest name of a member, in bytes: the longest path of Linux is 4,096.
const MAX_NAME: u64 = 64 * 1024;
/// The largest number of members: more than any release has, and a bound for a made-up archive.
const MAX_MEMBERS: usize = 1_000_000;
/// The number of bytes that are unpacked to reach the names of a compressed tar file: more than an
/// image of a container has, and an end for an archive that is made to have none.
const MAX_UNPACKED: u64 = 8 << 30;
/// The largest directory of a zip file, in bytes: the largest number of members with names of 200
/// bytes.
const MAX_DIRECTORY: u64 = 256 << 20;
/// The bytes at the end of a zip file that may hold the end of its directory: a comment has at most
/// 65,535.
const ZIP_TAIL: u64 = 66 * 1024;
