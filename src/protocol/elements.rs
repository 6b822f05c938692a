//! A stream of JSON documents as it comes in, cut into its documents: the elements of an array, or
//! documents one after the other, with white space between them or none (NDJSON is that).
//!
//! The cut is made by brackets and quotes alone. Whether a piece is JSON is for the codec to say: what
//! is cut wrongly is no JSON either way. A document that came in one piece is not copied, and no more
//! is kept than one document of the longest length allowed.

use bytes::Bytes;
use http::StatusCode;

use crate::codec::{EncodeError, EncodeErrorKind};
use crate::failure::Failure;
use crate::limits::ByteLimit;

/// How the documents follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// One array of all, or else one after the other: the first byte tells.
    ArrayOrSequence,
    /// One after the other; an array is a document like any other.
    Sequence,
}

/// Why a stream of documents can't be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    #[error("is longer than {0} bytes")]
    TooLarge(usize),
    #[error("a `,` or the array's end `]` should come before it")]
    NoSeparator,
    #[error("should be a JSON value")]
    NoValue,
    #[error("nothing may follow the array")]
    AfterEnd,
    #[error("the request body ends too soon")]
    Truncated,
    #[error("makes a message of {length} bytes, the limit is {max}")]
    MessageTooLarge { length: usize, max: usize },
}

impl ElementError {
    /// 400 or 413 that names the document, by its number from 0.
    #[must_use]
    pub fn refusal(self, index: u64) -> Failure {
        let path = format!("[{index}]");
        let failure = Failure::client(format!("{path}: {self}"));
        match self {
            Self::TooLarge(_) | Self::MessageTooLarge { .. } => {
                failure.status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            _ => failure.violation(path, self.to_string()),
        }
    }
}

/// 400 or 413 for a document that can't be encoded: `[3].game.title`.
#[must_use]
pub fn refusal(index: u64, error: &EncodeError) -> Failure {
    let dot = match error.path.is_empty() || error.path.starts_with('[') {
        true => "",
        false => ".",
    };
    let path = format!("[{index}]{dot}{}", error.path);
    let what = &error.what;
    match error.kind {
        EncodeErrorKind::TooLarge => {
            Failure::client(format!("{path}: {what}")).status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        EncodeErrorKind::Syntax => Failure::client(format!(
            "{path} is not JSON: {what} (at its byte {})",
            error.offset
        ))
        .violation(path, what.clone()),
        EncodeErrorKind::Value | EncodeErrorKind::TooDeep => {
            Failure::client(format!("{path}: {what}")).violation(path, what.clone())
        }
    }
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything.
    Start,
    /// A document, of a sequence.
    Document,
    /// The first element, or the array's end.
    FirstElement,
    /// An element: after a comma.
    Element,
    /// A comma or the array's end.
    Separator,
    /// White space, after the array.
    Over,
    /// In a document.
    Inside(Inside),
}

/// A document that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inside {
    state: State,
    /// Brackets that are open.
    depth: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    Quoted,
    /// After a backslash in a string.
    Escaped,
    /// A number or a word: ends where something else begins.
    Bare,
}

/// Bytes → documents.
#[derive(Debug)]
pub struct Elements {
    arrangement: Arrangement,
    bytes_max: usize,
    place: Place,
    array: bool,
    /// What has come and not been looked at.
    front: Bytes,
    /// The beginning of a document whose end has not come.
    partial: Vec<u8>,
    /// Documents given out.
    count: u64,
}

impl Elements {
    #[must_use]
    pub fn new(arrangement: Arrangement, element_bytes_max: ByteLimit) -> Self {
        Self {
            arrangement,
            bytes_max: element_bytes_max.bytes(),
            place: Place::Start,
            array: false,
            front: Bytes::new(),
            partial: Vec::new(),
            count: 0,
        }
    }

    /// The number of the document that is next, from 0.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.count
    }

    /// Takes the next bytes. Call [`Elements::next_element`] until it has no more before the next push.
    pub fn push(&mut self, chunk: Bytes) {
        if self.front.is_empty() {
            self.front = chunk;
        } else {
            let mut both = Vec::with_capacity(self.front.len() + chunk.len());
            both.extend_from_slice(&self.front);
            both.extend_from_slice(&chunk);
            self.front = both.into();
        }
    }

    /// The next whole document, or `None` until more bytes have come.
    ///
    /// # Errors
    /// See [`ElementError`]. The stream can't be cut on then.
    pub fn next_element(&mut self) -> Result<Option<Bytes>, ElementError> {
        loop {
            if let Place::Inside(inside) = self.place {
                return self.go_on(inside);
            }
            let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
            let skip = self.front.iter().position(|b| !blank(b));
            let Some(at) = skip else {
                self.front = Bytes::new();
                return Ok(None);
            };
            drop(self.front.split_to(at));
            let Some(first) = self.front.first().copied() else {
                return Ok(None);
            };
            self.step(first)?;
        }
    }

