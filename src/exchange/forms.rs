//! Form bodies: read whole, since their names may come in any order, and bound like a query.

use http::request::Parts;

use crate::client_body::ClientBody;
use crate::config::model::Policy;
use crate::failure::Failure;
use crate::transcode::{MethodPlan, QueryPolicy};

use super::pump::content;

/// Appends to `wire` what a form, the path and the query set.
///
/// # Errors
/// 400, 413 or 415 with what is wrong.
pub(super) async fn bind(
    plan: &MethodPlan,
    policy: &Policy,
    query: &QueryPolicy<'_>,
    captures: &[&str],
    head: &Parts,
    body: ClientBody,
    wire: &mut Vec<u8>,
) -> Result<(), Failure> {
    let form = content(&head.headers, body, policy.body_bytes_max).await?;
    let text = std::str::from_utf8(form.trim_ascii())
        .map_err(|e| Failure::client("the form is not UTF-8").caused_by(e))?;
    plan.bind_form(captures, text, head.uri.query(), query, wire)
}
