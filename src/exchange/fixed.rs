//! Replies that need nobody else: redirects and fixed ones.

use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Response, StatusCode};

use crate::config::model::{Redirect, Respond, ToHttps};
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

/// What an authority looks for.
pub(super) fn token(text: &str) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::whole(text.to_owned().into()));
    let kind = HeaderValue::from_static("application/octet-stream");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// The same place under `https`; `local` is the port that the client has come to.
///
/// # Errors
/// 400 for a host that is missing or can't stand in a URL.
pub(super) fn to_https(
    to: &ToHttps,
    local: u16,
    head: &Parts,
) -> Result<Response<ReplyBody>, Failure> {
    const HTTP: u16 = 80;
    const HTTPS: u16 = 443;
    let wrong = || Failure::client("the host of the request can't stand in a URL");
    let authority = host(head).filter(|h| !h.is_empty()).ok_or_else(wrong)?;
    let authority: Authority = authority.parse().map_err(|_| wrong())?;
    let target = head.uri.path_and_query();
    let target = target.map_or("/", |t| t.as_str());
    // `OPTIONS *` asks about the server, which has no place of its own.
    let target = if target == "*" { "/" } else { target };
    let name = authority.host();
    let url = match to.port_for(authority.port_u16().unwrap_or(HTTP), local) {
        HTTPS => format!("https://{name}{target}"),
        port => format!("https://{name}:{port}{target}"),
    };
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let location = HeaderValue::try_from(url).map_err(|_| wrong())?;
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
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
