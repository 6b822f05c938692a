//! `defaults`, and the policy keys of a route on top of them.

use super::super::keys::Shape;
use super::super::model::{ErrorFormat, HeaderPattern, Policy, RpcMetadata, UnknownQuery};
use super::super::raw::{Field, Section};
use super::super::scalar;
use super::super::tree::Value;
use super::byte_limit;

/// `base` with the keys of this section in their places.
pub fn policy(section: &Section<'_, '_>, base: &Policy) -> Policy {
    let mut policy = base.clone();
    super::replies::compat(section, &mut policy);
    let duration = |name| section.field(name).and_then(|f| f.duration());
    if let Some(timeout) = duration("timeout") {
        policy.timeout = timeout;
    }
    if let Some(idle) = duration("stream_idle") {
        policy.stream_idle = idle;
    }
    if let Some(max) = duration("stream_max") {
        policy.stream_max = Some(max);
    }
    super::upstream::policy(section, &mut policy);
    if let Some(sse) = section.section("sse") {
        let duration = |name| sse.field(name).and_then(|f| f.duration());
        if let Some(heartbeat) = duration("heartbeat") {
            policy.sse.heartbeat = heartbeat;
        }
        policy.sse.retry = duration("retry").or(policy.sse.retry);
    }
    if let Some(json) = section.section("json") {
        let set = |name, flag: &mut bool| {
            if let Some(value) = json.field(name).and_then(|f| f.bool()) {
                *flag = value;
            }
        };
        set("emit_defaults", &mut policy.json.emit_defaults);
        set("emit_nulls", &mut policy.json.emit_nulls);
        set("enums_as_numbers", &mut policy.json.enums_as_numbers);
        set("proto_names", &mut policy.json.proto_names);
        set("int64_as_numbers", &mut policy.json.int64_as_numbers);
        set("pretty", &mut policy.json.pretty);
        set(
            "case_insensitive_enums",
            &mut policy.json.case_insensitive_enums,
        );
        set("strip_enum_prefix", &mut policy.json.strip_enum_prefix);
    }
    let choice = |name| section.field(name).and_then(|f| f.choice());
    if let Some(word) = choice("unknown_query") {
        policy.unknown_query = match word {
            "ignore" => UnknownQuery::Ignore,
            "capture" => UnknownQuery::Capture,
            _ => UnknownQuery::Reject,
        };
    }
    if let Some(word) = choice("unknown_fields") {
        policy.json.ignore_unknown_fields = word == "ignore";
    }
    if let Some(word) = choice("update_mask") {
        policy.fill_update_mask = word == "fill";
    }
    if let Some(partial) = section.field("partial_responses").and_then(|f| f.bool()) {
        policy.partial_responses = partial;
    }
    if let Some(auto) = section.field("auto").and_then(|f| f.bool()) {
        policy.auto = auto;
    }
    if section.has("ignored_query_parameters") {
        let items = section.items("ignored_query_parameters");
        policy.ignored_query_parameters = items
            .iter()
            .filter_map(|i| i.text())
            .map(Into::into)
            .collect();
    }
    if let Some(field) = section.field("errors") {
        errors(&field, &mut policy);
    }
    if let Some(headers) = section.section("headers") {
        allow_list(&headers, "to_metadata", &mut policy.to_metadata);
        if let Some(word) = headers.field("rpc_metadata").and_then(|f| f.choice()) {
            policy.rpc_metadata = match word {
                "listed" => RpcMetadata::Listed,
                _ => RpcMetadata::All,
            };
        }
        allow_list(&headers, "to_response", &mut policy.to_response);
        super::site::header_rules(&headers, &mut policy);
    }
    super::replies::rest(section, &mut policy);
    if let Some(limits) = section.section("limits") {
        if let Some(limit) = byte_limit(&limits, "body") {
            policy.body_bytes_max = limit;
        }
        if let Some(limit) = byte_limit(&limits, "reply") {
            policy.reply_bytes_max = limit;
        }
    }
    if let Some(field) = section.field("cors") {
        super::cors::cors(&field, &mut policy);
    }
    if let Some(field) = section.field("compression") {
        super::site::compression(&field, &mut policy);
    }
    if let Some(field) = section.field("security_headers") {
        super::site::security_headers(&field, &mut policy);
    }
    policy
}

fn errors(field: &Field<'_, '_>, policy: &mut Policy) {
    let format = |word| match word {
        "aip193" => ErrorFormat::Aip193,
        "problem" => ErrorFormat::Problem,
        _ => ErrorFormat::Status,
    };
    let (Value::Map(_), Shape::ChoiceOr(_, keys)) = (&field.node.value, field.shape) else {
        if let Some(word) = field.choice() {
            policy.errors = format(word);
        }
        return;
    };
    let Some(section) = Section::open(field.reader, keys, field.node, field.path.clone()) else {
        return;
    };
    if let Some(word) = section.field("format").and_then(|f| f.choice()) {
        policy.errors = format(word);
    }
    if let Some(hide) = section.field("hide_internal").and_then(|f| f.bool()) {
        policy.hide_internal = hide;
    }
}

fn allow_list(section: &Section<'_, '_>, name: &str, list: &mut Vec<HeaderPattern>) {
    if section.has(name) {
        let items = section.items(name);
        *list = items
            .iter()
            .filter_map(|i| i.parse(scalar::header))
            .collect();
    }
}
