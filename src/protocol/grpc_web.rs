//! gRPC-Web: gRPC's frames in an HTTP body of any version, the trailers as a last frame of their own;
//! in text form all of it in base64, for clients that can't read bytes as they come.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// A text body that isn't base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("the body is not base64")]
    Invalid,
    #[error("the body's base64 is cut off")]
    Truncated,
}

/// base64 → bytes, as it comes. Padding may stand wherever a sender began anew, so a text is a run of
/// quartets, each decoded for itself.
#[derive(Debug, Default)]
pub struct TextDecoder {
    /// The beginning of a quartet, when the last piece ended in one.
    partial: [u8; 4],
    partial_bytes: usize,
}

impl TextDecoder {
    /// Appends what the next piece stands for.
    ///
    /// # Errors
    /// It is no base64. What came before it in the piece is there; nothing may be pushed after it.
    pub fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
        while self.partial_bytes > 0 {
            let Some((byte, rest)) = text.split_first() else {
                return Ok(());
            };
            text = rest;
            self.keep(*byte);
            if self.partial_bytes == self.partial.len() {
                self.partial_bytes = 0;
                let quartet = self.partial;
                decode(&quartet, out)?;
            }
        }
        let whole = text.len() & !3;
        let (whole, rest) = text.split_at_checked(whole).unwrap_or((text, &[]));
        decode(whole, out)?;
        rest.iter().for_each(|byte| self.keep(*byte));
        Ok(())
    }

    fn keep(&mut self, byte: u8) {
        if let Some(at) = self.partial.get_mut(self.partial_bytes) {
            *at = byte;
            self.partial_bytes += 1;
        }
    }

    /// Says that the text has ended.
    ///
    /// # Errors
    /// It ended inside a quartet.
    pub fn finish(&self) -> Result<(), TextError> {
        match self.partial_bytes {
            0 => Ok(()),
            _ => Err(TextError::Truncated),
        }
    }
}

/// Whole quartets, cut after each that ends in padding.
fn decode(mut text: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
    while !text.is_empty() {
        let padded = memchr::memchr(b'=', text);
        // The quartet with the first padding ends the run.
        let run = padded.map_or(text.len(), |at| (at / 4 + 1) * 4);
        let (run, rest) = text.split_at_checked(run).ok_or(TextError::Invalid)?;
        STANDARD
            .decode_vec(run, out)
            .map_err(|_| TextError::Invalid)?;
        text = rest;
    }
    Ok(())
}

/// A piece of a text body. Each is padded, so that a client can read it without the next.
#[must_use]
pub fn encode_text(bytes: &[u8]) -> Vec<u8> {
    STANDARD.encode(bytes).into_bytes()
}

/// The frame that ends an answer: `name: value` lines, names in lower case.
#[must_use]
pub fn trailer_frame(trailers: &HeaderMap) -> Vec<u8> {
    let mut frame = vec![TRAILERS, 0, 0, 0, 0];
    for (name, value) in trailers {
        frame.extend_from_slice(name.as_str().as_bytes());
        frame.extend_from_slice(b": ");
        frame.extend_from_slice(value.as_bytes());
        frame.extend_from_slice(b"\r\n");
    }
    // Header lists are far shorter than four bytes can say.
    let length = u32::try_from(frame.len().saturating_sub(5)).unwrap_or(u32::MAX);
    for (to, from) in frame.iter_mut().skip(1).zip(length.to_be_bytes()) {
        *to = from;
    }
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8], size: usize) -> Result<Vec<u8>, TextError> {
        let mut decoder = TextDecoder::default();
        let mut out = Vec::new();
        for piece in text.chunks(size) {
            decoder.push(piece, &mut out)?;
        }
        decoder.finish()?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn pieces_with_padding_between_them_are_one_text(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
            size in 1_usize..11,
        ) {
            let text: Vec<u8> = pieces.iter().flat_map(|p| encode_text(p)).collect();
            prop_assert_eq!(decoded(&text, size), Ok(pieces.concat()));
        }

        #[test]
        fn any_text_and_any_split_end_the_same_way(
            text in "[A-Da-d=+/ ]{0,40}",
            size in 1_usize..11,
        ) {
            prop_assert_eq!(decoded(text.as_bytes(), size), decoded(text.as_bytes(), 1));
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        assert_eq!(decoded(b"AAA=AAAA", 3), Ok(vec![0; 5]));
        for (text, error) in [
            (&b"AAAA*AAA"[..], TextError::Invalid),
            (b"A===", TextError::Invalid),
            (b"====", TextError::Invalid),
            (b"AA=A", TextError::Invalid),
            (b"AAAAA", TextError::Truncated),
            (b"AAA", TextError::Truncated),
        ] {
            for size in 1..9 {
                assert_eq!(decoded(text, size), Err(error), "{text:?} {size}");
            }
        }
    }

    #[test]
    fn trailers_are_lines_in_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.append("x-a", "1".parse().unwrap());
        trailers.append("x-a", "2".parse().unwrap());
        let lines = b"grpc-status: 0\r\nx-a: 1\r\nx-a: 2\r\n";
        let expected = [&[0x80, 0, 0, 0, 32][..], lines].concat();
        assert_eq!(trailer_frame(&trailers), expected);
    }
}
