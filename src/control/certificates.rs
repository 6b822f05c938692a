//! The files of listeners' TLS: read, checked, and told about as `check` tells of a config.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::acme::DnsWay;
use crate::config::diagnostic::{Diagnostic, Report, Severity};
use crate::config::model::{
    Certificate, ClientCertificates, Config, ListenerId, Place, Tls, UnknownName, UpstreamTls,
};
use crate::limits::PEM_BYTES_MAX;
use crate::live::{Door, Issuer, Live, Wanted};
use crate::tls::{ClientAuth, Identity, Material, Outgoing, OutgoingError, Shared, Spec, Terms};

use super::protos::read_at_most;

/// What a file is that isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    Fault,
    /// It may be where the config is used: keys are seldom where configs are written.
    Unchecked,
}

struct Files<'r> {
    absent: Absent,
    report: &'r mut Report,
}

/// The doors of a config's listeners; every fault of their files is in the report, and a listener
/// with one has no door.
pub fn doors(
    config: &Config,
    shared: &Arc<Shared>,
    absent: Absent,
    report: &mut Report,
) -> Vec<Door> {
    let mut files = Files { absent, report };
    let mut doors = Vec::new();
    for (id, listener) in ListenerId::of(&config.listeners).zip(&config.listeners) {
        let tls = match &listener.tls {
            None => None,
            Some(tls) => match terms(tls, shared, &mut files) {
                Some(terms) => Some(terms),
                None => continue,
            },
        };
        if listener.proxy_protocol && config.trusted_proxies.is_empty() {
            let message =
                "nobody is trusted to send a PROXY header, so every connection with one is refused";
            let help = "name the load balancers: `trusted_proxies: [10.0.0.0/8]`";
            let warning = Diagnostic::warning(message).at(&listener.place);
            files.report.push(warning.help(help));
        }
        doors.push(Door {
            id,
            tls,
            redirect: listener.redirect,
            openapi: listener.openapi,
            proxy_protocol: listener.proxy_protocol,
        });
    }
    doors
}

/// What authorities are to issue; every fault of their files is in the report.
pub fn wanted(config: &Config, absent: Absent, report: &mut Report) -> Wanted {
    let mut files = Files { absent, report };
    let issuers = config.acme.iter().map(|acme| {
        let hook = acme.dns.as_ref().and_then(|dns| match &dns.way {
            DnsWay::Webhook { roots, .. } => roots.as_ref(),
            DnsWay::Update { .. } | DnsWay::Exec { .. } => None,
        });
        Issuer {
            acme: acme.clone(),
            roots: acme.roots.as_ref().and_then(|f| roots(f, &mut files)),
            hook_roots: hook.and_then(|f| roots(f, &mut files)),
        }
    });
    let authorities = issuers.collect();
    let listeners = config.listeners.iter();
    let issued = listeners.filter_map(|l| l.tls.as_ref()?.acme.as_ref());
    let names = issued.flat_map(|issued| {
        let names = issued.names.iter();
        names.map(|(name, _)| (name.clone(), issued.authority))
    });
    Wanted {
        authorities,
        names: Arc::new(names.collect()),
    }
}

/// What listeners want of authorities, and nothing else of the config.
///
/// # Errors
/// Every fault of the files.
pub fn wanted_of(config: &Config) -> Result<Wanted, Report> {
    let mut report = Report::default();
    let wanted = wanted(config, Absent::Fault, &mut report);
    match report.has_errors() {
        true => Err(report),
        false => Ok(wanted),
    }
}

fn roots((file, place): &(PathBuf, Place), files: &mut Files<'_>) -> Option<Vec<u8>> {
    let text = files.read(file, place)?;
    let mut roots = rustls::RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(&text) {
        let added = found.map_err(|e| e.to_string());
        let added = added.and_then(|der| roots.add(der).map_err(|e| e.to_string()));
        if let Err(error) = added {
            let message = format!("{}: a root can't be read: {error}", file.display());
            files.report.push(Diagnostic::error(message).at(place));
            return None;
        }
    }
    if roots.is_empty() {
        let message = format!("{} holds no certificate", file.display());
        files.report.push(Diagnostic::error(message).at(place));
        return None;
    }
    Some(text)
}

