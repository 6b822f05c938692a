//! gRPC's length-prefixed messages: one byte of flags, four of length (big-endian), the message.
//!
//! The decoder takes bytes as they come and gives whole messages out; how the bytes were split makes
//! no difference. A message that arrives in one piece is not copied.

use bytes::Bytes;

use crate::failure::{Failure, GrpcCode, Limit};
use crate::limits::ByteLimit;

use super::coding::{Coding, CodingError, Expansion};

/// Flags and length.
pub const PREFIX_BYTES: usize = 5;

/// Why a stream of frames can't be read, or a message not be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a message is compressed, and no compression was agreed on")]
    Compressed,
    #[error("a message has unknown flags 0x{0:02x}")]
    Flags(u8),
    #[error("a message has {length} bytes, the limit is {max}")]
    TooLarge { length: usize, max: usize },
    #[error("the stream ends inside a message")]
    Truncated,
    #[error(transparent)]
    Coding(#[from] CodingError),
}

impl FrameError {
    /// For frames that an upstream sent.
    #[must_use]
    pub fn of_upstream(self) -> Failure {
        let failure = match self {
            Self::TooLarge { .. } | Self::Coding(CodingError::TooLarge { .. }) => {
                Failure::upstream(
                    GrpcCode::ResourceExhausted,
                    format!("the service's answer is too large: {self}"),
                )
                .over(Limit::Reply)
            }
            _ => Failure::upstream(
                GrpcCode::Unavailable,
                format!("the service's answer can't be read: {self}"),
            ),
        };
        failure
            .status(http::StatusCode::BAD_GATEWAY)
            .caused_by(self)
    }
}

/// Begins a frame at the end of `buffer`; give what is returned to [`finish`] once the message has
/// been appended.
#[must_use]
pub fn start(buffer: &mut Vec<u8>) -> usize {
    let at = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    at
}

/// Fills in the length of the frame that began at `at`.
///
/// # Errors
/// The message is longer than four bytes can say.
pub fn finish(buffer: &mut [u8], at: usize) -> Result<(), FrameError> {
    let length = buffer.len().saturating_sub(at.saturating_add(PREFIX_BYTES));
    let prefix = prefix(length)?;
    for (to, from) in buffer.iter_mut().skip(at).zip(prefix) {
        *to = from;
    }
    Ok(())
}

/// The prefix of an uncompressed message.
///
/// # Errors
/// It is longer than four bytes can say.
pub fn prefix(length: usize) -> Result<[u8; PREFIX_BYTES], FrameError> {
    let max = u32::MAX as usize;
    let bytes = u32::try_from(length).map_err(|_| FrameError::TooLarge { length, max })?;
    let [a, b, c, d] = bytes.to_be_bytes();
    Ok([0, a, b, c, d])
}

/// Frames → messages.
///
/// What has come and not been given out is in one of `front` and `partial`, never in both: a whole
/// chunk as it came, or the collected pieces of a frame that spans several. So a peer that sends one
/// byte at a time costs the bytes and nothing for each piece.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    front: Bytes,
    partial: Vec<u8>,
    /// Length of the message whose prefix has been read.
    pending: Option<usize>,
    /// How compressed messages are, when that was agreed on, and whether this one is.
    coding: Option<Coding>,
    compressed: bool,
    /// The message that is being expanded.
    expansion: Option<Box<Expansion>>,
}

/// What there is of the next message.
#[derive(Debug)]
pub enum Next {
    Message(Bytes),
    /// Others have their turn before more of it is expanded.
    Resting,
    /// More bytes are needed.
    Starved,
}

impl Decoder {
    #[must_use]
    pub fn new(message_bytes_max: ByteLimit) -> Self {
        Self {
            message_bytes_max: message_bytes_max.bytes(),
            front: Bytes::new(),
            partial: Vec::new(),
            pending: None,
            coding: None,
            compressed: false,
            expansion: None,
        }
    }

    /// The same for a stream whose messages may be compressed. The limit is that of a message before
    /// and after.
    #[must_use]
    pub fn with_coding(mut self, coding: Option<Coding>) -> Self {
        self.coding = coding;
        self
    }

    /// Bytes that have come and not been given out.
    #[must_use]
    pub fn held(&self) -> usize {
        self.front.len().saturating_add(self.partial.len())
    }

    /// Takes the next bytes of the stream. Call [`Decoder::next_message`] until it has no more before
    /// the next push, so that no more than a message and a chunk is ever held.
    pub fn push(&mut self, chunk: Bytes) {
        if self.front.is_empty() && self.partial.is_empty() {
            self.front = chunk;
            return;
        }
        let front = std::mem::take(&mut self.front);
        if self.partial.is_empty() {
            // Once: to grow a large buffer is to copy it. The length is within the limit, and room that
            // isn't written to costs next to nothing.
            let whole = self.pending.unwrap_or_default();
            let here = front.len().saturating_add(chunk.len());
            self.partial.reserve(whole.max(here));
        }
        self.partial.extend_from_slice(&front);
        self.partial.extend_from_slice(&chunk);
    }

