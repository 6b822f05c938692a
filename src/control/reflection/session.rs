//! One reflection stream: a question, its answer, the next question.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::error::ReflectionProblem;
use super::{Budget, Instance};
use crate::tls::{Outgoing, Speaks};

/// Which package the service is in. The messages are the same on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version {
    V1,
    V1Alpha,
}

impl Version {
    fn path(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::V1 => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Self::V1Alpha => "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        })
    }
}

/// What we ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    ListServices,
    FileContainingSymbol(String),
    FileByFilename(String),
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListServices => f.write_str("list_services"),
            Self::FileContainingSymbol(name) => {
                write!(f, "file_containing_symbol \"{}\"", shortened(name))
            }
            Self::FileByFilename(name) => write!(f, "file_by_filename \"{}\"", shortened(name)),
        }
    }
}

impl Question {
    fn request(&self, host: &str) -> ServerReflectionRequest {
        ServerReflectionRequest {
            host: host.to_owned(),
            message_request: Some(match self {
                Self::ListServices => MessageRequest::ListServices("*".to_owned()),
                Self::FileContainingSymbol(name) => {
                    MessageRequest::FileContainingSymbol(name.clone())
                }
                Self::FileByFilename(name) => MessageRequest::FileByFilename(name.clone()),
            }),
        }
    }
}

/// What comes back for a file.
#[derive(Debug)]
pub(super) enum Answer {
    /// Serialised file descriptors: the file, perhaps with imports.
    Files(Vec<Bytes>),
    /// The server says that it doesn't have it.
    NotKnown(String),
}

pub(super) async fn connect(
    instance: &Instance,
    outgoing: Option<&Arc<Outgoing>>,
    budget: &Budget,
) -> Result<Channel, ReflectionProblem> {
    let scheme = outgoing.map_or("http", |_| "https");
    let target = Channel::from_shared(format!("{scheme}://{}", instance.authority))
        .map_err(|error| ReflectionProblem::Connect(error.to_string()))?;
    let failed = |error: tonic::transport::Error| ReflectionProblem::Connect(causes(&error));
    let agent = concat!("transom/", env!("CARGO_PKG_VERSION"));
    let target = target.user_agent(agent).map_err(failed)?;
    let (instance, outgoing) = (instance.clone(), outgoing.cloned());
    let dial = tower::service_fn(move |_: http::Uri| {
        let (instance, outgoing) = (instance.clone(), outgoing.clone());
        async move { open(&instance, outgoing).await.map(TokioIo::new) }
    });
    match timeout(budget.answer, target.connect_with_connector(dial)).await {
        Ok(channel) => channel.map_err(failed),
        Err(_) => Err(ReflectionProblem::Connect(format!(
            "no connection in {:?}",
            budget.answer
        ))),
    }
}

/// What the bytes go through.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

async fn open(instance: &Instance, outgoing: Option<Arc<Outgoing>>) -> io::Result<Box<dyn Line>> {
    let socket = instance.location.connect().await?;
    let Some(outgoing) = outgoing else {
        return Ok(Box::new(socket));
    };
    let host = instance.authority.host();
    let opened = outgoing.connect(host, socket, Speaks::Http2).await;
    let stream = opened.map_err(io::Error::other)?;
    Ok(Box::new(stream))
}

/// An open stream. Dropping it cancels the call.
pub(super) struct Session {
    questions: mpsc::Sender<ServerReflectionRequest>,
    answers: Streaming<ServerReflectionResponse>,
    patience: Duration,
}

impl Session {
    /// Opens the stream and asks for the services: some servers send their headers only with the
    /// first answer, so the first question must go with the call.
    pub(super) async fn open(
        channel: Channel,
        version: Version,
        budget: &Budget,
    ) -> Result<(Self, Vec<String>), ReflectionProblem> {
        let asked = Question::ListServices;
        let failed = |status: Status| failed(&asked, status);
        let (questions, outbound) = mpsc::channel(1);
        // There is room for one and the receiver is alive.
        let _ = questions.send(asked.request("")).await;
        let mut client = tonic::client::Grpc::new(channel)
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .max_decoding_message_size(budget.bytes_max);
        let call = async {
            let ready = client.ready().await;
            ready.map_err(|e| ReflectionProblem::Connect(causes(&e)))?;
            let codec = ProstCodec::default();
            let request = Request::new(ReceiverStream::new(outbound));
            let answers = client.streaming(request, version.path(), codec).await;
            let mut answers = answers.map_err(failed)?.into_inner();
            let first = answers.message().await.map_err(failed)?;
            Ok((answers, first))
        };
        let (answers, first) = match timeout(budget.answer, call).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(ReflectionProblem::NoAnswer {
                    limit: budget.answer,
                    asked,
                });
            }
        };
        let services = match content(first, &asked)? {
            MessageResponse::ListServicesResponse(list) => list.service,
            MessageResponse::ErrorResponse(error) => {
                let code = Code::from_i32(error.error_code);
                return Err(failed(Status::new(code, error.error_message)));
            }
            _ => return Err(ReflectionProblem::WrongAnswer { asked }),
        };
        let services = services.into_iter().map(|s| s.name).collect();
        let session = Self {
            questions,
            answers,
            patience: budget.answer,
        };
        Ok((session, services))
    }

    pub(super) async fn ask(&mut self, question: &Question) -> Result<Answer, ReflectionProblem> {
        // A failed send shows as the end of the answers.
        let _ = self.questions.send(question.request("")).await;
        let answer = match timeout(self.patience, self.answers.message()).await {
            Ok(answer) => answer.map_err(|status| failed(question, status))?,
            Err(_) => {
                return Err(ReflectionProblem::NoAnswer {
                    asked: question.clone(),
                    limit: self.patience,
                });
            }
        };
        match content(answer, question)? {
            MessageResponse::FileDescriptorResponse(files) => Ok(Answer::Files(
                files
                    .file_descriptor_proto
                    .into_iter()
                    .map(Bytes::from)
                    .collect(),
            )),
            MessageResponse::ErrorResponse(error) => {
                Ok(Answer::NotKnown(shortened(&error.error_message)))
            }
            _ => Err(ReflectionProblem::WrongAnswer {
                asked: question.clone(),
            }),
        }
    }
}

fn content(
    answer: Option<ServerReflectionResponse>,
    asked: &Question,
) -> Result<MessageResponse, ReflectionProblem> {
    let Some(answer) = answer else {
        return Err(ReflectionProblem::Ended {
            asked: asked.clone(),
        });
    };
    answer
        .message_response
        .ok_or_else(|| ReflectionProblem::WrongAnswer {
            asked: asked.clone(),
        })
}

fn failed(asked: &Question, status: Status) -> ReflectionProblem {
    match (asked, status.code()) {
        (Question::ListServices, Code::Unimplemented) => ReflectionProblem::Unsupported,
        (_, code) => ReflectionProblem::Failed {
            asked: asked.clone(),
            code,
            message: shortened(status.message()),
        },
    }
}

/// The upstream's words, at a length fit for one line of a log.
fn shortened(message: &str) -> String {
    let printable = message.chars().filter(|c| !c.is_control());
    printable.take(200).collect()
}

/// The error with its causes: tonic's own text is only "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut told = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Connectors wrap an error in one that says the same.
        if told.last() != Some(&text) {
            told.push(text);
        }
        cause = error.source();
    }
    shortened(&told.join(": "))
}
