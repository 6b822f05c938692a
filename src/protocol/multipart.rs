//! `multipart/form-data` (RFC 7578) as it comes in, cut into parts: the head of each, then its content
//! piece by piece. No more is kept than one head, or the length of a boundary of content.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use memchr::memmem::Finder;

use crate::failure::Failure;
use crate::limits::{MULTIPART_HEAD_BYTES_MAX, MULTIPART_PARTS_MAX};

/// RFC 2046 §5.1.1.
const BOUNDARY_BYTES_MAX: usize = 70;

/// What a part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    pub name: String,
    /// There is a file name: the content is a file, else a text.
    pub is_file: bool,
    /// Empty when the part doesn't say.
    pub content_type: String,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Part(PartHead),
    /// Never empty.
    Data(Bytes),
    PartEnd,
}

/// Why a form can't be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the form's part {part}: {fault}")]
pub struct MultipartError {
    /// Its name, or its number from 1 when that is not known.
    pub part: String,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the request body ends too soon")]
    Truncated,
    #[error("the boundary before it is not the end of a line")]
    Boundary,
    #[error("its headers are longer than {MULTIPART_HEAD_BYTES_MAX} bytes")]
    HeadTooLarge,
    #[error("its headers can't be read")]
    BadHead,
    #[error("there is no name in a `Content-Disposition: form-data` header")]
    NoName,
    #[error("`Content-Transfer-Encoding` is not read here (RFC 7578 has none)")]
    TransferEncoding,
    #[error("there are more than {MULTIPART_PARTS_MAX} parts")]
    TooMany,
}

impl MultipartError {
    /// 400 or 413 that names the part.
    #[must_use]
    pub fn refusal(&self) -> Failure {
        let failure = Failure::client(self.to_string());
        match self.fault {
            Fault::HeadTooLarge | Fault::TooMany => failure.status(StatusCode::PAYLOAD_TOO_LARGE),
            _ => failure.violation(self.part.trim_matches('"'), self.fault.to_string()),
        }
    }
}

/// The boundary of a `multipart/form-data` body; `None` for another type, or without a boundary that
/// may be one.
#[must_use]
pub fn boundary(content_type: &HeaderValue) -> Option<String> {
    let (essence, parameters) = content_type.to_str().ok()?.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameter(parameters, "boundary")?;
    let fits = !found.is_empty() && found.len() <= BOUNDARY_BYTES_MAX && !found.ends_with(' ');
    (fits && found.bytes().all(|b| matches!(b, b' '..=b'~'))).then_some(found)
}

/// The value of a parameter; quotes and escapes are taken off.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([';', ' ', '\t']);
        let (name, after) = rest.split_once('=')?;
        let mut value = String::new();
        let mut chars = after.chars();
        if after.starts_with('"') {
            chars.next();
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => value.push(chars.next()?),
                    other => value.push(other),
                }
            }
            rest = chars.as_str();
        } else {
            let (bare, more) = after.split_once(';').unwrap_or((after, ""));
            value.push_str(bare.trim());
            rest = more;
        }
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first boundary.
    Preamble,
    /// After a boundary: a line's end, or the dashes that end the form.
    Boundary,
    Head,
    Content,
    Over,
}

/// Bytes → parts.
#[derive(Debug)]
pub struct Multipart {
    /// Line end, dashes, boundary.
    delimiter: Finder<'static>,
    place: Place,
    kept: BytesMut,
    /// How much of a head has been looked through.
    seen: usize,
    parts: usize,
    name: String,
}

impl Multipart {
    #[must_use]
    pub fn new(boundary: &str) -> Self {
        Self {
            delimiter: Finder::new(&format!("\r\n--{boundary}")).into_owned(),
            place: Place::Preamble,
            // The first boundary may be the first of all.
            kept: BytesMut::from("\r\n"),
            seen: 0,
            parts: 0,
            name: String::new(),
        }
    }

