//! Streams of JSON documents: an array, newline-delimited, or server-sent events.
//!
//! A stream that fails after it began says so in its last element: `{"error":{Status}}`, or an event
//! of type `error`.

use http::{HeaderMap, HeaderValue, header::ACCEPT};

use crate::failure::GrpcCode;

use super::elements::Arrangement;
use super::events::Events;

/// How a stream of messages is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFormat {
    /// `[{…},{…}]`
    JsonArray,
    /// One document a line.
    NdJson,
    /// Server-sent events (WHATWG HTML §9.2), one document each.
    Events,
    /// `{"result":…}` a line, as grpc-gateway writes it.
    Results,
}

impl StreamFormat {
    /// The format that `Accept` asks for: the one with the highest weight (RFC 9110 §12.5.1), among
    /// equals the one that is named most precisely, then the array. The array too for a client that
    /// asks for nothing we have, as a browser's address bar does.
    #[must_use]
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let (mut array, mut lines, mut events) = (Weight::NONE, Weight::NONE, Weight::NONE);
        for value in headers.get_all(ACCEPT) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for range in text.split(',').map(str::trim).filter(|r| !r.is_empty()) {
                let (media, weight) = weigh(range);
                let (of, specific): (&mut [&mut Weight], u8) =
                    match media.to_ascii_lowercase().as_str() {
                        "application/json" => (&mut [&mut array], 3),
                        "application/x-ndjson" | "application/jsonl" | "application/ndjson" => {
                            (&mut [&mut lines], 3)
                        }
                        "text/event-stream" => (&mut [&mut events], 3),
                        "application/*" => (&mut [&mut array, &mut lines], 2),
                        "text/*" => (&mut [&mut events], 2),
                        "*/*" => (&mut [&mut array, &mut lines, &mut events], 1),
                        _ => continue,
                    };
                for format in of {
                    **format = format.or(weight, specific);
                }
            }
        }
        let mut best = (Self::JsonArray, array);
        for (format, weight) in [(Self::NdJson, lines), (Self::Events, events)] {
            if weight.thousandths > 0 && weight.beats(best.1) {
                best = (format, weight);
            }
        }
        best.0
    }

    #[must_use]
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::JsonArray | Self::Results => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Events => "text/event-stream",
        })
    }
}

/// How documents follow each other in a body of this media type: one a line. `None` for types that say
/// nothing of it.
#[must_use]
pub fn arrangement(content_type: Option<&HeaderValue>) -> Option<Arrangement> {
    let text = content_type?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let lines = [
        "application/x-ndjson",
        "application/jsonl",
        "application/ndjson",
    ];
    let is_lines = lines.iter().any(|l| essence.eq_ignore_ascii_case(l));
    is_lines.then_some(Arrangement::Sequence)
}

/// Weight of a format so far, and how specific the range was that gave it.
#[derive(Clone, Copy)]
struct Weight {
    thousandths: u16,
    specific: u8,
}

impl Weight {
    const NONE: Self = Self {
        thousandths: 0,
        specific: 0,
    };

    /// The most specific range decides; among equals the higher weight.
    fn or(self, thousandths: u16, specific: u8) -> Self {
        if (specific, thousandths) >= (self.specific, self.thousandths) {
            Self {
                thousandths,
                specific,
            }
        } else {
            self
        }
    }

    fn beats(self, other: Self) -> bool {
        (self.thousandths, self.specific) > (other.thousandths, other.specific)
    }
}

/// A media range and its weight in thousandths; 1000 when there is none that can be read.
fn weigh(range: &str) -> (&str, u16) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let weight = parts
        .filter_map(|p| p.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .and_then(|(_, q)| q.trim().parse::<f32>().ok())
        .filter(|q| (0.0..=1.0).contains(q))
        .map_or(1000, |q| (q * 1000.0) as u16);
    (media, weight)
}

/// Writes what stands around and between the documents of one stream.
///
/// A document is written piece by piece: [`open`](Self::open), what the printer has, then
/// [`piece`](Self::piece) when there is more to come or [`close`](Self::close). One that turns out to
/// be unprintable before anything of it was written is [revoked](Self::revoke).
#[derive(Debug)]
pub struct Framer {
    format: StreamFormat,
    /// What is told beside the documents, when they are events.
    events: Events,
    /// No document has been written.
    first: bool,
    /// A document has been begun and not closed.
    inside: bool,
    /// The last piece ended in a line break or the indentation after it.
    indent: bool,
}

