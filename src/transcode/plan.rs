//! A [`MethodPlan`]: an HTTP rule joined with its method, executable as it stands.

use std::sync::Arc;

use crate::codec::Codec;
use crate::schema::{FieldRef, MessageId, StreamKind};

/// All that a transcoded route needs, resolved at load.
#[derive(Debug)]
pub struct MethodPlan {
    /// `pkg.Service`
    pub service: Arc<str>,
    /// `Method`
    pub method: Arc<str>,
    /// `/pkg.Service/Method`, the `:path` of the upstream call.
    pub grpc_path: http::uri::PathAndQuery,
    pub input: MessageId,
    pub output: MessageId,
    pub stream: StreamKind,
    pub idempotent: bool,
    pub no_side_effects: bool,
    /// The rule as written: `GET /v1/games/{game_id}` (for explain, logs and metric labels).
    pub rule: Arc<str>,
    /// The path template alone: `/v1/games/{game_id}`.
    pub template: Arc<str>,
    /// One for each variable of the template, in order.
    pub path: Box<[PathBinding]>,
    pub body: BodyRule,
    pub response: ResponseRule,
    /// Compiled for this route's JSON options.
    pub codec: Arc<Codec>,
}

/// Where a path variable's value goes: the chain of fields from the input message down.
#[derive(Clone, Debug)]
pub struct PathBinding {
    /// `game.id`
    pub name: Box<str>,
    pub fields: Box<[FieldRef]>,
    pub multi: bool,
}

/// What the HTTP body stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    None,
    /// JSON of the whole input message.
    Whole,
    /// JSON of one field.
    Field(FieldRef),
    /// The input message is a `google.api.HttpBody`: raw bytes.
    RawWhole,
    /// One field is a `google.api.HttpBody`: raw bytes.
    RawField(FieldRef),
}

/// What of the reply message becomes the HTTP body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseRule {
    Whole,
    Field(FieldRef),
    RawWhole,
    RawField(FieldRef),
}
