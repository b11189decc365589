//! The body of an outgoing request.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::multipart::MultipartReader;

/// The body of a request.
pub enum OutgoingBody {
    /// The whole body; perhaps no byte.
    Whole(Bytes),
    /// A body with a secret, wiped after the last write.
    Secret(Zeroizing<String>),
    /// The whole body, in the pieces as read.
    Pieces(Pieces),
    /// A body that passes through while the application is sending.
    Stream {
        /// The application's body.
        body: Incoming,
        /// Length in bytes; `None` if the application does not say, so that chunks are sent.
        length: Option<u64>,
        /// Upper bound of the body in bytes.
        limit: u64,
        /// Reader that must accept each byte before it leaves; `None` for the bytes of a file.
        reader: Option<Box<MultipartReader>>,
        /// Set once the last byte of the application's body was read.
        is_whole: Arc<AtomicBool>,
    },
}

impl OutgoingBody {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    /// Length in bytes; `None` if unknown.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(data) => Some(data.len() as u64),
            Self::Secret(data) => Some(data.len() as u64),
            Self::Pieces(pieces) => Some(pieces.remaining() as u64),
            Self::Stream { length, .. } => *length,
        }
    }
}

// By hand: a derived `Debug` would print the secret.
impl fmt::Debug for OutgoingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Whole(_) => "Whole",
            Self::Secret(_) => "Secret",
            Self::Pieces(_) => "Pieces",
            Self::Stream { .. } => "Stream",
        };
        f.debug_struct(name)
            .field("length", &self.length())
            .finish_non_exhaustive()
    }
}

/// The pieces of a body not written yet.
#[derive(Debug)]
pub struct Pieces(VecDeque<Bytes>);

impl From<&[Bytes]> for Pieces {
    fn from(pieces: &[Bytes]) -> Self {
        Self(
            pieces
                .iter()
                .filter(|piece| !piece.is_empty())
                .cloned()
                .collect(),
        )
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices
            .iter_mut()
            .zip(&self.0)
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.0.front_mut() {
            if piece.len() > count {
                return piece.advance(count);
            }
            count -= piece.len();
            self.0.pop_front();
        }
    }
}
