//! Media types of REST bodies, and `google.api.HttpBody`, whose bytes are the body itself.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

/// Why a request body's headers rule it out (415).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("the request body must be application/json, not {0}")]
    NotJson(Box<str>),
    #[error("the request body must be UTF-8, not {0}")]
    Charset(Box<str>),
    #[error("a request body can't be {0}-encoded here")]
    Coding(Box<str>),
}

/// Accepts `application/json` and `application/*+json` in UTF-8; also a body that says nothing of
/// itself, as RFC 9110 §8.3 lets a recipient look at the bytes then.
///
/// # Errors
/// Another type or charset.
pub fn check_json(content_type: Option<&HeaderValue>) -> Result<(), MediaError> {
    let Some(value) = content_type else {
        return Ok(());
    };
    if value.as_bytes() == b"application/json" || value.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let (essence, parameters) = text.split_once(';').unwrap_or((&text, ""));
    let essence = essence.trim();
    if !is_json(essence) {
        return Err(MediaError::NotJson(essence.into()));
    }
    for parameter in parameters.split(';') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        let utf8 = ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|c| value.eq_ignore_ascii_case(c));
        if name.trim().eq_ignore_ascii_case("charset") && !utf8 {
            return Err(MediaError::Charset(value.into()));
        }
    }
    Ok(())
}

fn is_json(essence: &str) -> bool {
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || essence
            .strip_prefix("application/")
            .is_some_and(|subtype| subtype.ends_with("+json"))
}

/// Accepts a body as it is: no coding but `identity`.
///
/// # Errors
/// A content coding that would have to be undone.
pub fn check_coding(content_encoding: Option<&HeaderValue>) -> Result<(), MediaError> {
    match content_encoding {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => Err(
            MediaError::Coding(String::from_utf8_lossy(value.as_bytes()).into()),
        ),
        _ => Ok(()),
    }
}

/// Why the wire bytes are no `HttpBody`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the google.api.HttpBody is malformed at byte {0}")]
pub struct MalformedBody(pub usize);

/// A `google.api.HttpBody` taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawBody {
    /// As the service gave it: may be empty, or no media type at all.
    pub content_type: Bytes,
    pub data: Bytes,
}

impl RawBody {
    /// Takes a whole `HttpBody` message apart; `data` is a part of `wire`, not a copy.
    ///
    /// # Errors
    /// Malformed wire.
    pub fn parse(wire: &Bytes) -> Result<Self, MalformedBody> {
        let mut body = Self::default();
        body.merge(wire, 0..wire.len())?;
        Ok(body)
    }

    /// Takes the `HttpBody` out of message field `number` of `wire`: several records of it are one
    /// message, as protobuf merges them. An absent field is an empty body.
    ///
    /// # Errors
    /// Malformed wire.
    pub fn parse_field(wire: &Bytes, number: u32) -> Result<Self, MalformedBody> {
        let mut body = Self::default();
        let mut group: Option<usize> = None;
        for record in records(wire, 0..wire.len()) {
            match record? {
                Record::Len(n, content) if n == number && group.is_none() => {
                    body.merge(wire, content)?;
                }
                // Editions may encode the field as a group.
                Record::Open(n, at) if n == number && group.is_none() => group = Some(at),
                Record::Close(n, at) if n == number => {
                    if let Some(start) = group.take() {
                        body.merge(wire, start..at)?;
                    }
                }
                _ => {}
            }
        }
        Ok(body)
    }

    fn merge(&mut self, wire: &Bytes, range: Range<usize>) -> Result<(), MalformedBody> {
        let mut depth = 0_u32;
        for record in records(wire, range) {
            match record? {
                Record::Open(..) => depth += 1,
                Record::Close(..) => depth = depth.saturating_sub(1),
                Record::Len(1, content) if depth == 0 => self.content_type = part(wire, content),
                Record::Len(2, content) if depth == 0 => self.data = part(wire, content),
                Record::Len(..) | Record::Other => {}
            }
        }
        Ok(())
    }

    /// The value for `Content-Type`: the service's own if it is one media type that may stand in a
    /// header, else `application/octet-stream`.
    #[must_use]
    pub fn media_type(&self) -> HeaderValue {
        let given = &self.content_type;
        let essence = given.split(|b| *b == b';').next().unwrap_or_default();
        let mut halves = essence.trim_ascii().splitn(2, |b| *b == b'/');
        let is_token = |half: Option<&[u8]>| {
            half.is_some_and(|h| !h.is_empty() && h.iter().all(|b| is_token_byte(*b)))
        };
        let well_formed = is_token(halves.next()) && is_token(halves.next());
        HeaderValue::from_maybe_shared(given.clone())
            .ok()
            .filter(|_| well_formed && given.is_ascii())
            .unwrap_or(HeaderValue::from_static("application/octet-stream"))
    }
}

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

fn part(wire: &Bytes, range: Range<usize>) -> Bytes {
    match wire.get(range) {
        Some(found) if !found.is_empty() => wire.slice_ref(found),
        _ => Bytes::new(),
    }
}

