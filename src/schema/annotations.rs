//! What descriptors say for people: comments, and options that describe a field without changing its
//! wire form. Kept only for who writes documents; a schema without them serves as well.
//!
//! Read from the bytes of the files by structs of their own, apart from those that the schema is made
//! of: two sources that differ in such words alone declare the same.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::descriptor::{EnumDescriptor, MessageDescriptor, ServiceDescriptor};
use super::names;
use super::sources::{Item, SourceFile, Unit};
use super::wire;

/// Of one comment; the rest of a longer one is left out.
const COMMENT_BYTES_MAX: usize = 16 << 10;

/// Numbers of fields in `descriptor.proto`, as paths of source locations are made of.
mod tag {
    pub const FILE_MESSAGE: i32 = 4;
    pub const FILE_ENUM: i32 = 5;
    pub const FILE_SERVICE: i32 = 6;
    pub const MESSAGE_FIELD: i32 = 2;
    pub const MESSAGE_NESTED: i32 = 3;
    pub const MESSAGE_ENUM: i32 = 4;
    pub const ENUM_VALUE: i32 = 2;
    pub const SERVICE_METHOD: i32 = 2;
}

/// Comments and such options, by the full name of what they are about: `pkg.Message.field`,
/// `pkg.Service.Method`; values are named after their enum, `pkg.Enum.VALUE`.
#[derive(Debug, Default)]
pub struct Annotations {
    comments: HashMap<Box<str>, Box<str>>,
    deprecated: HashSet<Box<str>>,
    fields: HashMap<Box<str>, FieldNote>,
}

/// What `google.api.field_behavior` and `google.api.field_info` say of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldNote {
    pub required: bool,
    pub output_only: bool,
    pub input_only: bool,
    pub immutable: bool,
    /// As JSON Schema names it: `uuid`, `ipv4`, `ipv6`.
    pub format: Option<&'static str>,
}

impl Annotations {
    /// The comment of a declaration, as paragraphs of Markdown.
    #[must_use]
    pub fn comment(&self, full_name: &str) -> Option<&str> {
        self.comments.get(full_name).map(|text| &**text)
    }

    #[must_use]
    pub fn is_deprecated(&self, full_name: &str) -> bool {
        self.deprecated.contains(full_name)
    }

    #[must_use]
    pub fn field(&self, full_name: &str) -> FieldNote {
        self.fields.get(full_name).copied().unwrap_or_default()
    }
}

/// Those of everything that is in the pool.
pub(super) fn collect(files: &[SourceFile], units: &[Unit<'_>]) -> Annotations {
    let mut read: HashMap<usize, Told> = HashMap::new();
    let mut found = Annotations::default();
    for unit in units {
        let Some(source) = files.get(unit.file) else {
            continue;
        };
        let told = read
            .entry(unit.file)
            .or_insert_with(|| Told::read(&source.raw));
        let package = source.file.package.as_deref().unwrap_or_default();
        let Ok(index) = i32::try_from(unit.index) else {
            continue;
        };
        let mut walk = Walk {
            comments: &told.comments,
            found: &mut found,
        };
        match unit.item {
            Item::Message(message) => {
                let options = told.file.message.get(unit.index);
                walk.message(
                    message,
                    options,
                    package,
                    &mut vec![tag::FILE_MESSAGE, index],
                );
            }
            Item::Enum(declared) => {
                let options = told.file.enumeration.get(unit.index);
                walk.enumeration(declared, options, package, &mut vec![tag::FILE_ENUM, index]);
            }
            Item::Service(service) => {
                let options = told.file.service.get(unit.index);
                walk.service(
                    service,
                    options,
                    package,
                    &mut vec![tag::FILE_SERVICE, index],
                );
            }
            Item::Extension(_) => {}
        }
    }
    found
}

/// A file's own words.
struct Told {
    comments: HashMap<Vec<i32>, Box<str>>,
    file: FileWords,
}

impl Told {
    /// What can't be read has nothing to say: it costs words alone.
    fn read(raw: &[u8]) -> Self {
        const SOURCE_CODE_INFO: u32 = 9;
        const LOCATION: u32 = 1;
        let infos = wire::Fields(raw).filter(|(tag, _)| *tag == SOURCE_CODE_INFO);
        let locations = infos.flat_map(|(_, info)| wire::Fields(info));
        let mut comments = HashMap::new();
        for (_, bytes) in locations.filter(|(tag, _)| *tag == LOCATION) {
            let Ok(location) = CommentAt::decode(bytes) else {
                continue;
            };
            let leading = location.leading.as_deref().map(tidy);
            let text = leading
                .filter(|text| !text.is_empty())
                .or_else(|| location.trailing.as_deref().map(tidy));
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                comments.insert(location.path, text.into());
            }
        }
        Self {
            comments,
            file: FileWords::decode(raw).unwrap_or_default(),
        }
    }
}