    /// Takes the next bytes. Call [`Multipart::next_event`] until it has no more before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.place != Place::Over {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// The next of what has come, or `None` until more has.
    ///
    /// # Errors
    /// See [`Fault`]. The form can't be cut on then.
    pub fn next_event(&mut self) -> Result<Option<Event>, MultipartError> {
        loop {
            match self.place {
                Place::Over => return Ok(None),
                Place::Preamble | Place::Content => {
                    let inside = self.place == Place::Content;
                    let delimiter = self.delimiter.needle().len();
                    let (free, found) = match self.delimiter.find(&self.kept) {
                        Some(0) => {
                            drop(self.kept.split_to(delimiter));
                            self.place = Place::Boundary;
                            match inside {
                                true => return Ok(Some(Event::PartEnd)),
                                false => continue,
                            }
                        }
                        Some(at) => (at, true),
                        // The rest may be a boundary's beginning.
                        None => (self.kept.len().saturating_sub(delimiter - 1), false),
                    };
                    let data = self.kept.split_to(free).freeze();
                    if inside && !data.is_empty() {
                        return Ok(Some(Event::Data(data)));
                    }
                    if !found {
                        return Ok(None);
                    }
                }
                Place::Boundary => {
                    if !self.after_boundary()? {
                        return Ok(None);
                    }
                }
                Place::Head => return Ok(self.head()?.map(Event::Part)),
            }
        }
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// The form has not ended.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.place {
            Place::Over => Ok(()),
            _ => Err(self.fault(Fault::Truncated)),
        }
    }

    /// For an error about the part at hand.
    fn fault(&self, fault: Fault) -> MultipartError {
        let part = match (self.place, &*self.name) {
            (Place::Content, name) if !name.is_empty() => format!("{name:?}"),
            (Place::Content | Place::Over, _) => self.parts.to_string(),
            _ => self.parts.saturating_add(1).to_string(),
        };
        MultipartError { part, fault }
    }

    /// Whether it can go on.
    fn after_boundary(&mut self) -> Result<bool, MultipartError> {
        let padding = self.kept.iter().position(|b| !matches!(b, b' ' | b'\t'));
        let padding = padding.unwrap_or(self.kept.len());
        match self.kept.get(padding..) {
            Some([b'-', b'-', ..]) if padding == 0 => {
                self.kept.clear();
                self.place = Place::Over;
                Ok(true)
            }
            Some([b'\r', b'\n', ..]) => {
                if self.parts == MULTIPART_PARTS_MAX {
                    return Err(self.fault(Fault::TooMany));
                }
                drop(self.kept.split_to(padding + 2));
                (self.place, self.seen) = (Place::Head, 0);
                Ok(true)
            }
            Some([] | [b'\r']) if padding <= BOUNDARY_BYTES_MAX => Ok(false),
            Some([b'-']) if padding == 0 => Ok(false),
            _ => Err(self.fault(Fault::Boundary)),
        }
    }

    fn head(&mut self) -> Result<Option<PartHead>, MultipartError> {
        let end = match self.kept.starts_with(b"\r\n") {
            true => Some(0),
            false => {
                let from = self.seen.saturating_sub(3);
                let found = self.kept.get(from..);
                let found = found.and_then(|k| memchr::memmem::find(k, b"\r\n\r\n"));
                found.map(|at| from + at + 2)
            }
        };
        if end.unwrap_or(self.kept.len()) > MULTIPART_HEAD_BYTES_MAX {
            return Err(self.fault(Fault::HeadTooLarge));
        }
        let Some(end) = end else {
            self.seen = self.kept.len();
            return Ok(None);
        };
        let bytes = self.kept.split_to(end + 2);
        let text = bytes.get(..end).unwrap_or_default();
        let head = PartHead::read(text).map_err(|fault| self.fault(fault))?;
        self.parts = self.parts.saturating_add(1);
        self.name.clone_from(&head.name);
        self.place = Place::Content;
        Ok(Some(head))
    }
}

impl PartHead {
    fn read(lines: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(lines).map_err(|_| Fault::BadHead)?;
        let (mut head, mut named) = (Self::default(), false);
        for line in text.split_terminator("\r\n") {
            let (name, value) = line.split_once(':').ok_or(Fault::BadHead)?;
            let value = value.trim();
            if name.is_empty() || line.contains(['\r', '\n', '\0']) {
                return Err(Fault::BadHead);
            }
            if name.eq_ignore_ascii_case("content-disposition") {
                let (kind, parameters) = value.split_once(';').ok_or(Fault::NoName)?;
                if named || !kind.trim().eq_ignore_ascii_case("form-data") {
                    return Err(Fault::NoName);
                }
                named = true;
                head.name = parameter(parameters, "name").ok_or(Fault::NoName)?;
                head.is_file = parameter(parameters, "filename").is_some()
                    || parameter(parameters, "filename*").is_some();
            } else if name.eq_ignore_ascii_case("content-type") {
                head.content_type = value.to_owned();
            } else if name.eq_ignore_ascii_case("content-transfer-encoding") {
                let plain = ["binary", "8bit", "7bit"];
                if !plain.iter().any(|p| value.eq_ignore_ascii_case(p)) {
                    return Err(Fault::TransferEncoding);
                }
            }
        }
        match named && !head.name.is_empty() {
            true => Ok(head),
            false => Err(Fault::NoName),
        }
    }
}

#[cfg(test)]
#[path = "multipart/tests.rs"]
mod tests;
