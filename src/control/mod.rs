//! The control plane: reads what generations are made of. Nothing here is on the path of a request.

pub mod reflection;
pub mod sources;
