//! The body of a request that passes through while the application sends it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use hyper::body::Incoming;

use super::error::UpstreamError;
use crate::multipart::MultipartReader;

/// A body that passes through. At most one frame is staged at a time, with the lines of its chunk:
/// a slow upstream slows the application, and memory does not fill up.
pub(super) struct Upload<'a> {
    pub(super) body: Pin<&'a mut Incoming>,
    /// Length in bytes; `None` for a body in chunks.
    length: Option<u64>,
    limit: u64,
    reader: Option<&'a mut MultipartReader>,
    is_whole: &'a AtomicBool,
    sent: u64,
    pub(super) parts: [Bytes; 3],
    pub(super) ended: bool,
}

impl<'a> Upload<'a> {
    /// An upload of a body of `length` bytes, in chunks without a length, and of `limit` bytes at
    /// most. The reader of a multipart form must accept each byte before it leaves. `is_whole` is
    /// set behind the last byte.
    pub(super) fn new(
        body: Pin<&'a mut Incoming>,
        length: Option<u64>,
        limit: u64,
        reader: Option<&'a mut MultipartReader>,
        is_whole: &'a AtomicBool,
    ) -> Self {
        Self {
            body,
            length,
            limit,
            reader,
            is_whole,
            sent: 0,
            parts: Default::default(),
            ended: false,
        }
    }

    pub(super) fn stage(&mut self, data: Bytes) -> Result<(), UpstreamError> {
        self.sent += data.len() as u64;
        if self.sent > self.limit {
            return Err(UpstreamError::RequestBodyTooLarge { limit: self.limit });
        }
        if let Some(reader) = &mut self.reader {
            reader.read(&data)?;
            // The last byte of a known length ends the request, so the form must be whole before
            // it.
            if self.length == Some(self.sent) {
                reader.finish()?;
            }
        }
        // A chunk of size 0 would end the body.
        if self.length.is_none() && !data.is_empty() {
            let size = Bytes::from(format!("{:x}\r\n", data.len()));
            self.parts = [size, data, Bytes::from_static(b"\r\n")];
        } else {
            self.parts = [data, Bytes::new(), Bytes::new()];
        }
        Ok(())
    }

    pub(super) fn stage_end(&mut self) -> Result<(), UpstreamError> {
        self.ended = true;
        self.is_whole.store(true, Ordering::Relaxed);
        if self.length.is_none() {
            if let Some(reader) = &self.reader {
                reader.finish()?;
            }
            self.parts = [Bytes::from_static(b"0\r\n\r\n"), Bytes::new(), Bytes::new()];
        }
        Ok(())
    }
}
