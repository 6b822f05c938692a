//! Names: which are identifiers, how scopes join, what a field is called in JSON.

/// Bytes of one identifier.
pub const NAME_BYTES_MAX: usize = 1024;
/// Bytes of a full name, package and scopes included.
pub const FULL_NAME_BYTES_MAX: usize = 8 * 1024;

/// `[A-Za-z_][A-Za-z0-9_]*`, as in the protobuf grammar. Anything else could forge a path, a header
/// or a log line further on.
pub fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.len() <= NAME_BYTES_MAX && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `scope.name`, or just the name at the root.
pub fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        return name.to_owned();
    }
    let mut full = String::with_capacity(scope.len().saturating_add(name.len()).saturating_add(1));
    full.push_str(scope);
    full.push('.');
    full.push_str(name);
    full
}

/// protoc's `ToJsonName`: an underscore goes and the letter after it becomes a capital.
pub fn json_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut capital = false;
    for c in name.chars() {
        if c == '_' {
            capital = true;
        } else if capital {
            out.push(c.to_ascii_uppercase());
            capital = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// A name from a descriptor, made fit to print: control characters escaped, cut at 200 bytes.
pub fn shown(name: &str) -> String {
    cut(name, 200)
}

/// The same for a whole sentence of the compiler's, which quotes its input.
pub fn shown_text(text: &str) -> String {
    cut(text, 1000)
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max && !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= bytes_max {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