/// A place in the buffer where a piece of a document begins.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Before the separator.
    mark: usize,
    start: usize,
}

impl Framer {
    #[must_use]
    pub fn new(format: StreamFormat) -> Self {
        Self::with_events(format, Events::default())
    }

    /// With events that go on from where a client has been.
    #[must_use]
    pub fn with_events(format: StreamFormat, events: Events) -> Self {
        Self {
            format,
            events,
            first: true,
            inside: false,
            indent: false,
        }
    }

    /// Before a piece of a document is appended to `out`.
    #[must_use]
    pub fn open(&mut self, out: &mut Vec<u8>) -> Opened {
        let mark = out.len();
        if !self.inside {
            self.indent = false;
            match self.format {
                StreamFormat::JsonArray => out.push(if self.first { b'[' } else { b',' }),
                StreamFormat::Events => self.events.open(out),
                StreamFormat::Results => out.extend_from_slice(b"{\"result\":"),
                StreamFormat::NdJson => {}
            }
        }
        Opened {
            mark,
            start: out.len(),
        }
    }

    /// After a piece that isn't the last. A piece without a byte begins nothing.
    pub fn piece(&mut self, opened: Opened, out: &mut Vec<u8>) {
        if out.len() == opened.start {
            out.truncate(opened.mark);
            return;
        }
        if !self.inside && self.format == StreamFormat::Events {
            self.events.opened();
        }
        self.first = false;
        self.inside = true;
        if self.format != StreamFormat::JsonArray {
            self.join_lines(opened.start, out);
        }
    }

    /// After the last piece of a document.
    pub fn close(&mut self, opened: Opened, out: &mut Vec<u8>) {
        self.piece(opened, out);
        self.inside = false;
        match self.format {
            StreamFormat::JsonArray => {}
            StreamFormat::NdJson => out.push(b'\n'),
            StreamFormat::Results => out.extend_from_slice(b"}\n"),
            StreamFormat::Events => out.extend_from_slice(b"\n\n"),
        }
    }

    /// Takes back what was written since `opened`.
    pub fn revoke(&mut self, opened: Opened, out: &mut Vec<u8>) {
        out.truncate(opened.mark);
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.format {
            StreamFormat::JsonArray => {
                out.extend_from_slice(if self.first { b"[]" } else { b"]" });
            }
            StreamFormat::NdJson | StreamFormat::Results => {}
            StreamFormat::Events => self.events.finish(out),
        }
    }

    /// Ends the stream with an error, given as the JSON of a `google.rpc.Status` and its code.
    pub fn fail(&mut self, code: GrpcCode, status: &[u8], out: &mut Vec<u8>) {
        if self.format == StreamFormat::Events {
            return self.events.fail(code, status, out);
        }
        if self.format == StreamFormat::Results {
            out.extend_from_slice(b"{\"error\":");
            out.extend_from_slice(status);
            out.extend_from_slice(b"}\n");
            return;
        }
        let opened = self.open(out);
        out.extend_from_slice(b"{\"error\":");
        out.extend_from_slice(status);
        out.push(b'}');
        self.close(opened, out);
        self.finish(out);
    }

