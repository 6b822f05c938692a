//! Sessions of clients that show certificates. A ticket holds the certificate, which isn't looked at
//! again when the session goes on, and whoever goes on gets new tickets: without an end of their own
//! they would outlive the certificate for as long as the client liked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Until when the client of one connection is believed, in seconds since 1970: noted by whoever finds
/// it out, the certificate's check or the ticket, and written into new tickets.
#[derive(Debug)]
struct Until(AtomicU64);

/// Both sides of it.
pub(super) fn of_connection(
    verifier: Arc<dyn ClientCertVerifier>,
    tickets: Arc<dyn ProducesTickets>,
) -> (Arc<dyn ClientCertVerifier>, Arc<dyn ProducesTickets>) {
    // Who shows no certificate has nothing that could run out.
    let until = Arc::new(Until(AtomicU64::new(u64::MAX)));
    let check = Check {
        verifier,
        until: Arc::clone(&until),
    };
    (Arc::new(check), Arc::new(Tickets { tickets, until }))
}

/// Looks at certificates as the rules say, and notes their end.
#[derive(Debug)]
struct Check {
    verifier: Arc<dyn ClientCertVerifier>,
    until: Arc<Until>,
}

impl ClientCertVerifier for Check {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        let all = std::iter::once(end_entity).chain(intermediates);
        // One that can't be read is of no use later.
        let until = all.map(|one| end(one).unwrap_or(0)).min();
        self.until.0.store(until.unwrap_or(0), Ordering::Relaxed);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }
}

fn end(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, read) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(read.validity().not_after.timestamp()).ok()
}

/// Tickets with an end in front of what they hold.
#[derive(Debug)]
struct Tickets {
    tickets: Arc<dyn ProducesTickets>,
    until: Arc<Until>,
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let until = self.until.0.load(Ordering::Relaxed);
        self.tickets
            .encrypt(&[&until.to_be_bytes()[..], plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let held = self.tickets.decrypt(cipher)?;
        let (until, plain) = held.split_first_chunk()?;
        let until = u64::from_be_bytes(*until);
        // Without it there is a whole handshake.
        if UnixTime::now().as_secs() > until {
            return None;
        }
        self.until.0.store(until, Ordering::Relaxed);
        Some(plain.to_vec())
    }
}
