//! The place of a span in a trace, as `traceparent` carries it:
//! <https://www.w3.org/TR/trace-context/>.

use std::fmt;

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

/// The id of a trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// The id of a span in a trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// A span in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// True if the spans of the trace are recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Returns the span that an application names as the parent of its request; `None` without a
    /// header, with several, and with an invalid header by the specification.
    #[must_use]
    pub fn of_caller(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let text = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(text.trim_matches([' ', '\t']))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(5, '-');
        let [version] = hex(fields.next()?)?;
        let trace: [u8; 16] = hex(fields.next()?)?;
        let span: [u8; 8] = hex(fields.next()?)?;
        let [flags] = hex(fields.next()?)?;
        let has_more = fields.next().is_some();
        // Later versions may add fields; the first version has four, and 255 is no version.
        let is_form = version != u8::MAX && (version != 0 || !has_more);
        let is_set = trace != [0; 16] && span != [0; 8];
        (is_form && is_set).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

impl TraceId {
    /// Returns the trace of an event.
    #[must_use]
    pub fn of_event(event: &str) -> Self {
        Self(derived("trace", event))
    }

    /// Returns the number by which a share of all traces is chosen: the last seven bytes, which are
    /// random in every trace.
    pub(super) fn lot(self) -> u64 {
        let [.., a, b, c, d, e, f, g] = self.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g])
    }
}

impl SpanId {
    /// Returns the span in which an event is stored.
    #[must_use]
    pub fn of_stored(event: &str) -> Self {
        Self(derived("stored", event))
    }
}

/// Derives an id from the id of an event.
fn derived<const N: usize>(what: &str, event: &str) -> [u8; N] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update("keyside:")
        .chain_update(what)
        .chain_update(":")
        .chain_update(event)
        .finalize()
        .into();
    digest.first_chunk().copied().unwrap_or([1; N])
}

/// Reads an id of lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).ok()?;
    Some(bytes)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Display for TraceContext {
    /// Writes the value of a `traceparent` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(f, "00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

/// The header with the place of a request in a trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The flag of a trace whose spans are recorded.
const SAMPLED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| value.parse().unwrap());
        values.map(|value| (TRACEPARENT, value)).collect()
    }

    #[test]
    fn a_valid_traceparent_is_read_and_written_again() {
        for (text, is_sampled) in [
            (format!("00-{TRACE}-b7ad6b7169203331-01"), true),
            (format!("00-{TRACE}-b7ad6b7169203331-00"), false),
            (format!("00-{TRACE}-b7ad6b7169203331-03"), true),
            (format!("cc-{TRACE}-b7ad6b7169203331-01-what-comes"), true),
            (format!(" 00-{TRACE}-b7ad6b7169203331-01\t"), true),
        ] {
            let context = TraceContext::of_caller(&headers(&[&text])).unwrap();
            assert_eq!(context.trace.to_string(), TRACE, "{text}");
            assert_eq!(context.is_sampled, is_sampled, "{text}");
            let flags = if is_sampled { "01" } else { "00" };
            let written = format!("00-{TRACE}-b7ad6b7169203331-{flags}");
            assert_eq!(context.to_string(), written);
        }
    }

    #[test]
    fn what_the_specification_calls_invalid_is_no_parent() {
        let good = format!("00-{TRACE}-b7ad6b7169203331-01");
        let upper = good.to_uppercase();
        let zeros = "0".repeat(32);
        for values in [
            &[][..],
            &[""],
            &["x"],
            &[&upper],
            &[&format!("ff-{TRACE}-b7ad6b7169203331-01")],
            &[&format!("00-{zeros}-b7ad6b7169203331-01")],
            &[&format!("00-{TRACE}-0000000000000000-01")],
            &[&format!("00-{TRACE}-b7ad6b716920333-01")],
            &[&format!("00-{TRACE}0-b7ad6b7169203331-01")],
            &[&format!("00-{TRACE}-b7ad6b7169203331-1")],
            &[&format!("00-{TRACE}-b7ad6b7169203331")],
            &[&format!("00-{TRACE}-b7ad6b7169203331-01-more")],
            &[&format!("00_{TRACE}_b7ad6b7169203331_01")],
            &[&good, &good],
        ] {
            assert_eq!(
                TraceContext::of_caller(&headers(values)),
                None,
                "{values:?}"
            );
        }
    }

    #[test]
    fn the_ids_of_an_event_are_its_own() {
        assert_eq!(TraceId::of_event("a"), TraceId::of_event("a"));
        assert_ne!(TraceId::of_event("a"), TraceId::of_event("b"));
        assert_ne!(SpanId::of_stored("a"), SpanId::of_stored("b"));
        assert_ne!(TraceId::of_event("a").0[..8], SpanId::of_stored("a").0);
    }
}
