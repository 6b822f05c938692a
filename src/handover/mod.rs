//! Processes that follow one another on the same sockets: what one is started with, and what it leaves
//! to the next.
//!
//! ```text
//!   old: serves ─ starts new ─ passes sockets ─ waits ───────────► stops accepting, drains, ends
//!   new:              reads config, binds what is new, serves ─ "ready"
//! ```
//! Both accept on the same sockets for a moment, and no queue is ever closed. Until the new one is ready
//! the old one serves as if nothing were; if it never is, the old one goes on and says why.

mod heir;
mod notify;
mod parent;
mod pid_file;
mod wire;

pub use heir::{HandoverError, Program, hand_over};
pub use notify::Supervisor;
pub use parent::{InheritError, Parent, inherit};
pub use pid_file::PidFile;

/// Set for a process whose standard input is the socket to the process before it.
const VARIABLE: &str = "TRANSOM_HANDOVER";
