//! The buffer of a request head, which never leaves a secret in freed memory.

use std::fmt::{self, Write};
use std::ops::Range;

use zeroize::Zeroize;

/// The bytes of a head, and the range of the secrets. Only the range is wiped when the head is
/// dropped or moves, because wiping goes byte by byte.
#[derive(Default)]
pub(super) struct HeadBytes {
    bytes: Vec<u8>,
    secrets: Range<usize>,
}

impl HeadBytes {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            secrets: 0..0,
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            drop(self.grow(bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn push_secret(&mut self, bytes: &[u8]) {
        if self.secrets.is_empty() {
            self.secrets.start = self.bytes.len();
        }
        self.push(bytes);
        self.secrets.end = self.bytes.len();
    }

    pub(super) fn push_number(&mut self, number: u64) {
        // Writing to this buffer cannot fail.
        write!(self, "{number}").ok();
    }

    /// Moves to a buffer with room for `more` bytes, and returns the old buffer with the secrets
    /// wiped. `Vec` itself would free the old buffer with the secrets in it.
    #[cold]
    fn grow(&mut self, more: usize) -> Vec<u8> {
        let capacity = (self.bytes.len() + more).max(2 * self.bytes.capacity());
        let mut larger = Vec::with_capacity(capacity);
        larger.extend_from_slice(&self.bytes);
        self.wipe();
        std::mem::replace(&mut self.bytes, larger)
    }

    pub(super) fn wipe(&mut self) {
        let secrets = self.bytes.get_mut(self.secrets.clone());
        secrets.unwrap_or_default().zeroize();
    }
}

impl Write for HeadBytes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl Drop for HeadBytes {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl fmt::Debug for HeadBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadBytes")
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_too_small_leaves_no_secret_behind() {
        let mut head = HeadBytes::with_capacity(16);
        head.push(b"a: ");
        head.push_secret(b"EAAsecret");
        head.push(b"\r\n");
        let old = head.grow(1000);
        assert_eq!(old, b"a: \0\0\0\0\0\0\0\0\0\r\n");
        assert!(head.bytes.capacity() >= 1014);
        head.push(&[b'x'; 1000]);
        assert_eq!(head.as_slice().get(..14), Some(&b"a: EAAsecret\r\n"[..]));
        head.wipe();
        assert_eq!(head.as_slice().get(..14), Some(&old[..]));
    }
}
