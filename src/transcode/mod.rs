//! One request to one message, one message to one reply: everything a route needs, worked out at load.

pub mod plan;

pub use plan::{BodyRule, MethodPlan, PathBinding, ResponseRule};
