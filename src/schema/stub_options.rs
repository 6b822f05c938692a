//! Drops what is written in the options of stub packages: `openapiv2`, `validate`, `buf.validate`,
//! `gogoproto`.
//!
//! Their real option messages are thousands of lines that change with each release, and nothing here
//! reads them. Dropping the uses before names are resolved accepts any of them, also fields that no
//! stub could know. A user who vendors the real file gets it compiled and checked in full.

use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    ServiceDescriptorProto, UninterpretedOption,
};

use super::builtin;

/// Strips options of the packages whose stub `is_stub` says is in use.
pub(super) fn strip(file: &mut FileDescriptorProto, is_stub: impl Fn(&str) -> bool) {
    let packages: Vec<&str> = builtin::STUBS
        .iter()
        .filter(|(_, path)| is_stub(path))
        .map(|(package, _)| *package)
        .collect();
    let keep = |options: &mut Vec<UninterpretedOption>| options.retain(|o| !of_stub(o, &packages));
    let keep: &dyn Fn(&mut Vec<UninterpretedOption>) = &keep;
    if let Some(options) = &mut file.options {
        keep(&mut options.uninterpreted_option);
    }
    file.message_type.iter_mut().for_each(|m| message(m, keep));
    file.enum_type.iter_mut().for_each(|e| enumeration(e, keep));
    file.extension.iter_mut().for_each(|f| field(f, keep));
    file.service.iter_mut().for_each(|s| service(s, keep));
}

fn of_stub(option: &UninterpretedOption, packages: &[&str]) -> bool {
    let Some(part) = option.name.first().filter(|part| part.is_extension) else {
        return false;
    };
    let name = part.name_part.strip_prefix('.').unwrap_or(&part.name_part);
    packages.iter().any(|package| {
        name.strip_prefix(package)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

type Keep<'k> = &'k dyn Fn(&mut Vec<UninterpretedOption>);

// The recursion is bounded: the parser refuses messages nested over 31 deep.
fn message(proto: &mut DescriptorProto, keep: Keep<'_>) {
    if let Some(options) = &mut proto.options {
        keep(&mut options.uninterpreted_option);
    }
    proto
        .field
        .iter_mut()
        .chain(&mut proto.extension)
        .for_each(|f| field(f, keep));
    proto.nested_type.iter_mut().for_each(|m| message(m, keep));
    proto
        .enum_type
        .iter_mut()
        .for_each(|e| enumeration(e, keep));
    for oneof in &mut proto.oneof_decl {
        if let Some(options) = &mut oneof.options {
            keep(&mut options.uninterpreted_option);
        }
    }
    for range in &mut proto.extension_range {
        if let Some(options) = &mut range.options {
            keep(&mut options.uninterpreted_option);
        }
    }
}

fn field(proto: &mut FieldDescriptorProto, keep: Keep<'_>) {
    if let Some(options) = &mut proto.options {
        keep(&mut options.uninterpreted_option);
    }
}

fn enumeration(proto: &mut EnumDescriptorProto, keep: Keep<'_>) {
    if let Some(options) = &mut proto.options {
        keep(&mut options.uninterpreted_option);
    }
    for value in &mut proto.value {
        if let Some(options) = &mut value.options {
            keep(&mut options.uninterpreted_option);
        }
    }
}

fn service(proto: &mut ServiceDescriptorProto, keep: Keep<'_>) {
    if let Some(options) = &mut proto.options {
        keep(&mut options.uninterpreted_option);
    }
    for method in &mut proto.method {
        if let Some(options) = &mut method.options {
            keep(&mut options.uninterpreted_option);
        }
    }
}