/// Reads the files of upstreams' TLS into the config; every fault of theirs is in the report.
pub fn equip(config: &mut Config, absent: Absent, report: &mut Report) {
    let mut files = Files { absent, report };
    for upstream in &mut config.upstreams {
        let tls = upstream.tls.as_ref();
        upstream.outgoing = tls.and_then(|tls| outgoing(tls, &mut files));
    }
}

/// The same for one upstream by itself.
///
/// # Errors
/// What is wrong with its files.
pub fn outgoing_of(tls: &UpstreamTls) -> Result<Arc<Outgoing>, Report> {
    let mut report = Report::default();
    let mut files = Files {
        absent: Absent::Fault,
        report: &mut report,
    };
    outgoing(tls, &mut files).ok_or(report)
}

fn outgoing(tls: &UpstreamTls, files: &mut Files<'_>) -> Option<Arc<Outgoing>> {
    let authorities = match &tls.authorities {
        Some((file, place)) => Some((files.read(file, place)?, file, place)),
        None => None,
    };
    let own = match &tls.own {
        Some(own) => {
            let cert = files.read(&own.cert, &own.cert_place);
            let key = files.read(&own.key, &own.key_place);
            warn_of_open(&own.key, &own.key_place, files.report);
            Some((cert?, key?))
        }
        None => None,
    };
    let material = Material {
        authorities: authorities.as_ref().map(|(text, ..)| &**text),
        own: own.as_ref().map(|(cert, key)| (&**cert, &**key)),
        name: tls.server_name.as_deref(),
    };
    let error = match Outgoing::new(&material) {
        Ok(outgoing) => return Some(Arc::new(outgoing)),
        Err(error) => error,
    };
    let help = match &error {
        OutgoingError::Own(error) => error.help().map(str::to_owned),
        _ => None,
    };
    let (file, place) = match (&error, &tls.own, &authorities) {
        (OutgoingError::Own(error), Some(own), _) if error.is_of_key() => {
            (Some(&own.key), &own.key_place)
        }
        (OutgoingError::Own(_), Some(own), _) => (Some(&own.cert), &own.cert_place),
        (OutgoingError::NoAuthority | OutgoingError::Authority(..), _, Some((_, file, place))) => {
            (Some(*file), *place)
        }
        _ => (None, &tls.place),
    };
    let message = match file {
        Some(file) => format!("{}: {error}", file.display()),
        None => error.to_string(),
    };
    let fault = Diagnostic::error(message).at(place).maybe_help(help);
    files.report.push(fault);
    None
}

fn terms(tls: &Tls, shared: &Arc<Shared>, files: &mut Files<'_>) -> Option<Arc<Terms>> {
    let before = files.report.diagnostics.len();
    let mut certificates = Vec::new();
    let mut whole = true;
    for certificate in &tls.certificates {
        let client = certificate.client.as_ref();
        let client = client.and_then(|c| client_auth(c, files));
        whole &= client.is_some() == certificate.client.is_some();
        if let Some(identity) = identity(certificate, files) {
            certificates.push((identity, client));
        }
    }
    warn_of_hidden(&certificates, &tls.certificates, files.report);
    whole &= certificates.len() == tls.certificates.len();
    if let Some(names) = &tls.self_signed {
        match shared.self_signed(names) {
            Ok(identity) => certificates.push((identity, None)),
            Err(error) => {
                let fault = Diagnostic::error(error.to_string());
                files.report.push(fault.at(&tls.place));
            }
        }
    }
    let client = tls.client.as_ref().and_then(|c| client_auth(c, files));
    whole &= client.is_some() == tls.client.is_some();
    let faults = files.report.diagnostics.iter().skip(before);
    let mut faults = faults.into_iter();
    if !whole || faults.any(|d| d.severity == Severity::Error) {
        return None;
    }
    let spec = Spec {
        certificates,
        provided: tls
            .acme
            .iter()
            .flat_map(|a| &a.names)
            .map(|(name, _)| name.clone())
            .collect(),
        client,
        refuse_unknown: tls.unknown_name == UnknownName::Refuse,
        only_tls13: tls.only_tls13,
        any_host: tls.self_signed.is_some(),
    };
    match Terms::new(spec, shared) {
        Ok(terms) => Some(terms),
        Err(error) => {
            let fault = Diagnostic::error(error.to_string());
            files.report.push(fault.at(&tls.place));
            None
        }
    }
}