    /// Drops raw line breaks from `start` on, and the indentation after them. In JSON they stand
    /// between tokens alone: inside strings they are escaped.
    fn join_lines(&mut self, start: usize, out: &mut Vec<u8>) {
        let piece = out.get(start..).unwrap_or_default();
        if !self.indent && memchr::memchr(b'\n', piece).is_none() {
            return;
        }
        let piece = out.split_off(start.min(out.len()));
        out.extend(piece.into_iter().filter(|byte| {
            self.indent = match byte {
                b'\n' => true,
                b' ' => self.indent,
                _ => false,
            };
            !self.indent
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &[&str]) -> StreamFormat {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        StreamFormat::negotiate(&headers)
    }

    #[test]
    fn the_accept_header_chooses() {
        use StreamFormat::{Events, JsonArray, NdJson};
        for (accept, expected) in [
            (&[][..], JsonArray),
            (&[""], JsonArray),
            (&["*/*"], JsonArray),
            (&["application/json"], JsonArray),
            (&["application/x-ndjson"], NdJson),
            (&["application/jsonl"], NdJson),
            (&["Application/X-NDJSON"], NdJson),
            (&["application/json, application/x-ndjson"], JsonArray),
            (&["application/json;q=0.5, application/x-ndjson"], NdJson),
            (
                &["application/json;q=0.5", "application/x-ndjson; q=0.6"],
                NdJson,
            ),
            (&["application/x-ndjson;q=0.4, */*;q=0.5"], JsonArray),
            (&["application/x-ndjson;q=0.4, */*;q=0.1"], NdJson),
            (&["application/x-ndjson, */*;q=0.1"], NdJson),
            (&["application/x-ndjson, */*"], NdJson),
            (&["application/x-ndjson;q=0, */*"], JsonArray),
            (&["text/html"], JsonArray),
            (&["text/html, */*;q=0.8"], JsonArray),
            (&["text/event-stream"], Events),
            (&["Text/Event-Stream; charset=utf-8"], Events),
            (&["text/event-stream, */*"], Events),
            (&["text/*"], Events),
            (&["text/event-stream, application/json"], JsonArray),
            (&["text/event-stream;q=0.9, application/json"], JsonArray),
            (&["text/event-stream, application/jsonl;q=0.1"], Events),
            (&["text/event-stream;q=0.5, application/json;q=0"], Events),
            (&["text/event-stream;q=0"], JsonArray),
        ] {
            assert_eq!(negotiate(accept), expected, "{accept:?}");
        }
    }

    fn write(format: StreamFormat, documents: &[&str], error: Option<&str>) -> String {
        let mut framer = Framer::new(format);
        let mut out = Vec::new();
        for document in documents {
            // A check that takes its time writes nothing.
            let opened = framer.open(&mut out);
            framer.piece(opened, &mut out);
            for piece in document.as_bytes().chunks(3) {
                let opened = framer.open(&mut out);
                out.extend_from_slice(piece);
                framer.piece(opened, &mut out);
            }
            let opened = framer.open(&mut out);
            framer.close(opened, &mut out);
        }
        match error {
            Some(status) => framer.fail(GrpcCode::NotFound, status.as_bytes(), &mut out),
            None => framer.finish(&mut out),
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn streams_are_framed_and_end_visibly() {
        use StreamFormat::{JsonArray, NdJson};
        assert_eq!(write(JsonArray, &[], None), "[]");
        assert_eq!(write(JsonArray, &["{}", "1"], None), "[{},1]");
        assert_eq!(
            write(JsonArray, &["{}"], Some("{\"code\":14}")),
            "[{},{\"error\":{\"code\":14}}]"
        );
        assert_eq!(write(JsonArray, &[], Some("{}")), "[{\"error\":{}}]");
        assert_eq!(
            write(StreamFormat::Events, &["{}", "1"], None),
            "id: 1\ndata: {}\n\nid: 2\ndata: 1\n\nid: 2/end\n\n"
        );
        assert_eq!(
            write(StreamFormat::Events, &["{}"], Some("{\"code\":5}")),
            "id: 1\ndata: {}\n\nevent: error\nid: 1/end\ndata: {\"code\":5}\n\n"
        );
        assert_eq!(
            write(StreamFormat::Results, &["{}", "1"], Some("{\"code\":5}")),
            "{\"result\":{}}\n{\"result\":1}\n{\"error\":{\"code\":5}}\n"
        );
        assert_eq!(write(NdJson, &[], None), "");
        assert_eq!(write(NdJson, &["{}", "1"], None), "{}\n1\n");
        assert_eq!(
            write(NdJson, &["{}"], Some("{\"code\":14}")),
            "{}\n{\"error\":{\"code\":14}}\n"
        );
    }

    #[test]
    fn a_revoked_document_leaves_nothing() {
        let mut framer = Framer::new(StreamFormat::JsonArray);
        let mut out = Vec::new();
        let opened = framer.open(&mut out);
        framer.revoke(opened, &mut out);
        assert!(out.is_empty());
        framer.fail(GrpcCode::Internal, b"{}", &mut out);
        assert_eq!(out, b"[{\"error\":{}}]");
    }

    #[test]
    fn a_pretty_document_is_one_line_all_the_same() {
        let pretty = "{\n  \"a b\": [\n    1,\n    \"x\\n  y\"\n  ]\n}";
        let line = write(StreamFormat::NdJson, &[pretty], None);
        assert_eq!(line, "{\"a b\": [1,\"x\\n  y\"]}\n");
        let event = write(StreamFormat::Events, &[pretty], None);
        assert!(
            event.starts_with("id: 1\ndata: {\"a b\": [1,\"x\\n  y\"]}\n\n"),
            "{event}"
        );
    }
}
