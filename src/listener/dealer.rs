//! One thread that accepts for all workers, and gives each connection to the one with the fewest.
//!
//! For a socket that can't be shared out (systemd passes one), and for few clients with much to do: the
//! kernel deals by the client's address and port, and may give one worker all of three connections.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use crate::limits::{ACCEPT_PAUSE_MIN, DEALT_MAX};

use super::accept::{Stop, is_exhausted, next_pause, queued, yielding};

/// What a worker is given.
#[derive(Debug)]
pub enum Dealt {
    Connection(std::net::TcpStream),
    /// Accepting pauses for want of files; whoever counts that hears of it.
    Pause,
}

/// A worker, as a dealer sees it.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) to: mpsc::Sender<Dealt>,
    /// Its open connections.
    pub(super) load: Arc<AtomicUsize>,
}

impl Hand {
    fn load(&self) -> usize {
        let waiting = self.to.max_capacity().saturating_sub(self.to.capacity());
        self.load.load(Ordering::Relaxed).saturating_add(waiting)
    }
}

/// Accepts on all sockets of one listener. Dropped, it stops, and others may go on with the sockets.
#[derive(Debug)]
pub(super) struct Dealer(watch::Sender<Option<Stop>>);

impl Dealer {
    /// # Errors
    /// No thread or no runtime can be had.
    pub(super) fn start(sockets: Vec<TcpListener>, hands: Vec<Hand>) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(None);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let hands: Arc<[Hand]> = hands.into();
        thread::Builder::new()
            .name("dealer".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        ready.send(Ok(())).ok();
                        runtime.block_on(async {
                            let dealing = sockets
                                .into_iter()
                                .map(|socket| deal(socket, Arc::clone(&hands), stopped.clone()));
                            futures_util::future::join_all(dealing).await;
                        });
                    }
                    Err(error) => _ = ready.send(Err(error)),
                }
            })?;
        started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the dealer ended at its start")))?;
        Ok(Self(stop))
    }

    pub(super) fn stop(&self, how: Stop) {
        self.0.send_replace(Some(how));
    }
}

async fn deal(socket: TcpListener, hands: Arc<[Hand]>, mut stop: watch::Receiver<Option<Stop>>) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a socket can't be listened on");
            return;
        }
    };
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(Option::is_some) => break,
            accepted = socket.accept() => accepted,
        };
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                pause = ACCEPT_PAUSE_MIN;
                give(&hands, stream).await;
            }
            Err(error) if is_exhausted(&error) => {
                if let Some(hand) = least(&hands) {
                    hand.to.try_send(Dealt::Pause).ok();
                }
                tracing::warn!(%error, ?pause, "accepting pauses");
                tokio::select! {
                    biased;
                    _ = stop.wait_for(Option::is_some) => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = next_pause(pause);
            }
            Err(error) => tracing::debug!(%error, "accept"),
        }
    }
    // Nobody who could say so is left when the dealer has been dropped.
    let how = *stop.borrow();
    if how == Some(Stop::Yield) {
        let mut last = Vec::new();
        yielding(&socket, |stream, _| last.push(stream)).await;
        for stream in last.into_iter().filter_map(|stream| stream.into_std().ok()) {
            give(&hands, stream).await;
        }
    }
    if matches!(how, Some(Stop::Close | Stop::Yield)) {
        for stream in queued(socket) {
            give(&hands, stream).await;
        }
    }
}

/// Waits while even the least loaded worker has no place for it.
async fn give(hands: &[Hand], stream: std::net::TcpStream) {
    if let Some(hand) = least(hands) {
        // A worker that has ended takes none.
        hand.to.send(Dealt::Connection(stream)).await.ok();
    }
}

fn least(hands: &[Hand]) -> Option<&Hand> {
    let alive = hands.iter().filter(|hand| !hand.to.is_closed());
    alive.min_by_key(|hand| hand.load())
}

/// The channel from a dealer to one worker: short, so that what waits, waits in the kernel.
pub(super) fn channel() -> (mpsc::Sender<Dealt>, mpsc::Receiver<Dealt>) {
    mpsc::channel(DEALT_MAX)
}
