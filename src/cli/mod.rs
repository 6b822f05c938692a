//! The commands, one file a verb.

pub mod explain;
pub mod routes;