    /// The next whole message, or `None` until more bytes have come.
    ///
    /// # Errors
    /// See [`FrameError`]. The stream can't be read on then.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            match self.next_step()? {
                Next::Message(message) => return Ok(Some(message)),
                Next::Starved => return Ok(None),
                Next::Resting => {}
            }
        }
    }

    /// The same with a rest after each slice of a compressed message.
    ///
    /// # Errors
    /// As above.
    pub fn next_step(&mut self) -> Result<Next, FrameError> {
        if let Some(expansion) = &mut self.expansion {
            if !expansion.step()? {
                return Ok(Next::Resting);
            }
            let whole = self.expansion.take().map(|e| e.into_message());
            return Ok(Next::Message(whole.unwrap_or_default()));
        }
        let length = match self.pending {
            Some(length) => length,
            None => match self.take_prefix()? {
                Some(length) => *self.pending.insert(length),
                None => return Ok(Next::Starved),
            },
        };
        let Some(message) = self.take(length) else {
            return Ok(Next::Starved);
        };
        self.pending = None;
        match self.coding.filter(|_| self.compressed) {
            Some(coding) => {
                let expansion = Expansion::new(coding, message, self.message_bytes_max);
                self.expansion = Some(Box::new(expansion));
                self.next_step()
            }
            None => Ok(Next::Message(message)),
        }
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// It ended inside a message.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.front.is_empty() && self.partial.is_empty() && self.pending.is_none() {
            true => Ok(()),
            false => Err(FrameError::Truncated),
        }
    }

    fn take_prefix(&mut self) -> Result<Option<usize>, FrameError> {
        // The flags are judged as soon as they are there.
        match self.front.first().or(self.partial.first()) {
            None => return Ok(None),
            Some(0) => self.compressed = false,
            Some(1) if self.coding.is_some() => self.compressed = true,
            Some(1) => return Err(FrameError::Compressed),
            Some(other) => return Err(FrameError::Flags(*other)),
        }
        let Some(prefix) = self.take(PREFIX_BYTES) else {
            return Ok(None);
        };
        let length = prefix
            .iter()
            .skip(1)
            .fold(0_u32, |n, b| n << 8 | u32::from(*b));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let max = self.message_bytes_max;
        match length > max {
            true => Err(FrameError::TooLarge { length, max }),
            false => Ok(Some(length)),
        }
    }

    /// The next `length` bytes, once they are there.
    fn take(&mut self, length: usize) -> Option<Bytes> {
        if self.partial.len() >= length && !self.partial.is_empty() {
            self.front = Bytes::from(std::mem::take(&mut self.partial));
        }
        (self.front.len() >= length && self.partial.is_empty()).then(|| self.front.split_to(length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for message in messages {
            let at = start(&mut wire);
            wire.extend_from_slice(message);
            finish(&mut wire, at).unwrap();
        }
        wire
    }

    fn read(chunks: impl Iterator<Item = Vec<u8>>, max: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut decoder = Decoder::new(ByteLimit::new(max).unwrap());
        let mut messages = Vec::new();
        for chunk in chunks {
            decoder.push(chunk.into());
            while let Some(message) = decoder.next_message()? {
                messages.push(message.to_vec());
            }
        }
        decoder.finish()?;
        Ok(messages)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let wire = framed(&messages);
            let mut at: Vec<usize> = cuts.drain(..).map(|c| c.index(wire.len() + 1)).collect();
            at.push(0);
            at.push(wire.len());
            at.sort_unstable();
            let chunks = at.windows(2).map(|w| wire[w[0]..w[1]].to_vec());
            prop_assert_eq!(read(chunks, 40), Ok(messages));
        }

        #[test]
        fn any_bytes_and_any_split_end_the_same_way(
            wire in prop::collection::vec(prop_oneof![4 => 0_u8..3, 1 => any::<u8>()], 0..60),
            size in 1_usize..9,
        ) {
            let pieces = wire.chunks(size).map(<[u8]>::to_vec);
            prop_assert_eq!(read(pieces, 16), read(std::iter::once(wire.clone()), 16));
        }
    }

    #[test]
    fn faults_are_told_apart() {
        let read = |bytes: &[u8]| read(std::iter::once(bytes.to_vec()), 8);
        assert_eq!(read(&[0, 0, 0, 0, 0]), Ok(vec![vec![]]));
        assert_eq!(read(&[1]), Err(FrameError::Compressed));
        assert_eq!(read(&[0x80]), Err(FrameError::Flags(0x80)));
        let huge = FrameError::TooLarge {
            length: u32::MAX as usize,
            max: 8,
        };
        assert_eq!(read(&[0, 255, 255, 255, 255]), Err(huge));
        assert_eq!(read(&[0, 0, 0]), Err(FrameError::Truncated));
        assert_eq!(read(&[0, 0, 0, 0, 2, 7]), Err(FrameError::Truncated));
        assert_eq!(
            read(&[0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn one_piece_is_not_copied() {
        let wire = Bytes::from(framed(&[b"abc".to_vec(), b"de".to_vec()]));
        let inside = wire.as_ptr_range();
        let mut decoder = Decoder::new(ByteLimit::kib(1));
        decoder.push(wire);
        while let Some(message) = decoder.next_message().unwrap() {
            assert!(inside.contains(&message.as_ptr()));
        }
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn faults_blame_the_upstream_with_502() {
        for error in [
            FrameError::Compressed,
            FrameError::TooLarge { length: 9, max: 8 },
        ] {
            let failure = error.of_upstream();
            assert_eq!(failure.http_status(), 502);
            assert_eq!(failure.blame, crate::failure::Blame::Upstream);
        }
    }
}
