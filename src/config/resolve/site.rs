//! What a route does that passes nothing on, and what is done to headers.

use std::path::Path;
use std::sync::Arc;

use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};

use super::super::keys::Shape;
use super::super::model::{Compression, Effort, Files, HeaderRules, Policy, Redirect, Respond};
use super::super::raw::{Field, Section};
use super::super::redirect::RedirectTo;
use super::super::site;
use super::super::tree::Value;

pub fn files(section: &Section<'_, '_>, folder: &Path) -> Option<Files> {
    let checked = |name, check: fn(&str) -> Result<(), super::scalar::Trouble>| {
        let field = section.field(name)?;
        field.parse(|text| check(text).map(|()| Box::<str>::from(text)))
    };
    let index = checked("index", site::file_name);
    let spa = checked("spa", site::below_root);
    let flag = |name| section.field(name).and_then(|f| f.bool());
    let precompressed = flag("precompressed").unwrap_or(true);
    let hashed = flag("hashed").unwrap_or(true);
    let items = section.items("immutable");
    let immutable = items.iter().filter_map(|item| {
        item.parse(|text| site::below_root(text).map(|()| Box::<str>::from(text)))
    });
    let immutable = immutable.collect();
    let root = section.field("root")?;
    Some(Files {
        root: folder.join(root.text()?),
        place: root.place(),
        index: index.unwrap_or_else(|| "index.html".into()),
        spa,
        precompressed,
        hashed,
        immutable,
    })
}

pub fn redirect(section: &Section<'_, '_>) -> Option<Redirect> {
    let status = section
        .field("code")
        .map_or(Some(StatusCode::TEMPORARY_REDIRECT), |field| {
            let status = match field.integer()? {
                301 => StatusCode::MOVED_PERMANENTLY,
                302 => StatusCode::FOUND,
                303 => StatusCode::SEE_OTHER,
                307 => StatusCode::TEMPORARY_REDIRECT,
                308 => StatusCode::PERMANENT_REDIRECT,
                _ => {
                    field.error("expected 301, 302, 303, 307 or 308");
                    return None;
                }
            };
            Some(status)
        });
    let to = section.field("to")?.parse(RedirectTo::parse)?;
    Some(Redirect {
        to,
        status: status?,
    })
}

pub fn respond(section: &Section<'_, '_>) -> Option<Respond> {
    let status = section.field("status").and_then(|f| f.integer());
    let status = status.and_then(|s| StatusCode::from_u16(u16::try_from(s).ok()?).ok());
    let status = status.unwrap_or(StatusCode::OK);
    let body = section.field("body").and_then(|f| f.text());
    let content_type = section.field("content_type");
    let value = content_type
        .as_ref()
        .and_then(|f| f.parse(site::header_value));
    let mut headers = section
        .field("headers")
        .map_or_else(Vec::new, |f| values(&f));
    let bodiless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if let (Some(field), true) = (section.field("body"), bodiless.contains(&status)) {
        field.error(format!(
            "a reply with status {} has no body",
            status.as_u16()
        ));
    }
    if body.is_some() {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(0, (CONTENT_TYPE, value.unwrap_or(text)));
    } else if let Some(field) = content_type {
        field.error("`content_type` without `body`");
    }
    Some(Respond {
        status,
        headers,
        body: body.unwrap_or_default().to_owned().into(),
    })
}

/// The headers of a map from names to values.
pub(super) fn values(field: &Field<'_, '_>) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = field.header_values();
    let read = pairs.iter().filter_map(|(name, value)| {
        let name = match site::settable(name) {
            Ok(name) => Some(name),
            Err(trouble) => {
                let wrong = value.reader.source.error(value.key_span, trouble.message);
                let help = trouble.help.map(std::borrow::Cow::into_owned);
                value.reader.push(wrong.key(&value.path).maybe_help(help));
                None
            }
        };
        Some((name?, value.parse(site::header_value)?))
    });
    read.collect()
}

