//! Compressed messages: gzip and deflate, as gRPC and Connect name them, never past a limit.

use std::fmt;
use std::io::{Cursor, Read};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder, ZlibDecoder};

use crate::limits::WORK_SLICE_BYTES;

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
}

/// A message that is being expanded, a slice at a time.
pub struct Expansion {
    reader: Box<dyn Read + Send>,
    out: Vec<u8>,
    max: usize,
}

impl Expansion {
    /// At most `max` bytes will come of it, and never more than that is held.
    #[must_use]
    pub fn new(coding: Coding, message: Bytes, max: usize) -> Self {
        let likely = message.len().saturating_mul(3);
        let likely = likely.clamp(EXPANDED_BYTES_MIN, max.max(EXPANDED_BYTES_MIN));
        let message = Cursor::new(message);
        Self {
            reader: match coding {
                Coding::Gzip => Box::new(MultiGzDecoder::new(message)),
                Coding::Deflate => Box::new(ZlibDecoder::new(message)),
            },
            out: Vec::with_capacity(likely),
            max,
        }
    }

    /// Expands at most [`WORK_SLICE_BYTES`] more. Whether that was all.
    ///
    /// # Errors
    /// It is broken, or longer than it may be.
    pub fn step(&mut self) -> Result<bool, CodingError> {
        // One byte past the limit tells that there is more.
        let room = self.max.saturating_add(1).saturating_sub(self.out.len());
        let slice = room.min(WORK_SLICE_BYTES);
        let mut reader = (&mut self.reader).take(slice as u64);
        let read = reader.read_to_end(&mut self.out);
        let read = read.map_err(|_| CodingError::Corrupt)?;
        match self.out.len() > self.max {
            true => Err(CodingError::TooLarge { max: self.max }),
            false => Ok(read < slice),
        }
    }

    /// What has come of it.
    #[must_use]
    pub fn into_message(self) -> Bytes {
        self.out.into()
    }
}

impl fmt::Debug for Expansion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expansion")
            .field("out", &self.out.len())
            .finish_non_exhaustive()
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

    fn expand(coding: Coding, message: Bytes, max: usize) -> Result<Vec<u8>, CodingError> {
        let mut expansion = Expansion::new(coding, message, max);
        while !expansion.step()? {}
        Ok(expansion.out)
    }

    #[test]
    fn what_was_compressed_expands() {
        let message = b"one two three ".repeat(100);
        let compressed = gzip(&message).unwrap();
        assert!(compressed.len() < message.len() / 2);
        assert_eq!(
            expand(Coding::Gzip, compressed.into(), 1400),
            Ok(message.clone())
        );
        let mut deflated = Vec::new();
        flate2::read::ZlibEncoder::new(&message[..], Compression::fast())
            .read_to_end(&mut deflated)
            .unwrap();
        assert_eq!(expand(Coding::Deflate, deflated.into(), 1400), Ok(message));
    }

    #[test]
    fn a_long_one_expands_in_slices() {
        let message = vec![7; 3 * WORK_SLICE_BYTES];
        for (extra, steps) in [(0, 4), (1, 4), (WORK_SLICE_BYTES - 1, 4)] {
            let message = [&message[..], &vec![8; extra]].concat();
            let packed = gzip(&message).unwrap().into();
            let mut expansion = Expansion::new(Coding::Gzip, packed, message.len());
            let mut taken = 1;
            while !expansion.step().unwrap() {
                assert!(expansion.out.len() <= taken * WORK_SLICE_BYTES);
                taken += 1;
            }
            assert_eq!(taken, steps, "{extra}");
            assert!(expansion.into_message() == message);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = gzip(&vec![0; 8 << 20]).unwrap();
        assert!(bomb.len() < 256 * 1024);
        let error = CodingError::TooLarge { max: 1000 };
        assert_eq!(expand(Coding::Gzip, bomb.into(), 1000), Err(error));
    }

    #[test]
    fn broken_ones_are_told() {
        let mut broken = gzip(b"message").unwrap();
        broken.truncate(12);
        for bytes in [&broken[..], b"", b"plain"] {
            assert_eq!(
                expand(Coding::Gzip, Bytes::copy_from_slice(bytes), 100),
                Err(CodingError::Corrupt)
            );
        }
        assert_eq!(Coding::named(b"br"), None);
        assert_eq!(Coding::named(b" gzip"), Some(Coding::Gzip));
    }
}
