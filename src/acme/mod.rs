//! Certificates from ACME authorities (RFC 8555): accounts, orders and the answers to challenges.

mod authority;
pub mod challenge;
mod error;
mod http;
mod key;
mod order;
mod renewal;

pub use authority::{Authority, Credentials, Directory, External, Meta, Session};
pub use error::{AcmeError, Cause, Step};
pub use http::{Http, HttpError};
pub use key::KeyType;
pub use order::{Placed, Wanted};
pub use renewal::{Window, identifier};