    /// Says that no more bytes come; gives the last document of a sequence when only the end of the
    /// bytes ends it.
    ///
    /// # Errors
    /// The stream ends inside a document or an array.
    pub fn finish(&mut self) -> Result<Option<Bytes>, ElementError> {
        let bare = Inside {
            state: State::Bare,
            depth: 0,
        };
        match self.place {
            Place::Inside(inside) if inside == bare && !self.array => Ok(Some(self.give(0))),
            Place::Start | Place::Document | Place::Over => Ok(None),
            _ => Err(ElementError::Truncated),
        }
    }

    /// Looks at one byte between documents.
    fn step(&mut self, first: u8) -> Result<(), ElementError> {
        let whole = self.arrangement == Arrangement::ArrayOrSequence;
        self.place = match (self.place, first) {
            (Place::Start, b'[') if whole => {
                self.array = true;
                Place::FirstElement
            }
            (Place::FirstElement | Place::Separator, b']') => Place::Over,
            (Place::Separator, b',') => Place::Element,
            (Place::Separator, _) => return Err(ElementError::NoSeparator),
            (Place::Over, _) => return Err(ElementError::AfterEnd),
            (_, b',' | b']' | b'}' | b':') => return Err(ElementError::NoValue),
            _ => {
                let state = match first {
                    b'{' | b'[' | b'"' => State::Plain,
                    _ => State::Bare,
                };
                self.place = Place::Inside(Inside { state, depth: 0 });
                return Ok(());
            }
        };
        drop(self.front.split_to(1));
        Ok(())
    }

    /// Goes on in a document.
    fn go_on(&mut self, mut inside: Inside) -> Result<Option<Bytes>, ElementError> {
        let mut at = 0;
        while let Some(rest) = self.front.get(at..).filter(|r| !r.is_empty()) {
            at += match inside.state {
                State::Escaped => {
                    inside.state = State::Quoted;
                    1
                }
                State::Quoted => {
                    let Some(stop) = memchr::memchr2(b'"', b'\\', rest) else {
                        at = self.front.len();
                        break;
                    };
                    inside.state = match rest.get(stop) {
                        Some(b'\\') => State::Escaped,
                        _ => State::Plain,
                    };
                    stop + 1
                }
                State::Plain => {
                    let Some(stop) = rest.iter().position(|b| b"\"{}[]".contains(b)) else {
                        at = self.front.len();
                        break;
                    };
                    match rest.get(stop) {
                        Some(b'"') => inside.state = State::Quoted,
                        Some(b'{' | b'[') => inside.depth += 1,
                        _ => inside.depth = inside.depth.saturating_sub(1),
                    }
                    stop + 1
                }
                State::Bare => {
                    let ends = |b: &u8| b" \t\n\r,[]{}\"".contains(b);
                    match rest.iter().position(ends) {
                        Some(stop) => return self.checked(at + stop).map(Some),
                        None => {
                            at = self.front.len();
                            break;
                        }
                    }
                }
            };
            if inside.depth == 0 && inside.state == State::Plain {
                return self.checked(at).map(Some);
            }
        }
        self.place = Place::Inside(inside);
        self.check_length(at)?;
        let seen = self.front.split_to(at.min(self.front.len()));
        self.partial.extend_from_slice(&seen);
        Ok(None)
    }

    fn checked(&mut self, length: usize) -> Result<Bytes, ElementError> {
        self.check_length(length)?;
        Ok(self.give(length))
    }

    fn check_length(&self, more: usize) -> Result<(), ElementError> {
        match self.partial.len().saturating_add(more) > self.bytes_max {
            true => Err(ElementError::TooLarge(self.bytes_max)),
            false => Ok(()),
        }
    }

