//! The names of the parts of a `multipart/form-data` body, read while the body passes by.
//!
//! The reader takes the body in any pieces, changes nothing, and keeps at most one head of a part.
//! A body that two servers could take apart differently is refused: a boundary after a bare line
//! feed, two names of one part, a name with escapes, bytes before the first or behind the last
//! boundary.

use memchr::memmem;

mod fault;
mod part_head;

pub use fault::MultipartFault;
use part_head::name_of_part;

use crate::query::is_read_as_one_of;

/// The reader of one body.
#[derive(Debug)]
pub struct MultipartReader {
    /// Two hyphens and the boundary.
    boundary: Vec<u8>,
    finder: memmem::Finder<'static>,
    state: NextPart,
    /// The bytes that no decision was made on yet.
    held: Vec<u8>,
    parts: usize,
    forbidden: Vec<String>,
}

/// The part of the body that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextPart {
    /// The first boundary.
    Start,
    /// The two bytes behind a boundary: a line end, or the hyphens of the last boundary.
    AfterBoundary,
    /// The head of a part.
    Head,
    /// The first bytes of the content of a part, which must not be a boundary.
    ContentBegins,
    /// The content of a part.
    Content,
    /// The end of the body, behind the last boundary: no more than two line ends may follow.
    End,
}

impl MultipartReader {
    /// Begins to read a body with this boundary. No part may have one of the `forbidden` names.
    #[must_use]
    pub fn new(boundary: &str, forbidden: Vec<String>) -> Self {
        let boundary = format!("--{boundary}").into_bytes();
        Self {
            finder: memmem::Finder::new(&boundary).into_owned(),
            boundary,
            state: NextPart::Start,
            held: Vec::new(),
            parts: 0,
            forbidden,
        }
    }

    /// Reads the next piece of the body.
    ///
    /// # Errors
    /// The first fault of the body.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), MultipartFault> {
        let mut held = std::mem::take(&mut self.held);
        let bytes = if held.is_empty() {
            piece
        } else {
            held.extend_from_slice(piece);
            &held
        };
        let mut rest = bytes;
        while let Some(count) = self.step(rest)? {
            rest = rest.get(count..).unwrap_or_default();
        }
        self.held = rest.to_vec();
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// A body that ends too early.
    pub fn finish(&self) -> Result<(), MultipartFault> {
        match self.state {
            NextPart::End => Ok(()),
            _ => Err(MultipartFault::Unfinished),
        }
    }

