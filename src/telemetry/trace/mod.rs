//! The trace that a request belongs to: as its client says, in whichever of the usual forms, and as
//! services are told.

mod forms;
mod record;
mod tracer;

pub use record::{Attempt, Goal, Handshake, Shaken, Trail, Try};
pub use tracer::{Counts as SpanCounts, Order as SpanOrder, SpanReport, Spans};

pub(super) use forms::put_hex;
pub(super) use record::Traced;
pub(super) use tracer::{Begun, Tracer, Untraced};

use std::fmt;

/// A trace, and the caller's span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    /// Zeros where the trace begins here.
    span: [u8; 8],
    pub sampled: bool,
}

impl Trace {
    pub(super) const fn new(id: [u8; 16], span: [u8; 8], sampled: bool) -> Self {
        Self { id, span, sampled }
    }

    /// Reads `00-<32 hex>-<16 hex>-<2 hex>` (Trace Context §3.2). `None` for anything else, zeros too.
    #[must_use]
    pub fn of_traceparent(text: &[u8]) -> Option<Self> {
        let (version, rest) = text.split_first_chunk::<2>()?;
        let (id, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<32>()?;
        let (span, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
        let (flags, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<2>()?;
        let [_, low] = *flags;
        let known = version == b"00" && rest.is_empty();
        let later =
            version != b"00" && version != b"ff" && (rest.is_empty() || rest.starts_with(b"-"));
        let is_lower = |text: &[u8]| text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let good = (known || later) && [&version[..], id, span, flags].into_iter().all(is_lower);
        let digit = char::from(low).to_digit(16).unwrap_or_default();
        good.then_some(Self {
            id: forms::read_hex(id)?,
            span: forms::read_hex(span)?,
            sampled: digit & 1 == 1,
        })
        .filter(|trace| trace.id != [0; 16] && trace.span != [0; 8])
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut text = [0; 32];
        forms::put_hex(&self.id, &mut text);
        text
    }

    /// 16 of them, where a caller began it.
    #[must_use]
    pub fn span(&self) -> Option<[u8; 16]> {
        let mut text = [0; 16];
        forms::put_hex(&self.span, &mut text);
        (self.span != [0; 8]).then_some(text)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_strictly() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::of_traceparent(good).unwrap();
        assert_eq!(&trace.id(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.span().as_ref(), Some(b"00f067aa0ba902b7"));
        assert!(trace.sampled);
        for bad in [
            &b""[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e473\"-00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                Trace::of_traceparent(bad),
                None,
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
        let later = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!Trace::of_traceparent(later).unwrap().sampled);
    }
}
