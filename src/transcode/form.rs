//! `application/x-www-form-urlencoded` bodies: bound like a query string, to what the body rule names.

use http::HeaderValue;

use crate::schema::{Cardinality, FieldRef, Kind, Schema};

use super::plan::{BodyRule, MethodPlan, well_known};
use super::query::QueryFields;

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
