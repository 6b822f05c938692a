//! How gRPC says what became of a call: `grpc-status`, `grpc-message`, `grpc-status-details-bin`.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS};

use crate::failure::Failure;
use crate::transcode::Inner;
use crate::transcode::error_body::{client_details, client_message};
use crate::transcode::metadata::binary_value;

pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// What `Percent-Encoded` of gRPC over HTTP/2 doesn't let through as it is: all but space to `~`
/// without `%`.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(0x7f);

/// Writes a failure into trailers (or into the head of an answer without a body).
pub fn put_status(failure: &Failure, inner: Inner, trailers: &mut HeaderMap) {
    trailers.insert(
        GRPC_STATUS,
        HeaderValue::from(u16::from(failure.code.number())),
    );
    let message = client_message(failure, inner);
    if !message.is_empty() {
        let encoded = percent_encoding::utf8_percent_encode(message, ENCODED).to_string();
        if let Ok(value) = HeaderValue::try_from(encoded) {
            trailers.insert(GRPC_MESSAGE, value);
        }
    }
    match client_details(failure, inner) {
        Some(status) => _ = trailers.insert(GRPC_DETAILS, binary_value(&status)),
        None => _ = trailers.remove(GRPC_DETAILS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::{GrpcCode, Speaker};
    use crate::transcode::metadata::decode_message;
    use crate::transcode::status::outcome;

    fn written(failure: &Failure, inner: Inner) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        put_status(failure, inner, &mut trailers);
        trailers
    }

    #[test]
    fn messages_are_percent_encoded() {
        let failure = Failure::client("100 % grün\n");
        let trailers = written(&failure, Inner::Hide);
        assert_eq!(trailers[GRPC_STATUS], "3");
        assert_eq!(trailers[GRPC_MESSAGE], "100 %25 gr%C3%BCn%0A");
        let read = decode_message(trailers[GRPC_MESSAGE].as_bytes());
        assert_eq!(read, "100 % grün\n");
        assert!(!written(&Failure::client(""), Inner::Hide).contains_key(GRPC_MESSAGE));
    }

    #[test]
    fn what_is_written_reads_back_with_details() {
        let failure = Failure::client("bad").violation("game.title", "too long");
        let back = outcome(&written(&failure, Inner::Hide)).unwrap_err();
        assert_eq!(
            (back.code, &*back.message),
            (GrpcCode::InvalidArgument, "bad")
        );
        let details = back.details.unwrap();
        let text = String::from_utf8_lossy(&details);
        assert!(text.contains("google.rpc.BadRequest") && text.contains("game.title"));
    }

    #[test]
    fn a_services_inner_words_stay_inside() {
        let mut failure = Failure::upstream(GrpcCode::Internal, "secret");
        failure.speaker = Speaker::Service;
        let hidden = written(&failure, Inner::Hide);
        assert_eq!(hidden[GRPC_MESSAGE], "internal error");
        assert_eq!(written(&failure, Inner::Show)[GRPC_MESSAGE], "secret");
    }
}
