//! What operators and probes ask a running gateway, on addresses of its own.
//!
//! A thread and a runtime of its own, so that it answers when the data path is full. It reads published
//! values and the workers' reports; what it may begin is a reload, and another process.

mod certificates;
mod copies;
mod memory;
mod overview;
mod page;
mod server;
mod views;

pub use server::{Admin, Scope, bind, start};
pub use views::{UpgradeReply, Views};