/// What a walk over wire bytes meets.
enum Record {
    Len(u32, Range<usize>),
    /// A group's start tag, and where its content begins.
    Open(u32, usize),
    /// A group's end tag, and where its content ends.
    Close(u32, usize),
    Other,
}

fn records(
    wire: &[u8],
    range: Range<usize>,
) -> impl Iterator<Item = Result<Record, MalformedBody>> + '_ {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let start = at;
        let found = record(wire, &mut at, range.end);
        if found.is_none() {
            at = range.end;
        }
        Some(found.ok_or(MalformedBody(start)))
    })
}

fn record(wire: &[u8], at: &mut usize, end: usize) -> Option<Record> {
    let start = *at;
    let tag = varint(wire, at)?;
    let number = u32::try_from(tag >> 3).ok().filter(|n| *n != 0)?;
    let record = match tag & 7 {
        0 => varint(wire, at).map(|_| Record::Other)?,
        1 => {
            *at = at.checked_add(8)?;
            Record::Other
        }
        2 => {
            let length = usize::try_from(varint(wire, at)?).ok()?;
            let from = *at;
            *at = from.checked_add(length)?;
            Record::Len(number, from..*at)
        }
        3 => Record::Open(number, *at),
        4 => Record::Close(number, start),
        5 => {
            *at = at.checked_add(4)?;
            Record::Other
        }
        _ => return None,
    };
    (*at <= end).then_some(record)
}

fn varint(wire: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for shift in 0..10_u32 {
        let byte = *wire.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f).wrapping_shl(shift * 7);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn json_bodies_are_json_in_utf8() {
        for good in [
            "application/json",
            "APPLICATION/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/merge-patch+json",
            "application/json; profile=x",
            "",
        ] {
            assert_eq!(check_json(Some(&header(good))), Ok(()), "{good}");
        }
        assert_eq!(check_json(None), Ok(()));
        for (bad, error) in [
            ("text/plain", MediaError::NotJson("text/plain".into())),
            (
                "application/x-www-form-urlencoded",
                MediaError::NotJson("application/x-www-form-urlencoded".into()),
            ),
            (
                "application/+jsonx",
                MediaError::NotJson("application/+jsonx".into()),
            ),
            (
                "application/json; charset=latin1",
                MediaError::Charset("latin1".into()),
            ),
            (
                "application/json; a=b; charset=utf-16",
                MediaError::Charset("utf-16".into()),
            ),
        ] {
            assert_eq!(check_json(Some(&header(bad))), Err(error), "{bad}");
        }
    }

    #[test]
    fn no_coding_is_undone() {
        assert_eq!(check_coding(None), Ok(()));
        assert_eq!(check_coding(Some(&header("identity"))), Ok(()));
        let gzip = check_coding(Some(&header("gzip")));
        assert_eq!(gzip, Err(MediaError::Coding("gzip".into())));
    }

    #[test]
    fn a_raw_body_is_taken_apart_without_a_copy() {
        let wire = Bytes::from_static(b"\x0a\x09image/png\x12\x03abc\x1a\x02\x08\x01");
        let body = RawBody::parse(&wire).unwrap();
        assert_eq!(body.data, "abc");
        assert!(wire.as_ptr_range().contains(&body.data.as_ptr()));
        assert_eq!(body.media_type(), "image/png");
    }

    #[test]
    fn records_of_a_field_are_merged() {
        let wire =
            Bytes::from_static(b"\x08\x07\x12\x05\x0a\x03a/b\x12\x03\x12\x01z\x12\x03\x12\x01y");
        let body = RawBody::parse_field(&wire, 2).unwrap();
        assert_eq!(
            (&body.content_type[..], &body.data[..]),
            (&b"a/b"[..], &b"y"[..])
        );
        assert_eq!(RawBody::parse_field(&wire, 3), Ok(RawBody::default()));
        let group = Bytes::from_static(b"\x13\x0a\x03a/b\x12\x01z\x14");
        assert_eq!(RawBody::parse_field(&group, 2).unwrap().data, "z");
    }

    #[test]
    fn fields_inside_groups_are_not_taken_for_the_bodys_own() {
        let wire = Bytes::from_static(b"\x12\x01a\x23\x12\x01b\x24");
        assert_eq!(RawBody::parse(&wire).unwrap().data, "a");
    }

    #[test]
    fn malformed_wire_is_refused() {
        for bad in [
            &b"\x12\x05ab"[..],
            b"\x80",
            b"\x02",
            b"\x17",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(RawBody::parse(&Bytes::from_static(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_media_type_that_is_none_becomes_octets() {
        for bad in [
            "",
            "text",
            "text/",
            "te xt/plain",
            "text/html\r\nx: y",
            "tëxt/plain",
            "text/ht,ml",
        ] {
            let body = RawBody {
                content_type: Bytes::copy_from_slice(bad.as_bytes()),
                data: Bytes::new(),
            };
            assert_eq!(body.media_type(), "application/octet-stream", "{bad:?}");
        }
        let body = RawBody {
            content_type: Bytes::from_static(b"text/csv; header=absent"),
            data: Bytes::new(),
        };
        assert_eq!(body.media_type(), "text/csv; header=absent");
    }
}