struct Walk<'w> {
    comments: &'w HashMap<Vec<i32>, Box<str>>,
    found: &'w mut Annotations,
}

impl Walk<'_> {
    fn note(&mut self, name: &str, path: &[i32], deprecated: bool) {
        if let Some(text) = self.comments.get(path) {
            self.found.comments.insert(name.into(), text.clone());
        }
        if deprecated {
            self.found.deprecated.insert(name.into());
        }
    }

    /// Calls `visit` with the path of each of `count` things below.
    fn each(
        path: &mut Vec<i32>,
        tag: i32,
        count: usize,
        mut visit: impl FnMut(&mut Vec<i32>, usize),
    ) {
        for index in 0..count {
            path.extend([tag, i32::try_from(index).unwrap_or(i32::MAX)]);
            visit(path, index);
            path.truncate(path.len().saturating_sub(2));
        }
    }

    // The recursion is bounded: prost refuses messages nested over 100 deep.
    fn message(
        &mut self,
        message: &MessageDescriptor,
        words: Option<&MessageWords>,
        scope: &str,
        path: &mut Vec<i32>,
    ) {
        let name = names::join(scope, message.name.as_deref().unwrap_or_default());
        let deprecated = words.and_then(|w| w.options.as_ref()?.deprecated);
        self.note(&name, path, deprecated.unwrap_or_default());
        Self::each(path, tag::MESSAGE_FIELD, message.field.len(), |path, at| {
            let Some(field) = message.field.get(at) else {
                return;
            };
            let full = names::join(&name, field.name.as_deref().unwrap_or_default());
            let options = words.and_then(|w| w.field.get(at)?.options.as_ref());
            let deprecated = options.and_then(|o| o.deprecated);
            self.note(&full, path, deprecated.unwrap_or_default());
            let note = options.map(FieldOptionWords::note).unwrap_or_default();
            if note != FieldNote::default() {
                self.found.fields.insert(full.into(), note);
            }
        });
        let nested = message.nested_type.len();
        Self::each(path, tag::MESSAGE_NESTED, nested, |path, at| {
            if let Some(nested) = message.nested_type.get(at) {
                let words = words.and_then(|w| w.nested.get(at));
                self.message(nested, words, &name, path);
            }
        });
        Self::each(
            path,
            tag::MESSAGE_ENUM,
            message.enum_type.len(),
            |path, at| {
                if let Some(nested) = message.enum_type.get(at) {
                    let words = words.and_then(|w| w.enumeration.get(at));
                    self.enumeration(nested, words, &name, path);
                }
            },
        );
    }

    fn enumeration(
        &mut self,
        declared: &EnumDescriptor,
        words: Option<&EnumWords>,
        scope: &str,
        path: &mut Vec<i32>,
    ) {
        let name = names::join(scope, declared.name.as_deref().unwrap_or_default());
        let deprecated = words.and_then(|w| w.options.as_ref()?.deprecated);
        self.note(&name, path, deprecated.unwrap_or_default());
        Self::each(path, tag::ENUM_VALUE, declared.value.len(), |path, at| {
            let value = declared.value.get(at).and_then(|v| v.name.as_deref());
            let full = names::join(&name, value.unwrap_or_default());
            let options = words.and_then(|w| w.value.get(at)?.options.as_ref());
            let deprecated = options.and_then(|o| o.deprecated);
            self.note(&full, path, deprecated.unwrap_or_default());
        });
    }

    fn service(
        &mut self,
        service: &ServiceDescriptor,
        words: Option<&ServiceWords>,
        scope: &str,
        path: &mut Vec<i32>,
    ) {
        let name = names::join(scope, service.name.as_deref().unwrap_or_default());
        let deprecated = words.and_then(|w| w.options.as_ref()?.deprecated);
        let all = deprecated.unwrap_or_default();
        self.note(&name, path, all);
        Self::each(
            path,
            tag::SERVICE_METHOD,
            service.method.len(),
            |path, at| {
                let method = service.method.get(at).and_then(|m| m.name.as_deref());
                let full = names::join(&name, method.unwrap_or_default());
                let options = words.and_then(|w| w.method.get(at)?.options.as_ref());
                let deprecated = options.and_then(|o| o.deprecated);
                self.note(&full, path, all || deprecated.unwrap_or_default());
            },
        );
    }
}

