//! Accepting: as fast as clients come, and not at all for a while when the process is out of files.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::model::ListenerId;
use crate::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN, ACCEPT_QUEUE, YIELD_GRACE};
use crate::rt::LocalExec;

use super::connection::{self, Accepted};
use super::dealer::Dealt;
use super::{Bounds, Connections, Counters, Ends, Gate, Refused, Service, count, socket};

/// What taking the connections of one listener needs.
#[derive(Debug)]
pub struct Listener<S> {
    pub id: ListenerId,
    pub service: S,
    pub gate: Arc<Gate>,
    pub connections: Rc<Connections>,
    pub counters: Rc<Counters>,
    pub exec: LocalExec,
    /// How the connection before was taken: the queue of a listener that is gone is served so.
    pub last: RefCell<Option<Rc<Bounds>>>,
}

/// Accepts until `stop` resolves; then, unless others go on with the socket, takes what the kernel has
/// queued already, and closes it. Connections go on without it. Dropping it closes the socket at once.
pub async fn accept<S: Service>(
    listener: &Listener<S>,
    socket: TcpListener,
    stop: impl Future<Output = Stop>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut pause = ACCEPT_PAUSE_MIN;
    let stop = loop {
        let accepted = tokio::select! {
            biased;
            stop = &mut stop => break stop,
            accepted = socket.accept() => accepted,
        };
        let wait = match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                listener.admit(stream, peer)
            }
            Err(error) if is_exhausted(&error) => {
                count(&listener.counters.accept_pauses);
                tracing::warn!(%error, ?pause, "accepting pauses");
                let wait = pause;
                pause = next_pause(pause);
                wait
            }
            // One client's connection broke before it was accepted.
            Err(error) => {
                tracing::debug!(%error, "accept");
                Duration::ZERO
            }
        };
        if !wait.is_zero() {
            tokio::select! {
                biased;
                stop = &mut stop => break stop,
                () = tokio::time::sleep(wait) => {}
            }
        }
    };
    if stop == Stop::Yield {
        yielding(&socket, |stream, peer| _ = listener.admit(stream, peer)).await;
    }
    if stop != Stop::HandOver {
        for stream in queued(socket) {
            listener.take(stream);
        }
    }
}

/// The last connections of a socket in whose place another listens from now on. Nobody can take a
/// queue and close it in one step, and what comes between would be reset: so that nothing comes, new
/// clients are left unanswered, who ask again after a second and find the other one; those who are
/// half connected are waited for.
pub(super) async fn yielding(socket: &TcpListener, mut take: impl FnMut(TcpStream, SocketAddr)) {
    if let Err(error) = socket::turn_away(socket) {
        tracing::debug!(%error, "new clients can't be left unanswered");
        return;
    }
    let last = async {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => take(stream, peer),
                Err(error) if is_exhausted(&error) => return,
                Err(error) => tracing::debug!(%error, "accept"),
            }
        }
    };
    tokio::time::timeout(YIELD_GRACE, last).await.ok();
}

/// How accepting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nobody listens any more: clients in the queue have a connection as far as they know, and are
    /// served.
    Close,
    /// As [`Stop::Close`], and another socket of ours listens on the address: no client is refused.
    Yield,
    /// Others go on with the same socket.
    HandOver,
}

