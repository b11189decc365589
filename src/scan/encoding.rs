//! UTF-16: texts of Windows, in which every second byte of a secret is 0.

/// The encoding of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextEncoding {
    /// UTF-8, any other encoding with the letters of ASCII, or no text at all.
    Ascii,
    /// UTF-16 with the low byte first.
    Utf16Le,
    /// UTF-16 with the high byte first.
    Utf16Be,
}

impl TextEncoding {
    /// Returns the encoding of a text with this beginning: by its byte order mark, or by its zero
    /// bytes.
    pub(super) fn of(beginning: &[u8]) -> Self {
        match beginning {
            [0xff, 0xfe, ..] => return Self::Utf16Le,
            [0xfe, 0xff, ..] => return Self::Utf16Be,
            _ => {}
        }
        let sample = beginning.get(..SAMPLE).unwrap_or(beginning);
        let pairs = sample.chunks_exact(2);
        let count = pairs.len();
        let high_last = pairs
            .clone()
            .filter(|pair| matches!(pair, [1..=u8::MAX, 0]));
        let high_first = pairs.filter(|pair| matches!(pair, [0, 1..=u8::MAX]));
        let is_most = |part: usize| count >= MIN_PAIRS && part * 10 >= count * 9;
        if is_most(high_last.count()) {
            Self::Utf16Le
        } else if is_most(high_first.count()) {
            Self::Utf16Be
        } else {
            Self::Ascii
        }
    }

    /// Rewrites a piece of text to one byte a letter, and returns its new length. A letter outside
    /// of ASCII becomes `?`.
    ///
    /// Every piece but the last has an even number of bytes.
    pub(super) fn to_ascii(self, piece: &mut [u8]) -> usize {
        let (low, high) = match self {
            Self::Ascii => return piece.len(),
            Self::Utf16Le => (0, 1),
            Self::Utf16Be => (1, 0),
        };
        let letters = piece.len() / 2;
        for letter in 0..letters {
            let unit = |part| piece.get(2 * letter + part).copied().unwrap_or_default();
            let byte = match (unit(high), unit(low)) {
                (0, byte @ 0..0x80) => byte,
                _ => b'?',
            };
            if let Some(place) = piece.get_mut(letter) {
                *place = byte;
            }
        }
        letters
    }
}

/// The number of bytes by which an encoding is told: the first lines.
const SAMPLE: usize = 1024;
/// The fewest letters by which an encoding is told: fewer zero bytes may be chance.
const MIN_PAIRS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_is_told_with_and_without_a_mark_and_becomes_ascii() {
        let text = "token = EAAGm0PX4\n\u{e4}";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let marked: Vec<u8> = [&[0xff, 0xfe], &le[..]].concat();
        for (bytes, encoding, expected) in [
            (le, TextEncoding::Utf16Le, "token = EAAGm0PX4\n?"),
            (be, TextEncoding::Utf16Be, "token = EAAGm0PX4\n?"),
            (marked, TextEncoding::Utf16Le, "?token = EAAGm0PX4\n?"),
        ] {
            let mut bytes = bytes;
            assert_eq!(TextEncoding::of(&bytes), encoding);
            let length = encoding.to_ascii(&mut bytes);
            assert_eq!(bytes.get(..length), Some(expected.as_bytes()));
        }
        assert_eq!(TextEncoding::of(text.as_bytes()), TextEncoding::Ascii);
        assert_eq!(TextEncoding::of(&[0; 64]), TextEncoding::Ascii);
    }
}
