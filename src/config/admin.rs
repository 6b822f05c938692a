//! The token that the admin address wants.

use std::fmt;
use std::sync::Arc;

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(Arc<str>);

impl AdminToken {
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// The value of the `Authorization` header that has it.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether it is in this value of `Authorization`. Takes as long whichever byte is wrong.
    #[must_use]
    pub fn is_in(&self, header: &[u8]) -> bool {
        let right = self.header();
        let differ = right
            .bytes()
            .zip(header)
            .fold(0, |all, (a, b)| all | (a ^ b));
        differ == 0 && right.len() == header.len()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_will_do() {
        let token = AdminToken::new("s3cret");
        assert!(token.is_in(b"Bearer s3cret"));
        for wrong in [
            "",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cret1",
            "bearer s3cret",
            "s3cret",
        ] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("s3cret"));
    }
}
