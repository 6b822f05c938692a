//! Features: what proto2, proto3 and each edition mean by default, and how they are inherited.
//!
//! | feature | proto2 | proto3 | 2023, 2024 |
//! | --- | --- | --- | --- |
//! | `field_presence` | EXPLICIT | IMPLICIT | EXPLICIT |
//! | `enum_type` | CLOSED | OPEN | OPEN |
//! | `repeated_field_encoding` | EXPANDED | PACKED | PACKED |
//! | `utf8_validation` | NONE | VERIFY | VERIFY |
//! | `message_encoding` | LENGTH_PREFIXED | LENGTH_PREFIXED | LENGTH_PREFIXED |
//! | `json_format` | LEGACY_BEST_EFFORT | ALLOW | ALLOW |
//!
//! A value set on a file, message, oneof, field or enum holds for all that is declared inside
//! (<https://protobuf.dev/editions/features/>). proto2 and proto3 can't set features; what they say
//! with `required`, `optional`, `group` and `packed` is laid over the defaults by the linker.

use super::descriptor::{FeatureSet, FileDescriptor};

/// The language a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Proto2,
    Proto3,
    /// 2023 or 2024.
    Edition,
}

/// `field_presence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldPresence {
    Explicit,
    Implicit,
    LegacyRequired,
}

/// All features of one element, none left to inherit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    pub presence: FieldPresence,
    pub closed_enum: bool,
    pub packed: bool,
    pub verify_utf8: bool,
    pub delimited: bool,
    /// `json_format = ALLOW`: names that clash in JSON are an error.
    pub json_strict: bool,
}

impl Features {
    const PROTO2: Self = Self {
        presence: FieldPresence::Explicit,
        closed_enum: true,
        packed: false,
        verify_utf8: false,
        delimited: false,
        json_strict: false,
    };
    const PROTO3: Self = Self {
        presence: FieldPresence::Implicit,
        closed_enum: false,
        packed: true,
        verify_utf8: true,
        delimited: false,
        json_strict: true,
    };
    const EDITION: Self = Self {
        presence: FieldPresence::Explicit,
        ..Self::PROTO3
    };

    /// These with what `set` says laid over them, or the name of a feature with a value that we
    /// don't know: guessing would change the bytes.
    pub fn overlaid(mut self, set: Option<&FeatureSet>) -> Result<Self, String> {
        let Some(set) = set else { return Ok(self) };
        let unknown =
            |feature: &str, value: i32| format!("features.{feature} has the unknown value {value}");
        match set.field_presence {
            None | Some(0) => {}
            Some(1) => self.presence = FieldPresence::Explicit,
            Some(2) => self.presence = FieldPresence::Implicit,
            Some(3) => self.presence = FieldPresence::LegacyRequired,
            Some(other) => return Err(unknown("field_presence", other)),
        }
        let flag = |slot: &mut bool, value: Option<i32>, yes: i32, no: i32, name: &str| {
            match value {
                None | Some(0) => {}
                Some(v) if v == yes => *slot = true,
                Some(v) if v == no => *slot = false,
                Some(other) => return Err(unknown(name, other)),
            }
            Ok(())
        };
        flag(&mut self.closed_enum, set.enum_type, 2, 1, "enum_type")?;
        flag(
            &mut self.packed,
            set.repeated_field_encoding,
            1,
            2,
            "repeated_field_encoding",
        )?;
        flag(
            &mut self.verify_utf8,
            set.utf8_validation,
            2,
            3,
            "utf8_validation",
        )?;
        flag(
            &mut self.delimited,
            set.message_encoding,
            2,
            1,
            "message_encoding",
        )?;
        flag(&mut self.json_strict, set.json_format, 1, 2, "json_format")?;
        Ok(self)
    }
}

/// The language of a file and the features that hold at its top, or what is wrong with its header.
pub fn of_file(file: &FileDescriptor) -> Result<(Syntax, Features), String> {
    let syntax = file.syntax.as_deref().unwrap_or_default();
    let (syntax, base) = match (syntax, file.edition) {
        ("", None | Some(0 | 998)) | ("proto2", None | Some(0 | 998)) => {
            (Syntax::Proto2, Features::PROTO2)
        }
        ("proto3", None | Some(0 | 999)) => (Syntax::Proto3, Features::PROTO3),
        ("editions" | "", Some(1000 | 1001)) => (Syntax::Edition, Features::EDITION),
        ("editions", None) => {
            return Err("the file says syntax \"editions\" but not which edition".to_owned());
        }
        ("editions" | "", Some(number)) => {
            return Err(format!(
                "edition {} is unknown; this version knows proto2, proto3, 2023 and 2024",
                edition_name(number)
            ));
        }
        (other, Some(number)) => {
            return Err(format!(
                "syntax {other:?} does not go with edition {}",
                edition_name(number)
            ));
        }
        (other, None) => {
            return Err(format!(
                "syntax {other:?} is unknown; it may be proto2, proto3 or editions"
            ));
        }
    };
    if syntax != Syntax::Edition {
        return Ok((syntax, base));
    }
    let set = file.options.as_ref().and_then(|o| o.features.as_ref());
    Ok((syntax, base.overlaid(set)?))
}

fn edition_name(number: i32) -> String {
    match number {
        998 => "proto2".to_owned(),
        999 => "proto3".to_owned(),
        1000 => "2023".to_owned(),
        1001 => "2024".to_owned(),
        other => format!("number {other}"),
    }
}
