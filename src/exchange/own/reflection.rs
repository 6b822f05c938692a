//! `grpc.reflection` (v1; v1alpha is the same on the wire): the services that are mounted for the host
//! that is asked, and the descriptors that they need.
//!
//! Each answer has one file; clients ask for its imports by name. Answers are those of the generation
//! that is current when the question comes.

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};

use crate::failure::{Failure, GrpcCode};
use crate::live::View;

use super::health::leaving;
use super::{Asker, Requests, framed};

/// An answer for each question. A drain ends the call where nothing is asked.
pub(super) fn answers(
    asker: Asker,
    requests: Requests,
) -> impl Stream<Item = Result<Bytes, Failure>> {
    let changes = asker.cx.notices.subscribe();
    stream::unfold(Some((asker, requests, changes)), async |state| {
        let (asker, mut requests, mut changes) = state?;
        let question = tokio::select! {
            biased;
            question = requests.next() => question,
            _ = changes.wait_for(|notice| notice.draining) => Err(leaving()),
        };
        match question {
            Ok(None) => None,
            Ok(Some(question)) => {
                let answer = framed(&answer(&asker, question));
                Some((answer, Some((asker, requests, changes))))
            }
            Err(failure) => Some((Err(failure), None)),
        }
    })
}

fn answer(asker: &Asker, question: ServerReflectionRequest) -> ServerReflectionResponse {
    let current = asker.cx.current();
    let told = match (
        View::new(&current.live, &asker.host),
        &question.message_request,
    ) {
        (Some(view), Some(asked)) => tell(view, asked),
        // A generation without reflection has come.
        (None, _) => Err((GrpcCode::Unavailable, "nothing is told any more".to_owned())),
        (_, None) => Err((GrpcCode::InvalidArgument, "nothing is asked".to_owned())),
    };
    let told = told.unwrap_or_else(|(code, error_message)| {
        MessageResponse::ErrorResponse(ErrorResponse {
            error_code: i32::from(code.number()),
            error_message,
        })
    });
    ServerReflectionResponse {
        valid_host: question.host.clone(),
        original_request: Some(question),
        message_response: Some(told),
    }
}

fn tell(view: View<'_>, asked: &MessageRequest) -> Result<MessageResponse, (GrpcCode, String)> {
    let unknown = |what: &str, name: &str| {
        let name: String = name.chars().take(200).collect();
        (GrpcCode::NotFound, format!("no {what} {name:?} is known"))
    };
    let file = |bytes: Bytes| {
        MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
            file_descriptor_proto: vec![bytes.into()],
        })
    };
    match asked {
        MessageRequest::ListServices(_) => {
            let services = view.services().into_iter();
            let service = services.map(|name| ServiceResponse { name: name.into() });
            Ok(MessageResponse::ListServicesResponse(ListServiceResponse {
                service: service.collect(),
            }))
        }
        MessageRequest::FileByFilename(name) => view
            .file(name)
            .map(file)
            .ok_or_else(|| unknown("file", name)),
        MessageRequest::FileContainingSymbol(name) => {
            let found = view.file_with_symbol(name).map(file);
            found.ok_or_else(|| unknown("symbol", name))
        }
        MessageRequest::FileContainingExtension(extension) => {
            let (message, number) = (&extension.containing_type, extension.extension_number);
            let found = view.file_with_extension(message, number).map(file);
            found.ok_or_else(|| unknown(&format!("extension {number} of"), message))
        }
        MessageRequest::AllExtensionNumbersOfType(message) => {
            let numbers = view.extension_numbers(message);
            let extension_number = numbers.ok_or_else(|| unknown("message", message))?;
            let numbers = ExtensionNumberResponse {
                base_type_name: message.clone(),
                extension_number,
            };
            Ok(MessageResponse::AllExtensionNumbersResponse(numbers))
        }
    }
}