    /// Takes one step, and returns the number of bytes that are done with; `None` if more bytes are
    /// needed.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, MultipartFault> {
        match self.state {
            NextPart::Start => self.first_boundary(bytes),
            NextPart::AfterBoundary => self.after_boundary(bytes),
            NextPart::Head => self.head(bytes),
            NextPart::ContentBegins => {
                if bytes.len() < self.boundary.len() {
                    return Ok(None);
                }
                if bytes.starts_with(&self.boundary) {
                    return Err(MultipartFault::Ambiguous);
                }
                self.state = NextPart::Content;
                Ok(Some(0))
            }
            NextPart::Content => self.content(bytes),
            NextPart::End if LAST_LINE_ENDS.starts_with(bytes) => Ok(None),
            NextPart::End => Err(MultipartFault::Ambiguous),
        }
    }

    fn first_boundary(&mut self, bytes: &[u8]) -> Result<Option<usize>, MultipartFault> {
        let start = usize::from(bytes.starts_with(LINE_END)) * LINE_END.len();
        let here = bytes.get(start..).unwrap_or_default();
        if here.starts_with(&self.boundary) {
            self.state = NextPart::AfterBoundary;
            return Ok(Some(start + self.boundary.len()));
        }
        if self.boundary.starts_with(here) || bytes == b"\r" {
            return Ok(None);
        }
        Err(MultipartFault::Ambiguous)
    }

    fn after_boundary(&mut self, bytes: &[u8]) -> Result<Option<usize>, MultipartFault> {
        self.state = match bytes.get(..2) {
            None => return Ok(None),
            Some(b"\r\n") => NextPart::Head,
            Some(b"--") => NextPart::End,
            Some(_) => return Err(MultipartFault::Ambiguous),
        };
        if self.state == NextPart::Head {
            self.parts += 1;
            if self.parts > MAX_PARTS {
                return Err(MultipartFault::TooLarge);
            }
        }
        Ok(Some(2))
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, MultipartFault> {
        if bytes.starts_with(LINE_END) {
            return Err(MultipartFault::Ambiguous);
        }
        let within = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let Some(end) = memmem::find(within, b"\r\n\r\n") else {
            return if within.len() < MAX_HEAD {
                Ok(None)
            } else {
                Err(MultipartFault::TooLarge)
            };
        };
        let name = name_of_part(within.get(..end).unwrap_or_default())?;
        if is_read_as_one_of(name, &self.forbidden) {
            return Err(MultipartFault::ForbiddenName);
        }
        self.state = NextPart::ContentBegins;
        Ok(Some(end + 4))
    }

    fn content(&mut self, bytes: &[u8]) -> Result<Option<usize>, MultipartFault> {
        let mut from = 0;
        while let Some(at) = self.finder.find(bytes.get(from..).unwrap_or_default()) {
            let at = from + at;
            let before = bytes.get(..at).unwrap_or_default();
            if before.ends_with(LINE_END) {
                self.state = NextPart::AfterBoundary;
                return Ok(Some(at + self.boundary.len()));
            }
            // PHP and Python end a part behind any line end.
            if before.ends_with(b"\n") || before.ends_with(b"\r") {
                return Err(MultipartFault::Ambiguous);
            }
            from = at + 1;
        }
        // The beginning of a boundary stays, with the line end before it.
        let kept = LINE_END.len() + self.boundary.len() - 1;
        Ok(bytes.len().checked_sub(kept).filter(|done| *done > 0))
    }
}

