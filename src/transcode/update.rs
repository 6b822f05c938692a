//! The update mask of a PATCH that came without one, made of the fields that its JSON body gives
//! (AIP-134): lists, maps and messages with a JSON form of their own as a whole, nested messages by
//! their leaves, `null` and `{}` by the field itself.

use crate::codec::{CodecLimits, EncodeError, Encoder, Progress, Target};
use crate::schema::{
    Cardinality, Field, FieldIndex, FieldRef, HttpRule, Kind, MessageId, Schema, WellKnown,
};

use super::bind::{Parameter, QueryPolicy, parameters, wrap};
use super::plan::{BodyRule, MethodPlan, well_known};

impl MethodPlan {
    /// The field mask to fill from the body: the plan has one, and the query gives no path for it.
    #[must_use]
    pub fn mask_to_fill(&self, query: Option<&str>, policy: &QueryPolicy<'_>) -> Option<FieldRef> {
        let mask = self.filled_mask?;
        let gives = |p: &Parameter<'_>| {
            let ignored = policy.ignored.iter().any(|i| **i == *p.name);
            let field = self.query_field(&p.name);
            !p.value.is_empty() && !ignored && field.is_ok_and(|f| *f.chain == [mask])
        };
        let given = parameters(query.unwrap_or_default())
            .flatten()
            .any(|p| gives(&p));
        (!given).then_some(mask)
    }

    /// Appends the field mask of which `paths` is the content.
    pub fn fill_mask(&self, mask: FieldRef, paths: &[u8], wire: &mut Vec<u8>) {
        let start = wire.len();
        wire.extend_from_slice(paths);
        wrap(self.codec.schema(), mask, start, wire);
    }

    /// Encodes a JSON body at once, with the mask that it makes.
    ///
    /// # Errors
    /// See [`EncodeError`]; `wire` then holds nothing more.
    pub fn encode_body(
        &self,
        target: Target,
        mask: Option<FieldRef>,
        json: &[u8],
        limits: CodecLimits,
        wire: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let Some(mask) = mask else {
            return self.codec.encode(target, json, limits, wire);
        };
        let mut job = Encoder::new(&self.codec, target, limits, Vec::new())?.noting_paths();
        while job.step(&self.codec, json, usize::MAX)? == Progress::More {}
        let (encoded, paths) = job.finish_with_paths();
        wire.extend_from_slice(&encoded);
        self.fill_mask(mask, &paths, wire);
        Ok(())
    }
}

/// A PATCH of one field says by a mask beside it what is to change. It can be made from the body when
/// it is the only one and the body is an object of fields.
pub(super) fn filled_mask(
    schema: &Schema,
    input: MessageId,
    rule: &HttpRule,
    body: BodyRule,
) -> Option<FieldRef> {
    let single = |f: &Field| matches!(f.cardinality, Cardinality::Singular(_));
    let known = |f: &Field| match f.kind {
        Kind::Message(m) => Some(well_known(schema, m)),
        _ => None,
    };
    let BodyRule::Field(body) = body else {
        return None;
    };
    let object = schema
        .field(body)
        .is_some_and(|f| single(f) && known(f) == Some(None));
    if &*rule.pattern.method != "PATCH" || !object {
        return None;
    }
    let fields = (0..).zip(schema.message(input)?.fields.iter());
    let mut masks = fields.filter(|(_, f)| known(f) == Some(Some(WellKnown::FieldMask)));
    match (masks.next(), masks.next()) {
        (Some((at, mask)), None) if single(mask) => Some(FieldRef {
            message: input,
            field: FieldIndex(at),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::bind::UnknownQuery;
    use super::super::plan::tests::{build, plan, rule};
    use super::*;

    #[test]
    fn only_a_patch_of_one_object_beside_one_mask_is_filled() {
        let filled = |text: &str, body: &str| plan(text, body).filled_mask.is_some();
        assert!(filled("PATCH /a", "inner"));
        assert!(filled("PATCH /a/{inner.id}", "three"));
        for (text, body) in [
            ("PATCH /a", "*"),
            ("PATCH /a", ""),
            ("PATCH /a", "tags"),
            ("PATCH /a", "list"),
            ("PATCH /a", "labels"),
            ("PATCH /a", "extra"),
            ("PATCH /a", "since"),
            ("PATCH /a", "file"),
            ("PATCH /a", "mask"),
            ("PUT /a", "inner"),
            ("POST /a", "inner"),
        ] {
            assert!(!filled(text, body), "{text} {body}");
        }
        let two = build("Masks", &rule("PATCH /a", "inner", "")).unwrap();
        assert_eq!(two.filled_mask, None);
    }

    #[test]
    fn a_mask_that_the_client_gives_is_kept() {
        let plan = plan("PATCH /a", "inner");
        let ignored = ["mask".into()];
        let fills = |query: Option<&str>, ignored: &[Box<str>]| {
            let policy = QueryPolicy {
                unknown: UnknownQuery::Reject,
                ignored,
                parameters_max: 100,
                partial: false,
                compat: Default::default(),
            };
            plan.mask_to_fill(query, &policy).is_some()
        };
        assert!(fills(None, &[]));
        assert!(fills(Some("pageSize=1"), &[]));
        assert!(fills(Some("mask="), &[]));
        assert!(fills(Some("mask=count"), &ignored));
        assert!(!fills(Some("mask=count"), &[]));
        assert!(!fills(Some("pageSize=1&m%61sk=count"), &[]));
    }
}
