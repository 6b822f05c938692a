//! Another HTTP method than the one that a request came with: `X-HTTP-Method-Override` where a route
//! lets it, and grpc-gateway's way from a POST with a form to a GET.
//!
//! Off unless asked for: what stands in front may allow and refuse by the method that it sees. Only
//! POST is overridden, and only by methods that mean a call.

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};

use crate::failure::Failure;
use crate::live::Live;
use crate::transcode::form::is_form;
use crate::transcode::{Compat, Forms};

use super::{Matched, lookup};

const X_HTTP_METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// The route for a request, by its own method or another.
///
/// # Errors
/// 400, 404 or 405, in the words of grpc-gateway where its ways are kept.
pub(super) fn find<'l, 'p>(live: &'l Live, head: &'p Parts) -> Result<Matched<'l, 'p>, Failure> {
    if live.manners.method_override
        && let Some(matched) = overridden(live, head)
    {
        return Ok(matched);
    }
    match lookup(live, head, &head.method) {
        Err(failure) if live.manners.grpc_gateway => as_grpc_gateway(live, head, failure),
        found => found,
    }
}

/// The route of the method that the header names, if that route lets it.
fn overridden<'l, 'p>(live: &'l Live, head: &'p Parts) -> Option<Matched<'l, 'p>> {
    let method = named(head)?;
    let matched = lookup(live, head, &method).ok()?;
    matched.route.policy.method_override.then_some(matched)
}

fn named(head: &Parts) -> Option<Method> {
    if head.method != Method::POST {
        return None;
    }
    let mut values = head.headers.get_all(X_HTTP_METHOD_OVERRIDE).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let safe = [Method::GET, Method::PUT, Method::PATCH, Method::DELETE];
    let named = value.as_bytes().trim_ascii();
    safe.into_iter()
        .find(|m| m.as_str().as_bytes().eq_ignore_ascii_case(named))
}

fn as_grpc_gateway<'l, 'p>(
    live: &'l Live,
    head: &'p Parts,
    mut failure: Failure,
) -> Result<Matched<'l, 'p>, Failure> {
    let Some(allow) = &failure.allow else {
        if live.defaults.compat == Compat::GrpcGateway && failure.http_status.is_none() {
            failure.message = match failure.code.http_status() {
                StatusCode::NOT_FOUND => "Not Found".into(),
                _ => "Bad Request".into(),
            };
        }
        return Err(failure);
    };
    // The route that takes another method says whose ways are kept here.
    let first = allow.to_str().unwrap_or_default().split(',').next();
    let first = first.and_then(|name| Method::from_bytes(name.trim().as_bytes()).ok());
    let other = first.and_then(|method| lookup(live, head, &method).ok());
    if !other.is_some_and(|m| m.route.policy.compat == Compat::GrpcGateway) {
        return Err(failure);
    }
    if let Some(matched) = form_to_get(live, head) {
        return Ok(matched);
    }
    failure.message = "Method Not Allowed".into();
    failure.http_status = None;
    failure.allow = None;
    Err(failure)
}

/// A query that is too long for a URL comes as a form: POST stands for GET then.
fn form_to_get<'l, 'p>(live: &'l Live, head: &'p Parts) -> Option<Matched<'l, 'p>> {
    let form = head.headers.get(CONTENT_TYPE).is_some_and(is_form);
    if head.method != Method::POST || !form {
        return None;
    }
    let matched = lookup(live, head, &Method::GET).ok()?;
    let policy = &matched.route.policy;
    (policy.compat == Compat::GrpcGateway && policy.forms != Forms::Refuse).then_some(matched)
}
