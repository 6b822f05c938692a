//! Replies compressed for clients that take it (RFC 9110 §8.4, §12.5.3).
//!
//! What comes goes out: whenever the source has to wait, what has been taken in is flushed, so a
//! stream's first message is not held back for its second. At most [`WORK_SLICE_BYTES`] are compressed
//! in a turn. What is compressed already, has no text in it, or is short stays as it is.

use std::fmt;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderValue,
};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::{Body, Frame};

use crate::config::model::{Compression, Effort};
use crate::failure::{Failure, GrpcCode};
use crate::limits::WORK_SLICE_BYTES;
use crate::protocol::coding::{Accepted, Coding};

use super::body::ReplyBody;
use super::counters::Place;
use super::vary::vary;

/// Compresses the reply where that is worth it, the client takes it and there is a place for it.
pub(super) fn apply(
    rule: &Compression,
    asked: &Parts,
    reply: &mut Response<ReplyBody>,
    place: impl FnOnce() -> Option<Place>,
) {
    if !is_worth_it(rule, reply) {
        return;
    }
    let headers = reply.headers_mut();
    // Also of the plain form: the client's words decide between the two.
    vary(headers, "Accept-Encoding");
    let Some(coding) = Accepted::of(&asked.headers).best(&Coding::ALL) else {
        return;
    };
    let Some(place) = place() else {
        return;
    };
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    // A part of the compressed form is nothing that the source could give.
    headers.remove(ACCEPT_RANGES);
    weaken(headers);
    let body = std::mem::replace(reply.body_mut(), ReplyBody::empty());
    *reply.body_mut() = ReplyBody::Compressed(Box::new(Compressed {
        inner: body,
        encoder: None,
        place: Some(place),
        rule: (coding, rule.effort),
        piece: Bytes::new(),
        at: 0,
        unflushed: false,
        resting: false,
        trailers: None,
        over: false,
    }));
}

fn is_worth_it(rule: &Compression, reply: &Response<ReplyBody>) -> bool {
    let bodiless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::PARTIAL_CONTENT,
        StatusCode::NOT_MODIFIED,
        StatusCode::RANGE_NOT_SATISFIABLE,
    ];
    let headers = reply.headers();
    if bodiless.contains(&reply.status())
        || reply.status().is_informational()
        || headers.contains_key(CONTENT_ENCODING)
        || headers.contains_key(CONTENT_RANGE)
        || is_untouchable(headers)
        || !headers.get(CONTENT_TYPE).is_some_and(is_text)
    {
        return false;
    }
    let told = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let told = told.and_then(|v| v.parse::<u64>().ok());
    let length = told.or_else(|| reply.body().size_hint().exact());
    length.is_none_or(|length| length >= rule.bytes_min)
}

/// RFC 9111 §5.2.2.6.
fn is_untouchable(headers: &HeaderMap) -> bool {
    let said = headers.get_all(CACHE_CONTROL).iter();
    said.filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("no-transform"))
}

/// Media types that get shorter. Calls of gRPC and Connect streams have codings of their own.
fn is_text(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let media = text.split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    const MORE: &[&str] = &[
        "application/javascript",
        "application/json",
        "application/jsonl",
        // Connect's unary answers: strings, mostly.
        "application/proto",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/svg+xml",
        "image/x-icon",
    ];
    if media.starts_with("application/grpc") || media.starts_with("application/connect+") {
        return false;
    }
    media.starts_with("text/")
        || media.ends_with("+json")
        || media.ends_with("+xml")
        || MORE.contains(&&*media)
}

/// The compressed form is the same only in meaning (RFC 9110 §8.8.3.3).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG) else {
        return;
    };
    if !tag.as_bytes().starts_with(b"W/") {
        let weak = [b"W/", tag.as_bytes()].concat();
        match HeaderValue::from_bytes(&weak) {
            Ok(weak) => headers.insert(ETAG, weak),
            Err(_) => headers.remove(ETAG),
        };
    }
}

/// A body on its way through an encoder.
pub struct Compressed {
    inner: ReplyBody,
    /// Made for the first piece: a reply to HEAD needs none.
    encoder: Option<Encoder>,
    /// Held as long as the encoder may be.
    place: Option<Place>,
    rule: (Coding, Effort),
    /// Taken from the source, and how much of it is in the encoder.
    piece: Bytes,
    at: usize,
    unflushed: bool,
    resting: bool,
    trailers: Option<HeaderMap>,
    over: bool,
}

