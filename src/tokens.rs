//! What is answered to authorities that look for a file of theirs on our hosts (ACME's http-01,
//! RFC 8555 §8.3): put here while an order is under way, asked for before any route is.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Where they look.
const FOLDER: &str = "/.well-known/acme-challenge/";

/// Key authorizations by their tokens. Requests elsewhere cost a comparison of the path.
#[derive(Debug, Default)]
pub struct Tokens(ArcSwap<HashMap<Box<str>, Arc<str>>>);

impl Tokens {
    /// What the file at `path` holds. `None` for every path but those of challenges under way.
    #[must_use]
    pub fn answer(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(FOLDER)?;
        self.0.load().get(token).map(Arc::clone)
    }

    /// Answers for `token` from now on.
    pub fn put(&self, token: &str, key_authorization: &str) {
        let held: Arc<str> = key_authorization.into();
        self.0.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(token.into(), Arc::clone(&held));
            next
        });
    }

    /// Answers for `token` no more.
    pub fn remove(&self, token: &str) {
        self.0.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.remove(token);
            next
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_answered_while_they_are_there() {
        let tokens = Tokens::default();
        let path = "/.well-known/acme-challenge/one";
        assert_eq!(tokens.answer(path), None);
        tokens.put("one", "one.thumb");
        tokens.put("two", "two.thumb");
        assert_eq!(tokens.answer(path).as_deref(), Some("one.thumb"));
        assert_eq!(tokens.answer("/one"), None);
        assert_eq!(tokens.answer("/.well-known/acme-challenge/"), None);
        assert_eq!(tokens.answer("/.well-known/acme-challenge/one/"), None);
        tokens.remove("one");
        assert_eq!(tokens.answer(path), None);
        assert!(tokens.answer("/.well-known/acme-challenge/two").is_some());
    }
}
