//! Why there is no connection, in words for operators.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Why an endpoint has no connection to give. Shared by all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Unreachable {
    pub(super) why: Arc<str>,
    /// Whoever wanted a connection has waited for as long as one may take.
    pub(super) costly: bool,
}

impl Unreachable {
    pub(super) fn new(text: impl fmt::Display) -> Self {
        Self {
            why: text.to_string().into(),
            costly: false,
        }
    }

    /// The same, when it took all the time that there was.
    pub(super) fn after_all(text: impl fmt::Display) -> Self {
        let costly = true;
        Self {
            costly,
            ..Self::new(text)
        }
    }
}

/// Why there is no socket, and what to look at.
pub(super) fn plainly(error: &io::Error) -> String {
    let look_at = match error.kind() {
        io::ErrorKind::ConnectionRefused => "is the service up, and is this its port?",
        io::ErrorKind::NotFound => "is the service up, and is this its socket?",
        io::ErrorKind::PermissionDenied => "may this user go there?",
        _ => return error.to_string(),
    };
    format!("{error}: {look_at}")
}
