//! The `Location` of a reply, filled from its fields: `/v1/items/{id}`.
//!
//! The template has the grammar of a path template, so `{name=**}` keeps slashes. It stays on this
//! host: nothing that a field holds makes it another one's, or leads out of the path. A field that is
//! not set leaves the header out.

use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderValue;

use crate::codec::{Codec, CodecLimits, Printer, Progress, Selection, Target};
use crate::route::PathTemplate;
use crate::schema::{Cardinality, Kind, MessageId, Schema, nearest};

/// A template, joined with the message that fills it.
#[derive(Clone, Debug)]
pub struct LocationTemplate {
    text: Box<str>,
    output: MessageId,
    parts: Box<[Part]>,
    selection: Arc<Selection>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Field {
        /// As the reply prints them.
        names: Box<[Box<str>]>,
        /// Slashes stay.
        multi: bool,
    },
}

/// What is wrong with a template, and what may help.
pub type LocationError = (String, Option<String>);

impl LocationTemplate {
    /// # Errors
    /// The template can't be read, or names what is no single scalar field of `output`.
    pub fn build(codec: &Codec, output: MessageId, text: &str) -> Result<Self, LocationError> {
        let plain = |message: String| (message, None);
        let template = PathTemplate::parse(text)
            .map_err(|e| plain(format!("invalid path template: {}", e.message)))?;
        let mut variables = template.variables().iter();
        let mut parts = Vec::new();
        let mut paths = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (_, after) = after.split_once('}').unwrap_or((after, ""));
            rest = after;
            parts.push(Part::Text(before.into()));
            if let Some(variable) = variables.next() {
                let path = &*variable.field_path;
                let names = names(codec, output, path)?;
                paths.push(path);
                parts.push(Part::Field {
                    names,
                    multi: variable.multi,
                });
            }
        }
        parts.push(Part::Text(rest.into()));
        let wild = |p: &Part| matches!(p, Part::Text(text) if text.contains('*'));
        if parts.iter().any(wild) {
            return Err(plain(
                "a wildcard outside of a variable stands for nothing".into(),
            ));
        }
        let target = Target::Message(output);
        let selection = match paths.is_empty() {
            true => Err("no field of the reply stands in it".to_owned()),
            false => codec
                .select(target, &paths.join(","))
                .map_err(|e| e.to_string()),
        };
        Ok(Self {
            text: text.into(),
            output,
            parts: parts.into(),
            selection: Arc::new(selection.map_err(plain)?),
        })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The header for this reply; `None` when a field of it is not set, or can't be a path.
    #[must_use]
    pub fn of(&self, codec: &Codec, wire: &[u8], limits: CodecLimits) -> Option<HeaderValue> {
        let target = Target::Message(self.output);
        let printer = Printer::new(codec, target, wire, limits).ok()?;
        let mut printer = printer.selecting(Some(Arc::clone(&self.selection)));
        let mut json = Vec::new();
        while printer.step(codec, wire, usize::MAX, &mut json).ok()? == Progress::More {}
        let fields: serde_json::Value = serde_json::from_slice(&json).ok()?;
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Field { names, multi } => {
                    let value = names.iter().try_fold(&fields, |at, name| at.get(&**name))?;
                    put(&text_of(value)?, *multi, &mut path);
                }
            }
        }
        let leads_out = path.split('/').any(|segment| matches!(segment, "." | ".."));
        if leads_out || path.starts_with("//") {
            return None;
        }
        HeaderValue::try_from(path).ok()
    }
}

/// The names of a chain of fields as replies have them.
fn names(
    codec: &Codec,
    mut message: MessageId,
    path: &str,
) -> Result<Box<[Box<str>]>, LocationError> {
    let schema: &Schema = codec.schema();
    let mut names = Vec::new();
    let mut rest = path.split('.').peekable();
    while let Some(name) = rest.next() {
        let fault = |message| Err((message, None));
        let Some(holder) = schema.message(message) else {
            return fault("its message is not in this schema".to_owned());
        };
        let index = holder.field_by_name(name);
        let Some(field) = index.and_then(|i| holder.fields.get(i.0 as usize)) else {
            let known = holder.fields.iter().map(|f| &*f.name);
            let help = nearest(name, known).map(|n| format!("did you mean {n:?}?"));
            return Err((format!("{} has no field {name:?}", holder.full_name), help));
        };
        names.push(match codec.options().proto_names {
            true => field.name.clone(),
            false => field.json_name.clone(),
        });
        let single = matches!(field.cardinality, Cardinality::Singular(_));
        match (field.kind, rest.peek()) {
            _ if !single => return fault(format!("field {name:?} holds more than one value")),
            (Kind::Message(inner), Some(_)) => message = inner,
            (Kind::Message(_), None) => {
                return fault(format!("field {name:?} is a message, not a text"));
            }
            (_, Some(next)) => {
                return fault(format!(
                    "field {name:?} is not a message, so it has no {next:?}"
                ));
            }
            (_, None) => {}
        }
    }
    Ok(names.into())
}

fn text_of(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// All but RFC 3986's unreserved characters is escaped, as in any path of these templates.
fn put(text: &str, multi: bool, path: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                path.push(char::from(byte));
            }
            b'/' if multi => path.push('/'),
            // A `String` takes whatever is written to it.
            _ => _ = write!(path, "%{byte:02X}"),
        }
    }
}