impl Compressed {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if std::mem::take(&mut self.resting) {
            // Others have their turn before more is compressed.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            if self.over {
                return Poll::Ready(None);
            }
            if self.at < self.piece.len() {
                match self.take_in() {
                    Ok(out) if out.is_empty() && self.at < self.piece.len() => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Ok(out) if out.is_empty() => continue,
                    Ok(out) => {
                        self.resting = self.at < self.piece.len();
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                    Err(error) => return self.fail(error),
                }
            }
            let out = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => {
                        (self.piece, self.at) = (piece, 0);
                        continue;
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.end()
                    }
                },
                Poll::Ready(Some(Err(failure))) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(failure)));
                }
                Poll::Ready(None) => self.end(),
                Poll::Pending if self.unflushed => self.flush(),
                Poll::Pending => return Poll::Pending,
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Compresses the next slice of the piece.
    fn take_in(&mut self) -> io::Result<Bytes> {
        let (coding, effort) = self.rule;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(coding, effort)?),
        };
        let to = self
            .piece
            .len()
            .min(self.at.saturating_add(WORK_SLICE_BYTES));
        encoder
            .writer()
            .write_all(self.piece.get(self.at..to).unwrap_or_default())?;
        self.at = to;
        self.unflushed = true;
        Ok(encoder.take())
    }

    fn flush(&mut self) -> io::Result<Bytes> {
        self.unflushed = false;
        let Some(encoder) = &mut self.encoder else {
            return Ok(Bytes::new());
        };
        encoder.writer().flush()?;
        Ok(encoder.take())
    }

    /// The last of it. A body without content is an empty document of its coding.
    fn end(&mut self) -> io::Result<Bytes> {
        self.over = true;
        let (coding, effort) = self.rule;
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => Encoder::new(coding, effort)?,
        };
        let last = encoder.finish();
        self.place = None;
        last
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.over = true;
        let failure = Failure::gateway(GrpcCode::Internal, "the reply can't be compressed");
        Poll::Ready(Some(Err(failure.caused_by(error))))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.over && self.trailers.is_none()
    }
}

impl fmt::Debug for Compressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed")
            .field("inner", &self.inner)
            .field("coding", &self.rule.0)
            .finish_non_exhaustive()
    }
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

pub(super) fn gzip_level(effort: Effort) -> flate2::Compression {
    flate2::Compression::new(match effort {
        Effort::Fast => 1,
        Effort::Balanced => 5,
        Effort::Small => 9,
    })
}

impl Encoder {
    /// Levels are what a reply can wait for: the best are for files that are compressed once.
    fn new(coding: Coding, effort: Effort) -> io::Result<Self> {
        /// 512 KiB of window, in place of brotli's 4 MiB: this much stands beside each reply.
        const BR_WINDOW_BITS: u32 = 19;
        const BR_BUFFER_BYTES: usize = 4096;
        let level = |fast, balanced, small| match effort {
            Effort::Fast => fast,
            Effort::Balanced => balanced,
            Effort::Small => small,
        };
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), gzip_level(effort))),
            Coding::Br => Self::Br(Box::new(CompressorWriter::new(
                Vec::new(),
                BR_BUFFER_BYTES,
                level(1, 4, 7),
                BR_WINDOW_BITS,
            ))),
            Coding::Zstd => {
                let level = i32::try_from(level(1, 3, 8)).unwrap_or(3);
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Br(encoder) => &mut **encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    /// What has come out so far.
    fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Br(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Br(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_get_shorter_and_the_rest_does_not() {
        for (media, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/event-stream", true),
            ("image/svg+xml", true),
            ("image/png", false),
            ("font/woff2", false),
            ("application/zip", false),
            ("application/octet-stream", false),
            ("application/grpc", false),
            ("application/grpc-web+json", false),
            ("application/connect+json", false),
            ("video/mp4", false),
        ] {
            let value = HeaderValue::from_static(media);
            assert_eq!(is_text(&value), expected, "{media}");
        }
    }

    #[test]
    fn tags_become_weak() {
        for (tag, weak) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            let mut headers = HeaderMap::new();
            headers.insert(ETAG, HeaderValue::from_static(tag));
            weaken(&mut headers);
            assert_eq!(headers[ETAG], weak);
        }
    }
}
