//! `google.api.Service` YAML: HTTP rules by selector, as gRPC API configurations have them.
//!
//! Only `http` is read; the other keys at the top belong to Google's format. Variables aren't replaced:
//! `$` has no meaning there.

use std::path::Path;

use super::diagnostic::Report;
use super::keys::{SELECTOR_RULE, SERVICE_HTTP};
use super::model::SelectorRule;
use super::raw::{Reader, Section};
use super::resolve::rule;
use super::source::Source;
use super::tree::{Node, Value};
use super::{Syntax, scalar};

/// Reads and parses a file.
///
/// # Errors
/// All faults of the file, or the one why it can't be read.
pub fn load(path: &Path) -> Result<Vec<SelectorRule>, Report> {
    let text = super::read(path)?;
    parse(&path.display().to_string(), &text, Syntax::of(path))
}

/// The rules of a file, in its order. `name` is what errors call it.
///
/// # Errors
/// All faults.
pub fn parse(name: &str, text: &str, syntax: Syntax) -> Result<Vec<SelectorRule>, Report> {
    let source = Source::new(name, text);
    let mut root = super::tree_of(&source, syntax)?;
    let reader = Reader::new(&source);
    let rules = rules(&reader, &mut root);
    let mut report = reader.finish();
    report.sort();
    match report.has_errors() {
        false => Ok(rules),
        true => Err(report),
    }
}

fn rules(reader: &Reader<'_>, root: &mut Node) -> Vec<SelectorRule> {
    let span = root.span;
    let http = match &mut root.value {
        Value::Map(entries) => entries.iter_mut().find(|e| e.key == "http"),
        Value::List(_) | Value::Scalar(_) => None,
    };
    let Some(http) = http else {
        reader.push(
            reader
                .source
                .error(span, "no `http` in this google.api.Service")
                .help("`http: { rules: [{ selector: package.Service.Method, get: /v1/… }] }`"),
        );
        return Vec::new();
    };
    proto_names(reader, &mut http.value);
    let Some(section) = Section::open(reader, &SERVICE_HTTP, &http.value, "http".into()) else {
        return Vec::new();
    };
    let expansion = section.field("fully_decode_reserved_expansion");
    if let Some(field) = expansion.filter(|f| f.bool() == Some(true)) {
        field.error("`fully_decode_reserved_expansion` can't be true: `%2F` stays as it is");
    }
    let items = section.items("rules");
    items
        .iter()
        .filter_map(|item| selector_rule(&item.section()?))
        .collect()
}

fn selector_rule(section: &Section<'_, '_>) -> Option<SelectorRule> {
    let rule = rule(section);
    let field = section.field("selector")?;
    let selector = field.text()?;
    field.parse(scalar::selector)?;
    let (rule, places) = rule?;
    Some(SelectorRule {
        selector: selector.into(),
        rule,
        places,
        place: field.place(),
    })
}

/// Both spellings are right in ProtoJSON (`responseBody`, `response_body`); ours is the proto's.
fn proto_names(reader: &Reader<'_>, node: &mut Node) {
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            for item in items {
                proto_names(reader, item);
            }
        }
        Value::Map(entries) => {
            for at in 0..entries.len() {
                let Some(proto) = entries.get(at).and_then(|e| proto_name(&e.key)) else {
                    continue;
                };
                let twice = entries.iter().any(|e| e.key == proto);
                let Some(entry) = entries.get_mut(at) else {
                    continue;
                };
                if twice {
                    let message = format!("duplicate key: `{}` is `{proto}`", entry.key);
                    reader.error(entry.key_span, "http", message);
                }
                entry.key = proto.to_owned();
            }
            for entry in entries {
                proto_names(reader, &mut entry.value);
            }
        }
    }
}

fn proto_name(json: &str) -> Option<&'static str> {
    let keys = SERVICE_HTTP.keys().chain(SELECTOR_RULE.keys());
    let mut names = keys.map(|k| k.name).filter(|n| n.contains('_'));
    names.find(|name| camel_case(name) == json)
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or("").to_owned();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}
