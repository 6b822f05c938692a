//! Partial responses (AIP-157): the fields that a request chooses by `$fields`, or by `fields` where
//! the method has no such field.

use std::sync::Arc;

use crate::codec::Selection;
use crate::failure::Failure;

use super::bind::{Parameter, QueryPolicy, parameters};
use super::plan::MethodPlan;
use super::query::QueryFault;

impl MethodPlan {
    /// Whether a parameter chooses fields of the reply rather than setting one of the request.
    #[must_use]
    pub fn is_selector(&self, name: &str, policy: &QueryPolicy<'_>) -> bool {
        let unknown = || {
            let field = self.query_field(name);
            matches!(field, Err(QueryFault::Unknown { .. } | QueryFault::NoQuery))
        };
        policy.partial && (name == "$fields" || name == "fields" && unknown())
    }

    /// The fields that the query chooses; `None` is all of them.
    ///
    /// # Errors
    /// 400 that names the parameter, and the path that is no field.
    pub fn selection(
        &self,
        query: Option<&str>,
        policy: &QueryPolicy<'_>,
    ) -> Result<Option<Arc<Selection>>, Failure> {
        if !policy.partial {
            return Ok(None);
        }
        let given = parameters(query.unwrap_or_default()).flatten();
        let mut given = given.filter(|p| self.is_selector(&p.name, policy));
        let Some(Parameter { name, value }) = given.next() else {
            return Ok(None);
        };
        let refused = |what: String| {
            Failure::client(format!("{name}: {what}")).violation(name.to_string(), what)
        };
        if given.next().is_some() {
            return Err(refused("fields are chosen more than once".into()));
        }
        let Some(target) = self.response_target() else {
            return Err(refused("the reply is not JSON".into()));
        };
        match self.codec.select(target, &value) {
            Ok(selection) => Ok(Some(Arc::new(selection))),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}
