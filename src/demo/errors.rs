//! The errors of the service: a code, a sentence, and details with types, as a good service sends.

use prost::{Message, Name};
use prost_types::Any;
use tonic::{Code, Status};

use super::proto::google::rpc;

/// `ErrorInfo.domain` of all errors here.
const DOMAIN: &str = "gamehub.example";

/// A status and its details, to be built up.
#[derive(Debug)]
pub(super) struct Refusal {
    status: rpc::Status,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: rpc::Status {
                code: code as i32,
                message: message.into(),
                details: Vec::new(),
            },
        }
    }

    /// INVALID_ARGUMENT for these fields.
    pub(super) fn bad_request(violations: Vec<rpc::bad_request::FieldViolation>) -> Status {
        let message = match violations.as_slice() {
            [] => "the request is wrong".to_owned(),
            [one] => format!("{}: {}", one.field, one.description),
            [one, rest @ ..] => {
                let more = rest.len();
                format!("{}: {} (and {more} more)", one.field, one.description)
            }
        };
        Self::new(Code::InvalidArgument, message)
            .detail(&rpc::BadRequest {
                field_violations: violations,
            })
            .into()
    }

    /// [`Self::bad_request`] if there are any.
    pub(super) fn unless_empty(
        violations: Vec<rpc::bad_request::FieldViolation>,
    ) -> Result<(), Status> {
        if violations.is_empty() {
            return Ok(());
        }
        Err(Self::bad_request(violations))
    }

    /// INVALID_ARGUMENT for one field.
    pub(super) fn field(field: &str, description: impl Into<String>) -> Status {
        Self::bad_request(vec![violation(field, description)])
    }

    /// NOT_FOUND for a game.
    pub(super) fn no_game(id: i64) -> Status {
        Self::new(Code::NotFound, format!("there is no game {id}"))
            .reason("GAME_NOT_FOUND", [("game_id", id.to_string())])
            .detail(&rpc::LocalizedMessage {
                locale: "en".to_owned(),
                message: "We could not find that game. It may have been removed.".to_owned(),
            })
            .into()
    }

    pub(super) fn reason<const N: usize>(
        self,
        reason: &str,
        metadata: [(&str, String); N],
    ) -> Self {
        self.detail(&rpc::ErrorInfo {
            reason: reason.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: metadata
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        })
    }

    pub(super) fn retry_after(self, seconds: i64) -> Self {
        self.detail(&rpc::RetryInfo {
            retry_delay: Some(prost_types::Duration { seconds, nanos: 0 }),
        })
    }

    pub(super) fn detail<M: Message + Name>(mut self, detail: &M) -> Self {
        self.status.details.push(pack(detail));
        self
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = Code::from_i32(refusal.status.code);
        let details = refusal.status.encode_to_vec();
        Status::with_details(code, refusal.status.message, details.into())
    }
}

/// A message in an `Any`.
pub(super) fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

pub(super) fn violation(
    field: &str,
    description: impl Into<String>,
) -> rpc::bad_request::FieldViolation {
    rpc::bad_request::FieldViolation {
        field: field.to_owned(),
        description: description.into(),
        ..Default::default()
    }
}
