//! Clients that never stop, and a ledger of what became of their calls.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::client::Exec;

/// What a caller asks for, again and again. All but the first are the services of `booked`:
/// each call has a number of its own, which the service writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    Get(&'static str),
    /// Idempotent.
    Scores,
    /// Not idempotent.
    Report,
    /// A stream of so many messages, as lines.
    Watch(u32),
}

/// How it comes to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// A new connection for each call.
    Fresh,
    /// HTTP/1.1, kept until the gateway closes it.
    Kept,
    /// HTTP/2, the same.
    Http2,
}

/// One client that calls without end.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub ask: Ask,
    pub via: Via,
    /// Between two calls.
    pub pause: Duration,
}

impl Caller {
    pub fn new(ask: Ask, via: Via) -> Self {
        let pause = Duration::ZERO;
        Self { ask, via, pause }
    }

    #[must_use]
    pub fn every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// Where clients find the gateway now.
pub trait Directory: Send + Sync + 'static {
    fn address(&self) -> SocketAddr;
}

impl Directory for SocketAddr {
    fn address(&self) -> SocketAddr {
        *self
    }
}

/// What became of the calls.
#[derive(Debug, Default)]
pub struct Account {
    pub answered: u64,
    /// A connection was closed before a byte of the reply: asked again on another, as any client does.
    pub retried: HashMap<(Ask, Via), u64>,
    /// All others, with what happened instead.
    pub failed: Vec<(Ask, u64, String)>,
    /// By number: whether [`Ask::Report`] was answered.
    pub reports: HashMap<u64, bool>,
}

impl Account {
    fn note(&mut self, ask: Ask, number: u64, answered: Result<(), String>) {
        if ask == Ask::Report {
            self.reports.insert(number, answered.is_ok());
        }
        match answered {
            Ok(()) => self.answered += 1,
            Err(what) => self.failed.push((ask, number, what)),
        }
    }

    fn retry(&mut self, caller: Caller) {
        *self.retried.entry((caller.ask, caller.via)).or_default() += 1;
    }

    pub fn failures_of(&self, ask: Ask) -> usize {
        self.failed.iter().filter(|(of, ..)| *of == ask).count()
    }
}

/// What the callers share.
struct Shared {
    directory: Box<dyn Directory>,
    account: Mutex<Account>,
    numbers: AtomicU64,
    stop: AtomicBool,
}

/// Steady load.
pub struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

/// A caller that fails so often has shown what is wrong.
const FAILURES_MAX: usize = 100;

impl Load {
    /// `fresh` clients that connect for each request, and `kept` that do so when they are told to.
    pub fn start(address: SocketAddr, path: &'static str, fresh: usize, kept: usize) -> Self {
        let ask = Ask::Get(path);
        let fresh = std::iter::repeat_n(Caller::new(ask, Via::Fresh), fresh);
        let kept = std::iter::repeat_n(Caller::new(ask, Via::Kept), kept);
        Self::of(address, fresh.chain(kept))
    }

    pub fn of(directory: impl Directory, callers: impl IntoIterator<Item = Caller>) -> Self {
        let shared = Arc::new(Shared {
            directory: Box::new(directory),
            account: Mutex::default(),
            numbers: AtomicU64::new(1),
            stop: AtomicBool::new(false),
        });
        let call = |caller: Caller| tokio::spawn(Arc::clone(&shared).call(caller));
        let callers = callers.into_iter().map(call).collect();
        Self { shared, callers }
    }

    fn answered(&self) -> u64 {
        self.shared.account().answered
    }

    /// Waits until so many more have been answered.
    pub async fn goes_on(&self, more: u64) {
        let until = self.answered() + more;
        let going = async {
            while self.answered() < until {
                let ended = self.callers.iter().all(JoinHandle::is_finished);
                assert!(!ended, "{:?}", self.shared.account().failed);
                tokio::task::yield_now().await;
            }
        };
        super::soon("more answers", going).await;
    }

    /// Ends it, and tells what became of the calls.
    pub async fn end(self) -> Account {
        self.shared.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            super::soon("the last reply", caller).await.expect("joined");
        }
        std::mem::take(&mut *self.shared.account())
    }

    /// Ends it; every call must have been answered.
    pub async fn finish(self) -> Account {
        let account = self.end().await;
        let (answered, failed) = (account.answered, &account.failed);
        assert!(failed.is_empty(), "{answered} answered, failed: {failed:?}");
        assert!(answered > 0, "nothing was asked");
        account
    }
}

impl Shared {
    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().expect("unpoisoned")
    }

    async fn call(self: Arc<Self>, caller: Caller) {
        let mut line = None;
        let mut failures = 0;
        while !self.stop.load(Ordering::Relaxed) && failures < FAILURES_MAX {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let answered = loop {
                match exchange(&mut line, &*self.directory, caller, number).await {
                    Err(Broken::Before) => self.account().retry(caller),
                    Ok(()) => break Ok(()),
                    Err(Broken::Refused(what) | Broken::Amid(what)) => break Err(what),
                }
            };
            failures += usize::from(answered.is_err());
            self.account().note(caller.ask, number, answered);
            if !caller.pause.is_zero() {
                tokio::time::sleep(caller.pause).await;
            }
        }
    }
}

