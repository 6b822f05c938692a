//! Form bodies: read whole, since their names may come in any order, and bound like a query. Where the
//! body is raw and streams, a form's one file goes up as it comes.

use bytes::Bytes;
use http::request::Parts;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client_body::ClientBody;
use crate::config::model::Policy;
use crate::failure::Failure;
use crate::protocol::multipart::{Event, Multipart, PartHead};
use crate::transcode::{MethodPlan, QueryPolicy};

use super::pump::content;

/// Appends to `wire` what a form, the path and the query set.
///
/// # Errors
/// 400, 413 or 415 with what is wrong.
pub(super) async fn bind(
    plan: &MethodPlan,
    policy: &Policy,
    query: &QueryPolicy<'_>,
    captures: &[&str],
    head: &Parts,
    body: ClientBody,
    wire: &mut Vec<u8>,
) -> Result<(), Failure> {
    let form = content(&head.headers, body, policy.body_bytes_max).await?;
    let text = std::str::from_utf8(form.trim_ascii())
        .map_err(|e| Failure::client("the form is not UTF-8").caused_by(e))?;
    plan.bind_form(captures, text, head.uri.query(), query, wire)
}

/// The same for a form in parts.
///
/// # Errors
/// 400, 413 or 415 with what is wrong, naming the part.
pub(super) async fn bind_parts(
    plan: &MethodPlan,
    policy: &Policy,
    query: &QueryPolicy<'_>,
    captures: &[&str],
    (head, boundary): (&Parts, &str),
    body: ClientBody,
    wire: &mut Vec<u8>,
) -> Result<(), Failure> {
    let form = content(&head.headers, body, policy.body_bytes_max).await?;
    if plan.takes_raw_body() {
        let (content_type, data) = only_file(boundary, &form)?;
        plan.bind_raw_body(&content_type, &data, wire);
        return plan.bind(captures, head.uri.query(), query, wire);
    }
    let mut multipart = Multipart::new(boundary);
    multipart.push(&form);
    let (mut texts, mut seen) = (String::new(), Vec::new());
    let mut part = (PartHead::default(), Vec::new());
    while let Some(event) = multipart.next_event().map_err(|e| e.refusal())? {
        match event {
            Event::Part(head) => part = (head, Vec::new()),
            Event::Data(data) => part.1.extend_from_slice(&data),
            Event::PartEnd if part.0.is_file => {
                let name = &*part.0.name;
                let to = plan.file_field(name).map_err(|what| of_part(name, what))?;
                if !to.many && seen.contains(&to.at) {
                    return Err(of_part(name, "this field takes one file"));
                }
                seen.push(to.at);
                plan.bind_file(to, &part.0.content_type, &part.1, wire);
            }
            Event::PartEnd => {
                let name = &*part.0.name;
                let text = std::str::from_utf8(&part.1)
                    .map_err(|e| of_part(name, "the text is not UTF-8").caused_by(e))?;
                texts.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
                texts.push('=');
                texts.extend(utf8_percent_encode(text, NON_ALPHANUMERIC));
                texts.push('&');
            }
        }
    }
    multipart.finish().map_err(|e| e.refusal())?;
    plan.bind_form(captures, &texts, head.uri.query(), query, wire)
}

/// The type and content of a form's one file.
fn only_file(boundary: &str, form: &[u8]) -> Result<(String, Vec<u8>), Failure> {
    let mut file = OneFile::new(boundary);
    file.push(form);
    let (mut content_type, mut content) = (String::new(), Vec::new());
    while let Some(piece) = file.next_piece()? {
        match piece {
            Piece::Type(of) => content_type = of,
            Piece::Data(data) => content.extend_from_slice(&data),
        }
    }
    file.finish()?;
    Ok((content_type, content))
}

/// A form that stands for a raw body: one file, and nothing beside it.
#[derive(Debug)]
pub(super) struct OneFile {
    parts: Multipart,
    begun: bool,
}

/// What comes next of the file.
#[derive(Debug)]
pub(super) enum Piece {
    Type(String),
    Data(Bytes),
}

impl OneFile {
    pub(super) fn new(boundary: &str) -> Self {
        Self {
            parts: Multipart::new(boundary),
            begun: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.parts.push(bytes);
    }

    /// What has come of it, or `None` until more has.
    ///
    /// # Errors
    /// 400 or 413 that names the part.
    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>, Failure> {
        loop {
            match self.parts.next_event().map_err(|e| e.refusal())? {
                None => return Ok(None),
                Some(Event::PartEnd) => {}
                Some(Event::Data(data)) => return Ok(Some(Piece::Data(data))),
                Some(Event::Part(head)) => {
                    if !head.is_file {
                        return Err(of_part(&head.name, "this route takes a file alone"));
                    }
                    if std::mem::replace(&mut self.begun, true) {
                        return Err(of_part(&head.name, "this route takes one file"));
                    }
                    return Ok(Some(Piece::Type(head.content_type)));
                }
            }
        }
    }

    /// Says that no more comes.
    ///
    /// # Errors
    /// The form has not ended, or has no file.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        self.parts.finish().map_err(|e| e.refusal())?;
        match self.begun {
            true => Ok(()),
            false => Err(Failure::client("the form has no file")),
        }
    }
}

/// 400, naming the part.
fn of_part(name: &str, what: &'static str) -> Failure {
    Failure::client(format!("the form's part {name:?}: {what}")).violation(name.to_owned(), what)
}