/// Takes the connections that a dealer has accepted, until there is none any more. Dropping it drops
/// those that wait.
pub async fn take_dealt<S: Service>(listener: &Listener<S>, mut dealt: mpsc::Receiver<Dealt>) {
    while let Some(dealt) = dealt.recv().await {
        let wait = match dealt {
            Dealt::Connection(stream) => listener.take(stream),
            Dealt::Pause => {
                count(&listener.counters.accept_pauses);
                continue;
            }
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl<S: Service> Listener<S> {
    /// One that was accepted elsewhere.
    fn take(&self, stream: std::net::TcpStream) -> Duration {
        let of = |stream: TcpStream| Ok((stream.peer_addr()?, stream));
        let registered = stream.set_nonblocking(true);
        let taken = registered.and_then(|()| TcpStream::from_std(stream).and_then(of));
        match taken {
            Ok((peer, stream)) => self.admit(stream, peer),
            Err(error) => {
                let error: io::Error = error;
                tracing::debug!(%error, "accept");
                Duration::ZERO
            }
        }
    }

    /// Serves a connection, unless a limit is in its way. Gives the time to wait before the next.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) -> Duration {
        count(&self.counters.accepted);
        let now = self.service.bounds(&self.id);
        let mut last = self.last.borrow_mut();
        if now.is_some() {
            last.clone_from(&now);
        }
        let Some(bounds) = &*last else {
            return Duration::ZERO;
        };
        self.serve(stream, peer, bounds);
        let wait = self.gate.pace(Instant::now(), &bounds.limits);
        if !wait.is_zero() {
            count(&self.counters.accept_delays);
        }
        wait
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, bounds: &Rc<Bounds>) {
        // A balancer's address stands for many clients: they are counted when it has told of them.
        let told_later = bounds.door.proxy_protocol && bounds.trusts(peer.ip());
        let counted = (!told_later).then(|| peer.ip());
        let pass = match self.gate.enter(counted, &bounds.limits) {
            Ok(pass) => pass,
            Err(refused) => {
                self.counters.refuse(refused, &peer);
                return;
            }
        };
        let Ok(local) = stream.local_addr() else {
            return;
        };
        // Costs latency alone when it fails.
        stream.set_nodelay(true).ok();
        let accepted = Accepted {
            stream,
            ends: Ends {
                peer,
                local,
                secure: None,
                redirect: bounds.door.redirect,
                openapi: bounds.door.openapi,
            },
            pass,
            bounds: Rc::clone(bounds),
            service: self.service.clone(),
            connections: Rc::clone(&self.connections),
            counters: Rc::clone(&self.counters),
            memory: Arc::clone(self.gate.memory()),
            exec: self.exec.clone(),
            at: Instant::now(),
        };
        self.exec.spawn(async move {
            connection::serve(accepted).await;
        });
    }
}

impl Counters {
    /// One connection that isn't let in.
    pub(super) fn refuse(&self, refused: Refused, peer: &SocketAddr) {
        count(match refused {
            Refused::Process => &self.refused_full,
            Refused::Address => &self.refused_by_ip,
            Refused::Memory => &self.refused_by_memory,
        });
        tracing::debug!(%peer, ?refused, "connection refused by a limit");
    }
}

/// What the kernel has queued on a socket that is to be closed. No more of it than fits into the queue:
/// clients may come as fast as they are taken.
pub(super) fn queued(socket: TcpListener) -> impl Iterator<Item = std::net::TcpStream> {
    let socket = socket.into_std().ok();
    let accept = move || socket.as_ref().and_then(|s| s.accept().ok());
    let longest = usize::try_from(ACCEPT_QUEUE).unwrap_or_default();
    std::iter::from_fn(accept)
        .map(|(stream, _)| stream)
        .take(longest)
}

/// Out of files, buffers or memory: trying again at once would only burn the core.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|raw| exhausted.iter().any(|e| e.raw_os_error() == raw))
}

pub(super) fn next_pause(pause: Duration) -> Duration {
    pause.saturating_mul(2).min(ACCEPT_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_queue_is_taken_whole_before_a_socket_is_closed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let clients: Vec<_> = (0..100)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        assert_eq!(queued(socket).count(), clients.len());
        assert!(std::net::TcpStream::connect(address).is_err());
    }

    #[tokio::test]
    async fn a_socket_that_yields_takes_who_is_connected_and_leaves_new_clients_to_the_next() {
        let before = socket::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = before.address;
        let everywhere = ([0, 0, 0, 0], address.port()).into();
        let mut next = socket::bind_more(everywhere, Vec::new(), 1).unwrap();
        let next = TcpListener::from_std(next.sockets.remove(0)).unwrap();
        let [socket] = before.sockets.try_into().unwrap();
        let socket = TcpListener::from_std(socket).unwrap();
        let (_one, _two) = tokio::join!(TcpStream::connect(address), TcpStream::connect(address));

        let mut taken = 0;
        let mut late = None;
        yielding(&socket, |_, _| {
            taken += 1;
            late.get_or_insert_with(|| tokio::spawn(TcpStream::connect(address)));
        })
        .await;
        assert_eq!((taken, queued(socket).count()), (2, 0));
        let (stream, _) = next.accept().await.unwrap();
        let late = late.unwrap().await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), late.local_addr().unwrap());
    }

    #[test]
    fn only_exhaustion_pauses_and_pauses_have_an_end() {
        assert!(is_exhausted(&io::Error::from_raw_os_error(24)));
        assert!(!is_exhausted(&io::Error::from_raw_os_error(103)));
        let longest = (0..20).fold(ACCEPT_PAUSE_MIN, |p, _| next_pause(p));
        assert_eq!(longest, ACCEPT_PAUSE_MAX);
    }
}
