//! gRPC-Web's reader: base64 in any pieces is the same bytes, what we write reads back, frames are cut
//! alike whatever the pieces, and trailers stay lines.

use http::{HeaderMap, HeaderName, HeaderValue};
use transom::protocol::dialect::Dialect;
use transom::protocol::grpc_web::{TextDecoder, TextError, encode_text, trailer_frame};

use super::frames;

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, TextError> {
    let mut decoder = TextDecoder::default();
    let mut bytes = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut bytes)?;
    }
    decoder.finish()?;
    Ok(bytes)
}

/// The first byte is the size of the pieces, the rest a body, of both kinds.
pub fn check(data: &[u8]) {
    let Some((size, body)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    let text = read(std::iter::once(body));
    assert_eq!(read(body.chunks(size)), text);
    frames::check(size, None, body);
    if let Ok(bytes) = text {
        frames::check(size, None, &bytes);
        // Without padding inside, base64 is one way to write the bytes.
        if !body.contains(&b'=') {
            assert_eq!(encode_text(&bytes), body);
        }
    }
    // Each piece is a text of its own.
    let written: Vec<u8> = body.chunks(size).flat_map(encode_text).collect();
    assert_eq!(read(written.chunks(size)), Ok(body.to_vec()));
    if let Ok(content_type) = HeaderValue::from_bytes(body) {
        _ = Dialect::of(&content_type);
    }
    trailers(body);
}

/// `name: value` lines as trailers.
fn trailers(text: &[u8]) {
    let mut trailers = HeaderMap::new();
    for line in text.split(|b| *b == b'\n').take(64) {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            trailers.append(name, value);
        }
    }
    let frame = trailer_frame(&trailers);
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    assert_eq!((frame[0], length as usize), (0x80, frame.len() - 5));
    let lines = frame[5..].split(|b| *b == b'\n').filter(|l| !l.is_empty());
    assert!(
        lines
            .clone()
            .all(|l| l.ends_with(b"\r") && !l[..l.len() - 1].contains(&b'\r'))
    );
    assert_eq!(lines.count(), trailers.len());
}
