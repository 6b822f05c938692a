//! The control plane: reads what generations are made of. Nothing here is on the path of a request.

pub mod agree;
pub mod builder;
mod certificates;
pub mod discovery;
pub mod health;
pub mod kept;
pub mod load;
pub mod memory;
mod protos;
pub mod reach;
pub mod reflection;
pub mod reload;
pub mod sources;

pub use certificates::wanted_of as wanted;
pub use protos::read_at_most;
