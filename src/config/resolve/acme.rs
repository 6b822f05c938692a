//! Authorities that certificates come from.

use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderName, HeaderValue, Uri};
use zeroize::Zeroizing;

use super::super::acme::{
    Acme, Challenge, Dns, DnsWay, Eab, KeyType, LETSENCRYPT, LETSENCRYPT_STAGING, Propagation,
    Secret, TsigAlgorithm, TsigKey,
};
use super::super::raw::{Field, Section, did_you_mean};
use super::super::scalar::{self, Trouble};
use super::report_twice;
use crate::config::model::Place;

const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);

/// Authorities, and the names of those whose sections are wrong: they aren't unknown.
#[derive(Default)]
pub struct Authorities {
    pub known: Vec<Acme>,
    broken: Vec<String>,
}

impl Authorities {
    pub fn read(file: &Section<'_, '_>, folder: &Path) -> Self {
        let mut all = Self::default();
        let Some(field) = file.field("acme") else {
            return all;
        };
        let mut read = Vec::new();
        for (name, span, section) in field.named() {
            let place = field.reader.source.place(span);
            match authority(name, &section, folder, place) {
                Some(one) => read.push((one, section.field("next"))),
                None => {
                    // Looked at all the same.
                    section.field("next").map(|next| next.text());
                    all.broken.push(name.to_owned());
                }
            }
        }
        read.sort_by(|a: &(Acme, _), b| a.0.name.cmp(&b.0.name));
        let nexts: Vec<_>;
        (all.known, nexts) = read.into_iter().unzip();
        for (at, next) in nexts.iter().enumerate() {
            let found = next.as_ref().and_then(|field| all.named_by(field));
            if let Some(one) = all.known.get_mut(at) {
                one.next = found;
            }
        }
        for (at, next) in nexts.iter().enumerate() {
            if let Some(field) = next
                && all.comes_back(at)
            {
                field.error("these authorities turn to each other without end");
            }
        }
        all
    }

    /// The authority that a field names.
    pub fn named_by(&self, field: &Field<'_, '_>) -> Option<usize> {
        let name = field.text()?;
        let found = self.known.iter().position(|a| &*a.name == name);
        if found.is_none() && !self.broken.iter().any(|b| b == name) {
            let names = || self.known.iter().map(|a| &*a.name);
            let mut unknown = field.fail("there is no such authority under `acme`");
            unknown.label = did_you_mean(name, names());
            let known: Vec<_> = names().map(|n| format!("`{n}`")).collect();
            let help = match known.is_empty() {
                true => "such as `acme: { letsencrypt: { directory: letsencrypt, … } }`".to_owned(),
                false => format!("known are {}", known.join(", ")),
            };
            field.reader.push(unknown.help(help));
        }
        found
    }

    /// Why none of an authority's challenges can prove this name, if so.
    pub fn cannot_prove(&self, authority: usize, name: &str) -> Option<&'static str> {
        let challenges = &self.known.get(authority)?.challenges;
        let has_dns = challenges.contains(&Challenge::Dns01);
        if name.starts_with("*.") && !has_dns {
            return Some("a wildcard can be proved by dns-01 alone: the authority needs `dns`");
        }
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        let only_dns = challenges.as_slice() == [Challenge::Dns01];
        (is_address && only_dns).then_some("an address can't be proved by dns-01")
    }

    fn comes_back(&self, from: usize) -> bool {
        let mut at = from;
        for _ in &self.known {
            match self.known.get(at).and_then(|a| a.next) {
                Some(next) if next == from => return true,
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }
}

fn authority(name: &str, section: &Section<'_, '_>, folder: &Path, place: Place) -> Option<Acme> {
    let text = |name| section.field(name).and_then(|f| f.text());
    let wait = |name| section.field(name).and_then(|f| f.duration());
    let minutes = |n: u64| std::time::Duration::from_secs(n * 60);
    let dns = section.section("dns");
    let trial = section.field("trial").map(|field| match field.text() {
        Some("off") => None,
        Some(_) => field.parse(directory),
        None => None,
    });
    let challenges = challenges(section, dns.is_some());
    let dns = dns.map(|dns| self::dns(&dns, folder));
    // Whatever else is missing, each part is looked at.
    let storage = text("storage");
    let profile = text("profile");
    let agree = section.field("agree_to_terms").and_then(|f| f.bool());
    let contact = section.items("contact");
    let contact = contact.iter().filter_map(|item| item.parse(mail));
    let contact = contact.map(str::to_owned).collect();
    let key_type = match section.field("key_type").and_then(|f| f.choice()) {
        Some("p384") => KeyType::P384,
        Some("rsa2048") => KeyType::Rsa2048,
        _ => KeyType::P256,
    };
    let eab = section.section("eab").map(|section| eab(&section));
    let roots = roots(section, folder);
    let (answer, order) = (wait("answer_timeout"), wait("order_timeout"));
    let directory = section.field("directory")?.parse(directory)?;
    let usual = (directory == LETSENCRYPT).then_some(LETSENCRYPT_STAGING);
    Some(Acme {
        name: name.into(),
        trial: trial.unwrap_or(usual).map(Into::into),
        directory: directory.into(),
        storage: folder.join(storage?),
        agree_to_terms: agree.unwrap_or_default(),
        contact,
        challenges,
        dns: all(dns)?,
        key_type,
        profile: profile.map(Into::into),
        eab: all(eab)?,
        roots,
        next: None,
        answer_timeout: answer.unwrap_or(minutes(1) / 2),
        order_timeout: order.unwrap_or(minutes(10)),
        place,
    })
}

/// Something that may be missing, but not be wrong.
#[expect(clippy::option_option, reason = "missing and wrong are two things")]
fn all<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    match part {
        Some(None) => None,
        Some(part) => Some(part),
        None => Some(None),
    }
}

