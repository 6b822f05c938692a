//! tls-alpn-01 (RFC 8737): certificates that are shown to who speaks `acme-tls/1` alone.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use instant_acme::Identifier;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::Ask;

type Shown = HashMap<Box<str>, Arc<CertifiedKey>>;

/// Hands the certificates to listeners, all at once.
pub type Publish = Box<dyn Fn(HashMap<Box<str>, Arc<CertifiedKey>>) + Send + Sync>;

/// Certificates of the challenges under way, by the server name that authorities ask for.
pub struct Certificates {
    shown: Mutex<Shown>,
    publish: Publish,
}

impl Certificates {
    #[must_use]
    pub fn new(publish: Publish) -> Self {
        Self {
            shown: Mutex::default(),
            publish,
        }
    }

    pub(super) fn put(&self, ask: &Ask) -> Result<(), String> {
        let made = certificate(ask).map_err(|e| format!("no certificate for tls-alpn-01: {e}"))?;
        self.change(|shown| {
            shown.insert(server_name(&ask.identifier), Arc::new(made));
        });
        Ok(())
    }

    pub(super) fn remove(&self, ask: &Ask) {
        self.change(|shown| {
            shown.remove(&server_name(&ask.identifier));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut shown);
        // With the lock held, so that nobody's later state is overtaken.
        (self.publish)(shown.clone());
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

/// Self-signed, with the name and the digest of the key authorization.
fn certificate(ask: &Ask) -> Result<CertifiedKey, String> {
    let wrong = |e: rcgen::Error| e.to_string();
    let key = KeyPair::generate().map_err(wrong)?;
    let mut params = CertificateParams::new([subject(&ask.identifier)]).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&ask.digest)];
    let made = params.self_signed(&key).map_err(wrong)?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing =
        rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|e| e.to_string())?;
    Ok(CertifiedKey::new(vec![made.der().clone()], signing))
}

fn subject(identifier: &Identifier) -> String {
    identifier.authorized(false).to_string()
}

/// What a handshake asks for: addresses can't stand there, so their reverse names do (RFC 8738 §6).
fn server_name(identifier: &Identifier) -> Box<str> {
    match identifier {
        Identifier::Ip(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa").into()
        }
        Identifier::Ip(IpAddr::V6(ip)) => {
            let mut name = String::with_capacity(72);
            for octet in ip.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", octet & 15, octet >> 4));
            }
            name.push_str("ip6.arpa");
            name.into()
        }
        other => subject(other).to_ascii_lowercase().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_ask_for_addresses_by_their_reverse_names() {
        let of = |ip: &str| server_name(&Identifier::Ip(ip.parse().unwrap()));
        assert_eq!(&*of("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(&*of("2001:db8::1"), v6);
        let name = server_name(&Identifier::Dns("API.example.com".to_owned()));
        assert_eq!(&*name, "api.example.com");
    }
}
