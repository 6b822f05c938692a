use super::super::plan::tests::plan;
use super::*;

fn resolve(plan: &MethodPlan, parameter: &str) -> String {
    let schema = plan.codec.schema();
    match plan.query_field(parameter) {
        Ok(field) => {
            let name = |f: &FieldRef| schema.field(*f).unwrap().name.to_string();
            let names: Vec<_> = field.chain.iter().map(name).collect();
            let key = field.key.map(|k| format!("[{k}]")).unwrap_or_default();
            format!("{}{key} {:?}", names.join("."), field.many)
        }
        Err(fault) => match fault.suggestion(plan) {
            Some(meant) => format!("{fault} ({meant}?)"),
            None => fault.to_string(),
        },
    }
}

#[test]
fn names_are_found_by_proto_and_json_name() {
    let plan = plan("GET /v1/{game_id}", "");
    for (parameter, expected) in [
        ("page_size", "page_size Once"),
        ("pageSize", "page_size Once"),
        ("inner.id", "inner.id Once"),
        ("inner.next.next.count", "inner.next.next.count Once"),
        ("inner.names", "inner.names Repeated"),
        ("tags", "tags Repeated"),
        ("times", "times Repeated"),
        ("since", "since Once"),
        ("labels[en]", "labels[en] PerKey"),
        ("labels[a.b[c]]", "labels[a.b[c]] PerKey"),
        ("labels[]", "labels[] PerKey"),
        ("inner.labels[x]", "inner.labels[x] PerKey"),
        ("extra", "extra Once"),
        ("value", "value Once"),
        ("any", "any Once"),
        ("file.content_type", "file.content_type Once"),
    ] {
        assert_eq!(resolve(&plan, parameter), expected, "{parameter}");
    }
}

#[test]
fn what_names_no_value_is_told_apart() {
    let plan = plan("GET /v1/{game_id}/{inner.at}", "");
    for (parameter, expected) in [
        ("pagesize", "unknown query parameter (pageSize?)"),
        ("inner.cont", "unknown query parameter (inner.count?)"),
        (
            "inner.next.lables[x]",
            "unknown query parameter (inner.next.labels?)",
        ),
        ("zzz", "unknown query parameter"),
        ("", "unknown query parameter"),
        ("inner.", "unknown query parameter"),
        (".inner", "unknown query parameter"),
        ("game_id", "comes from the path, not from the query"),
        ("gameId", "comes from the path, not from the query"),
        ("inner.at", "comes from the path, not from the query"),
        ("inner", "is a message: give one of its fields"),
        ("nothing", "is a message: give one of its fields"),
        ("game_id.x", "\"game_id\" takes one value and has no fields"),
        (
            "since.seconds",
            "\"since\" takes one value and has no fields",
        ),
        ("tags.x", "\"tags\" is repeated: its items have no names"),
        ("list", "repeated messages can't be given in a query"),
        ("list.id", "\"list\" is repeated: its items have no names"),
        ("labels", "is a map: give one value as name[key]=value"),
        ("labels.en", "is a map: give one value as name[key]=value"),
        ("inners[1]", "a map of messages can't be given in a query"),
        ("page_size[1]", "is not a map, so it takes no [key]"),
        ("labels[en", "the key must end with ] and stand last"),
        ("labels[en].x", "the key must end with ] and stand last"),
    ] {
        assert_eq!(resolve(&plan, parameter), expected, "{parameter}");
    }
}

#[test]
fn recursive_names_end() {
    let plan = plan("GET /v1", "");
    let deep = |n: usize| format!("inner.{}id", "next.".repeat(n - 2));
    assert!(plan.query_field(&deep(FIELD_PATH_DEPTH_MAX)).is_ok());
    let too_deep = deep(FIELD_PATH_DEPTH_MAX + 1);
    assert_eq!(plan.query_field(&too_deep), Err(QueryFault::TooDeep));
}

#[test]
fn the_body_takes_its_fields_away() {
    let field = plan("POST /v1", "inner");
    assert_eq!(
        resolve(&field, "inner.id"),
        "comes from the body, not from the query"
    );
    assert_eq!(resolve(&field, "page_size"), "page_size Once");
    let whole = plan("POST /v1", "*");
    let all = "all fields of this method come from the path and the body";
    assert_eq!(resolve(&whole, "page_size"), all);
}
