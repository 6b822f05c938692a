//! Why handshakes come to nothing: so few kinds that each can be counted, told apart by whose matter it
//! is and what helps.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use crate::limits::REFUSALS_TOLD_A_SECOND_MAX;

use super::tally::{Reason, Tally};

const SECOND: Duration = Duration::from_secs(1);

/// Kinds of broken handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The client went without a byte, as checks of whether a port is open do.
    NothingSent,
    /// It went in the midst of it.
    Closed,
    /// `timeouts.handshake`
    Timeout,
    NotTls,
    /// TLS that can't be read, or against its rules.
    Malformed,
    Version,
    /// No cipher, key exchange or signature that both know.
    NoCommonAlgorithm,
    /// Neither HTTP/2 nor HTTP/1.1 is among what the client wants to speak.
    Alpn,
    /// No certificate for who asks for no name.
    NoName,
    /// No certificate for the name, or none that its rules allow.
    UnknownName,
    /// An authority's look at a challenge that isn't under way.
    NoChallenge,
    ClientCertificateMissing,
    ClientCertificateExpired,
    ClientCertificateRevoked,
    ClientCertificateRefused,
    /// The client doesn't believe in the certificate that it was shown.
    CertificateRefused,
    /// Another alert of the client's.
    Alert,
    Other,
}

impl Reason for Broken {
    const COUNTER: (&'static str, &'static str) = (
        "tls_handshakes_failed",
        "TLS handshakes that came to nothing, by why.",
    );
    const ALL: &'static [Self] = &[
        Self::NothingSent,
        Self::Closed,
        Self::Timeout,
        Self::NotTls,
        Self::Malformed,
        Self::Version,
        Self::NoCommonAlgorithm,
        Self::Alpn,
        Self::NoName,
        Self::UnknownName,
        Self::NoChallenge,
        Self::ClientCertificateMissing,
        Self::ClientCertificateExpired,
        Self::ClientCertificateRevoked,
        Self::ClientCertificateRefused,
        Self::CertificateRefused,
        Self::Alert,
        Self::Other,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NothingSent => "nothing_sent",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::NoCommonAlgorithm => "no_common_algorithm",
            Self::Alpn => "alpn",
            Self::NoName => "no_name",
            Self::UnknownName => "unknown_name",
            Self::NoChallenge => "no_challenge",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateExpired => "client_certificate_expired",
            Self::ClientCertificateRevoked => "client_certificate_revoked",
            Self::ClientCertificateRefused => "client_certificate_refused",
            Self::CertificateRefused => "certificate_refused",
            Self::Alert => "alert",
            Self::Other => "other",
        }
    }
}

impl Broken {
    /// By what a handshake ended with.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|e| e.downcast_ref());
        match (inner, error.kind()) {
            (Some(error), _) => Self::of_tls(error),
            (
                None,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe,
            ) => Self::Closed,
            (None, _) => Self::Other,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::PeerIncompatible(why) => Self::of_incompatible(why),
            E::NoApplicationProtocol => Self::Alpn,
            E::NoCertificatesPresented => Self::ClientCertificateMissing,
            E::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::ClientCertificateExpired
                }
                CertificateError::Revoked => Self::ClientCertificateRevoked,
                _ => Self::ClientCertificateRefused,
            },
            E::AlertReceived(alert) => match alert {
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA => Self::CertificateRefused,
                _ => Self::Alert,
            },
            E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::InvalidMessage(_)
            | E::UnsupportedNameType
            | E::DecryptError
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord
            | E::BadMaxFragmentSize => Self::Malformed,
            _ => Self::Other,
        }
    }

    fn of_incompatible(why: &PeerIncompatible) -> Self {
        use PeerIncompatible as P;
        match why {
            P::ServerDoesNotSupportTls12Or13
            | P::ServerTlsVersionIsDisabledByOurConfig
            | P::SupportedVersionsExtensionRequired
            | P::Tls12NotOffered
            | P::Tls12NotOfferedOrEnabled
            | P::Tls13RequiredForQuic => Self::Version,
            P::EcPointsExtensionRequired
            | P::KeyShareExtensionRequired
            | P::NamedGroupsExtensionRequired
            | P::NoCertificateRequestSignatureSchemesInCommon
            | P::NoCipherSuitesInCommon
            | P::NoEcPointFormatsInCommon
            | P::NoKxGroupsInCommon
            | P::NoSignatureSchemesInCommon
            | P::SignatureAlgorithmsExtensionRequired
            | P::UncompressedEcPointsRequired => Self::NoCommonAlgorithm,
            _ => Self::Other,
        }
    }
}

impl Tally<Broken> {
    /// Counts one, and tells of it while a flood of them is no flood of lines.
    pub(super) fn note(&self, why: Broken, peer: &SocketAddr, error: &dyn std::fmt::Display) {
        self.count(why);
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Some(untold) = self.quota.pass(REFUSALS_TOLD_A_SECOND_MAX, SECOND)
        {
            let reason = why.name();
            tracing::debug!(%peer, reason, %error, untold, "a TLS handshake came to nothing");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_kinds() {
        let tls = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, kind) in [
            (io::ErrorKind::ConnectionReset.into(), Broken::Closed),
            (io::Error::other("?"), Broken::Other),
            (
                tls(rustls::Error::InvalidCertificate(CertificateError::Revoked)),
                Broken::ClientCertificateRevoked,
            ),
            (
                tls(rustls::Error::AlertReceived(AlertDescription::UnknownCA)),
                Broken::CertificateRefused,
            ),
            (
                tls(rustls::Error::AlertReceived(
                    AlertDescription::InternalError,
                )),
                Broken::Alert,
            ),
            (
                tls(PeerIncompatible::NoKxGroupsInCommon.into()),
                Broken::NoCommonAlgorithm,
            ),
            (tls(rustls::Error::NoApplicationProtocol), Broken::Alpn),
        ] {
            assert_eq!(Broken::of(&error), kind, "{error}");
        }
    }
}
