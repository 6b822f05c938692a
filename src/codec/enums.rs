//! Enums compiled into tables: numbers by name and printed forms by number, as the options have them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::JsonOptions;
use crate::schema::Enum;

type Names = HashMap<Box<[u8]>, i32, FixedState>;

#[derive(Debug)]
pub(super) struct EnumTable {
    pub full_name: Box<str>,
    pub closed: bool,
    /// Number of the value declared first: the default.
    pub first: i32,
    /// `google.protobuf.NullValue`.
    pub null: bool,
    names: Names,
    /// Names in lower case, when the options ask for it.
    lower: Option<Names>,
    /// Printed form by number: `"PUZZLE"`, `null`, or digits.
    low: Box<[Option<Box<[u8]>>]>,
    high: HashMap<i32, Box<[u8]>, FixedState>,
}

impl EnumTable {
    /// The number of a name, or `None` for an unknown one.
    pub(super) fn number(&self, name: &[u8]) -> Option<i32> {
        if let Some(&n) = self.names.get(name) {
            return Some(n);
        }
        let lower = self.lower.as_ref()?;
        lower.get(&*name.to_ascii_lowercase()).copied()
    }

    /// The printed form of a number, `None` when no value has it. A null is `null` whatever its number.
    #[inline]
    pub(super) fn literal(&self, number: i32) -> Option<&[u8]> {
        let number = if self.null { self.first } else { number };
        if let Some(slot) = usize::try_from(number).ok().and_then(|n| self.low.get(n)) {
            return slot.as_deref();
        }
        self.high.get(&number).map(|l| &**l)
    }
}

/// The name that each value is printed by, in the order of the values. Numbers aside: those are printed
/// where the options ask for them, or where no value has a name.
#[must_use]
pub fn printed_names(source: &Enum, options: &JsonOptions) -> Vec<String> {
    let options = JsonOptions {
        enums_as_numbers: false,
        ..options.clone()
    };
    let table = enum_table(source, &options);
    let printed = source.values.iter().map(|value| {
        let text = table.literal(value.number).unwrap_or_default();
        String::from_utf8_lossy(text).trim_matches('"').to_owned()
    });
    printed.collect()
}

pub(super) fn enum_table(source: &Enum, options: &JsonOptions) -> EnumTable {
    let null = &*source.full_name == "google.protobuf.NullValue";
    let prefix = options
        .strip_enum_prefix
        .then(|| screaming_snake(simple_name(&source.full_name)) + "_");
    let stripped = |name: &str| -> Option<Box<str>> {
        let rest = name.strip_prefix(prefix.as_deref()?)?;
        let ok = rest.starts_with(|c: char| c.is_ascii_alphabetic());
        ok.then(|| rest.into())
    };
    let mut names: Names = Names::default();
    for value in &source.values {
        names.insert(value.name.as_bytes().into(), value.number);
    }
    for value in &source.values {
        if let Some(short) = stripped(&value.name) {
            names.entry(short.as_bytes().into()).or_insert(value.number);
        }
    }
    let lower = options.case_insensitive_enums.then(|| {
        let mut lower: Names = Names::default();
        for value in &source.values {
            for name in [Some(value.name.clone()), stripped(&value.name)] {
                let Some(name) = name else { continue };
                lower
                    .entry(name.to_ascii_lowercase().into_bytes().into())
                    .or_insert(value.number);
            }
        }
        lower
    });
    let mut low: Vec<Option<Box<[u8]>>> = Vec::new();
    let mut high: HashMap<i32, Box<[u8]>, FixedState> = HashMap::default();
    for value in &source.values {
        // A short name that another value owns is not used.
        let short = stripped(&value.name)
            .filter(|s| names.get(s.as_bytes()) == Some(&value.number))
            .unwrap_or_else(|| value.name.clone());
        let text = literal(&short, value.number, null, options);
        match usize::try_from(value.number) {
            Ok(n) if n < 1024 => {
                if low.len() <= n {
                    low.resize(n + 1, None);
                }
                // With aliases the first of equal numbers is the one to print.
                if let Some(slot @ None) = low.get_mut(n) {
                    *slot = Some(text);
                }
            }
            _ => {
                high.entry(value.number).or_insert(text);
            }
        }
    }
    EnumTable {
        full_name: (&*source.full_name).into(),
        closed: source.closed,
        first: source.values.first().map_or(0, |v| v.number),
        null,
        names,
        lower,
        low: low.into(),
        high,
    }
}

fn literal(name: &str, number: i32, null: bool, options: &JsonOptions) -> Box<[u8]> {
    let mut out = Vec::with_capacity(name.len() + 2);
    if null {
        out.extend_from_slice(b"null");
    } else if options.enums_as_numbers {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    } else {
        super::scalar::put_json_string(&mut out, name.as_bytes());
    }
    out.into()
}

fn simple_name(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

/// `GameGenre` → `GAME_GENRE`.
fn screaming_snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut previous = '_';
    for c in name.chars() {
        if c.is_ascii_uppercase() && (previous.is_ascii_lowercase() || previous.is_ascii_digit()) {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
        previous = c;
    }
    out
}
