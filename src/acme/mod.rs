//! Certificates from ACME authorities (RFC 8555): accounts, orders and the answers to challenges.

mod authority;
pub mod board;
pub mod challenge;
mod clerk;
mod error;
mod http;
mod issued;
mod kept;
mod key;
mod office;
mod order;
pub mod pace;
mod renew;
mod renewal;
mod revoke;
pub mod schedule;
mod setup;
mod storage;
mod task;

pub use authority::{Authority, Credentials, Directory, External, Meta, Session};
pub use error::{AcmeError, Cause, Step};
pub use http::{Http, HttpError};
pub use issued::Issued;
pub use key::KeyType;
pub use order::{Placed, Wanted};
pub use renew::renew;
pub use renewal::{Window, identifier};
pub use revoke::{RevocationReason, Revoked, revoke};
pub use storage::{Fence, Folder, Lease, Record, Storage, StorageError, Version};
pub use task::Task;
