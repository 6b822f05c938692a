//! Keys of certificates, and the requests that are signed with them.

use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_RSA_SHA256, RsaKeySize,
};

/// What a certificate's key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    #[default]
    P256,
    P384,
    Rsa2048,
}

impl KeyType {
    /// A new key. RSA takes a good part of a second: not for a runtime's thread.
    ///
    /// # Errors
    /// No randomness.
    pub fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
    }
}

/// A request for a certificate with these names, as DER. Names alone: authorities don't look at the
/// rest, and the common name is on its way out.
pub(super) fn request(key: &KeyPair, names: &[String]) -> Result<Vec<u8>, String> {
    let wrong = |e: rcgen::Error| e.to_string();
    let mut params = CertificateParams::new(names).map_err(wrong)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).map_err(wrong)?;
    Ok(request.der().to_vec())
}
