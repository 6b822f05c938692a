//! The way between a gateway and its upstream: a TCP proxy that refuses, swallows, holds and cuts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of the bytes of open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// They wait, in both directions.
    Hold,
    /// They are read, and go nowhere.
    Swallow,
    /// Passed on until so many have come from the upstream; then the connection is closed.
    CutAfter(usize),
    /// Closed, as a process that ends closes.
    Close,
    /// Closed by a reset.
    Reset,
}

/// A proxy whose address stays, whatever it does.
#[derive(Debug)]
pub struct Way {
    pub address: SocketAddr,
    /// For connections that are open.
    mode: Arc<Mutex<watch::Sender<Mode>>>,
    /// Of those that no longer hear of anything.
    lost: Mutex<Vec<watch::Sender<Mode>>>,
    accepting: Option<JoinHandle<()>>,
    /// What keeps connections that nobody accepts.
    deaf: Option<(TcpListener, TcpStream)>,
}

impl Way {
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let mut way = Self {
            address,
            mode: Arc::new(Mutex::new(watch::Sender::new(Mode::Pass))),
            lost: Mutex::default(),
            accepting: None,
            deaf: None,
        };
        way.accept(listener, Some(upstream));
        way
    }

    /// Cuts what is open; new connections go there.
    pub async fn lead_to(&mut self, upstream: SocketAddr) {
        self.shut().await;
        let listener = self.listen(128);
        self.accept(listener, Some(upstream));
    }

    /// Cuts what is open; new connections are refused.
    pub async fn refuse(&mut self) {
        self.shut().await;
    }

    /// Cuts what is open; new connections are accepted, and nothing more.
    pub async fn swallow_new(&mut self) {
        self.shut().await;
        let listener = self.listen(128);
        self.accept(listener, None);
    }

    /// Cuts what is open; who asks for a connection gets no answer: the queue of the listener is full.
    pub async fn be_deaf(&mut self) {
        self.shut().await;
        let listener = self.listen(0);
        let first = TcpStream::connect(self.address).await.expect("the queue");
        self.deaf = Some((listener, first));
    }

    /// The bytes of open connections wait.
    pub fn hold(&self) {
        self.tell(Mode::Hold);
    }

    /// They go on.
    pub fn pass(&self) {
        self.tell(Mode::Pass);
    }

    /// They are lost, and nobody is told.
    pub fn swallow(&self) {
        self.tell(Mode::Swallow);
    }

    /// The bytes of those that are open now are lost for ever; later connections are as they should be.
    pub fn lose(&self) {
        self.swallow();
        let lost = std::mem::replace(
            &mut *self.mode.lock().expect("no panic"),
            watch::Sender::new(Mode::Pass),
        );
        self.lost.lock().expect("no panic").push(lost);
    }

    fn tell(&self, mode: Mode) {
        self.mode.lock().expect("no panic").send_replace(mode);
    }

    pub fn close(&self) {
        self.tell(Mode::Close);
    }

    pub fn reset(&self) {
        self.tell(Mode::Reset);
    }

    /// Closes once so many bytes have come from the upstream, from now on.
    pub fn cut_after(&self, bytes: usize) {
        self.tell(Mode::CutAfter(bytes));
    }

    fn listen(&self, backlog: u32) -> TcpListener {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(self.address).expect("the same address");
        socket.listen(backlog).expect("listen")
    }

    /// Ends listening and closes what is open.
    async fn shut(&mut self) {
        self.deaf = None;
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            accepting.await.ok();
        }
        self.tell(Mode::Close);
        self.mode = Arc::new(Mutex::new(watch::Sender::new(Mode::Pass)));
        self.lost.lock().expect("no panic").clear();
    }

    fn accept(&mut self, listener: TcpListener, upstream: Option<SocketAddr>) {
        let mode = Arc::clone(&self.mode);
        self.accepting = Some(tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("accept");
                let mode = mode.lock().expect("no panic").subscribe();
                let mut closing = mode.clone();
                tokio::spawn(async move {
                    let carried = async {
                        match upstream {
                            Some(upstream) => carry(near, upstream, mode).await,
                            None => std::future::pending().await,
                        }
                    };
                    // Also while nobody takes what it carries.
                    tokio::select! {
                        () = carried => {}
                        _ = closing.wait_for(|m| *m == Mode::Close) => {}
                    }
                });
            }
        }));
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        self.tell(Mode::Close);
    }
}

/// Carries bytes until either side ends, or it is told to cut.
async fn carry(mut near: TcpStream, upstream: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(mut far) = TcpStream::connect(upstream).await else {
        return;
    };
    near.set_nodelay(true).expect("socket");
    far.set_nodelay(true).expect("socket");
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut came = 0;
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Close => return,
            Mode::CutAfter(bytes) if came >= bytes => return,
            Mode::Reset => {
                near.set_zero_linger().expect("an option");
                return;
            }
            _ => {}
        }
        if !matches!(now, Mode::CutAfter(_)) {
            came = 0;
        }
        let reads = now != Mode::Hold;
        tokio::select! {
            changed = mode.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = near.read(&mut up), if reads => match read {
                Ok(n @ 1..) if now == Mode::Swallow => _ = n,
                Ok(n @ 1..) => if far.write_all(&up[..n]).await.is_err() {
                    return;
                },
                _ => return,
            },
            read = far.read(&mut down), if reads => match read {
                Ok(n @ 1..) if now == Mode::Swallow => _ = n,
                Ok(n @ 1..) => {
                    came += n;
                    if near.write_all(&down[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
