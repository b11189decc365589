//! `multipart/form-data`, read as it arrives.

use bytes::{Buf, BytesMut};
use memchr::memmem::Finder;

/// The most that the headers of a part may take.
const HEADERS: usize = 8 * 1024;

/// A part of a form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// The field.
    pub(super) name: String,
    /// The name of the file, where it is one.
    pub(super) filename: Option<String>,
    /// Its `Content-Type`.
    pub(super) content_type: Option<String>,
    /// Its content.
    pub(super) data: Vec<u8>,
}

/// What arrives is not a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A form of which a part has arrived.
pub(super) struct Form {
    delimiter: Finder<'static>,
    buffer: BytesMut,
    place: Place,
    parts: Vec<Part>,
}

enum Place {
    Preamble,
    AfterDelimiter,
    Headers,
    Data(Part),
    End,
}

impl Form {
    /// A form with the boundary of this `Content-Type`.
    pub(super) fn new(content_type: &str) -> Option<Form> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary").filter(|boundary| (1..=200).contains(&boundary.len()))?;
        let delimiter = Finder::new(&format!("\r\n--{boundary}")).into_owned();
        // The first delimiter has no line break before it unless something precedes it: this gives it one.
        let buffer = BytesMut::from("\r\n");
        Some(Form { delimiter, buffer, place: Place::Preamble, parts: Vec::new() })
    }

    /// Takes what arrived.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        self.buffer.extend_from_slice(chunk);
        while self.step()? {}
        Ok(())
    }

    /// The parts, once all has arrived.
    pub(super) fn finish(self) -> Result<Vec<Part>, Malformed> {
        match self.place {
            Place::End => Ok(self.parts),
            _ => Err(Malformed),
        }
    }

    /// Goes one place further. False when more must arrive first.
    fn step(&mut self) -> Result<bool, Malformed> {
        match std::mem::replace(&mut self.place, Place::End) {
            Place::Preamble => {
                let (_, found) = self.until_delimiter();
                self.place = if found { Place::AfterDelimiter } else { Place::Preamble };
                Ok(found)
            }
            Place::AfterDelimiter => self.after_delimiter(),
            Place::Headers => self.headers(),
            Place::Data(mut part) => {
                let (data, found) = self.until_delimiter();
                part.data.extend_from_slice(&data);
                if found {
                    self.parts.push(part);
                    self.place = Place::AfterDelimiter;
                } else {
                    self.place = Place::Data(part);
                }
                Ok(found)
            }
            Place::End => {
                self.buffer.clear();
                Ok(false)
            }
        }
    }

    /// What comes before the next delimiter, and whether that has arrived. Keeps back what may be its beginning.
    fn until_delimiter(&mut self) -> (BytesMut, bool) {
        let length = self.delimiter.needle().len();
        match self.delimiter.find(&self.buffer) {
            Some(at) => {
                let before = self.buffer.split_to(at);
                self.buffer.advance(length);
                (before, true)
            }
            None => (self.buffer.split_to(self.buffer.len().saturating_sub(length - 1)), false),
        }
    }

    fn after_delimiter(&mut self) -> Result<bool, Malformed> {
        let place = match self.buffer.first_chunk::<2>() {
            None => Place::AfterDelimiter,
            Some(b"--") => Place::End,
            Some(b"\r\n") => Place::Headers,
            Some(_) => return Err(Malformed),
        };
        let further = !matches!(place, Place::AfterDelimiter);
        if matches!(place, Place::End) {
            self.buffer.advance(2);
        }
        // The line break stays for the headers: a part without any is then a blank line like the others.
        self.place = place;
        Ok(further)
    }

    fn headers(&mut self) -> Result<bool, Malformed> {
        let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") else {
            self.place = Place::Headers;
            return if self.buffer.len() > HEADERS { Err(Malformed) } else { Ok(false) };
        };
        let headers = self.buffer.split_to(end);
        self.buffer.advance(4);
        let headers = std::str::from_utf8(&headers).map_err(|_| Malformed)?;
        self.place = Place::Data(part(headers)?);
        Ok(true)
    }
}

fn part(headers: &str) -> Result<Part, Malformed> {
    let mut part = Part::default();
    for line in headers.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-disposition") {
            part.name = parameter(value, "name").ok_or(Malformed)?;
            part.filename = parameter(value, "filename");
        } else if name.eq_ignore_ascii_case("content-type") {
            part.content_type = Some(value.trim().to_owned());
        }
    }
    if part.name.is_empty() { Err(Malformed) } else { Ok(part) }
}

/// A parameter of a header, with or without quotes.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"--xyz\r\nContent-Disposition: form-data; name=\"messaging_product\"\r\n\r\nwhatsapp\r\n\
        --xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\
        \r\n--xy\r\n--\r\n--xyz--\r\n";

    fn parts(size: usize) -> Result<Vec<Part>, Malformed> {
        let mut form = Form::new("multipart/form-data; boundary=\"xyz\"").unwrap();
        BODY.chunks(size).try_for_each(|chunk| form.push(chunk))?;
        form.finish()
    }

    #[test]
    fn a_form_reads_the_same_however_it_arrives() {
        let whole = parts(BODY.len()).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].name.as_str(), whole[0].data.as_slice()), ("messaging_product", &b"whatsapp"[..]));
        assert_eq!(whole[1].filename.as_deref(), Some("a.png"));
        assert_eq!(whole[1].content_type.as_deref(), Some("image/png"));
        assert_eq!(whole[1].data, b"\r\n--xy\r\n--");
        for size in 1..BODY.len() {
            assert_eq!(parts(size).as_ref(), Ok(&whole), "in pieces of {size}");
        }
    }

    #[test]
    fn a_form_that_breaks_off_is_none() {
        let mut form = Form::new("multipart/form-data; boundary=xyz").unwrap();
        form.push(&BODY[..BODY.len() - 6]).unwrap();
        assert_eq!(form.finish().err(), Some(Malformed));
    }
}
