//! An authority of our own that does what a test wants: fails at a step, is slow, says no, or lies.
//!
//! Signatures of requests are not looked at: Pebble does that. Names count as proved when they are
//! asked to be, unless the test says otherwise.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateSigningRequestParams, KeyPair, SerialNumber};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::Root;
pub use super::manners::{At, Fault, Lie, Manners};

/// An order that was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub names: Vec<String>,
    pub replaces: Option<String>,
    pub profile: Option<String>,
}

struct Order {
    placed: Placed,
    identifiers: Value,
    status: &'static str,
    polls: u32,
    certificate: Option<String>,
    error: Option<Value>,
}

struct Issued {
    not_before: SystemTime,
    not_after: SystemTime,
}

pub struct State {
    pub manners: Manners,
    nonces: HashSet<String>,
    made: u64,
    pub accounts: u32,
    /// Accounts up to this one aren't known any more.
    lost: u32,
    orders: Vec<Order>,
    issued: HashMap<String, Issued>,
    replaced: HashSet<String>,
    pub revoked: Vec<Vec<u8>>,
    /// How often each place was asked.
    pub asked: HashMap<At, u32>,
    pub agents: HashSet<String>,
}

/// A running authority. It ends with the handle.
pub struct Ca {
    pub directory: String,
    pub root: Arc<Root>,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Ca {
    pub fn start() -> Self {
        let root = Arc::new(Root::new());
        let pair = root.server();
        let state = Arc::new(Mutex::new(State::new()));
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let (own, issuer) = (Arc::clone(&state), Arc::clone(&root));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                told.send(address).expect("the test waits");
                tokio::select! {
                    () = accept(listener, address, &pair, own, issuer) => {}
                    _ = stopped => {}
                }
            });
        });
        let address: SocketAddr = address.recv().expect("it listens");
        Self {
            directory: format!("https://{address}/directory"),
            root,
            state,
            stop: Some(stop),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until a place is asked for.
    pub async fn is_asked(&self, at: At) {
        while !self.state().asked.contains_key(&at) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets `fault` happen the next `times` at a place.
    pub fn fail(&self, at: At, times: u32, fault: Fault) {
        self.state().manners.faults.insert(at, (times, fault));
    }

    /// Every order that was placed.
    pub fn orders(&self) -> Vec<Placed> {
        self.state()
            .orders
            .iter()
            .map(|o| o.placed.clone())
            .collect()
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    pair: &super::Pair,
    state: Arc<Mutex<State>>,
    root: Arc<Root>,
) {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.map(|c| c.expect("a certificate")).collect(), key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state, root) = (acceptor.clone(), Arc::clone(&state), Arc::clone(&root));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let answer = service_fn(move |request| {
                serve(request, address, Arc::clone(&state), Arc::clone(&root))
            });
            let io = TokioIo::new(stream);
            let server = hyper::server::conn::http1::Builder::new();
            server.serve_connection(io, answer).await.ok();
        });
    }
}

type Reply = Response<Full<Bytes>>;

async fn serve(
    request: Request<Incoming>,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    root: Arc<Root>,
) -> Result<Reply, &'static str> {
    let path = request.uri().path().to_owned();
    let agent = request.headers().get("user-agent").cloned();
    let body = request.into_body().collect().await;
    let body = body.map_err(|_| "half a request")?.to_bytes();
    let Some((at, rest)) = place(&path) else {
        return Ok(problem(404, "malformed", "there is nothing here", None));
    };
    let base = format!("https://{address}");
    let fault = {
        let mut state = state.lock().unwrap();
        let agent = agent.and_then(|a| a.to_str().ok().map(str::to_owned));
        state.agents.extend(agent);
        *state.asked.entry(at).or_default() += 1;
        state.fault(at)
    };
    match fault {
        Some(Fault::Cut) => return Err("cut"),
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Page(status, wait)) => {
            let page = "<html>\n<h1>an unhappy proxy</h1>".to_owned();
            return Ok(reply(status, page, "text/html", wait));
        }
        Some(Fault::Problem(status, kind, wait)) => {
            return Ok(problem(status, kind, "as the test wants", wait));
        }
        Some(Fault::CutAfter) | None => {}
    }
    let mut state = state.lock().unwrap();
    let mut answer = state.answer(at, rest, &base, &body, &root);
    let nonce = state.nonce();
    let head = answer.headers_mut();
    head.insert("replay-nonce", nonce.parse().expect("a header"));
    if let Some(date) = state.manners.date {
        let date = httpdate::fmt_http_date(date);
        head.insert("date", date.parse().expect("a header"));
    }
    match fault {
        Some(Fault::CutAfter) => Err("cut"),
        _ => Ok(answer),
    }
}

