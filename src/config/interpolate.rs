//! `${NAME}`, `${NAME:-default}` and `$$` in values; keys stay as they are.
//!
//! A variable that is unset or empty takes the default, as in a shell. What comes from the environment
//! is never shown: messages quote the file, where `${NAME}` stands.

use super::diagnostic::Diagnostic;
use super::source::{Source, Span};
use super::tree::{Kind, Node, Value, core_kind};

/// Looks a variable up.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Bytes of one value once its variables are in.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Replaces variables in every scalar of the tree.
pub fn expand(
    source: &Source,
    node: &mut Node,
    environment: Environment<'_>,
    errors: &mut Vec<Diagnostic>,
) {
    match &mut node.value {
        Value::List(items) => {
            for item in items {
                expand(source, item, environment, errors);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                expand(source, &mut entry.value, environment, errors);
            }
        }
        Value::Scalar(scalar) if scalar.kind == Kind::String && scalar.text.contains('$') => {
            match replace(&scalar.text, environment) {
                Ok(replaced) => {
                    scalar.text = replaced.text;
                    scalar.expanded = replaced.variables;
                    // Unquoted YAML and all JSON and TOML: `workers: ${N}` is a number. Readers of
                    // text take an expanded scalar as it is, whatever it looks like.
                    if replaced.variables {
                        scalar.kind = match core_kind(&scalar.text) {
                            Kind::Null => Kind::String,
                            kind => kind,
                        };
                    }
                }
                Err(fault) => errors.push(report(source, node.span, fault)),
            }
        }
        Value::Scalar(_) => {}
    }
}

fn report(source: &Source, span: Span, fault: Fault) -> Diagnostic {
    // Escapes and folding move things about, so look for the variable itself in the file's text.
    let within = source.slice(span).find(&fault.written);
    let at = within.map_or(span, |found| {
        let start = span.start + found;
        Span::new(start, start + fault.written.len())
    });
    source.error(at, fault.message).maybe_help(fault.help)
}

struct Replaced {
    text: String,
    variables: bool,
}

#[derive(Debug)]
struct Fault {
    /// The part of the value that is wrong.
    written: String,
    message: String,
    help: Option<String>,
}

fn replace(text: &str, environment: Environment<'_>) -> Result<Replaced, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut variables = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((inside, after)) = after.split_once('}') else {
                return Err(Fault {
                    written: format!("${{{after}"),
                    message: "`${` without a `}`".into(),
                    help: Some("write `$$` for a dollar sign".into()),
                });
            };
            out.push_str(&lookup(inside, environment)?);
            variables = true;
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
        if out.len() > VALUE_BYTES_MAX {
            return Err(Fault {
                written: text.to_owned(),
                message: format!("more than {VALUE_BYTES_MAX} bytes once its variables are in"),
                help: None,
            });
        }
    }
    out.push_str(rest);
    Ok(Replaced {
        text: out,
        variables,
    })
}

fn lookup(inside: &str, environment: Environment<'_>) -> Result<String, Fault> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let fault = |message: String, help: Option<String>| Fault {
        written: format!("${{{inside}}}"),
        message,
        help,
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(fault(
            format!("`{name}` is no name of an environment variable"),
            Some("the forms are `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign".into()),
        ));
    }
    if default.is_some_and(|d| d.contains("${")) {
        return Err(fault(
            format!("the default of `{name}` holds a variable itself"),
            Some("a default is plain text".into()),
        ));
    }
    let value = environment(name).filter(|v| !v.is_empty());
    match (value, default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(fault(
            format!("environment variable `{name}` is not set"),
            Some(format!("set it, or give a default: `${{{name}:-…}}`")),
        )),
    }
}