/// Takes up what the files of a config's certificates hold now, each by itself: what is wrong elsewhere
/// must not keep a renewed certificate from clients until the old one has run out. One that lacks a name
/// of the one it follows is a change like any other. The new ones.
pub fn renew(config: &Config, doors: &[Door]) -> Vec<Arc<Identity>> {
    let mut new = Vec::new();
    for door in doors {
        let mut listeners = ListenerId::of(&config.listeners).zip(&config.listeners);
        let listener = listeners.find(|(id, _)| *id == door.id);
        let files = listener.and_then(|(_, l)| Some(&l.tls.as_ref()?.certificates));
        let (Some(terms), Some(files)) = (&door.tls, files) else {
            continue;
        };
        let renewed = terms.renew(|at, old| {
            let files = files.get(at)?;
            let chain = read_at_most(&files.cert, PEM_BYTES_MAX).ok()?;
            let key = read_at_most(&files.key, PEM_BYTES_MAX).ok()?;
            let identity = Identity::from_pem(&chain, &key).ok()?;
            let is_new = identity.certified().cert != old.certified().cert;
            let mut names = old.names().iter();
            let follows = names.all(|n| identity.names().contains(n));
            (is_new && follows && identity.not_after() > SystemTime::now())
                .then(|| Arc::new(identity))
        });
        match renewed {
            Ok(renewed) => new.extend(renewed),
            Err(error) => tracing::error!(%error, "a renewed certificate can't be served"),
        }
    }
    new
}

/// Certificates from files that listeners show.
pub fn shown(live: &Live) -> Vec<Arc<Identity>> {
    let terms = live.doors.iter().filter_map(|door| door.tls.as_ref());
    let files = terms.filter(|terms| !terms.is_for_development());
    files
        .flat_map(|terms| terms.configured().to_vec())
        .collect()
}

/// Tells of those of a generation that weren't shown before.
pub fn tell_of_new(before: &[Arc<Identity>], live: &Live) {
    let leaf = |one: &Identity| one.certified().cert.first().cloned();
    let is_new = |new: &Arc<Identity>| !before.iter().any(|old| leaf(old) == leaf(new));
    let new: Vec<_> = shown(live).into_iter().filter(is_new).collect();
    tell_of(&new);
}

/// So that it can be seen later when a certificate was replaced, and by which.
pub fn tell_of(new: &[Arc<Identity>]) {
    for identity in new {
        let names = identity.names().join(", ");
        let until = httpdate::fmt_http_date(identity.not_after());
        let issuer = identity.issuer();
        tracing::info!(names, until, issuer, "a certificate from files is taken up");
    }
}

/// A certificate all of whose names are those of earlier ones is never shown to anybody.
fn warn_of_hidden(
    identities: &[(Arc<Identity>, Option<Arc<ClientAuth>>)],
    certificates: &[Certificate],
    report: &mut Report,
) {
    // One that could not be read is an error already, and which is which isn't known any more.
    if identities.len() != certificates.len() {
        return;
    }
    for (at, ((identity, _), certificate)) in identities.iter().zip(certificates).enumerate() {
        let taken = |name: &str| {
            let earlier = identities.iter().take(at);
            earlier
                .into_iter()
                .any(|(other, _)| other.names().iter().any(|n| **n == *name))
        };
        if at > 0 && !identity.names().is_empty() && identity.names().iter().all(|n| taken(n)) {
            let names = identity.names().join(", ");
            let message = format!("earlier certificates have all the names of this one ({names})");
            let warning = Diagnostic::warning(message).at(&certificate.cert_place);
            report.push(warning.help("the first certificate with a name is the one that is shown"));
        }
    }
}