fn place(path: &str) -> Option<(At, &str)> {
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let at = match parts.next()? {
        "directory" => At::Directory,
        "nonce" => At::Nonce,
        "account" => At::Account,
        "new-order" => At::NewOrder,
        "order" => At::Order,
        "authorization" => At::Authorization,
        "challenge" => At::Challenge,
        "finalize" => At::Finalize,
        "certificate" => At::Certificate,
        "renewal-info" => At::RenewalInfo,
        "revoke" => At::Revoke,
        _ => return None,
    };
    Some((at, parts.next().unwrap_or_default()))
}

fn reply(status: u16, body: String, kind: &str, wait: Option<&str>) -> Reply {
    let mut reply = Response::builder()
        .status(status)
        .header("content-type", kind);
    if let Some(wait) = wait {
        reply = reply.header("retry-after", wait);
    }
    reply.body(Full::new(Bytes::from(body))).expect("a reply")
}

fn document(status: u16, value: &Value, wait: Option<&str>) -> Reply {
    reply(status, value.to_string(), "application/json", wait)
}

fn problem(status: u16, kind: &str, detail: &str, wait: Option<&str>) -> Reply {
    let value = json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"),
        "detail": detail,
        "status": status,
    });
    reply(status, value.to_string(), "application/problem+json", wait)
}

impl State {
    fn new() -> Self {
        Self {
            manners: Manners::default(),
            nonces: HashSet::new(),
            made: 0,
            accounts: 0,
            lost: 0,
            orders: Vec::new(),
            issued: HashMap::new(),
            replaced: HashSet::new(),
            revoked: Vec::new(),
            asked: HashMap::new(),
            agents: HashSet::new(),
        }
    }

    fn fault(&mut self, at: At) -> Option<Fault> {
        let (left, fault) = self.manners.faults.get_mut(&at)?;
        *left = left.checked_sub(1)?;
        Some(fault.clone())
    }

