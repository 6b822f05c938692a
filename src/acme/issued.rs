//! What an authority has issued: looked at before it is kept or shown.

use std::time::SystemTime;

use rcgen::KeyPair;
use zeroize::Zeroizing;

use crate::limits::ACME_STORED_BYTES_MAX;
use crate::tls::Identity;

use super::error::{AcmeError, Cause, Step};

/// A chain, the key that it is for, and both as they are kept.
#[derive(Debug)]
pub struct Issued {
    pub identity: Identity,
    /// Key and chain as PEM text, in this order.
    pub bundle: Zeroizing<String>,
}

impl Issued {
    /// Checks a chain that has just come for `key`.
    ///
    /// # Errors
    /// It is for another key, lacks the name, is broken, or has expired.
    pub fn check(chain: &str, key: &KeyPair, name: &str) -> Result<Self, AcmeError> {
        let wrong = |said: String| AcmeError::new(Step::Download, Cause::Certificate(said));
        let key = Zeroizing::new(key.serialize_pem());
        let bundle = Zeroizing::new(format!("{}\n{chain}", key.trim_end()));
        if bundle.len() as u64 > ACME_STORED_BYTES_MAX {
            return Err(wrong(format!("it has {} bytes", chain.len())));
        }
        let issued = Self::read(bundle).map_err(wrong)?;
        if !issued.identity.covers(name) && !issued.identity.names().iter().any(|n| **n == *name) {
            let names = issued.identity.names().join(", ");
            return Err(wrong(format!("it is for {names}, not for {name}")));
        }
        if issued.identity.not_after() <= SystemTime::now() {
            return Err(wrong(
                "it has expired already: is our clock right?".to_owned(),
            ));
        }
        Ok(issued)
    }

    /// What was kept.
    ///
    /// # Errors
    /// It can't be served.
    pub fn read(bundle: Zeroizing<String>) -> Result<Self, String> {
        let identity = Identity::from_pem(bundle.as_bytes(), bundle.as_bytes());
        Ok(Self {
            identity: identity.map_err(|e| e.to_string())?,
            bundle,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_could_not_be_kept_is_refused() {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (key, chain) = (made.signing_key, made.cert.pem());
        assert!(Issued::check(&chain, &key, "a.test").is_ok());
        let long = chain + &"#".repeat(1024 * 1024);
        let error = Issued::check(&long, &key, "a.test").unwrap_err();
        assert!(matches!(error.cause, Cause::Certificate(_)), "{error}");
    }
}
