use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use proptest::prelude::*;

use super::*;

/// What a stream got, and how it takes what comes.
#[derive(Debug, Default)]
struct Peer {
    got: Vec<u8>,
    /// Calls that gave it something, by the pieces in each.
    calls: Vec<usize>,
    /// What it will take; unless it says otherwise, everything.
    takes: Option<usize>,
    /// Keeps what it has got to itself until it is flushed.
    kept: Vec<u8>,
    keeps: bool,
    flush_blocked: bool,
    broken: bool,
    shut: bool,
}

/// The stream, and what the test sees of it.
#[derive(Clone, Debug, Default)]
struct Stream(Rc<RefCell<Peer>>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut peer = self.0.borrow_mut();
        if peer.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if peer.takes == Some(0) {
            return Poll::Pending;
        }
        let whole: Vec<u8> = pieces.iter().flat_map(|p| p.iter().copied()).collect();
        let taken = peer.takes.unwrap_or(usize::MAX).min(whole.len());
        if let Some(left) = &mut peer.takes {
            *left -= taken;
        }
        peer.calls.push(pieces.len());
        let part = whole.get(..taken).unwrap_or_default();
        match peer.keeps {
            true => peer.kept.extend_from_slice(part),
            false => peer.got.extend_from_slice(part),
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut peer = self.0.borrow_mut();
        if peer.flush_blocked {
            return Poll::Pending;
        }
        let kept = std::mem::take(&mut peer.kept);
        peer.got.extend(kept);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().shut = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn gather() -> (Gather<Stream>, Stream) {
    let stream = Stream::default();
    (Gather::new(stream.clone()), stream)
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Writes and flushes as h2 does: until all is taken, or the stream takes no more.
fn write(out: &Gather<Stream>, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
    let mut out = out.clone();
    let mut done = 0;
    while done < bytes.len() {
        match Pin::new(&mut out).poll_write(cx, &bytes[done..]) {
            Poll::Ready(Ok(n)) => done += n,
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => return done,
        }
    }
    let _done = Pin::new(&mut out).poll_flush(cx);
    done
}

fn turn(out: &Gather<Stream>, writes: &[&[u8]]) {
    let mut cx = context();
    let _idle = out.turn(&mut cx, |cx| {
        for bytes in writes {
            assert_eq!(write(out, cx, bytes), bytes.len());
        }
        Poll::<()>::Pending
    });
}

#[test]
fn what_one_turn_writes_is_one_write() {
    let (out, stream) = gather();
    turn(&out, &[b"one ", b"two ", b"three"]);
    assert_eq!(stream.0.borrow().got, b"one two three");
    assert_eq!(stream.0.borrow().calls, [1]);
    turn(&out, &[b", four"]);
    assert_eq!(stream.0.borrow().got, b"one two three, four");
}

#[test]
fn a_large_write_takes_what_is_held_along() {
    let (out, stream) = gather();
    let large = vec![b'x'; GATHER_BYTES_MAX];
    turn(&out, &[b"small", &large, b"after"]);
    let whole = [&b"small"[..], &large, b"after"].concat();
    assert_eq!(stream.0.borrow().got, whole);
    assert_eq!(stream.0.borrow().calls, [2, 1]);
}

#[test]
fn outside_of_turns_nothing_waits() {
    let (out, stream) = gather();
    assert_eq!(write(&out, &mut context(), b"preface"), 7);
    assert_eq!(stream.0.borrow().got, b"preface");
}

#[test]
fn what_a_stream_does_not_take_goes_first_the_next_time() {
    let (out, stream) = gather();
    stream.0.borrow_mut().takes = Some(3);
    turn(&out, &[b"abc", b"def"]);
    assert_eq!(stream.0.borrow().got, b"abc");
    turn(&out, &[b"ghi"]);
    assert_eq!(stream.0.borrow().got, b"abc");
    stream.0.borrow_mut().takes = None;
    turn(&out, &[]);
    assert_eq!(stream.0.borrow().got, b"abcdefghi");
}

#[test]
fn a_stream_that_takes_nothing_bounds_what_is_held() {
    let (out, stream) = gather();
    stream.0.borrow_mut().takes = Some(0);
    let mut taken = 0;
    for _ in 0..64 {
        let _idle = out.turn(&mut context(), |cx| {
            taken += write(&out, cx, &[b'x'; 1000]);
            Poll::<()>::Pending
        });
    }
    assert_eq!(taken, GATHER_BYTES_MAX / 1000 * 1000);
}

#[test]
fn a_write_that_fails_after_the_turn_is_told_to_the_next() {
    let (mut out, stream) = gather();
    stream.0.borrow_mut().broken = true;
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    let _idle = out.clone().turn(&mut cx, |cx| {
        assert_eq!(write(&out, cx, b"lost"), 4);
        Poll::<()>::Pending
    });
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let mut bytes = [0; 8];
    let read = Pin::new(&mut out).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
    let Poll::Ready(Err(error)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn the_end_of_a_stream_waits_for_what_is_held() {
    let (out, stream) = gather();
    stream.0.borrow_mut().takes = Some(0);
    let shut = |out: &Gather<Stream>| {
        let mut out = out.clone();
        out.clone().turn(&mut context(), |cx| {
            Pin::new(&mut out).poll_shutdown(cx).map(Result::unwrap)
        })
    };
    turn(&out, &[b"goodbye"]);
    assert!(shut(&out).is_pending());
    assert!(!stream.0.borrow().shut);
    stream.0.borrow_mut().takes = None;
    assert!(shut(&out).is_ready());
    assert_eq!(stream.0.borrow().got, b"goodbye");
    assert!(stream.0.borrow().shut);
}

#[test]
fn a_stream_with_a_buffer_of_its_own_is_flushed_to_the_end() {
    let (out, stream) = gather();
    stream.0.borrow_mut().keeps = true;
    stream.0.borrow_mut().flush_blocked = true;
    turn(&out, &[b"record"]);
    assert_eq!(stream.0.borrow().got, b"");
    stream.0.borrow_mut().flush_blocked = false;
    turn(&out, &[]);
    assert_eq!(stream.0.borrow().got, b"record");
}

#[test]
fn a_connection_that_waits_has_no_buffer() {
    let (out, stream) = gather();
    turn(&out, &[b"request"]);
    assert_eq!(out.0.borrow().held.capacity(), 0);
    stream.0.borrow_mut().takes = Some(3);
    turn(&out, &[b"abcdef"]);
    assert_eq!(out.0.borrow().held.len(), 6);
    let (other, _) = gather();
    turn(&other, &[b"meanwhile"]);
    assert_eq!(out.0.borrow().held, b"abcdef");
    stream.0.borrow_mut().takes = None;
    turn(&out, &[]);
    assert_eq!(stream.0.borrow().got, b"requestabcdef");
    assert_eq!(out.0.borrow().held.capacity(), 0);
}

/// Reads `bytes` bytes of what one turn has written, of a stream that takes 8 at a time. The turn's task
/// has nothing to wake for but the stream.
async fn read_of_one_turn<S: AsyncWrite + Unpin + 'static>(
    stream: S,
    mut reader: tokio::io::DuplexStream,
    shut: bool,
) -> Vec<u8> {
    let local = tokio::task::LocalSet::new();
    let writing = local.run_until(async move {
        let out = Gather::new(stream);
        let mut left = Some([b'x'; 1000]);
        let _writer = tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            let mut io = out.clone();
            out.turn(cx, |cx| {
                if let Some(bytes) = left.take() {
                    let written = Pin::new(&mut io).poll_write(cx, &bytes);
                    assert!(matches!(written, Poll::Ready(Ok(1000))), "{written:?}");
                }
                match shut {
                    true => Pin::new(&mut io).poll_shutdown(cx),
                    false => Poll::Pending,
                }
            })
        }));
        let mut got = vec![0; 1000];
        tokio::io::AsyncReadExt::read_exact(&mut reader, &mut got)
            .await
            .unwrap();
        if shut {
            tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut got)
                .await
                .unwrap();
        }
        got
    });
    tokio::time::timeout(std::time::Duration::from_secs(60), writing)
        .await
        .expect("the turn is never woken again")
}

