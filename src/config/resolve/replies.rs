//! What a transcoded route takes beside JSON, and the statuses that it answers with.

use http::StatusCode;

use super::super::model::{Compat, ErrorFormat, Forms, HeaderPattern, Policy, UnknownQuery};
use super::super::raw::Section;
use super::super::scalar::{self, Trouble};
use crate::failure::GrpcCode;

/// Another gateway's ways, before the keys that say otherwise. A route that goes back to ours has the
/// usual policy in their place.
pub fn compat(section: &Section<'_, '_>, policy: &mut Policy) {
    let compat = match section.field("compat").and_then(|f| f.choice()) {
        Some("grpc-gateway") => Compat::GrpcGateway,
        Some(_) => Compat::None,
        None => return,
    };
    if policy.compat == compat {
        return;
    }
    let usual = Policy::default();
    let theirs = compat.is_grpc_gateway();
    policy.compat = compat;
    policy.json.ignore_unknown_fields = theirs;
    policy.json.emit_defaults = theirs;
    policy.json.emit_nulls = theirs;
    policy.hide_internal = !theirs && usual.hide_internal;
    (policy.forms, policy.errors, policy.unknown_query) = match compat {
        Compat::None => (usual.forms, usual.errors, usual.unknown_query),
        Compat::GrpcGateway => (
            Forms::AsQuery,
            ErrorFormat::GrpcGateway,
            UnknownQuery::Ignore,
        ),
    };
}

/// Puts the keys of this section in their places.
pub fn rest(section: &Section<'_, '_>, policy: &mut Policy) {
    let bool = |name| section.field(name).and_then(|f| f.bool());
    if let Some(forms) = bool("form_bodies") {
        policy.forms = match forms {
            true => Forms::Bind,
            false => Forms::Refuse,
        };
    }
    if let Some(may) = bool("method_override") {
        policy.method_override = may;
    }
    if let Some(status) = section.section("status") {
        statuses(&status, policy);
    }
}

fn statuses(section: &Section<'_, '_>, policy: &mut Policy) {
    for code in GrpcCode::ALL {
        let given = section.field(code.name()).and_then(|f| f.integer());
        let status = given.and_then(|n| StatusCode::from_u16(u16::try_from(n).ok()?).ok());
        if let Some(status) = status {
            policy.statuses.set(code, status);
        }
    }
    if let Some(field) = section.field("from_metadata") {
        let name = field.parse(|text| match scalar::header(text)? {
            HeaderPattern::Name(name) => Ok(name),
            HeaderPattern::Prefix(_) => Err(Trouble::new("expected one header name, not a prefix")),
        });
        policy.statuses.from_metadata = name.or(policy.statuses.from_metadata.take());
    }
}
