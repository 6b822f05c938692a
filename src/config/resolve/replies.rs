//! What a transcoded route takes beside JSON, and the statuses that it answers with.

use http::StatusCode;

use super::super::model::{HeaderPattern, Policy};
use super::super::raw::Section;
use super::super::scalar::{self, Trouble};
use crate::failure::GrpcCode;

/// Puts the keys of this section in their places.
pub fn rest(section: &Section<'_, '_>, policy: &mut Policy) {
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
