//! Query parameters that name no field, for services that want them all the same: an extension of the
//! request's `google.api.HttpBody`, in the message that Envoy's transcoder has for it.

use std::collections::BTreeMap;

use crate::schema::{FieldRef, WellKnown};

use super::bind::wrap;
use super::plan::{BodyRule, MethodPlan, well_known};
use super::wire::{Delimiting, put_bytes, wrap as wrap_record};

/// `message UnknownQueryParams { message Values { repeated string values = 1; } map<string, Values> key = 1; }`
const TYPE_URL: &str =
    "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.UnknownQueryParams";
/// `repeated google.protobuf.Any extensions` of an HttpBody.
const EXTENSIONS: u32 = 3;

/// The values of each parameter, on the wire as `Values`.
#[derive(Debug, Default)]
pub(super) struct Captured(BTreeMap<Box<str>, Vec<u8>>);

impl Captured {
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let values = self.0.entry(name.into()).or_default();
        put_bytes(1, value.as_bytes(), values);
    }

    /// Appends the extension, if there is anything to say.
    pub(super) fn put(&self, plan: &MethodPlan, wire: &mut Vec<u8>) {
        let Some(body) = plan.http_body().filter(|_| !self.0.is_empty()) else {
            return;
        };
        let mut any = Vec::new();
        put_bytes(1, TYPE_URL.as_bytes(), &mut any);
        let value = any.len();
        for (name, values) in &self.0 {
            let entry = any.len();
            put_bytes(1, name.as_bytes(), &mut any);
            put_bytes(2, values, &mut any);
            wrap_record(1, Delimiting::Length, entry, &mut any);
        }
        wrap_record(2, Delimiting::Length, value, &mut any);
        let start = wire.len();
        put_bytes(EXTENSIONS, &any, wire);
        if let HttpBodyAt::Field(field) = body {
            wrap(plan.codec.schema(), field, start, wire);
        }
    }
}

/// Where the request has its `google.api.HttpBody`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpBodyAt {
    /// It is one.
    Whole,
    Field(FieldRef),
}

impl MethodPlan {
    /// The `google.api.HttpBody` that unknown query parameters can be put into.
    #[must_use]
    pub fn http_body(&self) -> Option<HttpBodyAt> {
        match self.body {
            BodyRule::RawField(field) => Some(HttpBodyAt::Field(field)),
            _ => {
                let known = well_known(self.codec.schema(), self.input);
                (known == Some(WellKnown::HttpBody)).then_some(HttpBodyAt::Whole)
            }
        }
    }
}
