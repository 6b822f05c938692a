//! Accepting: as fast as clients come, and not at all for a while when the process is out of files.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::config::model::ListenerId;
use crate::limits::{ACCEPT_PAUSE_MAX, ACCEPT_PAUSE_MIN};
use crate::rt::LocalExec;

use super::connection::{self, Accepted};
use super::{Bounds, Connections, Counters, Ends, Gate, Refused, Service, count};

/// What accepting on one socket needs.
#[derive(Debug)]
pub struct Listener<S> {
    pub id: ListenerId,
    pub socket: TcpListener,
    pub service: S,
    pub gate: Arc<Gate>,
    pub connections: Rc<Connections>,
    pub counters: Rc<Counters>,
    pub exec: LocalExec,
}

/// Accepts until `stop` resolves; then takes what the kernel has queued already, and closes the
/// socket. Connections go on without it. Dropping it closes the socket at once.
pub async fn accept<S: Service>(listener: Listener<S>, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                let Some(bounds) = listener.admit(stream, peer) else {
                    continue;
                };
                let wait = listener.gate.pace(Instant::now(), &bounds.limits);
                if !wait.is_zero() {
                    count(&listener.counters.accept_delays);
                    tokio::select! {
                        biased;
                        () = &mut stop => break,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
            Err(error) if is_exhausted(&error) => {
                count(&listener.counters.accept_pauses);
                tracing::warn!(%error, ?pause, "accepting pauses");
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = next_pause(pause);
            }
            // One client's connection broke before it was accepted.
            Err(error) => tracing::debug!(%error, "accept"),
        }
    }
    drain_queue(listener);
}

impl<S: Service> Listener<S> {
    /// Serves a connection, unless a limit is in its way. Gives the limits of now.
    fn admit(&self, stream: TcpStream, peer: std::net::SocketAddr) -> Option<Rc<Bounds>> {
        count(&self.counters.accepted);
        let bounds = self.service.bounds(&self.id)?;
        // A balancer's address stands for many clients: they are counted when it has told of them.
        let told_later = bounds.door.proxy_protocol && bounds.trusts(peer.ip());
        let counted = (!told_later).then(|| peer.ip());
        let pass = match self.gate.enter(counted, &bounds.limits) {
            Ok(pass) => pass,
            Err(refused) => {
                self.counters.refuse(refused, &peer);
                return Some(bounds);
            }
        };
        let Ok(local) = stream.local_addr() else {
            return Some(bounds);
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
            },
            pass,
            bounds: Rc::clone(&bounds),
            service: self.service.clone(),
            connections: Rc::clone(&self.connections),
            counters: Rc::clone(&self.counters),
            exec: self.exec.clone(),
            at: Instant::now(),
        };
        self.exec.spawn(async move {
            connection::serve(accepted).await;
        });
        Some(bounds)
    }
}

impl Counters {
    /// One connection that isn't let in.
    pub(super) fn refuse(&self, refused: Refused, peer: &std::net::SocketAddr) {
        count(match refused {
            Refused::Process => &self.refused_full,
            Refused::Address => &self.refused_by_ip,
        });
        tracing::debug!(%peer, ?refused, "connection refused by a limit");
    }
}

/// Clients in the queue have a connection as far as they know: they are served, not reset.
fn drain_queue<S: Service>(listener: Listener<S>) {
    let waker = std::task::Waker::noop();
    let mut cx = std::task::Context::from_waker(waker);
    while let std::task::Poll::Ready(Ok((stream, peer))) = listener.socket.poll_accept(&mut cx) {
        listener.admit(stream, peer);
    }
}

/// Out of files, buffers or memory: trying again at once would only burn the core.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|raw| exhausted.iter().any(|e| e.raw_os_error() == raw))
}

fn next_pause(pause: Duration) -> Duration {
    pause.saturating_mul(2).min(ACCEPT_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exhaustion_pauses_and_pauses_have_an_end() {
        assert!(is_exhausted(&io::Error::from_raw_os_error(24)));
        assert!(!is_exhausted(&io::Error::from_raw_os_error(103)));
        let longest = (0..20).fold(ACCEPT_PAUSE_MIN, |p, _| next_pause(p));
        assert_eq!(longest, ACCEPT_PAUSE_MAX);
    }
}
