//! A stream of requests in a content coding, unpacked as it comes: what is at hand of it gives what it
//! can, and nothing waits for the coding's end. No more is unpacked at once than one slice, and no more
//! in all than [`UNPACKED_RATIO_MAX`] times what came; each message has its own limit beside.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body;
use tokio::time::Instant;

use crate::client_body::{ClientBody, too_large};
use crate::failure::{Failure, Limit};
use crate::limits::{UNPACKED_RATIO_MAX, WORK_SLICE_BYTES};

use super::decompress::{Packed, broken};

/// What a decoder asks of its source at once; most of what it takes in comes through here.
const INPUT_BYTES: usize = 8 * 1024;

/// A client's body as it comes, for one reader after the other.
#[derive(Clone)]
pub(super) struct Coming(Rc<RefCell<Sending>>);

struct Sending {
    body: ClientBody,
    heard: Instant,
    /// Its end has been read, or it failed.
    over: bool,
}

impl Coming {
    pub(super) fn new(body: ClientBody) -> Self {
        Self(Rc::new(RefCell::new(Sending {
            body,
            heard: Instant::now(),
            over: false,
        })))
    }

    /// When something last came.
    pub(super) fn heard(&self) -> Instant {
        self.0.borrow().heard
    }

    /// Whether the client has said all that it can.
    pub(super) fn is_over(&self) -> bool {
        self.0.borrow().over
    }

    fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Failure>>> {
        let mut sending = self.0.borrow_mut();
        loop {
            if sending.over {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut sending.body).poll_frame(cx)).transpose();
            sending.heard = Instant::now();
            sending.over = !matches!(frame, Ok(Some(_)));
            return Poll::Ready(match frame {
                Err(failure) => Some(Err(failure)),
                Ok(None) => None,
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_) => continue,
                },
            });
        }
    }

    /// Reads the rest for nobody, at the pace that bodies have to keep, until it is over.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().body.hurry();
        while let Some(Ok(_)) = ready!(self.poll_data(cx)) {}
        Poll::Ready(())
    }
}

/// A client's body out of its coding, piece by piece.
pub(super) struct Pieces {
    body: Coming,
    unpacking: Option<Box<Unpacking>>,
    /// A slice was unpacked: others have their turn before the next.
    resting: bool,
}

impl Pieces {
    /// # Errors
    /// The decoder can't be made.
    pub(super) fn new(body: Coming, packed: Packed) -> Result<Self, Failure> {
        let unpacking = match packed {
            Packed::No => None,
            packed => Some(Box::new(Unpacking::new(packed).map_err(broken)?)),
        };
        Ok(Self {
            body,
            unpacking,
            resting: false,
        })
    }

    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    /// Those of the body; 400 for what is not of the coding or ends too soon, 413 for a bomb.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        if std::mem::take(&mut self.resting) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(unpacking) = &mut self.unpacking {
                match unpacking.step() {
                    Ok(Step::Piece(piece)) if piece.is_empty() => continue,
                    Ok(Step::Piece(piece)) => {
                        self.resting = true;
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    Ok(Step::Over) => return Poll::Ready(None),
                    Ok(Step::Starved) => {}
                    Err(failure) => return Poll::Ready(Some(Err(failure))),
                }
            }
            let data = match ready!(self.body.poll_data(cx)).transpose() {
                Ok(data) => data,
                Err(failure) => return Poll::Ready(Some(Err(failure))),
            };
            match (&mut self.unpacking, data) {
                (Some(unpacking), Some(data)) => unpacking.push(data),
                (Some(unpacking), None) => unpacking.source.borrow_mut().over = true,
                (None, Some(data)) => return Poll::Ready(Some(Ok(data))),
                (None, None) => return Poll::Ready(None),
            }
        }
    }
}

/// What has come and not been decoded.
#[derive(Debug, Default)]
struct Source {
    bytes: Bytes,
    /// No more comes.
    over: bool,
}

/// The decoder's end of it. "Would block" is no end: the decoder goes on where it was.
struct Taken(Rc<RefCell<Source>>);

impl Read for Taken {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut source = self.0.borrow_mut();
        if source.bytes.is_empty() && !source.over {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = (&*source.bytes).read(out)?;
        source.bytes.advance(length);
        Ok(length)
    }
}

struct Unpacking {
    source: Rc<RefCell<Source>>,
    reader: Box<dyn Read>,
    came: usize,
    gone: usize,
    ended: bool,
}

enum Step {
    Piece(Bytes),
    Starved,
    Over,
}

impl Unpacking {
    fn new(packed: Packed) -> io::Result<Self> {
        let source = Rc::new(RefCell::new(Source::default()));
        let taken = BufReader::with_capacity(INPUT_BYTES, Taken(Rc::clone(&source)));
        Ok(Self {
            source,
            reader: packed.reader(taken)?,
            came: 0,
            gone: 0,
            ended: false,
        })
    }

