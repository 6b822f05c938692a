//! An API server that knows of EndpointSlices alone, and does as the test says.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

type Body = BoxBody<Bytes, Infallible>;

/// How a watch from too old a version is refused: both happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    ByStatus,
    ByEvent,
}

#[derive(Debug)]
struct State {
    slices: BTreeMap<String, Value>,
    version: u64,
    log: Vec<(u64, Value)>,
    /// Nothing older is known.
    oldest: u64,
    gone: Gone,
    /// In place of any answer.
    fails: Option<(StatusCode, String)>,
    token: Option<String>,
    /// Path and query of every question.
    asked: Vec<String>,
    /// Watches end when it changes.
    cuts: u64,
}

/// A running API server. It ends with the runtime.
#[derive(Clone, Debug)]
pub struct ApiServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

/// Slices of a page, whatever limit is asked for.
const PAGE: usize = 2;

impl ApiServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            slices: BTreeMap::new(),
            version: 100,
            log: Vec::new(),
            oldest: 0,
            gone: Gone::ByStatus,
            fails: None,
            token: None,
            asked: Vec::new(),
            cuts: 0,
        };
        let server = Self {
            address,
            state: Arc::new(Mutex::new(state)),
            changed: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(&request)) }
                });
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        server
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.send_modify(|n| *n += 1);
    }

    /// A slice comes, or changes: the port called `grpc`, and endpoints with their conditions.
    pub fn set(&self, name: &str, port: u16, endpoints: &[Value]) {
        self.change(|state| {
            state.version += 1;
            let kind = match state.slices.contains_key(name) {
                true => "MODIFIED",
                false => "ADDED",
            };
            let slice = json!({
                "metadata": { "name": name, "resourceVersion": state.version.to_string() },
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [{ "name": "grpc", "port": port, "protocol": "TCP" }],
            });
            state.slices.insert(name.to_owned(), slice.clone());
            let event = json!({ "type": kind, "object": slice });
            state.log.push((state.version, event));
        });
    }

    /// A slice goes.
    pub fn remove(&self, name: &str) {
        self.change(|state| {
            state.version += 1;
            let mut slice = state.slices.remove(name).expect("it is there");
            slice["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let event = json!({ "type": "DELETED", "object": slice });
            state.log.push((state.version, event));
        });
    }

    /// Other things have happened meanwhile.
    pub fn bookmark(&self) {
        self.change(|state| {
            state.version += 10;
            let version = state.version.to_string();
            let object = json!({ "metadata": { "resourceVersion": version } });
            let event = json!({ "type": "BOOKMARK", "object": object });
            state.log.push((state.version, event));
        });
    }

    /// Ends all watches without a word.
    pub fn cut(&self) {
        self.change(|state| state.cuts += 1);
    }

    /// Ends all watches, and forgets what came before now; what `change` does is never told by a watch.
    pub fn forget(&self, gone: Gone, change: impl FnOnce(&Self)) {
        self.fails(Some((StatusCode::SERVICE_UNAVAILABLE, "starting")));
        self.cut();
        change(self);
        self.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.log.clear();
            state.gone = gone;
        });
        self.fails(None);
    }

    /// What every question is answered with.
    pub fn fails(&self, with: Option<(StatusCode, &str)>) {
        self.change(|state| state.fails = with.map(|(status, text)| (status, text.to_owned())));
    }

    /// Only who shows this token is answered.
    pub fn wants(&self, token: &str) {
        self.change(|state| state.token = Some(token.to_owned()));
    }

    pub fn version(&self) -> u64 {
        self.state.lock().unwrap().version
    }

    /// Path and query of every question.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Resolves when there is a question after the first `seen` ones that is so, with it.
    pub async fn asks(&self, seen: usize, is_so: impl Fn(&str) -> bool) -> String {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let found = self
                .asked()
                .into_iter()
                .skip(seen)
                .find(|asked| is_so(asked));
            if let Some(found) = found {
                return found;
            }
            changed.changed().await.expect("it runs");
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let asked = request.uri().to_string();
        let token = request.headers().get("authorization").cloned();
        let mut refused = None;
        self.change(|state| {
            state.asked.push(asked.clone());
            let wanted = state.token.as_ref().map(|t| format!("Bearer {t}"));
            let is_known = wanted.is_none_or(|wanted| token.is_some_and(|t| t == wanted));
            refused = match (&state.fails, is_known) {
                (Some(failure), _) => Some(failure.clone()),
                (None, false) => Some((StatusCode::UNAUTHORIZED, "Unauthorized".to_owned())),
                (None, true) => None,
            };
        });
        if let Some((status, message)) = refused {
            return status_of(status, &message);
        }
        let parameter = |name: &str| {
            let query = request.uri().query().unwrap_or_default();
            let pair = query
                .split('&')
                .find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
            pair.map(str::to_owned)
        };
        match parameter("watch") {
            Some(_) => self.watch(&parameter("resourceVersion").expect("a version")),
            None => self.list(parameter("continue")),
        }
    }

    fn list(&self, more: Option<String>) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let from: usize = more.map_or(0, |token| token.parse().expect("our own token"));
        let items: Vec<_> = state.slices.values().skip(from).take(PAGE).collect();
        let mut list = json!({
            "metadata": { "resourceVersion": state.version.to_string() },
            "items": items,
        });
        if from + PAGE < state.slices.len() {
            list["metadata"]["continue"] = json!((from + PAGE).to_string());
        }
        whole(StatusCode::OK, &list)
    }

    fn watch(&self, from: &str) -> Response<Body> {
        let mut from: u64 = from.parse().expect("a version of ours");
        let (oldest, gone, cuts) = {
            let state = self.state.lock().unwrap();
            (state.oldest, state.gone, state.cuts)
        };
        let is_gone = from < oldest;
        if is_gone && gone == Gone::ByStatus {
            return status_of(StatusCode::GONE, "too old resource version");
        }
        let (tell, told) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(16);
        let (server, mut changed) = (self.clone(), self.changed.subscribe());
        tokio::spawn(async move {
            let line = |event: &Value| Ok(Frame::data(Bytes::from(format!("{event}\n"))));
            if is_gone {
                let status = json!({ "kind": "Status", "code": 410, "message": "too old" });
                let event = json!({ "type": "ERROR", "object": status });
                tell.send(line(&event)).await.ok();
                return;
            }
            loop {
                changed.borrow_and_update();
                let events: Vec<_> = {
                    let state = server.state.lock().unwrap();
                    if state.cuts != cuts {
                        return;
                    }
                    let after = state.log.iter().filter(|(version, _)| *version > from);
                    after.cloned().collect()
                };
                for (version, event) in events {
                    from = version;
                    if tell.send(line(&event)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    () = tell.closed() => return,
                }
            }
        });
        let body = StreamBody::new(ReceiverStream::new(told));
        Response::new(BodyExt::boxed(body))
    }
}

/// An endpoint with its conditions.
pub fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Value {
    json!({
        "addresses": [address],
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
    })
}

/// One that is ready.
pub fn ready(address: &str) -> Value {
    endpoint(address, true, true, false)
}

fn whole(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string()));
    let response = Response::builder().status(status);
    response.body(BodyExt::boxed(body)).expect("a response")
}

fn status_of(status: StatusCode, message: &str) -> Response<Body> {
    let text = json!({ "kind": "Status", "code": status.as_u16(), "message": message });
    whole(status, &text)
}
