//! Against tonic's own reflection, and against servers that lie.

use std::pin::Pin;
use std::sync::Arc;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};
use tonic_reflection::server::{Builder, v1};

use super::*;
use crate::config::model::Endpoint;
use crate::demo::{DESCRIPTORS, GrpcServer, Services};

fn serve(services: Services) -> GrpcServer {
    GrpcServer::start("127.0.0.1:0".parse().unwrap(), services).unwrap()
}

fn upstream(ports: &[u16]) -> Upstream {
    let endpoint = |port: &u16| Endpoint::host("127.0.0.1", *port);
    Upstream::new("games", ports.iter().map(endpoint).collect())
}

fn set(reflected: &Reflected) -> FileDescriptorSet {
    FileDescriptorSet::decode(reflected.descriptors.as_slice()).unwrap()
}

fn names(reflected: &Reflected) -> Vec<String> {
    let files = set(reflected).file.into_iter();
    files.map(|f| f.name().to_owned()).collect()
}

/// Imports come before the files that need them, and all are there.
fn assert_ordered(reflected: &Reflected) {
    let mut before = BTreeSet::new();
    for file in set(reflected).file {
        for import in &file.dependency {
            assert!(before.contains(import), "{} before {import}", file.name());
        }
        before.insert(file.name().to_owned());
    }
}

#[tokio::test]
async fn a_tonic_server_gives_its_files_as_they_are() {
    let server = crate::demo::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = upstream(&[server.address().port()]);
    let reflected = fetch(&target, &Budget::default()).await.unwrap();
    assert_eq!(
        reflected.services,
        [
            "gamehub.v1.Catalogue",
            "gamehub.v1.Chat",
            "gamehub.v1.Moderation",
            "gamehub.v1.Scores",
            "gamehub.v1.Telemetry",
            "gamehub.v1.Thumbnails"
        ]
    );
    assert_eq!(reflected.missing, []);
    assert_ordered(&reflected);
    let again = fetch(&target, &Budget::default()).await.unwrap();
    assert_eq!(again, reflected, "the same bytes each time");

    // The http option is an extension that generated code doesn't know: it must have survived.
    let original = prost_reflect::DescriptorPool::decode(DESCRIPTORS).unwrap();
    let fetched = prost_reflect::DescriptorPool::decode(reflected.descriptors.as_slice()).unwrap();
    let mut annotated = 0;
    for service in &reflected.services {
        let ours = fetched.get_service_by_name(service).unwrap();
        let theirs = original.get_service_by_name(service).unwrap();
        for (ours, theirs) in ours.methods().zip(theirs.methods()) {
            let (ours_bytes, name) = (ours.options().encode_to_vec(), ours.full_name());
            assert_eq!(ours_bytes, theirs.options().encode_to_vec(), "{name}");
            annotated += usize::from(ours_bytes.len() > 4);
        }
    }
    assert!(annotated > 15, "{annotated}");
}

#[tokio::test]
async fn a_server_with_v1alpha_alone_is_understood() {
    let builder = Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let server = serve(Services::new().with(builder.build_v1alpha().unwrap()));
    let target = upstream(&[server.address().port()]);
    let reflected = fetch(&target, &Budget::default()).await.unwrap();
    assert_eq!(reflected.services.len(), 6);
    assert_ordered(&reflected);
}

#[tokio::test]
async fn a_server_without_reflection_is_named() {
    let server = serve(Services::new());
    let port = server.address().port();
    let error = fetch(&upstream(&[port]), &Budget::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "can't get the descriptors of upstream \"games\" from 127.0.0.1:{port} by reflection: \
             it serves neither grpc.reflection.v1 nor v1alpha; switch reflection on there, or give \
             the descriptors in a config file: `descriptors: [{{ protos: proto/ }}]`, or \
             `[{{ file: games.binpb }}]` as `buf build -o` writes it"
        )
    );
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let server = crate::demo::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = closed.local_addr().unwrap().port();
    drop(closed);
    let both = upstream(&[dead, server.address().port()]);
    assert_eq!(
        fetch(&both, &Budget::default())
            .await
            .unwrap()
            .services
            .len(),
        6
    );

    let error = fetch(&upstream(&[dead]), &Budget::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error.problem, ReflectionProblem::Connect(_)),
        "{error}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
    let error = fetch(&upstream(&[]), &Budget::default()).await.unwrap_err();
    assert!(
        matches!(error.problem, ReflectionProblem::NoEndpoints),
        "{error}"
    );
}

#[tokio::test]
async fn a_peer_that_never_speaks_is_left() {
    // Accepted by the kernel's backlog, and never read.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let budget = Budget {
        answer: Duration::from_millis(50),
        ..Budget::default()
    };
    let target = upstream(&[silent.local_addr().unwrap().port()]);
    let error = fetch(&target, &budget).await.unwrap_err();
    assert!(
        matches!(
            error.problem,
            ReflectionProblem::NoAnswer { .. } | ReflectionProblem::Connect(_)
        ),
        "{error}"
    );
}

