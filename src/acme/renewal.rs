//! What an authority says of when to renew (ARI, RFC 9773), and taking certificates back.

use std::time::{Duration, SystemTime};

use instant_acme::{CertificateIdentifier, RenewalInfo, RevocationReason, RevocationRequest};
use rustls::pki_types::{CertificateDer, Der};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::{ACME_RENEWAL_POLL, ACME_RENEWAL_POLL_MAX, ACME_RENEWAL_POLL_MIN};

use super::authority::{Authority, Session, insist};
use super::error::{AcmeError, Cause, Step};

/// When the authority would like a certificate renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: SystemTime,
    pub end: SystemTime,
    /// A page that tells why.
    pub explanation: Option<String>,
    /// When to ask again.
    pub ask_again: Duration,
}

impl Authority {
    /// When to renew the certificate that is so called. `None`: the authority has no opinion.
    /// Dropping it does no harm.
    ///
    /// # Errors
    /// No answer, or none that can be read.
    pub async fn window(
        &self,
        certificate: &CertificateIdentifier<'_>,
    ) -> Result<Option<Window>, AcmeError> {
        let directory = self.directory().await?;
        let Some(base) = &directory.renewal_info else {
            return Ok(None);
        };
        let http = self.http.apart();
        let url = format!("{}/{certificate}", base.trim_end_matches('/'));
        let answer = http.get(&url).await;
        let answer = answer.map_err(|e| AcmeError::new(Step::RenewalInfo, Cause::Http(e)))?;
        let last = http.last();
        let failed = |cause| AcmeError {
            step: Step::RenewalInfo,
            cause,
            retry_after: last.retry_after,
        };
        if !answer.head.status.is_success() {
            return Err(failed(Cause::Status(answer.head.status, last.said.clone())));
        }
        let told: RenewalInfo = serde_json::from_slice(&answer.body)
            .map_err(|e| failed(Cause::Other(e.to_string())))?;
        let window = told.suggested_window;
        if window.end <= window.start {
            let said = "the window ends before it starts".to_owned();
            return Err(failed(Cause::Other(said)));
        }
        let wanted = last.retry_after.unwrap_or(ACME_RENEWAL_POLL);
        Ok(Some(Window {
            start: window.start.into(),
            end: window.end.into(),
            explanation: told.explanation_url,
            ask_again: wanted.clamp(ACME_RENEWAL_POLL_MIN, ACME_RENEWAL_POLL_MAX),
        }))
    }
}

impl Session {
    /// Takes a certificate back, for good. One that was taken back before counts as done.
    ///
    /// # Errors
    /// The authority says no or can't be reached.
    pub async fn revoke(
        &self,
        certificate: &CertificateDer<'_>,
        reason: Option<RevocationReason>,
    ) -> Result<(), AcmeError> {
        let request = RevocationRequest {
            certificate,
            reason,
        };
        let done = insist!(self.account.revoke(&request).await);
        match done.map_err(|e| AcmeError::told(Step::Revocation, e, &self.http)) {
            Err(error) if error.kind() == Some("alreadyRevoked") => Ok(()),
            done => done,
        }
    }
}

/// What authorities call a certificate: its issuer's key and its number. `None` when it doesn't tell.
#[must_use]
pub fn identifier(certificate: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let issuer = parsed
        .iter_extensions()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.as_ref(),
            _ => None,
        })?;
    let (issuer, serial) = (
        Der::from_slice(issuer.0),
        parsed.tbs_certificate.raw_serial(),
    );
    Some(CertificateIdentifier::new(issuer, Der::from_slice(serial)).into_owned())
}
