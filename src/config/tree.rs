//! One tree for all formats: values with their places, nothing interpreted but scalars' kinds.
//!
//! Invariant: no map has a key twice, and depth and node count are bounded, whoever built the tree.

use super::diagnostic::{Diagnostic, Related};
use super::source::{Source, Span};

/// Nesting of lists and maps. A config needs about six.
pub const DEPTH_MAX: usize = 32;
/// Values in one file, copies by alias included.
pub const NODES_MAX: usize = 200_000;
/// Bytes of one file.
pub const FILE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// After this many errors the rest of a file isn't looked at.
pub const ERRORS_MAX: usize = 100;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One `key: value` of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

/// A value without parts.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    pub kind: Kind,
    /// Some of the text came from the environment: not to be shown, and read as whatever is asked for.
    pub expanded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Integer,
    Float,
    String,
    /// TOML alone has these.
    Date,
}

impl Scalar {
    #[must_use]
    pub fn new(text: impl Into<String>, kind: Kind) -> Self {
        Self {
            text: text.into(),
            kind,
            expanded: false,
        }
    }
}

impl Node {
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(s) if s.kind == Kind::Null)
    }

    /// "a list", for messages.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar(s) => match s.kind {
                Kind::Null => "nothing",
                Kind::Bool => "a boolean",
                Kind::Integer | Kind::Float => "a number",
                Kind::String => "a string",
                Kind::Date => "a date",
            },
        }
    }
}

/// Adds an entry, unless the key is there already.
///
/// # Errors
/// A duplicate key, with both places. Linear in the map: callers bound the number of nodes, and
/// [`KEYS_MAX`] the keys of one map.
pub fn insert(
    source: &Source,
    entries: &mut Vec<Entry>,
    entry: Entry,
) -> Result<(), Box<Diagnostic>> {
    if entries.len() >= KEYS_MAX {
        return Err(Box::new(source.error(
            entry.key_span,
            format!("more than {KEYS_MAX} keys in one map"),
        )));
    }
    if let Some(first) = entries.iter().find(|e| e.key == entry.key) {
        let mut twice = source
            .error(entry.key_span, format!("duplicate key `{}`", entry.key))
            .label("the second one");
        twice.related = Some(Related {
            location: source.location(first.key_span),
            snippet: source.snippet(first.key_span),
            label: "the first is here".into(),
        });
        return Err(Box::new(twice));
    }
    entries.push(entry);
    Ok(())
}

/// Keys of one map.
pub const KEYS_MAX: usize = 2_000;

/// The kind of an unquoted scalar by the core schema of YAML 1.2 (§10.3.2): `yes`, `no`, `on`, `off`
/// and `0777` are not booleans or octal there.
#[must_use]
pub fn core_kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Kind::Bool,
        ".nan" | ".NaN" | ".NAN" => return Kind::Float,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Kind::Float;
    }
    let of = |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if of(unsigned, 10)
        || text.strip_prefix("0o").is_some_and(|d| of(d, 8))
        || text.strip_prefix("0x").is_some_and(|d| of(d, 16))
    {
        return Kind::Integer;
    }
    let starts = unsigned.trim_start_matches('.');
    let number = unsigned.len() - starts.len() <= 1
        && starts.starts_with(|c: char| c.is_ascii_digit())
        && unsigned
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if number && unsigned.parse::<f64>().is_ok() {
        return Kind::Float;
    }
    Kind::String
}

/// The value of a [`Kind::Integer`], when it is in range.
#[must_use]
pub fn integer(text: &str) -> Option<i128> {
    if let Some(digits) = text.strip_prefix("0o") {
        return i128::from_str_radix(digits, 8).ok();
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i128::from_str_radix(digits, 16).ok();
    }
    text.parse().ok()
}