    fn push(&mut self, data: Bytes) {
        self.came = self.came.saturating_add(data.len());
        // Decoded up to here before: see `step`.
        self.source.borrow_mut().bytes = data;
    }

    fn step(&mut self) -> Result<Step, Failure> {
        let (more, over) = {
            let source = self.source.borrow();
            (!source.bytes.is_empty(), source.over)
        };
        if self.ended && more {
            let error = io::Error::other("something follows the end of the coding");
            return Err(broken(error));
        }
        if over && (self.ended || self.came == 0) {
            return Ok(Step::Over);
        }
        if self.ended || self.came == 0 {
            return Ok(Step::Starved);
        }
        let limit = self.came.saturating_mul(UNPACKED_RATIO_MAX);
        let limit = limit.max(WORK_SLICE_BYTES);
        let mut piece = vec![0; WORK_SLICE_BYTES];
        let length = match self.reader.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Starved),
            Err(error) => return Err(broken(error)),
        };
        self.ended = length == 0;
        self.gone = self.gone.saturating_add(length);
        if self.gone > limit {
            tracing::debug!(limit, packed = self.came, "a packed stream is too large");
            return Err(too_large(limit).over(Limit::Unpacked));
        }
        piece.truncate(length);
        Ok(Step::Piece(piece.into()))
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces")
            .field("packed", &self.unpacking.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed in pieces of `size`, as a stream comes.
    fn unpack(packed: Packed, bytes: &[u8], size: usize) -> Result<Vec<u8>, Failure> {
        let mut unpacking = Unpacking::new(packed).unwrap();
        let mut out = Vec::new();
        let mut pieces = bytes.chunks(size);
        loop {
            match unpacking.step()? {
                Step::Piece(piece) => out.extend_from_slice(&piece),
                Step::Over => return Ok(out),
                Step::Starved => match pieces.next() {
                    Some(piece) => unpacking.push(Bytes::copy_from_slice(piece)),
                    None => unpacking.source.borrow_mut().over = true,
                },
            }
        }
    }

    const ALL: [Packed; 4] = [Packed::Gzip, Packed::Deflate, Packed::Br, Packed::Zstd];

    #[test]
    fn what_was_packed_comes_out_however_it_is_cut() {
        let content: Vec<u8> = (0..60_000_u32)
            .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
            .collect();
        for coding in ALL {
            let packed = coding.pack(&content);
            for size in [1, 7, 1000, 50_000, packed.len()] {
                assert!(
                    unpack(coding, &packed, size).unwrap() == content,
                    "{coding:?} {size}"
                );
            }
            for cut in [1, packed.len() / 2, packed.len() - 1] {
                let refused = unpack(coding, &packed[..cut], 1000).unwrap_err();
                assert_eq!(refused.http_status(), 400, "{coding:?} {cut}");
            }
            assert!(unpack(coding, &[], 1).unwrap().is_empty());
        }
    }

    #[test]
    fn a_piece_that_was_flushed_comes_out_before_the_next() {
        for coding in ALL {
            let [first, second] = coding.pack_flushed([b"{\"a\":1}\n", b"{\"a\":2}\n"]);
            let mut unpacking = Unpacking::new(coding).unwrap();
            unpacking.push(first.into());
            let mut out = Vec::new();
            while let Step::Piece(piece) = unpacking.step().unwrap() {
                out.extend_from_slice(&piece);
            }
            assert_eq!(out, b"{\"a\":1}\n", "{coding:?}");
            unpacking.push(second.into());
            while let Step::Piece(piece) = unpacking.step().unwrap() {
                out.extend_from_slice(&piece);
            }
            assert_eq!(out, b"{\"a\":1}\n{\"a\":2}\n", "{coding:?}");
        }
    }

    #[test]
    fn bombs_and_junk_are_refused() {
        for coding in ALL {
            let bomb = coding.pack(&vec![0; 32 * 1024 * 1024]);
            let refused = unpack(coding, &bomb, 4096).unwrap_err();
            assert_eq!(refused.http_status(), 413, "{coding:?}");
            let refused = unpack(coding, b"\xff\xff\xff\xff\xff", 1).unwrap_err();
            assert_eq!(refused.http_status(), 400, "{coding:?}");
        }
        for coding in [Packed::Deflate, Packed::Br] {
            let mut more = coding.pack(b"{}").to_vec();
            more.extend_from_slice(&[0; 20_000]);
            let refused = unpack(coding, &more, 1000).unwrap_err();
            assert_eq!(refused.http_status(), 400, "{coding:?}");
        }
    }
}