    /// The document that ends `length` bytes further on.
    fn give(&mut self, length: usize) -> Bytes {
        self.count = self.count.saturating_add(1);
        self.place = match self.array {
            true => Place::Separator,
            false => Place::Document,
        };
        let end = self.front.split_to(length.min(self.front.len()));
        if self.partial.is_empty() {
            return end;
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(&end);
        whole.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    type Cut = Result<Vec<String>, (usize, ElementError)>;

    /// The documents of `text` that comes in pieces of these sizes.
    fn cut(arrangement: Arrangement, text: &[u8], sizes: &[usize], max: usize) -> Cut {
        let mut elements = Elements::new(arrangement, ByteLimit::new(max).unwrap());
        let mut found = Vec::new();
        let mut rest = text;
        let mut sizes = sizes.iter().copied().cycle();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            elements.push(Bytes::copy_from_slice(&rest[..size]));
            rest = &rest[size..];
            loop {
                match elements.next_element() {
                    Ok(Some(e)) => found.push(String::from_utf8_lossy(&e).into_owned()),
                    Ok(None) => break,
                    Err(error) => return Err((found.len(), error)),
                }
            }
        }
        match elements.finish() {
            Ok(last) => found.extend(last.map(|e| String::from_utf8_lossy(&e).into_owned())),
            Err(error) => return Err((found.len(), error)),
        }
        assert_eq!(elements.next_index(), found.len() as u64);
        Ok(found)
    }

    #[test]
    fn arrays_and_sequences_are_cut() {
        use Arrangement::{ArrayOrSequence as Any, Sequence};
        use ElementError as E;
        let ok = |documents: &[&str]| Ok(documents.iter().map(|d| (*d).to_owned()).collect());
        for (arrangement, text, expected) in [
            (Any, "", ok(&[])),
            (Any, " \n", ok(&[])),
            (Any, "[]", ok(&[])),
            (Any, " [ ] \n", ok(&[])),
            (Any, "[{},{\"a\":[1,2]}]", ok(&["{}", "{\"a\":[1,2]}"])),
            (
                Any,
                "[1, -2e3 ,\"]\",null]",
                ok(&["1", "-2e3", "\"]\"", "null"]),
            ),
            (Any, "[[1],[]]", ok(&["[1]", "[]"])),
            (
                Any,
                "[\"\\\"\\\\\", \"\\\\\"]",
                ok(&["\"\\\"\\\\\"", "\"\\\\\""]),
            ),
            (Any, "{}\n{\"a\":\"}\"}\n", ok(&["{}", "{\"a\":\"}\"}"])),
            (Any, "{}{}[1]", ok(&["{}", "{}", "[1]"])),
            (Any, "1 2\ttrue", ok(&["1", "2", "true"])),
            (Any, "\"a\"\"b\"", ok(&["\"a\"", "\"b\""])),
            (Sequence, "[1]\n[]\n", ok(&["[1]", "[]"])),
            (
                Sequence,
                "{\"a\":\n 1}\r\n\r\n2",
                ok(&["{\"a\":\n 1}", "2"]),
            ),
            // Cut by brackets alone; the codec refuses it.
            (Any, "[{]]", ok(&["{]"])),
            (Any, "[", Err((0, E::Truncated))),
            (Any, "[1", Err((0, E::Truncated))),
            (Any, "[1,", Err((1, E::Truncated))),
            (Any, "[1,]", Err((1, E::NoValue))),
            (Any, "[,1]", Err((0, E::NoValue))),
            (Any, "[1 2]", Err((1, E::NoSeparator))),
            (Any, "[{}{}]", Err((1, E::NoSeparator))),
            (Any, "[1}", Err((1, E::NoSeparator))),
            (Any, "[1] 2", Err((1, E::AfterEnd))),
            (Any, "{\"a\":", Err((0, E::Truncated))),
            (Any, "\"abc", Err((0, E::Truncated))),
            (Sequence, "{},{}", Err((1, E::NoValue))),
            (Sequence, "]", Err((0, E::NoValue))),
        ] {
            for sizes in [&[1][..], &[2], &[3, 1], &[1000]] {
                let found = cut(arrangement, text.as_bytes(), sizes, 1000);
                assert_eq!(found, expected, "{text} in {sizes:?}");
            }
        }
    }

    #[test]
    fn a_document_has_a_longest_length_and_a_stream_has_none() {
        let long = "[1234567890, \"0123456789\"]";
        for sizes in [&[1][..], &[5], &[1000]] {
            let cut = |max| cut(Arrangement::ArrayOrSequence, long.as_bytes(), sizes, max);
            assert!(cut(12).is_ok());
            assert_eq!(cut(11), Err((1, ElementError::TooLarge(11))));
            assert_eq!(cut(9), Err((0, ElementError::TooLarge(9))));
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\x00-\\x7f\u{e9}\\[\\]{}\"]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"\\\\{]{0,4}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_put_together_is_cut_apart(
            values in prop::collection::vec(value(), 0..6),
            sizes in prop::collection::vec(1_usize..20, 1..6),
            pretty in any::<bool>(),
        ) {
            let print = |v: &Value| match pretty {
                true => serde_json::to_string_pretty(v).unwrap(),
                false => v.to_string(),
            };
            let array = print(&Value::from(values.clone()));
            let lines: String = values.iter().map(|v| print(v) + "\n").collect();
            for (arrangement, text) in [
                (Arrangement::ArrayOrSequence, array),
                (Arrangement::Sequence, lines),
            ] {
                let found = cut(arrangement, text.as_bytes(), &sizes, 100_000).unwrap();
                let found: Vec<Value> =
                    found.iter().map(|t| serde_json::from_str(t).unwrap()).collect();
                prop_assert_eq!(&found, &values);
            }
        }

        #[test]
        fn how_the_bytes_came_makes_no_difference(
            text in "[\\[\\]{},:\"\\\\ a1\n]{0,40}",
            sizes in prop::collection::vec(1_usize..10, 1..6),
        ) {
            for arrangement in [Arrangement::ArrayOrSequence, Arrangement::Sequence] {
                let whole = cut(arrangement, text.as_bytes(), &[1000], 20);
                prop_assert_eq!(cut(arrangement, text.as_bytes(), &sizes, 20), whole);
            }
        }
    }
}
