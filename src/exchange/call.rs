//! The gRPC request for a call: path, metadata and deadline.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use tokio::time::Instant;

use crate::config::model::Policy;
use crate::failure::Failure;
use crate::schema::StreamKind;
use crate::transcode::MethodPlan;
use crate::transcode::metadata::{Client, Trust, to_metadata};
use crate::upstream::UpstreamBody;

use super::Connection;
use super::deadline::Deadline;
use super::forwarded::{host, is_trusted};
use super::request_id::X_REQUEST_ID;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("transom/", env!("CARGO_PKG_VERSION")));

/// Not a secret, but of this request alone: HPACK is told to leave the value out of its table, where
/// it would only push out what comes again (RFC 7541 §6.2.3).
const ONCE: bool = true;

/// # Errors
/// A header that crosses has a value that gRPC can't carry.
pub(super) fn request(
    plan: &MethodPlan,
    policy: &Policy,
    trusted: &[ipnet::IpNet],
    connection: &Connection,
    head: &Parts,
    deadline: &Deadline,
    message: Bytes,
) -> Result<Request<UpstreamBody>, Failure> {
    let mut headers = HeaderMap::with_capacity(12);
    // gRPC over HTTP/2 wants the deadline before custom metadata, `te` to find deaf proxies.
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::USER_AGENT, USER_AGENT);
    let timeout = match plan.stream {
        StreamKind::Unary => Some(deadline.for_unary(Instant::now())),
        StreamKind::Client | StreamKind::Server | StreamKind::Bidi => {
            deadline.for_stream(Instant::now())
        }
    };
    if let Some(mut timeout) = timeout {
        timeout.set_sensitive(ONCE);
        headers.insert(GRPC_TIMEOUT, timeout);
    }
    let peer = connection.peer.ip().to_canonical();
    let client = Client {
        peer: &peer.to_string(),
        trust: match is_trusted(peer, trusted) {
            true => Trust::Trusted,
            false => Trust::Untrusted,
        },
        host: host(head).unwrap_or_default(),
        scheme: if connection.tls { "https" } else { "http" },
    };
    let allow = |name: &HeaderName| policy.to_metadata.iter().any(|p| p.matches(name));
    to_metadata(&head.headers, allow, &client, &mut headers)?;
    if let Some(id) = headers.get_mut(X_REQUEST_ID) {
        id.set_sensitive(ONCE);
    }

    let mut request = Request::new(UpstreamBody::whole(message));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(plan.grpc_path.clone());
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}
