//! From the configuration of an authority to one that can be asked, with what answers its challenges.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::rdata::tsig::TsigAlgorithm as Algorithm;
use hickory_proto::rr::{Name, TSigner};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::acme::{Acme, Challenge, Dns as DnsConfig, DnsWay, TsigAlgorithm, TsigKey};
use crate::live::Issuer;
use crate::tls;
use crate::tokens::Tokens;

use super::authority::{Authority, External};
use super::challenge::{Certificates, Dns, Exec, Kind, Propagation, Solvers, Update, Way, Webhook};
use super::http::Http;

/// How far the clocks of a name server and ours may be apart (RFC 8945 §10).
const TSIG_FUDGE_SECONDS: u16 = 300;

/// An authority, or the one where names are tried first: the same in all but its address.
///
/// # Errors
/// Roots that can't be used.
pub fn authority(issuer: &Issuer, directory: &str) -> Result<Authority, String> {
    let acme = &issuer.acme;
    let http = Http::new(client(issuer.roots.as_deref())?, acme.answer_timeout);
    let mut authority = Authority::new(&acme.name, directory, http, acme.order_timeout);
    authority.agreed = acme.agree_to_terms;
    authority.contact = acme.contact.clone();
    // An account elsewhere is one with this directory's owner.
    if directory == &*acme.directory {
        authority.external = acme.eab.as_ref().map(|eab| External {
            id: eab.key_id.clone(),
            key: eab.hmac_key.0.clone(),
        });
    }
    Ok(authority)
}

/// What answers the challenges of an authority.
///
/// # Errors
/// A key or roots that can't be used.
pub fn solvers(
    issuer: &Issuer,
    tokens: &Arc<Tokens>,
    certificates: &Arc<Certificates>,
) -> Result<Solvers, String> {
    let Acme {
        challenges, dns, ..
    } = &issuer.acme;
    let kind = |challenge: &Challenge| match challenge {
        Challenge::TlsAlpn01 => Kind::TlsAlpn01,
        Challenge::Http01 => Kind::Http01,
        Challenge::Dns01 => Kind::Dns01,
    };
    let dns = dns.as_ref().map(|dns| self::dns(dns, issuer)).transpose()?;
    Ok(Solvers {
        kinds: challenges.iter().map(kind).collect(),
        tokens: Arc::clone(tokens),
        certificates: Arc::clone(certificates),
        dns,
    })
}

fn dns(config: &DnsConfig, issuer: &Issuer) -> Result<Dns, String> {
    let timeout = config.timeout;
    let way = match &config.way {
        DnsWay::Update { server, zone, key } => Way::Update(Update {
            server: *server,
            zone: zone.as_deref().map(name).transpose()?,
            key: key.as_ref().map(signer).transpose()?,
        }),
        DnsWay::Exec { program, arguments } => Way::Exec(Exec {
            program: program.clone(),
            arguments: arguments.clone(),
            timeout,
        }),
        DnsWay::Webhook { url, headers, .. } => Way::Webhook(Webhook {
            url: url.clone(),
            headers: headers.clone(),
            http: hook(issuer, timeout)?,
        }),
    };
    let seen = &config.propagation;
    Ok(Dns {
        way,
        propagation: Propagation {
            wait: seen.wait,
            timeout: seen.timeout,
            servers: seen.servers.clone(),
        },
    })
}

fn hook(issuer: &Issuer, timeout: Duration) -> Result<Http, String> {
    let tls = client(issuer.hook_roots.as_deref())?;
    Ok(Http::new(tls, timeout))
}

fn name(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|e| format!("{text}: {e}"))?;
    name.set_fqdn(true);
    Ok(name)
}

fn signer(key: &TsigKey) -> Result<TSigner, String> {
    let algorithm = match key.algorithm {
        TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
        TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
        TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
    };
    let secret = key.key.0.to_vec();
    TSigner::new(secret, algorithm, name(&key.name)?, TSIG_FUDGE_SECONDS)
        .map_err(|e| format!("the key {}: {e}", key.name))
}

/// Trusts these roots, or the system's.
fn client(roots: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Some(text) => {
            for found in CertificateDer::pem_slice_iter(text) {
                let der = found.map_err(|e| e.to_string())?;
                store.add(der).map_err(|e| e.to_string())?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                let why = found.errors.first().map(ToString::to_string);
                return Err(format!(
                    "the system has no roots to trust ({}): set `roots`",
                    why.unwrap_or_else(|| "none are installed".to_owned())
                ));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
