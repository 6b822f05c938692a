//! TLS of the listeners (certificates and what they are for, chosen by the name that a client asks
//! for), and to upstreams.
//!
//! Nothing here reads files: bytes come in, and whole values go out that are swapped as such. The clock
//! counts in handshakes alone.

mod choice;
mod client;
mod identity;
mod outgoing;
mod shared;
mod terms;
mod vouched;

pub use client::{ClientAuth, ClientAuthError, ClientCertificate};
pub use identity::{Identity, IdentityError, Warning};
pub use outgoing::{HandshakeError, Material, Outgoing, OutgoingError, Speaks};
pub use shared::Shared;
pub use terms::{ACME_PROTOCOL, Served, Spec, Terms, TermsError};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one set of algorithms: AWS-LC, with the post-quantum key exchange first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(provider)
}