fn roots(section: &Section<'_, '_>, folder: &Path) -> Option<(std::path::PathBuf, Place)> {
    let field = section.field("roots")?;
    Some((folder.join(field.text()?), field.place()))
}

fn challenges(section: &Section<'_, '_>, dns: bool) -> Vec<Challenge> {
    let mut found: Vec<(Challenge, Field<'_, '_>)> = Vec::new();
    for item in section.items("challenges") {
        let kind = match item.choice() {
            Some("http-01") => Challenge::Http01,
            Some("dns-01") => Challenge::Dns01,
            Some(_) => Challenge::TlsAlpn01,
            None => continue,
        };
        if let Some((_, first)) = found.iter().find(|(k, _)| *k == kind) {
            report_twice(&item, "this challenge is listed already", first.node.span);
            continue;
        }
        if kind == Challenge::Dns01 && !dns {
            let wrong = item.fail("dns-01 needs `dns`: who makes the TXT records");
            let help = "such as `dns: { exec: [/usr/local/bin/txt-record] }`";
            item.reader.push(wrong.help(help));
        }
        found.push((kind, item));
    }
    if dns
        && let Some(field) = section.field("challenges")
        && !found.iter().any(|(k, _)| *k == Challenge::Dns01)
    {
        field.error("`dns` is for dns-01, which isn't among these");
    }
    match (found.is_empty(), dns) {
        (false, _) => found.into_iter().map(|(kind, _)| kind).collect(),
        (true, true) => vec![Challenge::Dns01],
        (true, false) => vec![Challenge::TlsAlpn01, Challenge::Http01],
    }
}

fn eab(section: &Section<'_, '_>) -> Option<Eab> {
    let key = section.field("hmac_key").and_then(|f| f.parse(secret));
    let key_id = section.field("key_id")?.text()?.to_owned();
    let hmac_key = key?;
    Some(Eab { key_id, hmac_key })
}

fn dns(section: &Section<'_, '_>, folder: &Path) -> Option<Dns> {
    let wait = |section: &Section<'_, '_>, name| section.field(name).and_then(|f| f.duration());
    let timeout = wait(section, "timeout");
    let usual = Propagation::default();
    let propagation = section.section("propagation").map(|section| Propagation {
        wait: wait(&section, "wait").unwrap_or(usual.wait),
        timeout: wait(&section, "timeout").unwrap_or(usual.timeout),
        servers: section
            .items("servers")
            .iter()
            .filter_map(|item| item.parse(scalar::address))
            .collect(),
    });
    let way = if let Some(update) = section.section("update") {
        self::update(&update)
    } else if let Some(webhook) = section.section("webhook") {
        self::webhook(&webhook, folder)
    } else {
        let words = section.items("exec");
        let mut words = words.iter().map(|w| w.text().map(str::to_owned));
        let program = words.next()??;
        // One without a slash is looked for on the path.
        let program = match program.contains('/') {
            true => folder.join(program).display().to_string(),
            false => program,
        };
        Some(DnsWay::Exec {
            program,
            arguments: words.collect::<Option<_>>()?,
        })
    };
    Some(Dns {
        way: way?,
        timeout: timeout.unwrap_or(std::time::Duration::from_secs(60)),
        propagation: propagation.unwrap_or(usual),
    })
}

