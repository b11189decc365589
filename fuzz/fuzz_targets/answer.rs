//! A provider's answer has one meaning, however the bytes are cut, and ends at the place that the
//! RFC gives.
#![no_main]

use http::Method;
use keyside::upstream::pieces::{ReadAnswer, read_answer};
use libfuzzer_sys::fuzz_target;

/// The longest input that is read byte by byte: the time grows with the square of the length.
const MAX_SINGLE: usize = 1024;

fuzz_target!(|data: &[u8]| {
    let [choice, cut, bytes @ ..] = data else {
        return;
    };
    let method = if choice % 2 == 0 {
        Method::POST
    } else {
        Method::HEAD
    };
    let whole = read_answer([bytes], &method);
    let smallest = if bytes.len() > MAX_SINGLE { 64 } else { 1 };
    for size in [smallest, smallest + usize::from(*cut)] {
        match (&whole, read_answer(bytes.chunks(size), &method)) {
            (Ok(whole), Ok(cut)) => assert_eq!(*whole, cut, "in pieces of {size} bytes"),
            (Err(_), Err(_)) => {}
            // A head is parsed when it is whole, or has doubled: a fault in a head without an end
            // may be seen later.
            (Err(_), Ok(None)) => {}
            (whole, cut) => panic!("whole: {whole:?}; in pieces of {size} bytes: {cut:?}"),
        }
    }
    if let Ok(Some(answer)) = &whole {
        check_against_reference(answer, bytes, &method);
    }
});

/// Reads the answer with a second, minimal reader, and compares the results.
fn check_against_reference(answer: &ReadAnswer, bytes: &[u8], method: &Method) {
    let (status, headers, rest) = final_head(bytes);
    assert_eq!(answer.status.as_u16(), status);
    let kept: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(kept.len(), headers.len());
    assert!(
        headers
            .iter()
            .all(|(name, value)| kept.contains(&(name, value)))
    );
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| &value[..])
    };

    if *method == Method::HEAD || status == 204 || status == 304 {
        assert!(answer.is_complete && answer.body.is_empty());
        assert_eq!(answer.unread, rest.len());
    } else if header("transfer-encoding").is_some() {
        assert!(
            header("content-length").is_none(),
            "two ways to find the end"
        );
        match dechunked(rest) {
            Some((body, after)) => {
                assert!(answer.is_complete);
                assert_eq!(
                    (answer.body.as_slice(), answer.unread),
                    (body.as_slice(), after.len())
                );
            }
            None => assert!(!answer.is_complete, "an end that is not there"),
        }
    } else if let Some(length) = header("content-length") {
        let length: usize = std::str::from_utf8(length)
            .unwrap()
            .parse()
            .unwrap_or(usize::MAX);
        assert_eq!(answer.body, rest[..length.min(rest.len())]);
        assert_eq!(answer.is_complete, length <= rest.len());
    } else {
        assert!(!answer.is_complete && !answer.keep_alive);
        assert_eq!(answer.body, rest);
    }
}

type Headers = Vec<(String, Vec<u8>)>;

/// The status and headers of the final head, and the bytes behind the head.
fn final_head(mut bytes: &[u8]) -> (u16, Headers, &[u8]) {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut lines);
        let parsed = response.parse(bytes).expect("Keyside took it for a head");
        let length = parsed.unwrap();
        let status = response.code.unwrap();
        if status >= 200 {
            let headers = response.headers.iter();
            let headers = headers
                .map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec()))
                .collect();
            return (status, with_one_length(headers), &bytes[length..]);
        }
        bytes = &bytes[length..];
    }
}

/// The headers with a single line for a repeated length, in a line or in several (RFC 9112, 6.3). A
/// length that is there once stays as it is written.
fn with_one_length(mut headers: Headers) -> Headers {
    let is_length = |(name, _): &(String, Vec<u8>)| name == "content-length";
    let mut lines = headers.iter().filter(|line| is_length(line));
    let first = lines.next().map(|(_, value)| value.clone());
    let is_repeated = lines.next().is_some();
    if let Some(first) = first
        && (is_repeated || first.contains(&b','))
    {
        let text = std::str::from_utf8(&first).expect("Keyside took it for a length");
        let number = text.split(',').next().unwrap_or_default().trim();
        let number: u64 = number.parse().expect("Keyside took it for a length");
        headers.retain(|line| !is_length(line));
        headers.push(("content-length".to_owned(), number.to_string().into_bytes()));
    }
    headers
}

/// The content of a chunked body, and the bytes behind the body; `None` without an end.
fn dechunked(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (line, after) = line(rest)?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let digits = std::str::from_utf8(&line[..digits]).unwrap();
        let size = usize::from_str_radix(digits, 16).expect("Keyside took it for a size");
        if size == 0 {
            return Some((body, after_trailers(after)?));
        }
        body.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn after_trailers(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (line, after) = line(rest)?;
        if line.is_empty() {
            return Some(after);
        }
        rest = after;
    }
}

/// The next line, and the bytes behind the line end.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}
