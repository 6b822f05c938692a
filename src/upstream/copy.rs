//! What is kept of a request while it is sent, to send it once more.
//!
//! hyper and h2 take a request's headers for themselves. Few requests are ever sent again, so their
//! fields are kept as bytes in one buffer: a map of them would be six allocations for each call.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::UpstreamBody;

/// A request that can be sent once more: its body is in memory, or none of it has been sent.
pub(super) struct Copy {
    method: Method,
    uri: Uri,
    fields: Fields,
    body: UpstreamBody,
}

impl Copy {
    pub(super) fn of(request: &Request<UpstreamBody>) -> Option<Self> {
        Some(Self::with(request, request.body().same()?))
    }

    /// For sendings at the same time as this one.
    pub(super) fn beside(request: &Request<UpstreamBody>) -> Option<Self> {
        Some(Self::with(request, request.body().beside()?))
    }

    fn with(request: &Request<UpstreamBody>, body: UpstreamBody) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            fields: Fields::of(request.headers()),
            body,
        }
    }

    /// The request, and as many more as may be wanted.
    pub(super) fn request(&self) -> Option<Request<UpstreamBody>> {
        let mut request = Request::new(self.body.beside()?);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.fields.to_map()?;
        Some(request)
    }

    /// RFC 9110 §9.2.2.
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            Method::GET
                | Method::HEAD
                | Method::PUT
                | Method::DELETE
                | Method::OPTIONS
                | Method::TRACE
        )
    }

    pub(super) fn into_request(self) -> Option<Request<UpstreamBody>> {
        let mut request = Request::new(self.body.again()?);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.fields.to_map()?;
        Some(request)
    }
}

/// Header fields one after the other: whether the value is sensitive, the lengths of name and value,
/// name, value.
struct Fields(Vec<u8>);

const LENGTHS_BYTES: usize = 9;

impl Fields {
    fn of(map: &HeaderMap) -> Self {
        let size = |(name, value): (&HeaderName, &HeaderValue)| {
            LENGTHS_BYTES + name.as_str().len() + value.len()
        };
        let mut all = Vec::with_capacity(map.iter().map(size).sum());
        for (name, value) in map {
            let (name, value, sensitive) = (name.as_str(), value.as_bytes(), value.is_sensitive());
            // Far below 4 GiB: heads are bounded.
            let lengths = (name.len() as u64) << 32 | value.len() as u64 & 0xffff_ffff;
            all.push(sensitive.into());
            all.extend_from_slice(&lengths.to_le_bytes());
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(value);
        }
        Self(all)
    }

    fn to_map(&self) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        let mut rest = &*self.0;
        while let Some((&sensitive, after)) = rest.split_first() {
            let (&lengths, after) = after.split_first_chunk::<8>()?;
            let lengths = u64::from_le_bytes(lengths);
            let (name, after) = after.split_at_checked((lengths >> 32) as usize)?;
            let (value, after) = after.split_at_checked((lengths & 0xffff_ffff) as usize)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(sensitive != 0);
            map.append(HeaderName::from_bytes(name).ok()?, value);
            rest = after;
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_copy_is_the_same_request() {
        let mut secret = HeaderValue::from_static("Bearer x");
        secret.set_sensitive(true);
        let mut request = Request::post("http://games/a.B/C")
            .header("te", "trailers")
            .header("x-twice", "one")
            .header("x-empty", "")
            .header("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap())
            .header("x-twice", "two")
            .header("x-long", "v".repeat(70_000))
            .body(UpstreamBody::whole(Bytes::from_static(b"hi")))
            .unwrap();
        request.headers_mut().insert("authorization", secret);

        let again = Copy::of(&request).unwrap().into_request().unwrap();
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.headers(), request.headers());
        assert!(again.headers()["authorization"].is_sensitive());
        assert!(!again.headers()["te"].is_sensitive());
        let twice: Vec<_> = again.headers().get_all("x-twice").iter().collect();
        assert_eq!(twice, ["one", "two"]);
        assert_eq!(http_body::Body::size_hint(again.body()).exact(), Some(2));
    }

    #[test]
    fn a_request_without_fields_has_a_copy() {
        let request = Request::new(UpstreamBody::whole(Bytes::new()));
        let again = Copy::of(&request).unwrap().into_request().unwrap();
        assert!(again.headers().is_empty());
    }
}
