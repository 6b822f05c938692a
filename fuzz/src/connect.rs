//! Connect's reader and its errors: a GET's query, the headers, envelopes in any pieces, and that what
//! ends a stream is one JSON document whatever a service says.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use transom::failure::{Blame, Failure, GrpcCode};
use transom::limits::ByteLimit;
use transom::protocol::connect::{Query, end_stream, is_get, put_error, says_so, timeout, version};
use transom::protocol::elements::{Arrangement, Elements};
use transom::transcode::coding::Coding;
use transom::transcode::error_body::Inner;

use super::frames;

/// The first byte is the size of the pieces; the rest is a query, a body and the words of a service.
pub fn check(data: &[u8]) {
    let Some((size, data)) = data.split_first() else {
        return;
    };
    for coding in [None, Some(Coding::Gzip)] {
        frames::check(usize::from(*size), coding, data);
    }
    query(&String::from_utf8_lossy(data));
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let mut headers = HeaderMap::new();
        headers.insert("connect-timeout-ms", value.clone());
        if let Ok(Some(wait)) = timeout(&headers) {
            assert!(data.len() <= 10 && wait.as_millis() <= 9_999_999_999);
        }
        headers.insert("connect-protocol-version", value);
        assert!(says_so(&headers, None));
        assert_eq!(version(&headers).ok(), (data == b"1").then_some(true));
    }
    told(data);
}

fn query(query: &str) {
    let Ok(read) = Query::parse(query) else {
        return;
    };
    assert!(query.contains("message") && query.contains("encoding"));
    // What was read says the same in the plainest words.
    let format = if format!("{:?}", read.format) == "Json" {
        "json"
    } else {
        "proto"
    };
    let message: String = read.message.iter().map(|b| format!("%{b:02x}")).collect();
    let mut plain = format!("connect=v1&encoding={format}&message={message}");
    if let Some(compression) = &read.compression {
        let name: String = compression.bytes().map(|b| format!("%{b:02X}")).collect();
        plain.push_str(&format!("&compression={name}"));
    }
    assert!(is_get(&plain));
    assert_eq!(Query::parse(&plain).ok(), Some(read));
}

/// The bytes as a message, a detail and metadata.
fn told(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let failure =
        Failure::new(Blame::Client, GrpcCode::Aborted, text.clone()).violation(text, "it is so");
    let mut json = Vec::new();
    put_error(&failure, Inner::Show, &mut json);
    assert_eq!(documents(&json), 1);

    let mut metadata = HeaderMap::new();
    for line in bytes.split(|b| *b == b'\n').take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            metadata.append(HeaderName::from_static("x-said"), value);
        }
    }
    for failure in [None, Some((&failure, Inner::Hide))] {
        let end = end_stream(failure, &metadata);
        let length = u32::from_be_bytes([end[1], end[2], end[3], end[4]]);
        assert_eq!((end[0], length as usize), (2, end.len() - 5));
        assert_eq!(documents(&end[5..]), 1);
    }
}

fn documents(json: &[u8]) -> usize {
    assert!(std::str::from_utf8(json).is_ok());
    let limit = ByteLimit::kib(64 * 1024);
    let mut elements = Elements::new(Arrangement::Sequence, limit);
    elements.push(Bytes::copy_from_slice(json));
    let mut count = 0;
    while let Some(_document) = elements.next_element().expect("JSON") {
        count += 1;
    }
    count + usize::from(elements.finish().expect("a whole document").is_some())
}
