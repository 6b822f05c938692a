//! Compressed messages: gzip and deflate, as gRPC and Connect name them, never past a limit.

use std::io::Read as _;

use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder, ZlibDecoder};

/// How a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// RFC 1950, whatever the name says.
    Deflate,
}

/// Why a compressed message can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    #[error("a compressed message can't be expanded")]
    Corrupt,
    #[error("a compressed message expands to more than {max} bytes")]
    TooLarge { max: usize },
}

/// Space for the beginning of an expanded message; it grows with what is really there.
const EXPANDED_BYTES_MIN: usize = 1024;

impl Coding {
    /// The coding that `grpc-encoding` and the like name. `None` for those that aren't known.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        match name.trim_ascii() {
            b"gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The message, of at most `max` bytes. Never holds more than that.
    ///
    /// # Errors
    /// It is broken, or longer.
    pub fn expand(self, message: &[u8], max: usize) -> Result<Vec<u8>, CodingError> {
        let mut out = Vec::with_capacity(
            message
                .len()
                .saturating_mul(3)
                .clamp(EXPANDED_BYTES_MIN, max.max(EXPANDED_BYTES_MIN)),
        );
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let read = match self {
            Self::Gzip => MultiGzDecoder::new(message)
                .take(limit)
                .read_to_end(&mut out),
            Self::Deflate => ZlibDecoder::new(message).take(limit).read_to_end(&mut out),
        };
        match read {
            Ok(length) if length > max => Err(CodingError::TooLarge { max }),
            Ok(_) => Ok(out),
            Err(_) => Err(CodingError::Corrupt),
        }
    }
}

/// The message in gzip, fast rather than small.
#[must_use]
pub fn gzip(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() / 2);
    GzEncoder::new(message, Compression::fast())
        .read_to_end(&mut out)
        .ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_expands() {
        let message = b"one two three ".repeat(100);
        let compressed = gzip(&message).unwrap();
        assert!(compressed.len() < message.len() / 2);
        assert_eq!(Coding::Gzip.expand(&compressed, 1400), Ok(message.clone()));
        let mut deflated = Vec::new();
        flate2::read::ZlibEncoder::new(&message[..], Compression::fast())
            .read_to_end(&mut deflated)
            .unwrap();
        assert_eq!(Coding::Deflate.expand(&deflated, 1400), Ok(message));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 8 << 20]).unwrap();
        assert!(bomb.len() < 256 * 1024);
        let error = CodingError::TooLarge { max: 1000 };
        assert_eq!(Coding::Gzip.expand(&bomb, 1000), Err(error));
    }

    #[test]
    fn broken_ones_are_told() {
        let mut broken = gzip(b"message").unwrap();
        broken.truncate(12);
        for bytes in [&broken[..], b"", b"plain"] {
            assert_eq!(Coding::Gzip.expand(bytes, 100), Err(CodingError::Corrupt));
        }
        assert_eq!(Coding::named(b"br"), None);
        assert_eq!(Coding::named(b" gzip"), Some(Coding::Gzip));
    }
}