/// How an exchange failed.
#[derive(Debug)]
enum Broken {
    /// No connection could be had.
    Refused(String),
    /// It ended before any byte of the reply.
    Before,
    Amid(String),
}

/// A connection that is kept.
enum Line {
    Http1(TcpStream),
    Http2(http2::SendRequest<Full<Bytes>>),
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Broken> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|error| Broken::Refused(format!("connect: {error}")))
}

async fn exchange(
    line: &mut Option<Line>,
    directory: &dyn Directory,
    caller: Caller,
    number: u64,
) -> Result<(), Broken> {
    let kept = line.take().filter(|line| match line {
        Line::Http1(_) => true,
        Line::Http2(send) => !send.is_closed(),
    });
    let mut open = match (kept, caller.via) {
        (Some(kept), _) => kept,
        (None, Via::Fresh | Via::Kept) => Line::Http1(connect(directory.address()).await?),
        (None, Via::Http2) => {
            let io = TokioIo::new(connect(directory.address()).await?);
            let shaken = http2::handshake(Exec, io).await;
            let (send, connection) = shaken.map_err(|_| Broken::Before)?;
            tokio::spawn(connection);
            Line::Http2(send)
        }
    };
    let (is_kept, body) = match &mut open {
        Line::Http1(stream) => over_http1(stream, caller.ask, number).await?,
        Line::Http2(send) => (true, over_http2(send, caller.ask, number).await?),
    };
    if let Ask::Watch(count) = caller.ask {
        let lines = body.lines().count();
        if u32::try_from(lines).ok() != Some(count) {
            return Err(Broken::Amid(format!("{lines} lines of {count}: {body}")));
        }
    }
    *line = (is_kept && caller.via != Via::Fresh).then_some(open);
    Ok(())
}

/// Method, path and body.
fn request(ask: Ask, number: u64) -> (&'static str, String, String) {
    match ask {
        Ask::Get(path) => ("GET", path.to_owned(), String::new()),
        Ask::Scores => ("GET", format!("/v1/games/{number}/scores"), String::new()),
        Ask::Report => {
            let body = format!("{{\"comment\":\"{number}\"}}");
            ("POST", "/v1/reports".to_owned(), body)
        }
        Ask::Watch(count) => {
            let path = format!("/v1/games/{number}/scores:watch?count={count}");
            ("GET", path, String::new())
        }
    }
}

fn accept(ask: Ask) -> &'static str {
    match ask {
        Ask::Watch(_) => "application/x-ndjson",
        Ask::Get(_) | Ask::Scores | Ask::Report => "application/json",
    }
}

async fn over_http2(
    send: &mut http2::SendRequest<Full<Bytes>>,
    ask: Ask,
    number: u64,
) -> Result<String, Broken> {
    let (method, path, body) = request(ask, number);
    let request = Request::builder()
        .method(method)
        .uri(format!("http://test{path}"))
        .header("content-type", "application/json")
        .header("accept", accept(ask))
        .body(Full::from(body));
    let reply = send.send_request(request.expect("a request")).await;
    let reply = reply.map_err(|error| match reset(&error) {
        Some(reason) => Broken::Amid(format!("reset: {reason}")),
        None => Broken::Before,
    })?;
    let status = reply.status();
    let body = reply.into_body().collect().await;
    let body = body.map_err(|error| Broken::Amid(format!("{status}, then {error:?}")))?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    match status.as_u16() {
        200 => Ok(body),
        _ => Err(Broken::Amid(format!("{status} {body}"))),
    }
}

/// Why the gateway ended the stream, if it did, and not the connection.
fn reset(error: &hyper::Error) -> Option<h2::Reason> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.reason().filter(|_| error.is_reset() && !refused);
        }
        cause = error.source();
    }
    None
}

/// Whether the connection is kept, and the body.
async fn over_http1(
    stream: &mut TcpStream,
    ask: Ask,
    number: u64,
) -> Result<(bool, String), Broken> {
    let (method, path, body) = request(ask, number);
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         accept: {}\r\ncontent-length: {length}\r\n\r\n{body}",
        accept(ask),
    );
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Err(Broken::Before);
    }
    let mut reply = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(n @ 1..) => reply.extend_from_slice(&piece[..n]),
            _ if reply.is_empty() => return Err(Broken::Before),
            end => {
                let reply = String::from_utf8_lossy(&reply);
                return Err(Broken::Amid(format!("{end:?} after {reply}")));
            }
        }
        let text = String::from_utf8_lossy(&reply);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let Some(body) = whole(&head, body) else {
            continue;
        };
        return match head.starts_with("http/1.1 200") {
            true => Ok((!head.contains("connection: close"), body)),
            false => Err(Broken::Amid(format!("{head} {body}"))),
        };
    }
}

/// The body, if all of it is there.
fn whole(head: &str, body: &str) -> Option<String> {
    let length = |line: &str| line.strip_prefix("content-length: ")?.parse().ok();
    if !head.contains("transfer-encoding: chunked") {
        let length: usize = head.lines().find_map(length).unwrap_or_default();
        return (body.len() >= length).then(|| body.to_owned());
    }
    let (mut rest, mut whole) = (body, String::new());
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return Some(whole);
        }
        whole.push_str(after.get(..size)?);
        rest = after.get(size + 2..)?;
    }
}
