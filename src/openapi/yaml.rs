//! A JSON value as YAML: block style, and every text that is not plainly one in JSON's own quotes, which
//! YAML 1.2 reads alike.

use std::fmt::Write;

use serde_json::Value;

/// The document, with its line break.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match holds(value) {
        true => put(value, 0, false, &mut out),
        false => {
            put_scalar(value, &mut out);
            out.push('\n');
        }
    }
    out
}

/// A map or list that holds something. The first line is indented already where it follows a dash.
fn put(value: &Value, depth: usize, after_dash: bool, out: &mut String) {
    let mut first = after_dash;
    let mut start = |out: &mut String| match std::mem::replace(&mut first, false) {
        true => {}
        false => indent(depth, out),
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                start(out);
                put_text(key, out);
                out.push(':');
                put_below(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                start(out);
                out.push_str("- ");
                match holds(item) {
                    true => put(item, depth.saturating_add(1), true, out),
                    false => {
                        put_scalar(item, out);
                        out.push('\n');
                    }
                }
            }
        }
        scalar => put_scalar(scalar, out),
    }
}

fn holds(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn put_below(value: &Value, depth: usize, out: &mut String) {
    if holds(value) {
        out.push('\n');
        put(value, depth.saturating_add(1), false, out);
    } else {
        out.push(' ');
        put_scalar(value, out);
        out.push('\n');
    }
}

fn put_scalar(value: &Value, out: &mut String) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => put_text(text, out),
        // Numbers, booleans and null are the same in both.
        other => _ = write!(out, "{other}"),
    }
}

fn put_text(text: &str, out: &mut String) {
    match is_plain(text) {
        true => out.push_str(text),
        // Writing to a String can't fail.
        false => _ = write!(out, "{}", Value::from(text)),
    }
}

/// A text that no reader of YAML 1.1 or 1.2 takes for anything else.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let lower = text.to_ascii_lowercase();
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    starts && text.chars().all(inner) && !WORDS.contains(&lower.as_str())
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}
