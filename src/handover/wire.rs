//! What the two processes say to each other: one message of text each, with sockets beside it.
//!
//! ```text
//!   old → new   sockets   a line for each: `listener 0.0.0.0:8080 0`, `admin 127.0.0.1:9901`
//!   old → new   end       there are no more
//!   new → old   ready     or `failed`, a line break and the reason
//! ```

use std::fmt::Write;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::config::model::ListenerId;
use crate::listener::{Passed, Purpose};

/// In one message; the kernel takes 253.
const SOCKETS_MAX: usize = 64;
/// Of one message.
const TEXT_BYTES_MAX: usize = 16 * 1024;

pub(super) const END: &str = "end";
pub(super) const READY: &str = "ready";
pub(super) const FAILED: &str = "failed\n";

/// Sends sockets with what they are for, and that there are no more.
pub(super) fn send_sockets(
    to: BorrowedFd<'_>,
    sockets: &[(Purpose, TcpListener)],
) -> io::Result<()> {
    for some in sockets.chunks(SOCKETS_MAX) {
        let mut text = String::new();
        for (purpose, _) in some {
            // Writing to a String doesn't fail.
            _ = writeln!(text, "{}", told(purpose));
        }
        let fds: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
        send(to, &text, &fds)?;
    }
    send(to, END, &[])
}

/// All that the other side sends.
pub(super) fn receive_sockets(from: BorrowedFd<'_>) -> io::Result<Vec<Passed>> {
    let mut all = Vec::new();
    loop {
        let Some((text, fds)) = receive(from)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if text == END {
            return Ok(all);
        }
        for (line, fd) in text.lines().zip(fds) {
            let purpose = understood(line).ok_or(io::ErrorKind::InvalidData)?;
            all.push(Passed::new(fd.into(), Some(purpose), line.to_owned())?);
        }
    }
}

fn told(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Listener(id) => format!("listener {} {}", id.address, id.nth),
        Purpose::Operators(scope, address) => format!("{scope} {address}"),
    }
}

fn understood(line: &str) -> Option<Purpose> {
    let mut words = line.split(' ');
    let (what, address) = (words.next()?, words.next()?.parse().ok()?);
    Some(match (what, words.next()) {
        ("listener", Some(nth)) => Purpose::Listener(ListenerId {
            address,
            nth: nth.parse().ok()?,
        }),
        (scope, _) => Purpose::Operators(scope.to_owned(), address),
    })
}

/// Sends one message.
pub(super) fn send(to: BorrowedFd<'_>, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let bytes = text.as_bytes();
    let bytes = bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes);
    sendmsg(
        to,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// The next message; `None` when the other side is gone.
pub(super) fn receive(from: BorrowedFd<'_>) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; TEXT_BYTES_MAX];
    let received = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            fds.extend(some);
        }
    }
    bytes.truncate(received.bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok((!text.is_empty()).then_some((text, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_arrive_with_what_they_are_for() {
        let (old, new) = super::super::heir::pair().unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = |nth| Purpose::Listener(ListenerId { address, nth });
        // More than one message takes.
        let mut sent: Vec<_> = (0..SOCKETS_MAX + 3)
            .map(|nth| (listener(nth), TcpListener::bind(address).unwrap()))
            .collect();
        let operators = Purpose::Operators("admin".to_owned(), address);
        sent.push((operators, TcpListener::bind(address).unwrap()));
        send_sockets(old.as_fd(), &sent).unwrap();
        let received = receive_sockets(new.as_fd()).unwrap();
        assert_eq!(received.len(), sent.len());
        for (passed, (purpose, socket)) in received.iter().zip(&sent) {
            assert_eq!(passed.purpose.as_ref(), Some(purpose));
            assert_eq!(passed.address, socket.local_addr().unwrap());
        }
        send(new.as_fd(), READY, &[]).unwrap();
        assert_eq!(receive(old.as_fd()).unwrap().unwrap().0, READY);
        drop(new);
        assert!(receive(old.as_fd()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_line_of_ours_is_refused() {
        for line in ["", "listener", "listener here 0", "listener 127.0.0.1:1 x"] {
            assert_eq!(understood(line), None, "{line:?}");
        }
    }
}
