//! The one error that reaches a client.
//!
//! Module errors become a `Failure` at the module's edge; who is to blame and whether a retry is
//! safe travel with it, so status and retry follow from the error and never from the call site.

use std::borrow::Cow;
use std::fmt;

/// Who must change something for the request to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    Gateway,
    Upstream,
}

/// When the call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    IfIdempotent,
    /// The request never left the gateway.
    IfUnsent,
}

/// Whose words a failure's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Ours, written for clients.
    Gateway,
    /// The service's own (`grpc-message`): may tell what clients should not read.
    Service,
}

/// The canonical codes of `google/rpc/code.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GrpcCode {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl GrpcCode {
    /// All codes, in numeric order.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code with this number; any other number counts as `Unknown` (gRPC core does the same).
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|n| Self::ALL.get(n).copied())
            .unwrap_or(Self::Unknown)
    }

    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in `code.proto`: `NOT_FOUND`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The HTTP status that `code.proto` gives for the code.
    #[must_use]
    pub const fn http_status(self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            Self::Ok => S::OK,
            Self::Cancelled => client_closed_request(),
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => S::BAD_REQUEST,
            Self::DeadlineExceeded => S::GATEWAY_TIMEOUT,
            Self::NotFound => S::NOT_FOUND,
            Self::AlreadyExists | Self::Aborted => S::CONFLICT,
            Self::PermissionDenied => S::FORBIDDEN,
            Self::Unauthenticated => S::UNAUTHORIZED,
            Self::ResourceExhausted => S::TOO_MANY_REQUESTS,
            Self::Unimplemented => S::NOT_IMPLEMENTED,
            Self::Unknown | Self::Internal | Self::DataLoss => S::INTERNAL_SERVER_ERROR,
            Self::Unavailable => S::SERVICE_UNAVAILABLE,
        }
    }
}

/// 499, the status that proxies log for a client that left.
const fn client_closed_request() -> http::StatusCode {
    match http::StatusCode::from_u16(499) {
        Ok(status) => status,
        Err(_) => http::StatusCode::BAD_REQUEST,
    }
}

/// A limit that a request may meet, where its status alone doesn't tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A packed body's growth when it is unpacked.
    Unpacked,
    /// The size of a message of the client's.
    Message,
    /// The size of a service's.
    Reply,
    /// What bodies may take of the process's memory.
    Held,
    /// The process's memory.
    Memory,
}

/// One entry of `google.rpc.BadRequest.field_violations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field as the client wrote it: `games[3].released`, or the query parameter's name.
    pub field: String,
    /// What was wrong with it.
    pub description: String,
}

/// Why a request can't be answered, and how to say so.
#[derive(Debug)]
pub struct Failure {
    pub blame: Blame,
    pub code: GrpcCode,
    /// Where HTTP says more than the gRPC code does (405, 413, 415, 431, 502 …).
    pub http_status: Option<http::StatusCode>,
    pub retry: Retry,
    /// For the client.
    pub message: Cow<'static, str>,
    pub speaker: Speaker,
    pub violations: Vec<FieldViolation>,
    /// Serialised `google.rpc.Status` from upstream, when it sent one (`grpc-status-details-bin`).
    pub details: Option<bytes::Bytes>,
    /// Methods for an `Allow` header (405).
    pub allow: Option<http::HeaderValue>,
    /// Media types for an `Accept-Post` header (415).
    pub accept_post: Option<&'static str>,
    /// Seconds for a `Retry-After` header.
    pub retry_after_seconds: Option<u32>,
    /// What the service said beside its status: the reply carries what the route lets through.
    pub metadata: Option<Box<http::HeaderMap>>,
    /// The part of it that came as trailers.
    pub trailers: Option<Box<http::HeaderMap>>,
    /// The limit that the request met, for its counter.
    pub limit: Option<Limit>,
    /// For the log alone.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure with nothing but the essentials.
    #[must_use]
    pub fn new(blame: Blame, code: GrpcCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            blame,
            code,
            http_status: None,
            retry: Retry::Never,
            message: message.into(),
            speaker: Speaker::Gateway,
            violations: Vec::new(),
            details: None,
            allow: None,
            accept_post: None,
            retry_after_seconds: None,
            metadata: None,
            trailers: None,
            limit: None,
            source: None,
        }
    }

    /// The client sent something wrong: 400 unless a status is given.
    #[must_use]
    pub fn client(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Client, GrpcCode::InvalidArgument, message)
    }

    /// The gateway can't do what it should.
    #[must_use]
    pub fn gateway(code: GrpcCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Gateway, code, message)
    }

    /// The service, or the way to it, failed.
    #[must_use]
    pub fn upstream(code: GrpcCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Blame::Upstream, code, message)
    }

    /// With this HTTP status in place of the code's own.
    #[must_use]
    pub fn status(mut self, status: http::StatusCode) -> Self {
        self.http_status = Some(status);
        self
    }

    /// As having met this limit.
    #[must_use]
    pub fn over(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With the cause, for the log.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// With a field that is at fault.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push(FieldViolation {
            field: field.into(),
            description: description.into(),
        });
        self
    }

    /// The HTTP status to answer with: 502 for an upstream that broke down in a way of its own, where
    /// a service that says the same code keeps the code's status.
    #[must_use]
    pub fn http_status(&self) -> http::StatusCode {
        let breakdown = self.blame == Blame::Upstream && self.speaker == Speaker::Gateway;
        let vague = matches!(
            self.code,
            GrpcCode::Cancelled | GrpcCode::Unknown | GrpcCode::Internal
        );
        match self.http_status {
            Some(status) => status,
            None if breakdown && vague => http::StatusCode::BAD_GATEWAY,
            None => self.code.http_status(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|s| s as &(dyn std::error::Error + 'static))
    }
}