type Script = Arc<dyn Fn(MessageRequest) -> Vec<MessageResponse> + Send + Sync>;

/// Answers each question as a script says: nothing, once, or several times.
struct Scripted(Script);

#[tonic::async_trait]
impl v1::ServerReflection for Scripted {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let script = Arc::clone(&self.0);
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let mut questions = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(question)) = questions.next().await {
                for answer in script(question.message_request.unwrap()) {
                    let answer = ServerReflectionResponse {
                        message_response: Some(answer),
                        ..Default::default()
                    };
                    if send.send(Ok(answer)).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }
}

fn listing(names: &[&str]) -> MessageResponse {
    let service = names
        .iter()
        .map(|&name| ServiceResponse { name: name.into() });
    MessageResponse::ListServicesResponse(ListServiceResponse {
        service: service.collect(),
    })
}

fn file(name: &str, imports: &[&str], services: &[&str]) -> Vec<u8> {
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some("p".into()),
        dependency: imports.iter().map(|&i| i.into()).collect(),
        service: services
            .iter()
            .map(|&name| ServiceDescriptorProto {
                name: Some(name.into()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
    .encode_to_vec()
}

fn sent(files: Vec<Vec<u8>>) -> Vec<MessageResponse> {
    vec![MessageResponse::FileDescriptorResponse(
        FileDescriptorResponse {
            file_descriptor_proto: files,
        },
    )]
}

fn not_found(message: &str) -> Vec<MessageResponse> {
    vec![MessageResponse::ErrorResponse(ErrorResponse {
        error_code: 5,
        error_message: message.into(),
    })]
}

/// A small budget: no test waits for a default.
fn small() -> Budget {
    Budget {
        bytes_max: 10_000,
        files_max: 20,
        services_max: 10,
        answer: Duration::from_secs(2),
        whole: Duration::from_secs(5),
    }
}

async fn scripted(
    script: impl Fn(MessageRequest) -> Vec<MessageResponse> + Send + Sync + 'static,
) -> Result<Reflected, ReflectionError> {
    let service = v1::ServerReflectionServer::new(Scripted(Arc::new(script)));
    let server = serve(Services::new().with(service));
    fetch(&upstream(&[server.address().port()]), &small()).await
}

/// One service `p.S` and this answer for every file.
async fn answering(
    files: impl Fn(&str) -> Vec<MessageResponse> + Send + Sync + 'static,
) -> Result<Reflected, ReflectionError> {
    scripted(move |question| match question {
        MessageRequest::FileContainingSymbol(name) | MessageRequest::FileByFilename(name) => {
            files(&name)
        }
        _ => vec![listing(&["p.S", "grpc.health.v1.Health"])],
    })
    .await
}

#[tokio::test]
async fn a_file_that_comes_unasked_is_not_asked_for_again() {
    // As grpc-go does: imports come with the first answer that needs them, and never again.
    let reflected = answering(|name| match name {
        "p.S" => sent(vec![
            file("s.proto", &["a.proto", "b.proto"], &["S"]),
            file("a.proto", &["b.proto"], &[]),
            file("b.proto", &[], &[]),
        ]),
        other => not_found(&format!("{other} has been sent")),
    })
    .await
    .unwrap();
    assert_eq!(names(&reflected), ["b.proto", "a.proto", "s.proto"]);
    assert_eq!(reflected.missing, []);
}

#[tokio::test]
async fn a_cycle_of_imports_ends() {
    let reflected = answering(|name| match name {
        "p.S" => sent(vec![file("s.proto", &["a.proto", "s.proto"], &["S"])]),
        _ => sent(vec![file("a.proto", &["s.proto"], &[])]),
    })
    .await
    .unwrap();
    assert_eq!(names(&reflected), ["s.proto", "a.proto"]);
}

#[tokio::test]
async fn what_it_does_not_describe_is_told() {
    let reflected = scripted(|question| match question {
        MessageRequest::FileContainingSymbol(name) if name == "p.S" => {
            sent(vec![file("s.proto", &["gone.proto"], &["S"])])
        }
        MessageRequest::ListServices(_) => vec![listing(&["p.S", "p.Ghost"])],
        _ => not_found("no\nsuch thing"),
    })
    .await
    .unwrap();
    assert_eq!(reflected.services, ["p.S"]);
    let missing: Vec<_> = reflected.missing.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(missing, ["p.Ghost", "gone.proto"]);
    assert_eq!(reflected.missing[0].reason, "nosuch thing", "on one line");
}

#[tokio::test]
async fn lies_are_errors_that_say_what_was_asked() {
    let s = "file_containing_symbol \"p.S\"";
    let a = "file_by_filename \"a.proto\"";
    let cases: [(&str, Vec<MessageResponse>, Vec<MessageResponse>, String); 8] = [
        (
            "another file for the service",
            sent(vec![file("s.proto", &[], &["Other"])]),
            vec![],
            format!("its answer to {s} doesn't hold what was asked for"),
        ),
        (
            "another file for the name",
            sent(vec![file("s.proto", &["a.proto"], &["S"])]),
            sent(vec![file("b.proto", &[], &[])]),
            format!("its answer to {a} doesn't hold what was asked for"),
        ),
        (
            "no files",
            sent(vec![file("s.proto", &["a.proto"], &["S"])]),
            sent(vec![]),
            format!("its answer to {a} doesn't hold what was asked for"),
        ),
        (
            "garbage",
            sent(vec![vec![0xff; 40]]),
            vec![],
            format!("its answer to {s} holds a file that is no file descriptor"),
        ),
        (
            "a file without a name",
            sent(vec![vec![]]),
            vec![],
            format!("its answer to {s} holds a file that is no file descriptor: it has no name"),
        ),
        (
            "an answer of another kind",
            vec![listing(&["p.S"])],
            vec![],
            format!("it answered {s} with something else"),
        ),
        (
            "two files of one name",
            sent(vec![file("s.proto", &["a.proto"], &["S"])]),
            sent(vec![file("a.proto", &[], &[]), file("s.proto", &[], &[])]),
            "it sends two different files named \"s.proto\"".to_owned(),
        ),
        (
            "nothing at all is known",
            not_found("never heard of it"),
            vec![],
            "it describes none of the 1 services that it lists".to_owned(),
        ),
    ];
    for (what, of_service, of_import, expected) in cases {
        let error = answering(move |name| match name {
            "p.S" => of_service.clone(),
            _ => of_import.clone(),
        })
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains("upstream \"games\""), "{what}: {error}");
        assert!(error.contains(&expected), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_never_ends_is_stopped_by_the_budget() {
    // Each file needs another one.
    let error = answering(|name| match name {
        "p.S" => sent(vec![file("0", &["1"], &["S"])]),
        name => {
            let next = name.parse::<u32>().unwrap() + 1;
            sent(vec![file(name, &[&next.to_string()], &[])])
        }
    })
    .await
    .unwrap_err();
    assert!(error.to_string().ends_with("more than 20 files"), "{error}");

    // Each import is unknown, and there are ever more of them.
    let many: Vec<String> = (0..100).map(|n| format!("{n}.proto")).collect();
    let error = answering(move |name| match name {
        "p.S" => {
            let imports: Vec<_> = many.iter().map(String::as_str).collect();
            sent(vec![file("s.proto", &imports, &["S"])])
        }
        _ => not_found("gone"),
    })
    .await
    .unwrap_err();
    assert!(error.to_string().ends_with("more than 20 files"), "{error}");

    // Too much in one answer, and too much in all.
    for each in [20_000, 900] {
        let error = answering(move |name| match name {
            "p.S" => sent(vec![file("0", &["1"], &["S"])]),
            name => {
                let next = name.parse::<u32>().unwrap() + 1;
                let padding = "x".repeat(each);
                sent(vec![file(name, &[&next.to_string()], &[&padding])])
            }
        })
        .await
        .unwrap_err()
        .to_string();
        let limit = ["more than 10000 bytes of descriptors", "OutOfRange"];
        assert!(limit.iter().any(|l| error.contains(l)), "{error}");
    }

    let many: Vec<String> = (0..11).map(|n| format!("p.S{n}")).collect();
    let error = scripted(move |_| {
        let names: Vec<_> = many.iter().map(String::as_str).collect();
        vec![listing(&names)]
    })
    .await
    .unwrap_err();
    assert!(
        error.to_string().ends_with("more than 10 services"),
        "{error}"
    );
}

#[tokio::test]
async fn answers_without_questions_do_not_pass() {
    // Twice the same answer: the second is taken for the answer to the next question.
    let error = answering(|name| match name {
        "p.S" => {
            let answer = sent(vec![file("s.proto", &["a.proto"], &["S"])]);
            [answer.clone(), answer].concat()
        }
        _ => sent(vec![file("a.proto", &[], &[])]),
    })
    .await
    .unwrap_err();
    let expected = "its answer to file_by_filename \"a.proto\" doesn't hold what was asked for";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[tokio::test]
async fn a_server_that_stops_answering_is_left() {
    let service = v1::ServerReflectionServer::new(Scripted(Arc::new(|question| match question {
        MessageRequest::ListServices(_) => vec![listing(&["p.S"])],
        _ => vec![],
    })));
    let server = serve(Services::new().with(service));
    let budget = Budget {
        answer: Duration::from_secs(1),
        ..small()
    };
    let target = upstream(&[server.address().port()]);
    let error = fetch(&target, &budget).await.unwrap_err().to_string();
    assert!(
        error.ends_with("no answer to file_containing_symbol \"p.S\" in 1s"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_with_nothing_of_its_own_is_told() {
    let error = scripted(|_| vec![listing(&["grpc.reflection.v1.ServerReflection"])]).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("it lists no services of its own"),
        "{error}"
    );
}