    fn nonce(&mut self) -> String {
        self.made += 1;
        let nonce = format!("nonce-{}", self.made);
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn answer(&mut self, at: At, rest: &str, base: &str, body: &[u8], root: &Root) -> Reply {
        match at {
            At::Directory => return document(200, &self.directory(base), None),
            At::Nonce => return reply(200, String::new(), "text/plain", None),
            At::RenewalInfo => return self.window(rest),
            _ => {}
        }
        let signed: Value = serde_json::from_slice(body).expect("a signed request");
        let part = |name: &str| {
            let text = signed[name].as_str().expect("text");
            URL_SAFE_NO_PAD.decode(text).expect("base64")
        };
        let head: Value = serde_json::from_slice(&part("protected")).expect("JSON");
        let payload = part("payload");
        let payload: Value = serde_json::from_slice(&payload).unwrap_or(Value::Null);
        let known = self.nonces.remove(head["nonce"].as_str().expect("a nonce"));
        if !known || self.manners.refused_nonces > 0 {
            self.manners.refused_nonces = self.manners.refused_nonces.saturating_sub(1);
            return problem(400, "badNonce", "that nonce is stale", None);
        }
        let account = head["kid"].as_str().and_then(|kid| kid.rsplit_once('/'));
        if account.is_some_and(|(_, n)| n.parse().is_ok_and(|n: u32| n <= self.lost)) {
            return problem(400, "accountDoesNotExist", "whose key is that?", None);
        }
        match at {
            At::Account => self.account(base),
            At::NewOrder => self.new_order(base, &payload),
            At::Order => self.order(rest, base),
            At::Authorization => self.authorization(rest, base),
            At::Challenge => self.challenge(rest, base),
            At::Finalize => self.finalize(rest, base, &payload, root),
            At::Certificate => self.certificate(rest),
            _ => self.revoke(&payload),
        }
    }

    fn directory(&self, base: &str) -> Value {
        let mut directory = json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/new-order"),
            "revokeCert": format!("{base}/revoke"),
            "meta": {
                "termsOfService": "https://ca.example/terms",
                "externalAccountRequired": self.manners.external_required,
                "profiles": self.manners.profiles,
            },
        });
        if self.manners.window.is_some() {
            directory["renewalInfo"] = format!("{base}/renewal-info").into();
        }
        directory
    }

    /// As an authority that was set up anew.
    pub fn forget_accounts(&mut self) {
        self.lost = self.accounts;
    }

    fn account(&mut self, base: &str) -> Reply {
        self.accounts += 1;
        let mut answer = document(201, &json!({ "status": "valid" }), None);
        let url = format!("{base}/account/{}", self.accounts);
        let headers = answer.headers_mut();
        headers.insert("location", url.parse().expect("a header"));
        answer
    }

    fn new_order(&mut self, base: &str, payload: &Value) -> Reply {
        let word = |name: &str| payload[name].as_str().map(str::to_owned);
        let placed = Placed {
            names: payload["identifiers"]
                .as_array()
                .expect("identifiers")
                .iter()
                .map(|i| i["value"].as_str().expect("a name").to_owned())
                .collect(),
            replaces: word("replaces"),
            profile: word("profile"),
        };
        if let Some(replaces) = &placed.replaces
            && !self.replaced.insert(replaces.clone())
        {
            return problem(409, "alreadyReplaced", "that one was replaced before", None);
        }
        self.orders.push(Order {
            placed,
            identifiers: payload["identifiers"].clone(),
            status: "pending",
            polls: 0,
            certificate: None,
            error: None,
        });
        let at = self.orders.len() - 1;
        self.told(at, base, 201, None)
    }

    fn told(&self, at: usize, base: &str, status: u16, wait: Option<&str>) -> Reply {
        let order = &self.orders[at];
        let count = order.placed.names.len();
        let mut value = json!({
            "status": order.status,
            "identifiers": order.identifiers,
            "authorizations": (0..count)
                .map(|n| format!("{base}/authorization/{at}/{n}"))
                .collect::<Vec<_>>(),
            "finalize": format!("{base}/finalize/{at}"),
        });
        if let Some(replaces) = &order.placed.replaces {
            value["replaces"] = replaces.as_str().into();
        }
        if let Some(error) = &order.error {
            value["error"] = error.clone();
        }
        if order.status == "valid" {
            value["certificate"] = format!("{base}/certificate/{at}").into();
        }
        let mut answer = document(status, &value, wait);
        let url = format!("{base}/order/{at}").parse().expect("a header");
        answer.headers_mut().insert("location", url);
        answer
    }

    fn order(&mut self, rest: &str, base: &str) -> Reply {
        let at: usize = rest.parse().expect("a number");
        let (polls, wait) = self.manners.processing;
        let order = &mut self.orders[at];
        if order.status == "processing" {
            order.polls += 1;
            if order.polls > polls {
                order.status = "valid";
            }
        }
        self.told(at, base, 200, wait)
    }

    fn name<'a>(&'a self, rest: &str) -> (usize, usize, &'a str) {
        let (order, at) = rest.split_once('/').expect("two numbers");
        let (order, at) = (order.parse().expect("one"), at.parse().expect("two"));
        let placed: &Order = &self.orders[order];
        (order, at, &placed.placed.names[at])
    }

    fn challenges(&self, rest: &str, base: &str) -> Value {
        let (order, at, name) = self.name(rest);
        let status = self.orders[order].status;
        let bad = self.manners.unproved.contains(name);
        let one = |kind: &str| {
            let mut value = json!({
                "type": kind,
                "url": format!("{base}/challenge/{order}/{at}"),
                "token": format!("token-{order}-{at}"),
                "status": if status == "pending" { "pending" } else { "valid" },
            });
            if bad && status == "invalid" {
                value["status"] = "invalid".into();
                value["error"] = json!({
                    "type": "urn:ietf:params:acme:error:unauthorized",
                    "detail": "the file holds something else",
                    "status": 403,
                });
            }
            value
        };
        json!([one("http-01"), one("tls-alpn-01"), one("dns-01")])
    }

    fn authorization(&self, rest: &str, base: &str) -> Reply {
        let (order, at, name) = self.name(rest);
        let status = match self.orders[order].status {
            "pending" => "pending",
            "invalid" if self.manners.unproved.contains(name) => "invalid",
            _ => "valid",
        };
        let identifier = &self.orders[order].identifiers[at];
        let bare = name.trim_start_matches("*.");
        let value = json!({
            "identifier": { "type": identifier["type"], "value": bare },
            "status": status,
            "wildcard": bare != name,
            "challenges": self.challenges(rest, base),
        });
        document(200, &value, None)
    }

    fn challenge(&mut self, rest: &str, base: &str) -> Reply {
        let mut value = self.challenges(rest, base)[0].clone();
        let (order, _, _) = self.name(rest);
        let unproved = &self.manners.unproved;
        let order = &mut self.orders[order];
        let bad = order.placed.names.iter().any(|n| unproved.contains(n));
        order.status = if bad { "invalid" } else { "ready" };
        value["status"] = "processing".into();
        document(200, &value, None)
    }

    fn finalize(&mut self, rest: &str, base: &str, payload: &Value, root: &Root) -> Reply {
        let at: usize = rest.parse().expect("a number");
        if self.orders[at].status != "ready" {
            return problem(403, "orderNotReady", "the order isn't ready", None);
        }
        let csr = payload["csr"].as_str().expect("a request");
        let csr = URL_SAFE_NO_PAD.decode(csr).expect("base64");
        let chain = self.issue(&csr, root);
        let (polls, wait) = self.manners.processing;
        let order = &mut self.orders[at];
        order.certificate = Some(chain);
        order.status = if polls == 0 { "valid" } else { "processing" };
        self.told(at, base, 200, wait)
    }

    fn issue(&mut self, csr: &[u8], root: &Root) -> String {
        let csr = CertificateSigningRequestDer::from(csr);
        let mut csr = CertificateSigningRequestParams::from_der(&csr).expect("a request");
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = seconds.expect("after 1970").as_secs() - 60;
        let not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let not_after = not_before + self.manners.validity;
        self.made += 1;
        let serial = [&[1], self.made.to_be_bytes().as_slice()].concat();
        csr.params.serial_number = Some(SerialNumber::from_slice(&serial));
        csr.params.not_before = not_before.into();
        csr.params.not_after = not_after.into();
        csr.params.use_authority_key_identifier_extension = true;
        if self.manners.lie == Lie::OtherNames {
            let other = "somebody.else.example".to_owned();
            let other = rcgen::CertificateParams::new([other]).expect("a name");
            csr.params.subject_alt_names = other.subject_alt_names;
        }
        let made = match self.manners.lie {
            Lie::OtherKey => {
                let key = KeyPair::generate().expect("a key");
                csr.params.signed_by(&key, root.issuer()).expect("signed")
            }
            _ => csr.signed_by(root.issuer()).expect("signed"),
        };
        let id = transom::acme::identifier(made.der()).expect("it has one");
        let life = Issued {
            not_before,
            not_after,
        };
        self.issued.insert(id.to_string(), life);
        let mut chain = format!("{}{}", made.pem(), root.pem());
        if self.manners.lie == Lie::Truncated {
            chain.truncate(chain.len() - 100);
        }
        chain
    }

    fn certificate(&self, rest: &str) -> Reply {
        let at: usize = rest.parse().expect("a number");
        let chain = self.orders[at].certificate.clone().expect("it was issued");
        reply(200, chain, "application/pem-certificate-chain", None)
    }

    fn window(&self, rest: &str) -> Reply {
        let (Some(window), Some(issued)) = (self.manners.window, self.issued.get(rest)) else {
            return problem(404, "malformed", "no such certificate", None);
        };
        let (start, end) = window(issued.not_before, issued.not_after);
        let text = |at: SystemTime| {
            let seconds = at.duration_since(SystemTime::UNIX_EPOCH).expect("a time");
            let nanos = i128::try_from(seconds.as_nanos()).expect("it fits");
            let at = x509_parser::time::ASN1Time::from_timestamp(
                i64::try_from(nanos / 1_000_000_000).expect("it fits"),
            );
            let at = at.expect("a time").to_datetime();
            let (date, time) = (at.date(), at.time());
            let (hour, minute, second) = time.as_hms();
            format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
        };
        let mut value = json!({
            "suggestedWindow": { "start": text(start), "end": text(end) },
        });
        if let Some(page) = self.manners.explanation {
            value["explanationURL"] = page.into();
        }
        document(200, &value, self.manners.window_retry_after)
    }

    fn revoke(&mut self, payload: &Value) -> Reply {
        let text = payload["certificate"].as_str().expect("a certificate");
        let der = URL_SAFE_NO_PAD.decode(text).expect("base64");
        if self.revoked.contains(&der) {
            return problem(400, "alreadyRevoked", "it was revoked before", None);
        }
        self.revoked.push(der);
        reply(StatusCode::OK.as_u16(), String::new(), "text/plain", None)
    }
}
