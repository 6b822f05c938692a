//! What is listened on, while the process runs: sockets are opened and closed, and workers told to
//! accept on them.
//!
//! A copy of each socket is kept here, so that it outlives whoever accepts on it: connections that come
//! while accepting moves from workers to a dealer, or to another process, wait in its queue.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::config::model::{Accept, Listener, ListenerId};

use super::accept::Stop;
use super::dealer::{self, Dealer, Dealt, Hand};
use super::inherited::Inherited;
use super::socket::{self, BindError, Bound};

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    Accept {
        id: ListenerId,
        from: Source,
    },
    /// With [`Stop::Close`] or [`Stop::Yield`] the listener is gone, and its clients are asked to go elsewhere.
    Stop {
        id: ListenerId,
        how: Stop,
    },
}

/// Where a worker's connections come from.
#[derive(Debug)]
pub enum Source {
    Sockets(Vec<TcpListener>),
    Dealt(mpsc::Receiver<Dealt>),
}

/// What a worker is started with, to be told where to accept.
#[derive(Debug)]
pub struct Post {
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// Its open connections, which it keeps up to date.
    pub load: Arc<AtomicUsize>,
}

/// The listeners of a process.
#[derive(Debug)]
pub struct Ports {
    workers: Vec<Worker>,
    /// `None` once all are closed for good.
    open: Mutex<Option<Vec<Open>>>,
}

#[derive(Debug)]
struct Worker {
    orders: mpsc::UnboundedSender<Order>,
    load: Arc<AtomicUsize>,
}

/// One that is listened on.
#[derive(Debug)]
struct Open {
    id: ListenerId,
    /// As the config has it.
    accept: Accept,
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    dealer: Option<Dealer>,
}

/// What is to be listened on in place of what is. Its sockets are open, and nobody accepts on them
/// yet; dropping it closes them.
#[derive(Debug, Default)]
pub struct Change {
    /// New ones, and those that are accepted on in another way.
    opening: Vec<Open>,
    closing: Vec<ListenerId>,
}

/// What a change has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub opened: Vec<SocketAddr>,
    pub closed: Vec<SocketAddr>,
}

