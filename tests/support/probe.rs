//! The Probe service: tells what arrived and behaves as the request says. Started with
//! [`start`]; gives reflection and health, as every service of the tests does.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Request, Response, Status, Streaming};
use transom::demo::proto::google::rpc;
use transom::demo::{GrpcServer, Services};

/// `gamehub.testing.v1`.
pub mod proto {
    #![allow(clippy::all, clippy::pedantic, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/probe/gamehub.testing.v1.rs"));
}

use proto::probe_server::{Probe, ProbeServer};
use proto::{EchoReply, EchoRequest, MetadataValues, Script};

/// The descriptor set of the service and of all that it imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.binpb"));

/// Starts the service on a free port of loopback; it stops when the handle is dropped.
pub fn start() -> GrpcServer {
    let services = Services::new()
        .with(ProbeServer::new(Service))
        .with_reflection(DESCRIPTORS)
        .expect("descriptors of the probe");
    GrpcServer::start(([127, 0, 0, 1], 0).into(), services).expect("the probe starts")
}

#[derive(Debug)]
struct Service;

/// What is the same in every reply to a call.
#[derive(Clone)]
struct Call {
    metadata: BTreeMap<String, MetadataValues>,
    timeout: Option<prost_types::Duration>,
    authority: String,
}

impl Call {
    fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let timeout = metadata.get("grpc-timeout").and_then(|v| v.to_str().ok());
        Self {
            metadata: listed(metadata),
            timeout: timeout.and_then(parse_timeout),
            authority: request
                .extensions()
                .get::<http::uri::Authority>()
                .map(ToString::to_string)
                .unwrap_or_default(),
        }
    }

    fn reply(&self, request: EchoRequest, index: u32) -> EchoReply {
        let padding = request.script.as_ref().map_or(0, |s| s.padding_bytes);
        EchoReply {
            request: Some(request),
            metadata: self.metadata.clone(),
            timeout: self.timeout,
            index,
            padding: vec![b'x'; padding as usize],
            authority: self.authority.clone(),
        }
    }
}

fn listed(metadata: &MetadataMap) -> BTreeMap<String, MetadataValues> {
    let mut all = BTreeMap::<String, MetadataValues>::new();
    for entry in metadata.iter() {
        let (key, value) = match entry {
            KeyAndValueRef::Ascii(key, value) => (
                key.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ),
            KeyAndValueRef::Binary(key, value) => (
                key.to_string(),
                STANDARD.encode(value.to_bytes().unwrap_or_default()),
            ),
        };
        all.entry(key).or_default().values.push(value);
    }
    all
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<prost_types::Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    let duration = match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    duration.try_into().ok()
}

fn script(request: &EchoRequest) -> Script {
    request.script.clone().unwrap_or_default()
}

async fn pause(script: &Script) {
    if let Some(delay) = script.delay.and_then(|d| Duration::try_from(d).ok()) {
        tokio::time::sleep(delay).await;
    }
}

/// The status that the script ends with, if it fails.
fn failure(script: &Script) -> Option<Status> {
    let code = Code::from_i32(i32::try_from(script.code).ok()?);
    if code == Code::Ok {
        return None;
    }
    let mut status = Status::new(code, &script.message);
    if !script.details.is_empty() {
        let details = rpc::Status {
            code: code as i32,
            message: script.message.clone(),
            details: script.details.clone(),
        };
        let details = details.encode_to_vec().into();
        status = Status::with_details(code, &script.message, details);
    }
    fill(status.metadata_mut(), &script.trailing_metadata);
    Some(status)
}

/// Adds pairs; the values of `-bin` keys are base64.
fn fill(metadata: &mut MetadataMap, pairs: &BTreeMap<String, String>) {
    for (key, value) in pairs {
        let mut headers = std::mem::take(metadata).into_headers();
        let name: http::HeaderName = key.parse().expect("a metadata key");
        headers.append(name, value.parse().expect("a metadata value"));
        *metadata = MetadataMap::from_headers(headers);
    }
}

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

#[tonic::async_trait]
impl Probe for Service {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let call = Call::of(&request);
        let request = request.into_inner();
        let script = script(&request);
        pause(&script).await;
        if let Some(status) = failure(&script) {
            return Err(status);
        }
        let mut response = Response::new(call.reply(request, 0));
        fill(response.metadata_mut(), &script.initial_metadata);
        Ok(response)
    }

    type EchoStreamStream = Replies;

    async fn echo_stream(
        &self,
        request: Request<EchoRequest>,
    ) -> Result<Response<Replies>, Status> {
        let call = Call::of(&request);
        let request = request.into_inner();
        let script = script(&request);
        let initial = script.initial_metadata.clone();
        let replies = stream::unfold(Some(0), move |next| {
            let (call, request, script) = (call.clone(), request.clone(), script.clone());
            async move {
                let index = next?;
                let failure = failure(&script);
                let last = match (&failure, script.fail_after) {
                    (Some(_), after) => after,
                    (None, _) => script.messages,
                };
                if index >= last {
                    return failure.map(|status| (Err(status), None));
                }
                pause(&script).await;
                Some((Ok(call.reply(request, index)), Some(index + 1)))
            }
        });
        let mut response = Response::new(Box::pin(replies) as Replies);
        fill(response.metadata_mut(), &initial);
        Ok(response)
    }

    async fn collect(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        let call = Call::of(&request);
        let mut requests = request.into_inner();
        let mut last = EchoRequest::default();
        let mut count = 0;
        while let Some(request) = requests.message().await? {
            last = request;
            count += 1;
        }
        let script = script(&last);
        pause(&script).await;
        match failure(&script) {
            Some(status) => Err(status),
            None => Ok(Response::new(call.reply(last, count))),
        }
    }

    type ConverseStream = Replies;

    async fn converse(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let call = Call::of(&request);
        let replies = request.into_inner().enumerate().then(move |(at, request)| {
            let call = call.clone();
            async move {
                let request = request?;
                let script = script(&request);
                pause(&script).await;
                match failure(&script) {
                    Some(status) => Err(status),
                    None => Ok(call.reply(request, u32::try_from(at).unwrap_or(u32::MAX))),
                }
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}