const LINE_END: &[u8] = b"\r\n";
/// The most that writers put behind the last boundary: axios 1.6 and 1.7, form-data-encoder and
/// with it got write an empty line there.
const LAST_LINE_ENDS: &[u8] = b"\r\n\r\n";
/// Most parts of a body: an upload has three or four.
const MAX_PARTS: usize = 100;
/// Longest head of a part, in bytes: as long as a line of a request's head may be.
const MAX_HEAD: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body whole and byte by byte, which must give one result.
    fn read(body: &[u8]) -> Result<(), MultipartFault> {
        let results = [body.len().max(1), 1, 7].map(|size| {
            let forbidden = ["batch", "access_token"].map(str::to_owned);
            let mut reader = MultipartReader::new("b", forbidden.to_vec());
            body.chunks(size)
                .try_for_each(|piece| reader.read(piece))
                .and_then(|()| reader.finish())
        });
        assert_eq!(results[0], results[1], "{}", body.escape_ascii());
        assert_eq!(results[0], results[2], "{}", body.escape_ascii());
        results[0]
    }

    /// A body with one part of this disposition.
    fn named(disposition: &str) -> String {
        format!("--b\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--b--\r\n")
    }

    #[test]
    fn an_upload_passes() {
        for body in [
            named(r#"form-data; name="file"; filename="a.png""#),
            named("form-data; name=file"),
            named(r#"form-data;name="file";filename="my \"own\" batch.png""#),
            named(r#"form-data; name="file"; filename="batch"; filename*=UTF-8''b%20c"#),
            named("form-data; name=\"file\"; filename=\"\u{e9}\u{4e2d}.png\""),
            format!("\r\n{}", named("form-data; name=\"messaging_product\"")),
            "--b--".to_owned(),
            "--b--\r\n".to_owned(),
            "--b\r\ncontent-disposition: form-data; name=\"a\"\r\nContent-Type: image/png\r\n\r\n\r\n--b\r\n\
             Content-Disposition: form-data; name=\"batches\"\r\n\r\nx --b in text--b\r\n --b \r\n--c\r\n--b--"
                .to_owned(),
        ] {
            assert_eq!(read(body.as_bytes()), Ok(()), "{body}");
        }
    }

    /// The bodies of one file as the libraries of several languages write them. The boundary is
    /// `b`.
    const WRITERS: [(&str, &str); 15] = [
        (
            "axios 1.6 and 1.7, form-data-encoder, got (Node)",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
             Content-Type: image/png\r\n\r\nx\r\n--b--\r\n\r\n",
        ),
        (
            "form-data, superagent, fetch of Node 20 and later; requests, httpx (Python); curl",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
             Content-Type: image/png\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "fetch of Node 18",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
             Content-Type: image/png\r\n\r\nx\r\n--b--",
        ),
        (
            "aiohttp (Python)",
            "--b\r\nContent-Type: image/png\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"a.png\"\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "urllib3 1 (Python), with a name beyond ASCII",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''%C3%A9.png\r\n\
             Content-Type: image/png\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "Guzzle (PHP)",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
             Content-Length: 1\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "Symfony (PHP)",
            "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\nContent-Disposition: \
             form-data; name=\"file\"; filename=\"a.png\"\r\n\r\nx\r\n--b--\r\n",
        ),
        ("mime/multipart (Go), without a part", "\r\n--b--\r\n"),
        (
            "OkHttp (Java)",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
             Content-Type: image/png\r\nContent-Length: 1\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "Apache HttpClient (Java)",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: \
             image/png\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "Jersey (Java)",
            "--b\r\nContent-Type: image/png\r\nContent-Disposition: form-data; filename=\"a.png\"; \
             modification-date=\"Tue, 01 Dec 2026 04:00:00 GMT\"; size=1; name=\"file\"\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "Netty (Java)",
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\ncontent-length: 1\r\n\
             content-type: image/png\r\ncontent-transfer-encoding: binary\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "HttpClient (.NET)",
            "--b\r\nContent-Type: image/png\r\nContent-Disposition: form-data; name=file; filename=a.png; \
             filename*=utf-8''a.png\r\n\r\nx\r\n--b--\r\n",
        ),
        (
            "multipart-post (Ruby)",
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Length: 1\r\n\
             Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\nx\r\n--b--\r\n\r\n",
        ),
        (
            "http (Dart)",
            "--b\r\ncontent-type: image/png\r\ncontent-disposition: form-data; name=\"file\"; \
             filename=\"a.png\"\r\n\r\nx\r\n--b--\r\n",
        ),
    ];

    #[test]
    fn an_upload_of_every_library_passes() {
        for (writer, body) in WRITERS {
            assert_eq!(read(body.as_bytes()), Ok(()), "{writer}");
        }
    }

    #[test]
    fn a_forbidden_name_is_found_in_every_spelling() {
        for name in [
            "\"batch\"",
            "batch",
            "\"BATCH\"",
            "\"batch[]\"",
            "\"batch[0]\"",
            "\"access.token\"",
            "\"Access_Token\"",
        ] {
            let body = named(&format!("form-data; name={name}"));
            assert_eq!(
                read(body.as_bytes()),
                Err(MultipartFault::ForbiddenName),
                "{name}"
            );
        }
        let second = named("form-data; name=\"a\"").replace(
            "x\r\n--b--",
            "x\r\n--b\r\nCONTENT-DISPOSITION:form-data;filename=\"x\"; NAME=\"batch\"\r\n\r\n",
        );
        assert_eq!(read(second.as_bytes()), Err(MultipartFault::ForbiddenName));
    }

    #[test]
    fn a_name_that_servers_read_differently_is_refused() {
        for disposition in [
            "form-data",
            "form-data; filename=\"a\"",
            "attachment; name=\"a\"",
            "form-data; name=\"\"",
            "form-data; name=",
            r#"form-data; name="a\"b""#,
            r#"form-data; name="a"; name="batch""#,
            r#"form-data; name="a"; filename="\"; name="batch""#,
            r#"form-data; name="a"; filename="x; name=batch""#,
            "form-data; name='a'",
            "form-data; name=a]",
            "form-data; name=a[]",
            "form-data; name*=UTF-8''batch",
            "form-data; name=\"a\"; name*=UTF-8''batch",
            "form-data; name*0=\"bat\"; name*1=\"ch\"",
            "form-data; name =\"batch\"; name=\"a\"",
            "form-data; name=\"%62atch\"",
            "form-data; name=\"=?utf-8?q?batch?=\"",
            "form-data; name=\"b\u{430}tch\"",
            "form-data; name=\" batch\"",
            "form-data; name=\"a\nContent-Disposition: form-data; name=batch\"",
        ] {
            let fault = read(named(disposition).as_bytes());
            assert_eq!(fault, Err(MultipartFault::Ambiguous), "{disposition}");
        }
    }

    #[test]
    fn a_body_that_servers_take_apart_differently_is_refused() {
        let good = named("form-data; name=\"a\"");
        for (name, body) in [
            ("preamble", format!("x\r\n{good}")),
            ("two line ends first", format!("\r\n\r\n{good}")),
            ("epilogue", format!("{good}x")),
            ("three line ends last", format!("{good}\r\n\r\n")),
            ("line feeds last", format!("{}\n\n", good.trim_end())),
            ("line feed last", format!("{}\n", good.trim_end())),
            ("text behind an empty line", format!("{good}\r\nx")),
            ("another boundary", good.replace("--b\r\n", "--bb\r\n")),
            ("line ends", good.replace("\r\n", "\n")),
            (
                "boundary behind a line feed",
                good.replace("x\r\n--b", "x\n--b"),
            ),
            (
                "boundary behind a carriage return",
                good.replace("x\r\n--b", "x\r--b"),
            ),
            ("boundary with a blank", good.replace("--b\r\n", "--b \r\n")),
            ("boundary with more", good.replace("--b--", "--bb\r\n--b--")),
            (
                "no content",
                good.replace("\r\n\r\nx\r\n--b", "\r\n\r\n--b"),
            ),
            ("no head", "--b\r\n\r\nx\r\n--b--".to_owned()),
            ("folded header", good.replace("Content", "A: b\r\n Content")),
            ("no colon", good.replace("Content", "A\r\nContent")),
            (
                "blank before the colon",
                good.replace("Disposition:", "Disposition :"),
            ),
            (
                "two dispositions",
                good.replace(
                    "Content-Disposition",
                    "Content-Disposition: form-data; name=\"b\"\r\nContent-Disposition",
                ),
            ),
        ] {
            assert_eq!(
                read(body.as_bytes()),
                Err(MultipartFault::Ambiguous),
                "{name}"
            );
        }
        let whole = good.trim_end().len();
        for end in 0..whole {
            assert_eq!(
                read(&good.as_bytes()[..end]),
                Err(MultipartFault::Unfinished),
                "{end}"
            );
        }
    }

    #[test]
    fn parts_and_heads_have_bounds() {
        let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
        assert_eq!(
            read(format!("{}--b--", part.repeat(100)).as_bytes()),
            Ok(())
        );
        let many = format!("{}--b--", part.repeat(101));
        assert_eq!(read(many.as_bytes()), Err(MultipartFault::TooLarge));
        let long = named(&format!(
            "form-data; name=\"a\"; filename=\"{}\"",
            "f".repeat(MAX_HEAD)
        ));
        assert_eq!(read(long.as_bytes()), Err(MultipartFault::TooLarge));
        let mut reader = MultipartReader::new("b", Vec::new());
        reader.read(part.as_bytes()).unwrap();
        reader
            .read(&named("form-data; name=\"a\"").as_bytes()[..50])
            .unwrap();
        for _ in 0..1000 {
            reader.state = NextPart::Content;
            reader.read(&[b'-'; 1000]).unwrap();
            assert!(reader.held.len() <= MAX_HEAD);
        }
    }
}
