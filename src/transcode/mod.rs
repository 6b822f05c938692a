//! One request to one message, one message to one reply: everything a route needs, worked out at load.

pub mod bind;
mod capture;
pub mod coding;
pub mod compat;
pub mod error_body;
pub mod form;
pub mod frame;
pub mod gateway_headers;
mod location;
pub mod metadata;
pub mod meter;
mod partial;
pub mod plan;
pub mod query;
pub mod reply_status;
pub mod status;
pub mod update;
mod wire;

#[cfg(feature = "gateway")]
pub(crate) use crate::schema::nearest;

pub use bind::{QueryPolicy, UnknownQuery};
pub use capture::HttpBodyAt;
pub use compat::Compat;
pub use error_body::{ErrorFormat, Inner};
pub use form::Forms;
pub use location::LocationTemplate;
pub use plan::{BodyRule, MethodPlan, PathBinding, PlanError, ResponseRule, RulePart};
