//! Follows a stream of gRPC frames that passes by without being held: where messages begin, and that
//! none is longer than it may be. It costs a few steps for each frame, whatever its length.

use crate::limits::ByteLimit;

use super::frame::{FrameError, PREFIX_BYTES};

/// The highest flags of gRPC: compressed or not.
const FLAGS_MAX: u8 = 1;

/// What is known of the frames so far.
#[derive(Clone, Debug)]
pub struct FrameMeter {
    message_bytes_max: usize,
    /// What has come of a prefix.
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// What is still to come of a message.
    message_left: usize,
    messages: u64,
}

impl FrameMeter {
    #[must_use]
    pub fn new(message_bytes_max: ByteLimit) -> Self {
        Self {
            message_bytes_max: message_bytes_max.bytes(),
            prefix: [0; PREFIX_BYTES],
            prefix_bytes: 0,
            message_left: 0,
            messages: 0,
        }
    }

    /// The next bytes of the stream.
    ///
    /// # Errors
    /// Unknown flags, or a message that is too long. The stream must not go on then.
    pub fn pass(&mut self, mut chunk: &[u8]) -> Result<(), FrameError> {
        loop {
            let skipped = self.message_left.min(chunk.len());
            self.message_left -= skipped;
            chunk = chunk.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = chunk.split_first() else {
                return Ok(());
            };
            chunk = rest;
            if self.prefix_bytes == 0 && *byte > FLAGS_MAX {
                return Err(FrameError::Flags(*byte));
            }
            if let Some(at) = self.prefix.get_mut(self.prefix_bytes) {
                *at = *byte;
            }
            self.prefix_bytes += 1;
            if self.prefix_bytes == PREFIX_BYTES {
                self.begin_message()?;
            }
        }
    }

    fn begin_message(&mut self) -> Result<(), FrameError> {
        let [_, a, b, c, d] = self.prefix;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let max = self.message_bytes_max;
        if length > max {
            return Err(FrameError::TooLarge { length, max });
        }
        self.prefix_bytes = 0;
        self.message_left = length;
        self.messages += 1;
        Ok(())
    }

    /// Messages that have begun.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the stream is between two messages.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.prefix_bytes == 0 && self.message_left == 0
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// It ended inside a message.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.is_between() {
            true => Ok(()),
            false => Err(FrameError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::Decoder;
    use super::*;

    const MAX: usize = 16;

    fn metered(wire: &[u8], size: usize) -> Result<u64, FrameError> {
        let mut meter = FrameMeter::new(ByteLimit::new(MAX).unwrap());
        for chunk in wire.chunks(size) {
            meter.pass(chunk)?;
        }
        meter.finish()?;
        Ok(meter.messages())
    }

    fn decoded(wire: &[u8]) -> Result<u64, FrameError> {
        let mut decoder = Decoder::new(ByteLimit::new(MAX).unwrap());
        decoder.push(wire.to_vec().into());
        let mut messages = 0;
        while decoder.next_message()?.is_some() {
            messages += 1;
        }
        decoder.finish()?;
        Ok(messages)
    }

    proptest! {
        #[test]
        fn it_sees_what_the_decoder_sees_whatever_the_split(
            wire in prop::collection::vec(prop_oneof![9 => Just(0_u8), 3 => 2_u8..12, 1 => any::<u8>()], 0..80),
            size in 1_usize..20,
        ) {
            let expected = decoded(&wire);
            prop_assume!(expected != Err(FrameError::Compressed));
            prop_assert_eq!(metered(&wire, size), expected);
        }
    }

    #[test]
    fn compressed_messages_pass() {
        assert_eq!(metered(&[1, 0, 0, 0, 2, 7, 7, 0, 0, 0, 0, 0], 5), Ok(2));
        assert_eq!(metered(&[2], 1), Err(FrameError::Flags(2)));
        assert_eq!(metered(&[1, 0, 0, 0, 2, 7], 9), Err(FrameError::Truncated));
    }
}
