//! The gRPC request for a call: path, metadata and deadline.

use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use tokio::time::Instant;

use crate::config::model::{Policy, RpcMetadata};
use crate::failure::Failure;
use crate::schema::StreamKind;
use crate::transcode::metadata::{Client, Trust, is_metadata_of_rpc, to_metadata};
use crate::transcode::{MethodPlan, gateway_headers};
use crate::upstream::UpstreamBody;

use super::Connection;
use super::deadline::Deadline;
use super::forwarded::{FORWARDED_CLIENT_CERT, host, is_trusted};
use super::request_id::X_REQUEST_ID;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(super) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// The codings that answers may have where we read them (`transcode::coding`).
const READ_HERE: HeaderValue = HeaderValue::from_static("gzip,deflate,identity");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("transom/", env!("CARGO_PKG_VERSION")));

/// Not a secret, but of this request alone: HPACK is told to leave the value out of its table, where
/// it would only push out what comes again (RFC 7541 §6.2.3).
const ONCE: bool = true;

/// What a call is made from.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub plan: &'a MethodPlan,
    pub policy: &'a Policy,
    pub trusted: &'a [ipnet::IpNet],
    pub connection: &'a Connection,
    pub head: &'a Parts,
    pub deadline: &'a Deadline,
}

/// Who the metadata comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// HTTP headers, most of them no concern of the service.
    Rest,
    /// Metadata of a client of the service's own.
    Rpc,
}

/// Who compresses messages, and reads compressed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodingOf {
    /// The client: frames pass as they are.
    Client,
    Gateway,
}

impl Asked<'_> {
    /// The request for a REST client's message, or its messages.
    ///
    /// # Errors
    /// A header that crosses has a value that gRPC can't carry.
    pub(super) fn rest(self, body: UpstreamBody) -> Result<Request<UpstreamBody>, Failure> {
        let mut headers = HeaderMap::with_capacity(12);
        self.put_transport(HeaderValue::from_static("application/grpc"), &mut headers);
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(GRPC_ACCEPT_ENCODING, READ_HERE);
        self.put_metadata(Speaks::Rest, &mut headers)?;
        Ok(self.request(headers, body))
    }

    /// The request for a client that speaks gRPC or a protocol like it; `frames` are as it wrote them,
    /// unless `content_type` says otherwise.
    ///
    /// # Errors
    /// A metadata value that gRPC can't carry.
    pub(super) fn rpc(
        self,
        content_type: HeaderValue,
        coding: CodingOf,
        frames: UpstreamBody,
    ) -> Result<Request<UpstreamBody>, Failure> {
        let mut headers = HeaderMap::with_capacity(16);
        self.put_transport(content_type, &mut headers);
        let own = self.head.headers.get(header::USER_AGENT);
        headers.insert(header::USER_AGENT, own.cloned().unwrap_or(USER_AGENT));
        match coding {
            CodingOf::Client => {
                for name in [GRPC_ENCODING, GRPC_ACCEPT_ENCODING] {
                    if let Some(value) = self.head.headers.get(&name) {
                        headers.insert(name, value.clone());
                    }
                }
            }
            CodingOf::Gateway => _ = headers.insert(GRPC_ACCEPT_ENCODING, READ_HERE),
        }
        self.put_metadata(Speaks::Rpc, &mut headers)?;
        Ok(self.request(headers, frames))
    }

    /// gRPC over HTTP/2 wants the deadline before custom metadata, `te` to find deaf proxies.
    fn put_transport(self, content_type: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, content_type);
        put_timeout(self.plan.stream, self.deadline, headers);
    }

    fn put_metadata(self, speaks: Speaks, headers: &mut HeaderMap) -> Result<(), Failure> {
        let peer = self.connection.peer.ip().to_canonical();
        let client = Client {
            peer: &address_text(peer),
            trust: match is_trusted(peer, self.trusted) {
                true => Trust::Trusted,
                false => Trust::Untrusted,
            },
            host: host(self.head).unwrap_or_default(),
            scheme: if self.connection.tls { "https" } else { "http" },
        };
        let all = speaks == Speaks::Rpc && self.policy.rpc_metadata == RpcMetadata::All;
        let allow = |name: &HeaderName| {
            all && is_metadata_of_rpc(name)
                || self.policy.to_metadata.iter().any(|p| p.matches(name))
        };
        to_metadata(&self.head.headers, allow, &client, headers)?;
        if speaks == Speaks::Rest && self.policy.compat.is_grpc_gateway() {
            gateway_headers::to_metadata(&self.head.headers, client.trust, headers)?;
        }
        if let Some(certificate) = &self.connection.certificate {
            headers.insert(FORWARDED_CLIENT_CERT, certificate.clone());
        }
        if let Some(id) = headers.get_mut(X_REQUEST_ID) {
            id.set_sensitive(ONCE);
        }
        Ok(())
    }

    fn request(self, headers: HeaderMap, body: UpstreamBody) -> Request<UpstreamBody> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from(self.plan.grpc_path.clone());
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        request
    }
}

/// The address without a formatter: it is written for every call.
fn address_text(peer: IpAddr) -> String {
    let IpAddr::V4(peer) = peer else {
        return peer.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for octet in peer.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// The deadline of the call, in place of one that the headers may have.
pub(super) fn put_timeout(stream: StreamKind, deadline: &Deadline, headers: &mut HeaderMap) {
    let timeout = match stream {
        StreamKind::Unary => Some(deadline.for_unary(Instant::now())),
        StreamKind::Client | StreamKind::Server | StreamKind::Bidi => {
            deadline.for_stream(Instant::now())
        }
    };
    match timeout {
        Some(mut timeout) => {
            timeout.set_sensitive(ONCE);
            headers.insert(GRPC_TIMEOUT, timeout);
        }
        None => _ = headers.remove(GRPC_TIMEOUT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_standard_library_writes_it() {
        for text in [
            "0.0.0.0",
            "127.0.0.1",
            "255.249.100.99",
            "::1",
            "2001:db8::7",
        ] {
            assert_eq!(address_text(text.parse().unwrap()), text);
        }
    }
}