fn update(section: &Section<'_, '_>) -> Option<DnsWay> {
    let (name, key) = (section.field("key_name"), section.field("key"));
    let algorithm = section.field("algorithm").and_then(|f| f.choice());
    let key = match (name, key) {
        (Some(name), Some(key)) => Some(TsigKey {
            name: name.parse(zone)?.to_owned(),
            key: key.parse(secret)?,
            algorithm: match algorithm {
                Some("hmac-sha384") => TsigAlgorithm::HmacSha384,
                Some("hmac-sha512") => TsigAlgorithm::HmacSha512,
                _ => TsigAlgorithm::HmacSha256,
            },
        }),
        (None, None) => {
            if let Some(field) = section.field("algorithm") {
                field.error("there is no `key` that this is the algorithm of");
            }
            None
        }
        (Some(one), None) => {
            one.error("`key` is missing: a key has a name and a value");
            None
        }
        (None, Some(one)) => {
            one.error("`key_name` is missing: the server finds the key by its name");
            None
        }
    };
    let zone = section.field("zone").and_then(|f| f.parse(zone));
    Some(DnsWay::Update {
        server: section.field("server")?.parse(scalar::address)?,
        zone: zone.map(str::to_owned),
        key,
    })
}

fn webhook(section: &Section<'_, '_>, folder: &Path) -> Option<DnsWay> {
    let mut headers = Vec::new();
    if let Some(field) = section.field("headers") {
        for (name, field) in field.header_values() {
            let Ok(name) = HeaderName::try_from(name) else {
                field.error("expected the name of a header");
                continue;
            };
            let value = field.parse(|text| {
                let value = HeaderValue::from_str(text);
                value.map_err(|_| Trouble::new("this can't stand in a header"))
            });
            headers.extend(value.map(|mut value| {
                value.set_sensitive(true);
                (name, value)
            }));
        }
    }
    Some(DnsWay::Webhook {
        roots: roots(section, folder),
        headers,
        url: section.field("url")?.parse(hook)?.to_owned(),
    })
}

/// A word for a known directory, or a URL.
fn directory(text: &str) -> Result<&str, Trouble> {
    const HELP: &str = "`letsencrypt`, `letsencrypt-staging`, or a URL such as \
                        `https://ca.internal/acme/acme/directory`";
    match text {
        "letsencrypt" => return Ok(LETSENCRYPT),
        "letsencrypt-staging" => return Ok(LETSENCRYPT_STAGING),
        _ => {}
    }
    if text.starts_with("http://") {
        return Err(Trouble::new("ACME goes over https alone (RFC 8555 §6.1)").help(HELP));
    }
    match is_url(text, &["https"]) {
        true => Ok(text),
        false => Err(Trouble::new("expected the directory of an authority").help(HELP)),
    }
}

fn hook(text: &str) -> Result<&str, Trouble> {
    match is_url(text, &["https", "http"]) {
        true => Ok(text),
        false => Err(Trouble::new("expected a URL").help("such as `https://dns.internal/acme`")),
    }
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    let Ok(url) = text.parse::<Uri>() else {
        return false;
    };
    let known = url.scheme_str().is_some_and(|s| schemes.contains(&s));
    known && url.host().is_some_and(|h| !h.is_empty()) && !text.contains('@')
}

fn mail(text: &str) -> Result<&str, Trouble> {
    const HELP: &str = "such as `ops@example.com`";
    if text.starts_with("mailto:") {
        return Err(Trouble::new("leave `mailto:` out").help(HELP));
    }
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b',' && b != b'?');
    match text.split_once('@') {
        Some((who, at)) if plain && !who.is_empty() && at.contains('.') => Ok(text),
        _ => Err(Trouble::new("expected one mail address").help(HELP)),
    }
}

/// A name in DNS. What isn't printable, or has no place in a name, is caught here; the rest by who
/// uses it.
fn zone(text: &str) -> Result<&str, Trouble> {
    let labels = text.strip_suffix('.').unwrap_or(text).split('.');
    let fine = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match text.len() <= 253 && labels.into_iter().all(fine) {
        true => Ok(text),
        false => Err(Trouble::new("expected a name in DNS").help("such as `example.com`")),
    }
}

/// Bytes in base64, of either alphabet.
fn secret(text: &str) -> Result<Secret, Trouble> {
    let text = text.trim();
    let bytes = URL_SAFE.decode(text).or_else(|_| STANDARD.decode(text));
    match bytes {
        Ok(bytes) if !bytes.is_empty() => Ok(Secret(Zeroizing::new(bytes))),
        _ => Err(Trouble::new("expected a key in base64")),
    }
}
