//! Replies that need nobody else: redirects and fixed ones.

use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, Response};

use crate::config::model::{Redirect, Respond};
use crate::config::redirect::Asked;
use crate::failure::Failure;
use crate::live::Below;

use super::body::ReplyBody;
use super::forwarded::host;

pub(super) fn respond(with: &Respond) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::whole(with.body.clone()));
    *reply.status_mut() = with.status;
    for (name, value) in &with.headers {
        reply.headers_mut().insert(name, value.clone());
    }
    reply
}

/// # Errors
/// 400 for a host that can't stand in a URL.
pub(super) fn redirect(
    to: &Redirect,
    below: &Below,
    head: &Parts,
) -> Result<Response<ReplyBody>, Failure> {
    let path = head.uri.path();
    let url = to.to.expand(&Asked {
        rest: below.rest(path),
        path,
        host: super::host_name(host(head).unwrap_or_default()),
        query: head.uri.query(),
    });
    let location = HeaderValue::try_from(url)
        .map_err(|_| Failure::client("the host of the request can't stand in a URL"))?;
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = to.status;
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}
