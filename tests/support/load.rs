//! Clients that never stop: fresh connections, one request each, and some that are kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Ledger {
    pub answered: AtomicU64,
    /// A connection was closed before a byte of the reply: asked again on another, as any client does.
    pub retried: AtomicU64,
    stop: AtomicBool,
    failed: std::sync::Mutex<Vec<String>>,
}

/// Steady load on one address.
#[derive(Debug)]
pub struct Load {
    pub ledger: Arc<Ledger>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `fresh` clients that connect for each request, and `kept` that do so when they are told to.
    pub fn start(address: SocketAddr, path: &'static str, fresh: usize, kept: usize) -> Self {
        let ledger = Arc::<Ledger>::default();
        let client = |at: usize| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                if at < fresh {
                    ledger.fresh(address, path).await;
                } else {
                    ledger.kept(address, path).await;
                }
            })
        };
        let clients = (0..fresh + kept).map(client).collect();
        Self { ledger, clients }
    }

    pub fn answered(&self) -> u64 {
        self.ledger.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been answered.
    pub async fn goes_on(&self, more: u64) {
        let until = self.answered() + more;
        let going = async {
            while self.answered() < until {
                tokio::task::yield_now().await;
            }
        };
        super::soon("more answers", going).await;
    }

    /// Ends it; every request must have been answered.
    pub async fn finish(self) {
        self.ledger.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            super::soon("the last reply", client).await.expect("joined");
        }
        let failed = self.ledger.failed.lock().expect("unpoisoned");
        let answered = self.ledger.answered.load(Ordering::Relaxed);
        assert!(failed.is_empty(), "{answered} answered, failed: {failed:?}");
        assert!(answered > 0, "nothing was asked");
    }
}

impl Ledger {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || !self.failed.lock().expect("unpoisoned").is_empty()
    }

    fn fail(&self, what: String) {
        self.failed.lock().expect("unpoisoned").push(what);
    }

    async fn fresh(&self, address: SocketAddr, path: &str) {
        while !self.is_over() {
            let mut stream = match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => return self.fail(format!("connect: {error}")),
            };
            match exchange(&mut stream, path).await {
                Ok(_) => self.answered.fetch_add(1, Ordering::Relaxed),
                Err(Broken::Before) => self.retried.fetch_add(1, Ordering::Relaxed),
                Err(error) => return self.fail(format!("a fresh connection: {error:?}")),
            };
        }
    }

    async fn kept(&self, address: SocketAddr, path: &str) {
        let mut connection = None;
        while !self.is_over() {
            let mut stream = match connection.take() {
                Some(stream) => stream,
                None => match TcpStream::connect(address).await {
                    Ok(stream) => stream,
                    Err(error) => return self.fail(format!("connect: {error}")),
                },
            };
            match exchange(&mut stream, path).await {
                Ok(is_kept) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    connection = is_kept.then_some(stream);
                }
                Err(Broken::Before) => {
                    self.retried.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return self.fail(format!("a kept connection: {error:?}")),
            }
        }
    }
}

/// How an exchange failed.
#[derive(Debug)]
enum Broken {
    /// Before any byte of the reply.
    Before,
    Amid(#[allow(dead_code, reason = "shown")] String),
}

/// One request whose reply has a length; whether the connection is kept.
async fn exchange(stream: &mut TcpStream, path: &str) -> Result<bool, Broken> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Err(Broken::Before);
    }
    let mut reply = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(n @ 1..) => reply.extend_from_slice(&piece[..n]),
            _ if reply.is_empty() => return Err(Broken::Before),
            end => return Err(Broken::Amid(format!("{end:?} after {reply:?}"))),
        }
        let text = String::from_utf8_lossy(&reply);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        let length: usize = length.and_then(|l| l.parse().ok()).unwrap_or_default();
        if body.len() >= length {
            return match head.starts_with("http/1.1 200") {
                true => Ok(!head.contains("connection: close")),
                false => Err(Broken::Amid(head)),
            };
        }
    }
}
