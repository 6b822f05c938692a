//! Listeners: addresses, certificates, and where clients without TLS are sent.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::listeners::{
    Accept, Certificate, ClientCertificates, Issued, Listener, Tls, ToHttps, UnknownName,
};
use super::super::model::Place;
use super::super::raw::Section;
use super::super::scalar;
use super::super::source::Span;
use super::acme::Authorities;
use super::report_twice;

pub fn listeners(
    file: &Section<'_, '_>,
    authorities: &Authorities,
    folder: &Path,
) -> Vec<Listener> {
    let mut issued = HashMap::new();
    let mut listeners: Vec<Listener> = Vec::new();
    let mut first_at = HashMap::new();
    for item in file.items("listeners") {
        let Some(section) = item.section() else {
            continue;
        };
        let tls = section
            .section("tls")
            .and_then(|tls| self::tls(&tls, authorities, &mut issued, folder));
        let redirect = redirect(&section);
        let flag = |name| section.field(name).and_then(|f| f.bool());
        let Some(field) = section.field("address") else {
            continue;
        };
        let Some(address) = field.parse(scalar::address) else {
            continue;
        };
        if address.port() != 0
            && let Some(first) = first_at.insert(address, field.node.span)
        {
            report_twice(&field, "this address is listened on already", first);
        }
        listeners.push(Listener {
            address,
            tls,
            redirect,
            proxy_protocol: flag("proxy_protocol").unwrap_or_default(),
            accept: match section.field("accept").and_then(|f| f.choice()) {
                Some("deal") => Accept::Deal,
                Some(_) | None => Accept::Reuseport,
            },
            openapi: openapi(&section, redirect.is_some()),
            place: field.place(),
        });
    }
    let secure = listeners
        .iter()
        .find(|l| l.tls.is_some() && l.address.port() != 0);
    let secure = secure.map(|l| l.address.port());
    for to in listeners.iter_mut().filter_map(|l| l.redirect.as_mut()) {
        to.listener = secure;
    }
    listeners
}

fn redirect(section: &Section<'_, '_>) -> Option<ToHttps> {
    let wanted = section.field("redirect_https");
    let is_wanted = wanted.as_ref().and_then(|f| f.bool()).unwrap_or_default();
    let port = section.field("https_port");
    if !is_wanted {
        if let Some(port) = port {
            let wrong = port.fail("there is nothing that it is a port of");
            let help = "it goes with `redirect_https: true`";
            port.reader.push(wrong.help(help));
        }
        return None;
    }
    if let Some(wanted) = wanted
        && section.field("tls").is_some()
    {
        let wrong = wanted.fail("a listener with `tls` has nothing to redirect");
        let help = "it is for a second listener, without TLS: `{ address: \"0.0.0.0:8080\", redirect_https: true }`";
        wanted.reader.push(wrong.help(help));
    }
    let port = port.and_then(|f| f.integer());
    Some(ToHttps {
        port: port.and_then(|p| u16::try_from(p).ok()),
        listener: None,
    })
}

fn openapi(section: &Section<'_, '_>, redirects: bool) -> bool {
    let Some(field) = section.field("openapi") else {
        return false;
    };
    let wanted = field.bool().unwrap_or_default();
    if wanted && redirects {
        let wrong = field.fail("this listener sends every request elsewhere");
        let help = "`openapi` is for the listener that `redirect_https` sends to";
        field.reader.push(wrong.help(help));
    }
    wanted
}

/// Names of certificates that authorities issue, which one, and where that stands.
type Claims = HashMap<Box<str>, (usize, Span)>;

fn tls(
    section: &Section<'_, '_>,
    authorities: &Authorities,
    claims: &mut Claims,
    folder: &Path,
) -> Option<Tls> {
    let word = |name| section.field(name).and_then(|f| f.choice());
    let certificates = section
        .items("certificates")
        .iter()
        .filter_map(|item| certificate(&item.section()?, folder))
        .collect();
    let self_signed = section.field("self_signed");
    if let Some(field) = &self_signed
        && field.bool() == Some(false)
        && section.field("certificates").is_none()
    {
        field.error("TLS needs a certificate: `certificates`, or `self_signed: true`");
    }
    let self_signed = self_signed.and_then(|f| f.bool()).unwrap_or_default();
    let names = ["localhost", "*.localhost", "127.0.0.1", "::1"];
    Some(Tls {
        certificates,
        self_signed: self_signed.then(|| names.map(str::to_owned).to_vec()),
        acme: issued(section, authorities, claims),
        client: section
            .section("client_certificates")
            .and_then(|s| client_certificates(&s, folder)),
        unknown_name: match word("unknown_name") {
            Some("refuse") => UnknownName::Refuse,
            _ => UnknownName::First,
        },
        only_tls13: word("min_version") == Some("1.3"),
        place: section.place(),
    })
}

/// Certificates of an authority.
fn issued(
    section: &Section<'_, '_>,
    authorities: &Authorities,
    claims: &mut Claims,
) -> Option<Issued> {
    let names = section.field("names");
    let Some(field) = section.field("acme") else {
        if let Some(names) = names {
            let wrong = names.fail("these names belong to no authority");
            let help = "they go with `acme`; files tell their names themselves";
            names.reader.push(wrong.help(help));
        }
        return None;
    };
    if names.is_none() {
        let wrong = field.fail("`names` is missing: what the certificates are for");
        field.reader.push(wrong.help("`names: [api.example.com]`"));
    }
    let authority = authorities.named_by(&field);
    let mut found: Vec<(Box<str>, Place)> = Vec::new();
    for item in section.items("names") {
        let Some(name) = item.parse(scalar::certificate_name) else {
            continue;
        };
        let Some(authority) = authority else { continue };
        if let Some(reason) = authorities.cannot_prove(authority, &name) {
            item.error(reason);
        }
        match claims.get(&name) {
            Some((other, at)) if *other != authority => {
                report_twice(&item, "this name has another authority already", *at);
            }
            _ if found.iter().any(|(n, _)| *n == name) => {
                item.error("this name is listed already");
            }
            _ => {}
        }
        claims.insert(name.clone(), (authority, item.node.span));
        found.push((name, item.place()));
    }
    let authority = authority?;
    Some(Issued {
        authority,
        names: found,
    })
}

fn file(section: &Section<'_, '_>, name: &str, folder: &Path) -> Option<(PathBuf, Place)> {
    let field = section.field(name)?;
    Some((folder.join(field.text()?), field.place()))
}

fn certificate(section: &Section<'_, '_>, folder: &Path) -> Option<Certificate> {
    let client = section
        .section("client_certificates")
        .and_then(|s| client_certificates(&s, folder));
    let (cert, cert_place) = file(section, "cert", folder)?;
    let (key, key_place) = file(section, "key", folder)?;
    Some(Certificate {
        cert,
        cert_place,
        key,
        key_place,
        client,
    })
}

fn client_certificates(section: &Section<'_, '_>, folder: &Path) -> Option<ClientCertificates> {
    let required = section.field("required").and_then(|f| f.bool());
    let revoked = file(section, "crl", folder);
    let (authorities, authorities_place) = file(section, "ca", folder)?;
    Some(ClientCertificates {
        authorities,
        authorities_place,
        revoked,
        required: required.unwrap_or(true),
    })
}