/// `headers.request` and `headers.response` on top of those of the defaults.
pub fn header_rules(headers: &Section<'_, '_>, policy: &mut Policy) {
    for (name, rules) in [
        ("request", &mut policy.request_headers),
        ("response", &mut policy.response_headers),
    ] {
        let Some(section) = headers.section(name) else {
            continue;
        };
        let mut new = rules.as_deref().cloned().unwrap_or_default();
        if let Some(field) = section.field("set") {
            new.set = values(&field);
        }
        if section.has("remove") {
            let items = section.items("remove");
            new.remove = items
                .iter()
                .filter_map(|i| i.parse(site::removable))
                .collect();
        }
        *rules = Some(new).filter(|r| !r.is_empty()).map(Arc::new);
    }
}

/// `security_headers`: what is set unless the reply has it.
pub fn security_headers(field: &Field<'_, '_>, policy: &mut Policy) {
    let mut rules = policy
        .response_headers
        .as_deref()
        .cloned()
        .unwrap_or_default();
    rules.hsts = None;
    rules.default = match (&field.node.value, field.shape) {
        (Value::Map(_), Shape::ChoiceOr(_, keys)) => {
            let path = field.path.clone();
            match Section::open(field.reader, keys, field.node, path) {
                Some(section) => {
                    rules.hsts = section.section("hsts").and_then(|s| hsts(&s));
                    preset(&section)
                }
                None => return,
            }
        }
        _ => match field.choice() {
            Some("on") => standard(),
            _ => Vec::new(),
        },
    };
    policy.response_headers = Some(rules)
        .filter(|r: &HeaderRules| !r.is_empty())
        .map(Arc::new);
}

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

fn standard() -> Vec<(HeaderName, HeaderValue)> {
    let fixed = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    vec![
        fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(X_FRAME_OPTIONS, "SAMEORIGIN"),
        fixed(REFERRER_POLICY, "strict-origin-when-cross-origin"),
        fixed(OPENER_POLICY, "same-origin"),
    ]
}

/// RFC 6797
fn hsts(section: &Section<'_, '_>) -> Option<HeaderValue> {
    let flag = |name| section.field(name).and_then(|f| f.bool());
    let age = section.field("max_age")?.duration()?;
    let mut value = format!("max-age={}", age.as_secs());
    if flag("include_subdomains").unwrap_or_default() {
        value.push_str("; includeSubDomains");
    }
    if flag("preload").unwrap_or_default() {
        value.push_str("; preload");
    }
    HeaderValue::try_from(value).ok()
}

fn preset(section: &Section<'_, '_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = standard();
    for (key, name) in [
        ("frame_options", X_FRAME_OPTIONS),
        ("referrer_policy", REFERRER_POLICY),
        ("opener_policy", OPENER_POLICY),
    ] {
        let Some(word) = section.field(key).and_then(|f| f.choice()) else {
            continue;
        };
        headers.retain(|(known, _)| *known != name);
        let word = match word {
            "off" => continue,
            "deny" => "DENY",
            "sameorigin" => "SAMEORIGIN",
            word => word,
        };
        headers.push((name, HeaderValue::from_static(word)));
    }
    for (key, name) in [
        ("content_security_policy", CONTENT_SECURITY_POLICY),
        ("permissions_policy", PERMISSIONS_POLICY),
    ] {
        if let Some(value) = section.field(key).and_then(|f| f.parse(site::header_value)) {
            headers.push((name, value));
        }
    }
    headers
}

/// `compression`: keys on top of those of the defaults.
pub fn compression(field: &Field<'_, '_>, policy: &mut Policy) {
    let (Value::Map(_), Shape::ChoiceOr(_, keys)) = (&field.node.value, field.shape) else {
        match field.choice() {
            Some("on") => policy.compression = Some(policy.compression.unwrap_or_default()),
            Some(_) => policy.compression = None,
            None => {}
        }
        return;
    };
    let Some(section) = Section::open(field.reader, keys, field.node, field.path.clone()) else {
        return;
    };
    let mut rule: Compression = policy.compression.unwrap_or_default();
    if let Some(size) = section.field("min_size").and_then(|f| f.size()) {
        rule.bytes_min = size;
    }
    if let Some(word) = section.field("effort").and_then(|f| f.choice()) {
        rule.effort = match word {
            "fast" => Effort::Fast,
            "small" => Effort::Small,
            _ => Effort::Balanced,
        };
    }
    policy.compression = Some(rule);
}
