//! Form bodies: texts are bound like a query string, to what the body rule names; a file is the value of
//! a bytes or `google.api.HttpBody` field, or the whole of a raw body.

use http::HeaderValue;

use crate::schema::{Cardinality, FieldRef, Kind, Schema, WellKnown};

use super::bind::wrap;
use super::plan::{BodyRule, MethodPlan, well_known};
use super::query::QueryFields;
use super::wire;

/// Which form bodies a route takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forms {
    #[default]
    Refuse,
    /// Where a rule has no body, so that a form stands for a query string: grpc-gateway's way.
    AsQuery,
    /// Wherever a form can stand for the body.
    Bind,
}

/// The fields that a form's names begin with.
#[derive(Debug)]
pub(super) struct FormFields {
    /// The message field that the body stands for, when it is one.
    pub below: Option<FieldRef>,
    pub fields: QueryFields,
}

impl FormFields {
    /// `None` for a body that has no names: raw, or one value.
    fn of(schema: &Schema, plan: &MethodPlan) -> Option<Self> {
        let (below, message) = match plan.body {
            BodyRule::None | BodyRule::Whole => (None, plan.input),
            BodyRule::Field(at) => {
                let field = schema.field(at)?;
                match (field.cardinality, field.kind) {
                    (Cardinality::Singular(_), Kind::Message(inner))
                        if well_known(schema, inner).is_none() =>
                    {
                        (Some(at), inner)
                    }
                    _ => return None,
                }
            }
            BodyRule::RawWhole | BodyRule::RawField(_) => return None,
        };
        Some(Self {
            below,
            fields: QueryFields::new(schema, message, BodyRule::None),
        })
    }
}

/// A field that a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileField {
    pub at: FieldRef,
    /// Whether there may be more than one.
    pub many: bool,
    below: Option<FieldRef>,
    is_raw: bool,
}

impl MethodPlan {
    /// Makes the plan take form bodies, as far as its body rule lets it.
    pub fn take_forms(&mut self, forms: Forms) {
        let wanted = match forms {
            Forms::Refuse => false,
            Forms::AsQuery => self.body == BodyRule::None,
            Forms::Bind => true,
        };
        let fields = wanted.then(|| FormFields::of(self.codec.schema(), self));
        self.form = fields.flatten().map(Box::new);
        let has_body = self.body != BodyRule::None;
        self.files =
            forms == Forms::Bind && has_body && (self.form.is_some() || self.takes_raw_body());
    }

    /// Whether the body is a `google.api.HttpBody`.
    #[must_use]
    pub fn takes_raw_body(&self) -> bool {
        matches!(self.body, BodyRule::RawWhole | BodyRule::RawField(_))
    }

    /// Whether an `application/x-www-form-urlencoded` body is to be bound.
    #[must_use]
    pub fn binds_forms(&self) -> bool {
        self.form.is_some()
    }

    /// Whether a `multipart/form-data` body is to be bound.
    #[must_use]
    pub fn takes_files(&self) -> bool {
        self.files
    }

    /// The field that a form's file of this name is for: bytes, or a `google.api.HttpBody`.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn file_field(&self, name: &str) -> Result<FileField, &'static str> {
        const NONE: &str = "no field of the body has this name";
        let schema = self.codec.schema();
        let below = self.form.as_ref().ok_or(NONE)?.below;
        let message = match below.and_then(|at| schema.field(at)).map(|f| f.kind) {
            Some(Kind::Message(inner)) => inner,
            _ => self.input,
        };
        let found = schema.message(message).and_then(|m| m.field_by_name(name));
        let at = FieldRef {
            message,
            field: found.ok_or(NONE)?,
        };
        let field = schema.field(at).ok_or(NONE)?;
        let is_raw = match field.kind {
            Kind::Bytes => false,
            Kind::Message(inner) => well_known(schema, inner) == Some(WellKnown::HttpBody),
            _ => return Err("this field takes a text, not a file"),
        };
        let takes_file = is_raw || field.kind == Kind::Bytes;
        match (takes_file, field.cardinality) {
            (true, Cardinality::Map { .. }) | (false, _) => {
                Err("a file is for a bytes or google.api.HttpBody field")
            }
            (true, cardinality) => Ok(FileField {
                at,
                below,
                is_raw,
                many: matches!(cardinality, Cardinality::Repeated { .. }),
            }),
        }
    }

    /// Appends a file as the value of its field.
    pub fn bind_file(&self, to: FileField, content_type: &str, data: &[u8], out: &mut Vec<u8>) {
        let schema = self.codec.schema();
        let start = out.len();
        if to.is_raw {
            if !content_type.is_empty() {
                wire::put_bytes(1, content_type.as_bytes(), out);
            }
            wire::put_bytes(2, data, out);
            wrap(schema, to.at, start, out);
        } else if let Some(field) = schema.field(to.at) {
            wire::put_bytes(field.number, data, out);
        }
        if let Some(below) = to.below {
            wrap(schema, below, start, out);
        }
    }

    /// Whether a body of this type is to be bound as a form.
    #[must_use]
    pub fn takes_form(&self, content_type: Option<&HeaderValue>) -> bool {
        self.form.is_some() && content_type.is_some_and(is_form)
    }
}

/// `application/x-www-form-urlencoded`, whatever its parameters: the encoding is UTF-8 (WHATWG URL §5).
#[must_use]
pub fn is_form(content_type: &HeaderValue) -> bool {
    let essence = content_type.as_bytes().split(|b| *b == b';').next();
    essence.is_some_and(|e| {
        e.trim_ascii()
            .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}
