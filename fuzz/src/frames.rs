//! What the checks of protocols with frames share: messages cut out of a stream of bytes.

use bytes::Bytes;
use transom::limits::ByteLimit;
use transom::transcode::coding::Coding;
use transom::transcode::frame::{Decoder, FrameError, PREFIX_BYTES};
use transom::transcode::meter::FrameMeter;

const MESSAGE_BYTES_MAX: ByteLimit = ByteLimit::kib(4);

type Cut = Result<Vec<Vec<u8>>, FrameError>;

fn cut(coding: Option<Coding>, pieces: impl Iterator<Item = Bytes>) -> (Vec<Vec<u8>>, Cut) {
    let mut decoder = Decoder::new(MESSAGE_BYTES_MAX).with_coding(coding);
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => found.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    let whole = decoder.finish().map(|()| found.clone());
    (found, whole)
}

fn metered(pieces: impl Iterator<Item = Bytes>) -> Result<u64, FrameError> {
    let mut meter = FrameMeter::new(MESSAGE_BYTES_MAX);
    for piece in pieces {
        meter.pass(&piece)?;
    }
    meter.finish()?;
    Ok(meter.messages())
}

/// Any split gives the same messages, none larger than the limit, and who only counts them agrees.
pub fn check(size: usize, coding: Option<Coding>, wire: &[u8]) {
    let whole = || std::iter::once(Bytes::copy_from_slice(wire));
    let pieces = || wire.chunks(size.max(1)).map(Bytes::copy_from_slice);
    let (found, all) = cut(coding, whole());
    assert_eq!(cut(coding, pieces()), (found.clone(), all.clone()));
    assert!(found.iter().all(|m| m.len() <= MESSAGE_BYTES_MAX.bytes()));

    assert_eq!(metered(pieces()), metered(whole()));
    if let (None, Ok(all)) = (coding, &all) {
        assert_eq!(metered(whole()), Ok(all.len() as u64));
        let bytes: usize = all.iter().map(|m| m.len() + PREFIX_BYTES).sum();
        assert_eq!(bytes, wire.len());
    }
}
