//! Routes: from (host, method, raw path) to a [`RouteId`] and the raw text of its variables.
//!
//! Knows nothing of protobuf. [`PathTemplate`] is the grammar of `google.api.http`, [`RawPath`] a
//! checked request path, [`Builder`] collects routes and [`Table`] is the immutable trie of them.
//! Its lookup's cost grows with the path and not with the number of routes. [`table`] says which
//! route wins.

mod builder;
mod explain;
mod grammar;
mod host;
mod path;
pub mod table;
mod template;
mod trie;
mod walk;

pub use self::builder::{Builder, Conflict, ConflictKind, PathMatch};
pub use self::explain::{Considered, Verdict};
pub use self::host::HostPattern;
pub use self::path::{PathError, RawPath, decode_capture};
pub use self::table::{Lookup, Match, Table};
pub use self::template::{PathTemplate, Segment, TemplateError, Variable};

/// Which route: an index that the caller gave when it built the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);