/// A comment without the space that follows `//`, and without what is meant for tools: `(-- … --)`
/// (AIP-192) and lines that tell linters something.
fn tidy(comment: &str) -> String {
    let mut text = comment.to_owned();
    while let Some(start) = text.find("(--") {
        let end = text.get(start..).and_then(|rest| rest.find("--)"));
        let end = end.map_or(text.len(), |at| start.saturating_add(at).saturating_add(3));
        text.replace_range(start..end, "");
    }
    let for_tools = ["buf:lint:", "protolint:", "api-linter:", "@exclude"];
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        !for_tools.iter().any(|mark| line.starts_with(mark))
    });
    let lines: Vec<&str> = lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect();
    let joined = lines.join("\n");
    let mut end = joined.len().min(COMMENT_BYTES_MAX);
    while !joined.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    joined.get(..end).unwrap_or_default().trim().to_owned()
}

/// `SourceCodeInfo.Location`
#[derive(Clone, PartialEq, Message)]
struct CommentAt {
    #[prost(int32, repeated, tag = "1")]
    path: Vec<i32>,
    #[prost(string, optional, tag = "3")]
    leading: Option<String>,
    #[prost(string, optional, tag = "4")]
    trailing: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct FileWords {
    #[prost(message, repeated, tag = "4")]
    message: Vec<MessageWords>,
    #[prost(message, repeated, tag = "5")]
    enumeration: Vec<EnumWords>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<ServiceWords>,
}

#[derive(Clone, PartialEq, Message)]
struct MessageWords {
    #[prost(message, repeated, tag = "2")]
    field: Vec<FieldWords>,
    #[prost(message, repeated, tag = "3")]
    nested: Vec<MessageWords>,
    #[prost(message, repeated, tag = "4")]
    enumeration: Vec<EnumWords>,
    #[prost(message, optional, tag = "7")]
    options: Option<Deprecated3>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldWords {
    #[prost(message, optional, tag = "8")]
    options: Option<FieldOptionWords>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldOptionWords {
    #[prost(bool, optional, tag = "3")]
    deprecated: Option<bool>,
    /// `google.api.field_behavior`
    #[prost(int32, repeated, tag = "1052")]
    behavior: Vec<i32>,
    /// `google.api.field_info`
    #[prost(message, optional, tag = "291403980")]
    info: Option<FieldInfo>,
}

impl FieldOptionWords {
    fn note(&self) -> FieldNote {
        let is = |number: i32| self.behavior.contains(&number);
        FieldNote {
            required: is(2),
            output_only: is(3),
            input_only: is(4),
            immutable: is(5),
            format: match self.info.as_ref().and_then(|info| info.format) {
                Some(1) => Some("uuid"),
                Some(2) => Some("ipv4"),
                Some(3) => Some("ipv6"),
                _ => None,
            },
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct FieldInfo {
    #[prost(int32, optional, tag = "1")]
    format: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct EnumWords {
    #[prost(message, repeated, tag = "2")]
    value: Vec<ValueWords>,
    #[prost(message, optional, tag = "3")]
    options: Option<Deprecated3>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueWords {
    #[prost(message, optional, tag = "3")]
    options: Option<Deprecated1>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceWords {
    #[prost(message, repeated, tag = "2")]
    method: Vec<MethodWords>,
    #[prost(message, optional, tag = "3")]
    options: Option<Deprecated33>,
}

#[derive(Clone, PartialEq, Message)]
struct MethodWords {
    #[prost(message, optional, tag = "4")]
    options: Option<Deprecated33>,
}

#[derive(Clone, PartialEq, Message)]
struct Deprecated1 {
    #[prost(bool, optional, tag = "1")]
    deprecated: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Deprecated3 {
    #[prost(bool, optional, tag = "3")]
    deprecated: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct Deprecated33 {
    #[prost(bool, optional, tag = "33")]
    deprecated: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::super::{SchemaBuilder, compile};
    use super::*;

    const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/api/field_behavior.proto";
import "google/api/field_info.proto";

// Finds games.
//
// buf:lint:ignore SERVICE_SUFFIX
// (-- for reviewers
//     alone --)
service Games {
  // One game.
  rpc Get(Game) returns (Game);
  rpc Old(Game) returns (Game) { option deprecated = true; }
}
/* A game. */
message Game {
  // Its number.
  string id = 1 [(google.api.field_behavior) = OUTPUT_ONLY, (google.api.field_info).format = UUID4];
  string title = 2 [(google.api.field_behavior) = REQUIRED, (google.api.field_behavior) = IMMUTABLE]; // after it
  string old = 3 [deprecated = true];
  // Where it is kept.
  message Place {
    // Which shelf.
    int32 shelf = 1;
  }
  // Of what sort.
  enum Kind {
    KIND_UNSPECIFIED = 0;
    // With tiles.
    PUZZLE = 1;
  }
}
"#;

    fn annotations(keep: bool) -> Annotations {
        let set = compile(&[("shop.proto".to_owned(), PROTO.to_owned())]).expect("it compiles");
        let mut builder = SchemaBuilder::new().keep_annotations(keep);
        builder.add_set("protos", &set).expect("a set");
        builder.build().expect("a schema").annotations
    }

    #[test]
    fn comments_go_by_full_names() {
        let all = annotations(true);
        for (name, text) in [
            ("shop.v1.Games", "Finds games."),
            ("shop.v1.Games.Get", "One game."),
            ("shop.v1.Game", "A game."),
            ("shop.v1.Game.id", "Its number."),
            ("shop.v1.Game.title", "after it"),
            ("shop.v1.Game.Place", "Where it is kept."),
            ("shop.v1.Game.Place.shelf", "Which shelf."),
            ("shop.v1.Game.Kind", "Of what sort."),
            ("shop.v1.Game.Kind.PUZZLE", "With tiles."),
        ] {
            assert_eq!(all.comment(name), Some(text), "{name}");
        }
        assert_eq!(all.comment("shop.v1.Game.old"), None);
        assert_eq!(annotations(false).comment("shop.v1.Game"), None);
    }

    #[test]
    fn options_for_people_are_read() {
        let all = annotations(true);
        let id = all.field("shop.v1.Game.id");
        assert!(id.output_only && !id.required);
        assert_eq!(id.format, Some("uuid"));
        let title = all.field("shop.v1.Game.title");
        assert!(title.required && title.immutable);
        assert_eq!(all.field("shop.v1.Game.old"), FieldNote::default());
        for (name, expected) in [
            ("shop.v1.Game.old", true),
            ("shop.v1.Games.Old", true),
            ("shop.v1.Games.Get", false),
        ] {
            assert_eq!(all.is_deprecated(name), expected, "{name}");
        }
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let text = tidy(&"é".repeat(COMMENT_BYTES_MAX));
        assert_eq!(text.len(), COMMENT_BYTES_MAX);
        assert_eq!(tidy(" a (-- b"), "a");
        assert_eq!(tidy("(-- x --)(-- y --) c"), "c");
    }
}
