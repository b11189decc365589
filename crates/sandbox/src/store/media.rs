//! Files: uploaded by requests, or received from users.

use std::collections::VecDeque;

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::clock::unix_time;
use crate::ids;

/// A stored file.
#[derive(Clone)]
pub(crate) struct File {
    /// The media id.
    pub(crate) id: String,
    /// The phone number id that uploaded or received the file.
    pub(crate) sender: String,
    /// The media type.
    pub(crate) media_type: String,
    /// The name of the file.
    pub(crate) filename: String,
    /// The content.
    pub(crate) data: Bytes,
    /// The SHA-256 of the content in hex digits.
    pub(crate) sha256: String,
}

impl File {
    /// Makes a file with a new id.
    pub(crate) fn new(sender: &str, media_type: String, filename: String, data: Bytes) -> Self {
        Self {
            id: ids::object_id(),
            sender: sender.to_owned(),
            media_type,
            filename,
            sha256: HEXLOWER.encode(&Sha256::digest(&data)),
            data,
        }
    }

    /// Makes a link for download that is valid for [`LINK_LIFETIME`].
    pub(crate) fn link(&self, origin: &str) -> String {
        let expiry = unix_time() + LINK_LIFETIME;
        format!(
            "{origin}/whatsapp_business/attachments/?mid={}&ext={expiry}&hash={}",
            self.id,
            self.link_hash(expiry)
        )
    }

    /// Returns the `hash` of a link, which prevents a longer life of the link. The token protects
    /// the file.
    fn link_hash(&self, expiry: u64) -> String {
        let digest = Sha256::new()
            .chain_update(&self.id)
            .chain_update(&self.sha256)
            .chain_update(expiry.to_be_bytes());
        format!("ATta{:.40}", HEXLOWER.encode(&digest.finalize()))
    }
}

/// The files, oldest first.
#[derive(Default)]
pub(crate) struct Media(Mutex<VecDeque<File>>);

impl Media {
    /// Returns a file by id.
    pub(crate) fn get(&self, id: &str) -> Option<File> {
        self.0.lock().iter().find(|file| file.id == id).cloned()
    }

    /// Returns the file of a link, if the link is genuine and not expired.
    pub(crate) fn get_linked(&self, id: &str, expiry: &str, hash: &str) -> Option<File> {
        let file = self.get(id)?;
        let expiry: u64 = expiry.parse().ok()?;
        (expiry > unix_time() && file.link_hash(expiry) == hash).then_some(file)
    }

    /// Adds a file; beyond [`MAX_STORED`] the oldest files are dropped.
    pub(crate) fn add(&self, file: File) {
        let mut files = self.0.lock();
        let mut total: usize = files.iter().map(|file| file.data.len()).sum();
        while total + file.data.len() > MAX_STORED {
            let Some(oldest) = files.pop_front() else {
                break;
            };
            total -= oldest.data.len();
        }
        files.push_back(file);
    }

    /// Adds a picture that a user sent to `sender`.
    pub(crate) fn receive_picture(&self, sender: &str, origin: &str) -> Picture {
        let file = File::new(
            sender,
            "image/png".to_owned(),
            "picture.png".to_owned(),
            Bytes::from_static(PIXEL),
        );
        let picture = Picture {
            id: file.id.clone(),
            sha256: BASE64.encode(&Sha256::digest(PIXEL)),
            url: file.link(origin),
        };
        self.add(file);
        picture
    }

    /// Deletes a file.
    pub(crate) fn remove(&self, id: &str) {
        self.0.lock().retain(|file| file.id != id);
    }
}

/// A picture from a user, as a webhook describes it.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// The media id.
    pub(crate) id: String,
    /// The SHA-256 of the content in base64, although an answer to a GET has hex digits.
    pub(crate) sha256: String,
    /// The link for download.
    pub(crate) url: String,
}

/// The bytes of all files: enough for two uploads of the largest size.
const MAX_STORED: usize = 256 * 1024 * 1024;

/// The life of a link in seconds, from Meta's documentation.
const LINK_LIFETIME: u64 = 300;

/// A PNG of one transparent point.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc`\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: usize) -> File {
        let data = Bytes::from(vec![0; length]);
        File::new("1", String::new(), String::new(), data)
    }

    #[test]
    fn the_oldest_file_makes_room() {
        let media = Media::default();
        let [first, second, third] = [0, 1, 2].map(|_| file(100 * 1024 * 1024));
        let ids = [&first, &second, &third].map(|file| file.id.clone());
        for file in [first, second, third] {
            media.add(file);
        }
        let kept = ids.map(|id| media.get(&id).is_some());
        assert_eq!(kept, [false, true, true]);
    }

    #[test]
    fn a_link_expires_and_its_life_cannot_be_extended() {
        let media = Media::default();
        let file = file(1);
        let past = unix_time() - 1;
        let soon = unix_time() + 100;
        media.add(file.clone());
        let linked = |expiry: u64, hash: &str| {
            let found = media.get_linked(&file.id, &expiry.to_string(), hash);
            found.is_some()
        };
        assert!(linked(soon, &file.link_hash(soon)));
        assert!(!linked(past, &file.link_hash(past)));
        assert!(!linked(soon, &file.link_hash(past)));
    }
}