fn identity(files: &Certificate, all: &mut Files<'_>) -> Option<Arc<Identity>> {
    let chain = all.read(&files.cert, &files.cert_place);
    let key = all.read(&files.key, &files.key_place);
    let report = &mut *all.report;
    warn_of_open(&files.key, &files.key_place, report);
    let identity = match Identity::from_pem(&chain?, &key?) {
        Ok(identity) => identity,
        Err(error) => {
            let (file, place) = match error.is_of_key() {
                true => (&files.key, &files.key_place),
                false => (&files.cert, &files.cert_place),
            };
            let message = format!("{}: {error}", file.display());
            let help = error.help().map(str::to_owned);
            report.push(Diagnostic::error(message).at(place).maybe_help(help));
            return None;
        }
    };
    let file = files.cert.display();
    for warning in identity.warnings() {
        let message = format!("{file}: {warning}");
        report.push(Diagnostic::warning(message).at(&files.cert_place));
    }
    let now = SystemTime::now();
    let date = |at| httpdate::fmt_http_date(at);
    if identity.not_after() < now {
        let message = format!("{file} has expired on {}", date(identity.not_after()));
        let warning = Diagnostic::warning(message).at(&files.cert_place);
        report.push(warning.help("it is served all the same; clients refuse it"));
    } else if identity.not_before() > now {
        let message = format!("{file} holds only from {}", date(identity.not_before()));
        let warning = Diagnostic::warning(message).at(&files.cert_place);
        report.push(warning.help(format!("is the clock right? It says {}", date(now))));
    }
    Some(Arc::new(identity))
}

fn client_auth(files: &ClientCertificates, all: &mut Files<'_>) -> Option<Arc<ClientAuth>> {
    let authorities = all.read(&files.authorities, &files.authorities_place);
    let revoked = match &files.revoked {
        Some((file, place)) => Some(all.read(file, place)?),
        None => None,
    };
    match ClientAuth::from_pem(&authorities?, revoked.as_deref(), files.required) {
        Ok(client) => {
            if let Some((file, place)) = &files.revoked {
                for (nth, until) in client.outdated(SystemTime::now()) {
                    let (file, until) = (file.display(), httpdate::fmt_http_date(until));
                    let message = format!("{file}: list {nth} was to be replaced by {until}");
                    let warning = Diagnostic::warning(message).at(place);
                    let help =
                        "what it revokes is refused all the same; what was revoked since is let in";
                    all.report.push(warning.help(help));
                }
            }
            Some(Arc::new(client))
        }
        Err(error) => {
            let (file, place) = match &files.revoked {
                Some((file, place)) if error.is_of_list() => (file, place),
                _ => (&files.authorities, &files.authorities_place),
            };
            let message = format!("{}: {error}", file.display());
            all.report.push(Diagnostic::error(message).at(place));
            None
        }
    }
}

impl Files<'_> {
    fn read(&mut self, file: &Path, place: &Place) -> Option<Vec<u8>> {
        let error = match read_at_most(file, PEM_BYTES_MAX) {
            Ok(bytes) => return Some(bytes),
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::NotFound && self.absent == Absent::Unchecked {
            let message = format!("{} isn't here, and could not be checked", file.display());
            let warning = Diagnostic::warning(message).at(place);
            self.report
                .push(warning.help("`transom run` does not start without it"));
            return None;
        }
        let help = (error.kind() == io::ErrorKind::PermissionDenied).then(|| {
            let user = rustix::process::geteuid().as_raw();
            format!("the user with the number {user} must be allowed to read it")
        });
        let message = format!("can't read {}: {error}", file.display());
        let fault = Diagnostic::error(message).at(place).maybe_help(help);
        self.report.push(fault);
        None
    }
}

/// A key that others may read is no secret, unless the folder keeps them out. Kubernetes mounts keys
/// so, for the containers of one pod alone: its folders are told by their links.
fn warn_of_open(key: &Path, place: &Place, report: &mut Report) {
    const OTHERS_READ: u32 = 0o004;
    const OTHERS_SEARCH: u32 = 0o001;
    let Ok(found) = fs::metadata(key) else {
        return;
    };
    let folder = key.parent().and_then(|p| fs::metadata(p).ok());
    let hidden = folder.is_some_and(|f| f.mode() & OTHERS_SEARCH == 0);
    let mounted = key.parent().is_some_and(|p| p.join("..data").exists());
    if found.mode() & OTHERS_READ == 0 || hidden || mounted {
        return;
    }
    let message = format!(
        "everybody may read the private key {} (mode {:03o})",
        key.display(),
        found.mode() & 0o777
    );
    let warning = Diagnostic::warning(message).at(place);
    report.push(warning.help(format!("`chmod 600 {}`", key.display())));
}