impl Ports {
    /// Nothing is listened on yet.
    #[must_use]
    pub fn new(workers: usize) -> (Self, Vec<Post>) {
        let (mut hands, mut posts) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (tell, orders) = mpsc::unbounded_channel();
            let load = Arc::<AtomicUsize>::default();
            posts.push(Post {
                orders,
                load: Arc::clone(&load),
            });
            hands.push(Worker { orders: tell, load });
        }
        let ports = Self {
            workers: hands,
            open: Mutex::new(Some(Vec::new())),
        };
        (ports, posts)
    }

    /// Opens what `listeners` want beside what is open. Inherited sockets are taken where they fit.
    ///
    /// # Errors
    /// An address that can't be listened on; then nothing has changed.
    pub fn prepare(
        &self,
        listeners: &[Listener],
        inherited: &mut Inherited,
    ) -> Result<Change, BindError> {
        let open = self.lock();
        let Some(open) = &*open else {
            return Ok(Change::default());
        };
        let wanted: Vec<_> = ListenerId::of(listeners).zip(listeners).collect();
        let mut change = Change::default();
        for (id, listener) in &wanted {
            let sockets = match open.iter().find(|o| o.id == *id) {
                Some(now) if now.accept == listener.accept => continue,
                Some(now) => copies(&now.sockets, now.address)?,
                None => inherited.claim(*id),
            };
            let bound = self.bound(*id, listener.accept, sockets, open)?;
            change.opening.push(Open {
                id: *id,
                accept: listener.accept,
                address: bound.address,
                sockets: bound.sockets,
                dealer: None,
            });
        }
        let is_gone = |o: &&Open| !wanted.iter().any(|(id, _)| *id == o.id);
        change.closing = open.iter().filter(is_gone).map(|o| o.id).collect();
        Ok(change)
    }

    fn bound(
        &self,
        id: ListenerId,
        accept: Accept,
        sockets: Vec<TcpListener>,
        open: &[Open],
    ) -> Result<Bound, BindError> {
        let count = match accept {
            Accept::Reuseport => self.workers.len(),
            Accept::Deal => 1,
        };
        if sockets.is_empty() {
            // Our own sockets there would be taken for another process's.
            let ours = |o: &Open| is_heard_by(&id.address, &o.address);
            return match open.iter().any(ours) {
                true => socket::bind_more(id.address, sockets, count),
                false => socket::bind(id.address, count),
            };
        }
        let count = match sockets.iter().all(socket::is_shared) {
            true => count,
            false => 1,
        };
        socket::bind_more(id.address, sockets, count)
    }

    /// Carries a change out: what is new is accepted on, and what is gone takes its queue and stops.
    ///
    /// # Errors
    /// No thread can be had for dealing.
    pub fn carry_out(&self, change: Change) -> Result<Changed, BindError> {
        let mut guard = self.lock();
        let mut changed = Changed::default();
        let Some(open) = &mut *guard else {
            return Ok(changed);
        };
        for id in change.closing {
            if let Some(at) = open.iter().position(|o| o.id == id) {
                let gone = open.swap_remove(at);
                changed.closed.push(gone.address);
                let mut others = open.iter().chain(&change.opening);
                let how = match others.any(|o| is_heard_by(&gone.address, &o.address)) {
                    true => Stop::Yield,
                    false => Stop::Close,
                };
                self.close(gone, how);
            }
        }
        for mut new in change.opening {
            let before = open.iter().position(|o| o.id == new.id);
            match before {
                Some(at) => self.stop(&open.swap_remove(at), Stop::HandOver),
                None => changed.opened.push(new.address),
            }
            self.start(&mut new)?;
            open.push(new);
        }
        Ok(changed)
    }

    fn start(&self, new: &mut Open) -> Result<(), BindError> {
        let sockets = copies(&new.sockets, new.address)?;
        let is_dealt = new.accept == Accept::Deal || !sockets.iter().all(socket::is_shared);
        if !is_dealt {
            let mut hands: Vec<Vec<_>> = self.workers.iter().map(|_| Vec::new()).collect();
            let mut sockets = sockets.into_iter().peekable();
            while sockets.peek().is_some() && !hands.is_empty() {
                // There may be more than workers, of a process that had more.
                for (hand, socket) in hands.iter_mut().zip(&mut sockets) {
                    hand.push(socket);
                }
            }
            for (worker, sockets) in self.workers.iter().zip(hands) {
                worker.accept(new.id, Source::Sockets(sockets));
            }
            return Ok(());
        }
        let mut hands = Vec::new();
        for worker in &self.workers {
            let (to, dealt) = dealer::channel();
            hands.push(Hand {
                to,
                load: Arc::clone(&worker.load),
            });
            worker.accept(new.id, Source::Dealt(dealt));
        }
        let dealer = Dealer::start(sockets, hands).map_err(|cause| BindError {
            address: new.address,
            cause,
        })?;
        new.dealer = Some(dealer);
        Ok(())
    }

    fn stop(&self, open: &Open, how: Stop) {
        for worker in &self.workers {
            worker.tell(Order::Stop { id: open.id, how });
        }
        if let Some(dealer) = &open.dealer {
            dealer.stop(how);
        }
    }

    /// The last copy of a socket is the one whose queue is taken.
    fn close(&self, mut gone: Open, how: Stop) {
        gone.sockets.clear();
        self.stop(&gone, how);
    }

    /// Stops accepting everywhere, for good: what is in the queues is served still, unless another
    /// process has the sockets.
    pub fn close_all(&self) {
        for gone in self.lock().take().into_iter().flatten() {
            self.close(gone, Stop::Close);
        }
    }

    /// Where it listens, with the ports that the kernel gave.
    #[must_use]
    pub fn addresses(&self) -> Vec<(ListenerId, SocketAddr)> {
        let open = self.lock();
        open.iter().flatten().map(|o| (o.id, o.address)).collect()
    }

    /// A copy of each socket, for another process.
    ///
    /// # Errors
    /// Out of files.
    pub fn sockets(&self) -> Result<Vec<(ListenerId, TcpListener)>, BindError> {
        let open = self.lock();
        let mut all = Vec::new();
        for one in open.iter().flatten() {
            let copies = copies(&one.sockets, one.address)?;
            all.extend(copies.into_iter().map(|socket| (one.id, socket)));
        }
        Ok(all)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn accept(&self, id: ListenerId, from: Source) {
        self.tell(Order::Accept { id, from });
    }

    /// One that has ended hears nothing.
    fn tell(&self, order: Order) {
        self.orders.send(order).ok();
    }
}

/// Whether clients of the one address, some at least, come to the other.
fn is_heard_by(a: &SocketAddr, b: &SocketAddr) -> bool {
    let overlaps = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && overlaps
}

fn copies(sockets: &[TcpListener], address: SocketAddr) -> Result<Vec<TcpListener>, BindError> {
    let copies: Result<_, _> = sockets.iter().map(TcpListener::try_clone).collect();
    copies.map_err(|cause| BindError { address, cause })
}
