//! The content coding of an answer that Keyside must read.
//!
//! Keyside asks for `identity`. A provider that compresses all the same has accepted the request,
//! so the coding is undone, within the bound of a plain answer.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};
use tokio::time::timeout;

use crate::memory::{MemoryBudget, SMALL};
use crate::upstream::{Unreadable, UpstreamError};
use crate::workers::work_on;

/// The coding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// The plain body.
    Identity,
    /// `gzip`.
    Gzip,
    /// `deflate`, which is zlib (RFC 9110, section 8.4.1.2).
    Deflate,
    /// Any other coding, or several.
    Unknown,
}

impl Coding {
    /// The coding that the headers name.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut named = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        let first = named.next();
        let second = named.next();
        match first.map(<[u8]>::to_ascii_lowercase).as_deref() {
            None => Self::Identity,
            Some(_) if second.is_some() => Self::Unknown,
            Some(b"gzip" | b"x-gzip") => Self::Gzip,
            Some(b"deflate") => Self::Deflate,
            Some(_) => Self::Unknown,
        }
    }
}

/// Undoes the coding of a body. The plain body takes its part of `memory`.
///
/// # Errors
/// An unknown coding, a broken body, a plain body of more than `limit` bytes, or no room in time.
pub(super) async fn decoded(
    coding: Coding,
    body: Bytes,
    limit: usize,
    memory: &Arc<MemoryBudget>,
) -> Result<Bytes, UpstreamError> {
    let mut reservation = timeout(ROOM_TIMEOUT, memory.wait_for(limit as u64))
        .await
        .map_err(|_| Unreadable::NoRoom)?;
    // A body of some kilobytes may become megabytes, which would hold up all requests.
    let plain = work_on(limit, move || inflate(coding, &body, limit)).await?;
    reservation.shrink_to(plain.capacity() as u64);
    if plain.len() <= SMALL {
        return Ok(plain.into());
    }
    Ok(reservation.keep(plain.into()))
}

fn inflate(coding: Coding, body: &[u8], limit: usize) -> Result<Vec<u8>, Unreadable> {
    match coding {
        Coding::Identity => read_up_to(body, limit),
        Coding::Gzip => read_up_to(MultiGzDecoder::new(body), limit),
        Coding::Deflate => read_up_to(ZlibDecoder::new(body), limit),
        Coding::Unknown => Err(Unreadable::ContentCoding),
    }
}

fn read_up_to(plain: impl Read, limit: usize) -> Result<Vec<u8>, Unreadable> {
    let mut read = Vec::new();
    plain
        .take(limit as u64 + 1)
        .read_to_end(&mut read)
        .map_err(|_| Unreadable::ContentCoding)?;
    if read.len() > limit {
        return Err(Unreadable::TooLarge { limit });
    }
    read.shrink_to_fit();
    Ok(read)
}

/// Longest wait for room for the plain body: the compressed body is in memory meanwhile.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_coding_is_read_as_the_rfc_says() {
        for (lines, expected) in [
            (&[][..], Coding::Identity),
            (&["identity"], Coding::Identity),
            (&["", "identity, GZIP"], Coding::Gzip),
            (&["x-gzip"], Coding::Gzip),
            (&["deflate"], Coding::Deflate),
            (&["br"], Coding::Unknown),
            (&["gzip, gzip"], Coding::Unknown),
            (&["gzip", "br"], Coding::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, line.parse().unwrap());
            }
            assert_eq!(Coding::of(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_coding_is_undone_within_the_bound() {
        let limit = 1000;
        let fits = vec![b'x'; limit];
        let bomb = vec![b'x'; limit + 1];
        let too_large = Err(Unreadable::TooLarge { limit });
        let broken = Err(Unreadable::ContentCoding);
        let mut cut = gzip(&fits);
        cut.truncate(cut.len() - 9);
        for (coding, body, expected) in [
            (Coding::Gzip, gzip(&fits), Ok(fits.clone())),
            (Coding::Deflate, zlib(&fits), Ok(fits.clone())),
            (Coding::Gzip, gzip(b""), Ok(Vec::new())),
            (Coding::Gzip, gzip(&bomb), too_large.clone()),
            (Coding::Deflate, zlib(&bomb), too_large),
            (Coding::Gzip, cut, broken.clone()),
            (Coding::Gzip, b"{}".to_vec(), broken.clone()),
            (Coding::Unknown, b"{}".to_vec(), broken),
        ] {
            assert_eq!(inflate(coding, &body, limit), expected, "{coding:?}");
        }
    }
}
