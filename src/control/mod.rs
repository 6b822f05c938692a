//! The control plane: reads what generations are made of. Nothing here is on the path of a request.

pub mod arrival;
pub mod builder;
pub mod discovery;
mod protos;
pub mod reflection;
pub mod sources;

pub use protos::read_at_most;