#[tokio::test]
async fn a_stream_that_takes_more_wakes_the_connection() {
    for shut in [false, true] {
        let (stream, reader) = tokio::io::duplex(8);
        assert_eq!(read_of_one_turn(stream, reader, shut).await, [b'x'; 1000]);
    }
}

#[tokio::test]
async fn a_stream_that_can_be_flushed_wakes_the_connection() {
    let (stream, reader) = tokio::io::duplex(8);
    let stream = tokio::io::BufWriter::with_capacity(4096, stream);
    assert_eq!(read_of_one_turn(stream, reader, false).await, [b'x'; 1000]);
}

proptest! {
    /// Whatever is written how, and however the stream takes it: every byte arrives, in its place.
    #[test]
    fn every_byte_arrives_in_its_place(
        turns in prop::collection::vec(
            (
                any::<bool>(),
                prop::collection::vec(0_usize..(GATHER_BYTES_MAX * 2), 0..6),
                prop::option::of(0_usize..20_000),
                any::<bool>(),
                any::<bool>(),
            ),
            1..20,
        ),
    ) {
        let (out, stream) = gather();
        let mut taken = Vec::new();
        let mut next = 0_u8;
        for (in_turn, writes, takes, keeps, flush_blocked) in turns {
            {
                let mut peer = stream.0.borrow_mut();
                peer.takes = takes;
                // What TLS has kept goes before what comes next.
                peer.keeps = keeps || !peer.kept.is_empty();
                peer.flush_blocked = flush_blocked;
            }
            let mut poll = |cx: &mut Context<'_>| {
                for len in &writes {
                    let bytes: Vec<u8> = std::iter::repeat_with(|| {
                        next = next.wrapping_add(1);
                        next
                    })
                    .take(*len)
                    .collect();
                    let written = write(&out, cx, &bytes);
                    taken.extend_from_slice(&bytes[..written]);
                }
                Poll::<()>::Pending
            };
            let _idle = match in_turn {
                true => out.turn(&mut context(), poll),
                false => poll(&mut context()),
            };
        }
        {
            let mut peer = stream.0.borrow_mut();
            peer.takes = None;
            peer.flush_blocked = false;
        }
        turn(&out, &[]);
        prop_assert!(stream.0.borrow().got == taken, "bytes are lost, twice there or out of place");
    }
}
