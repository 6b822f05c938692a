//! What a listener with `openapi: true` tells of the API: the document, and the page to read and try it.
//!
//! The page is Swagger UI's release as it is, kept compressed, as it is sent. It loads nothing from
//! elsewhere, and its policy says so to the browser.

use std::io::Read;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::failure::Failure;
use crate::live::{DOCUMENT, Live, PAGE};
use crate::protocol::coding::{Accepted, Coding};

use super::body::ReplyBody;
use super::files::{Validators, Verdict};
use super::vary::vary;
use super::{forwarded, host_name};

/// `style-src` has what scripts write into attributes: Swagger UI sizes its parts so.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! packed {
    ($name:literal) => {
        Content::Packed(include_bytes!(concat!(
            env!("OUT_DIR"),
            "/page/",
            $name,
            ".gz"
        )))
    };
}

/// What is below [`PAGE`], by the rest of the path.
const FILES: [(&str, &str, Content); 7] = [
    ("", HTML, Content::Plain(include_bytes!("page.html"))),
    (
        "/page.css",
        STYLE,
        Content::Plain(include_bytes!("page.css")),
    ),
    (
        "/start.js",
        SCRIPT,
        Content::Plain(include_bytes!("start.js")),
    ),
    ("/swagger-ui.css", STYLE, packed!("swagger-ui.css")),
    (
        "/swagger-ui-bundle.js",
        SCRIPT,
        packed!("swagger-ui-bundle.js"),
    ),
    ("/LICENSE", TEXT, packed!("LICENSE")),
    ("/NOTICE", TEXT, packed!("NOTICE")),
];

#[derive(Clone, Copy)]
enum Content {
    Plain(&'static [u8]),
    /// In gzip.
    Packed(&'static [u8]),
}

/// Tags of [`FILES`], made when the first is asked for.
static TAGS: LazyLock<[HeaderValue; FILES.len()]> = LazyLock::new(|| {
    FILES.map(|(.., content)| {
        let (Content::Plain(bytes) | Content::Packed(bytes)) = content;
        let hash = digest::digest(&digest::SHA256, bytes);
        let text = hash
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"));
        let text = format!("\"{}\"", text.collect::<String>());
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    })
});

/// The answer to a request for one of them, unless a route is written for its path.
///
/// # Errors
/// 405 for anything but GET and HEAD, 404 for a file that the page doesn't have.
pub(super) fn answer(live: &Live, head: &Parts) -> Option<Result<Response<ReplyBody>, Failure>> {
    let path = head.uri.path();
    let below = path.strip_prefix(PAGE);
    let below = below.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if path != DOCUMENT && below.is_none() {
        return None;
    }
    let published = live.published.as_ref()?;
    let host = host_name(forwarded::host(head).unwrap_or_default());
    let taken = match below {
        None => published.is_document_taken(host),
        Some(_) => published.is_page_taken(host),
    };
    if taken {
        return None;
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        let mut refused = Failure::client("only GET and HEAD are allowed here")
            .status(StatusCode::METHOD_NOT_ALLOWED);
        refused.allow = Some(HeaderValue::from_static("GET, HEAD"));
        return Some(Err(refused));
    }
    Some(match below {
        None => {
            let document = published.of_host(host);
            let kind = HeaderValue::from_static("application/json");
            Ok(tagged(&head.headers, &document.tag, kind, || {
                ReplyBody::whole(document.json.clone())
            }))
        }
        // So that a copied address works.
        Some("/") => Ok(moved()),
        Some(file) => page(file, &head.headers),
    })
}

fn moved() -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let headers = reply.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static(PAGE));
    reply
}

/// A file of the page.
fn page(file: &str, asked: &HeaderMap) -> Result<Response<ReplyBody>, Failure> {
    let mut found = FILES.iter().zip(&*TAGS);
    let Some(((_, kind, content), tag)) = found.find(|((name, ..), _)| *name == file) else {
        return Err(super::not_found());
    };
    let as_it_is = Accepted::of(asked).best(&[Coding::Gzip]).is_some();
    let (bytes, packed) = match content {
        Content::Plain(bytes) => (Bytes::from_static(bytes), false),
        Content::Packed(bytes) if as_it_is => (Bytes::from_static(bytes), true),
        Content::Packed(bytes) => (unpacked(bytes), false),
    };
    let mut reply = tagged(asked, tag, HeaderValue::from_static(kind), || {
        ReplyBody::whole(bytes)
    });
    let headers = reply.headers_mut();
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Content::Packed(_) = content {
        vary(headers, "Accept-Encoding");
    }
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

/// For the few clients that know no gzip.
fn unpacked(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    // What the build has packed unpacks.
    GzDecoder::new(bytes).read_to_end(&mut plain).ok();
    plain.into()
}

/// The content, or 304 for a client that has it.
fn tagged(
    asked: &HeaderMap,
    tag: &HeaderValue,
    kind: HeaderValue,
    content: impl FnOnce() -> ReplyBody,
) -> Response<ReplyBody> {
    let (status, body) = match Validators::of_tag(tag).check(asked) {
        Verdict::Send => (StatusCode::OK, content()),
        Verdict::NotModified => (StatusCode::NOT_MODIFIED, ReplyBody::empty()),
        Verdict::Failed => (StatusCode::PRECONDITION_FAILED, ReplyBody::empty()),
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(ETAG, tag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}
