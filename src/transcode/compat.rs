//! Where grpc-gateway reads a request in its own way: texts of query, form and path.
//!
//! Each of its forms is rewritten to the one of ProtoJSON, and whatever is not of its forms stays as it
//! is: what we read is what both read.

use std::borrow::Cow;

use crate::schema::{FieldRef, Kind, Schema, WellKnown};

use super::plan::well_known;

/// Whose ways a route has where gateways differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    #[default]
    None,
    /// grpc-gateway v2.
    GrpcGateway,
}

impl Compat {
    #[must_use]
    pub fn is_grpc_gateway(self) -> bool {
        self == Self::GrpcGateway
    }

    /// The text of a value as ProtoJSON writes it.
    pub(super) fn text<'t>(self, schema: &Schema, field: FieldRef, text: &'t str) -> Cow<'t, str> {
        match (self, schema.field(field).map(|f| f.kind)) {
            (Self::None, _) | (_, None) => Cow::Borrowed(text),
            (Self::GrpcGateway, Some(kind)) => go_text(schema, kind, text),
        }
    }
}

fn go_text<'t>(schema: &Schema, kind: Kind, text: &'t str) -> Cow<'t, str> {
    let well_known = match kind {
        Kind::Message(id) => well_known(schema, id),
        _ => None,
    };
    match (kind, well_known) {
        (Kind::Bool, _) | (_, Some(WellKnown::BoolValue)) => Cow::Borrowed(go_bool(text)),
        (_, Some(WellKnown::Duration)) => match go_duration(text) {
            Some(nanos) => Cow::Owned(seconds(nanos)),
            None => Cow::Borrowed(text),
        },
        _ => Cow::Borrowed(text),
    }
}

/// `strconv.ParseBool`
fn go_bool(text: &str) -> &str {
    match text {
        "1" | "t" | "T" | "TRUE" | "True" => "true",
        "0" | "f" | "F" | "FALSE" | "False" => "false",
        other => other,
    }
}

/// `time.ParseDuration` (`1h30m`, `-1.5s`, `100ms`) in nanoseconds.
fn go_duration(text: &str) -> Option<i128> {
    const DIGITS_MAX: usize = 12;
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total = 0_i128;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        let length = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(length)?;
        let fits = whole.len() <= DIGITS_MAX && fraction.len() <= DIGITS_MAX;
        if !fits || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let unit = unit_nanos(unit)?;
        let number = |text: &str| match text {
            "" => Some(0),
            digits => digits.parse::<i128>().ok(),
        };
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        total += number(whole)? * unit + number(fraction)? * unit / scale;
        rest = after;
    }
    match (unsigned.is_empty(), text.starts_with('-')) {
        (true, _) => None,
        (false, true) => Some(-total),
        (false, false) => Some(total),
    }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    })
}

/// `-5400.000000001s`
fn seconds(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!(
        "{sign}{}.{:09}s",
        nanos / 1_000_000_000,
        nanos % 1_000_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        for (text, expected) in [
            ("1h30m", Some("5400.000000000s")),
            ("-1.5s", Some("-1.500000000s")),
            ("+2s", Some("2.000000000s")),
            ("100ms", Some("0.100000000s")),
            (".5s", Some("0.500000000s")),
            ("1.s", Some("1.000000000s")),
            ("1us1ns", Some("0.000001001s")),
            ("3µs", Some("0.000003000s")),
            ("0", Some("0.000000000s")),
            ("-0", Some("0.000000000s")),
            ("", None),
            ("-", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1h 2m", None),
            ("1234567890123s", None),
        ] {
            assert_eq!(
                go_duration(text).map(seconds).as_deref(),
                expected,
                "{text:?}"
            );
        }
    }

    #[test]
    fn booleans_as_go_reads_them() {
        for (text, expected) in [
            ("1", "true"),
            ("F", "false"),
            ("True", "true"),
            ("yes", "yes"),
        ] {
            assert_eq!(go_bool(text), expected);
        }
    }
}
