//! What `.proto` authors see: places, all faults at once, and which files need no vendoring.

use super::super::{SchemaBuilder, SchemaError, compile};
use super::{message, schema_of, shown, texts};

fn refused(files: &[(&str, &str)]) -> Vec<SchemaError> {
    compile(&texts(files)).expect_err("refused")
}

#[test]
fn a_fault_has_line_column_and_snippet() {
    let errors = refused(&[(
        "a.proto",
        "syntax = \"proto3\";\nmessage M {\n\tstrng name = 1;\n}\n",
    )]);
    let [error] = &*errors else {
        panic!("{}", shown(&errors))
    };
    let place = error.place().unwrap();
    assert_eq!(
        (error.file(), place.line, place.column, place.width),
        (Some("a.proto"), 3, 2, 5)
    );
    assert_eq!(place.snippet.as_deref(), Some(" strng name = 1;"));
    assert!(
        error
            .to_string()
            .starts_with("a.proto:3:2: name 'strng' is not defined"),
        "{error}"
    );
}

#[test]
fn all_faults_of_all_files_are_reported() {
    let errors = refused(&[
        (
            "a.proto",
            "syntax = \"proto3\";\nmessage A { string x 1; }\nmessage B { strin }\n",
        ),
        ("b.proto", "syntax = \"proto4\";"),
        (
            "c.proto",
            "syntax = \"proto3\"; import \"nope.proto\"; message C {}",
        ),
    ]);
    let text = shown(&errors);
    for place in [
        "a.proto:2:22: ",
        "a.proto:3:19: ",
        "b.proto:1:10: unknown syntax 'proto4'",
        "c.proto:1:20: the import \"nope.proto\"",
    ] {
        assert!(text.contains(place), "{place} is not in {text}");
    }
    let errors = refused(&[
        (
            "a.proto",
            "syntax = \"proto3\"; message A { X x = 1; Y y = 2; }",
        ),
        ("b.proto", "syntax = \"proto3\"; message B { Z z = 1; }"),
        (
            "c.proto",
            "syntax = \"proto3\"; import \"a.proto\"; message C { A a = 1; }",
        ),
    ]);
    assert_eq!(errors.len(), 3, "{}", shown(&errors));
}

#[test]
fn a_broken_import_is_not_blamed_on_its_users() {
    let errors = refused(&[
        (
            "user.proto",
            "syntax = \"proto3\"; import \"broken.proto\"; message U { B b = 1; }",
        ),
        ("broken.proto", "syntax = \"proto3\"; message B { !! }"),
    ]);
    assert!(
        errors.iter().all(|e| e.file() == Some("broken.proto")),
        "{}",
        shown(&errors)
    );
}

#[test]
fn editions_are_explained() {
    for text in [
        "edition = \"2023\";",
        "\u{feff}// licence\n/* x */ edition=\"2024\";\nmessage A {}",
    ] {
        let errors = refused(&[("a.proto", text)]);
        let [error] = &*errors else {
            panic!("{}", shown(&errors))
        };
        assert_eq!(error.message(), "editions can't be compiled from text");
        assert!(error.help().unwrap().contains("file:"));
        assert!(
            error
                .place()
                .unwrap()
                .snippet
                .as_deref()
                .unwrap()
                .contains("edition")
        );
    }
}

#[test]
fn missing_imports_say_what_to_do() {
    let import = |path: &str| format!("syntax = \"proto3\";\nimport \"{path}\";\n");
    let help = |files: &[(&str, &str)]| {
        let errors = refused(files);
        assert_eq!(errors.len(), 1, "{}", shown(&errors));
        assert_eq!(errors[0].place().unwrap().line, 2);
        errors[0].help().unwrap().to_owned()
    };
    let known = help(&[(
        "a.proto",
        &import("third_party/google/api/annotations.proto"),
    )]);
    assert_eq!(
        known,
        "google/api/annotations.proto is built in, no need to vendor it: import it by that name"
    );
    let elsewhere = help(&[
        ("a.proto", &import("shop/order.proto")),
        ("vendor/shop/order.proto", "syntax = \"proto3\";"),
    ]);
    assert!(
        elsewhere.contains("vendor/shop/order.proto is there: name vendor/ as a folder"),
        "{elsewhere}"
    );
    let nowhere = help(&[("a.proto", &import("x.proto"))]);
    assert!(
        nowhere.contains("looked for among the 1 given files, the built-in ones"),
        "{nowhere}"
    );
}

#[test]
fn circles_are_refused() {
    let errors = refused(&[
        ("a.proto", "syntax = \"proto3\"; import \"b.proto\";"),
        ("b.proto", "syntax = \"proto3\"; import \"a.proto\";"),
    ]);
    assert_eq!(
        shown(&errors),
        "b.proto:1:20: files import each other: a.proto -> b.proto -> a.proto\n"
    );
}

/// Real annotations of the option files that we have stubs of, with fields no stub knows.
#[test]
fn options_of_stubs_are_accepted_whatever_they_say() {
    let schema = schema_of(&[(
        "a.proto",
        r#"
        syntax = "proto3";
        package a;
        import "protoc-gen-openapiv2/options/annotations.proto";
        import "validate/validate.proto";
        import "buf/validate/validate.proto";
        import "gogoproto/gogo.proto";
        import "google/api/field_behavior.proto";
        import "google/api/resource.proto";
        import "google/api/client.proto";
        import "google/api/annotations.proto";
        option (grpc.gateway.protoc_gen_openapiv2.options.openapiv2_swagger) = {
          info: { title: "A" version: "1.0" contact: { name: "x" } extensions: { key: "x-y" value { string_value: "z" } } }
          schemes: [HTTPS, HTTP]
          security_definitions: { security: { key: "k" value: { type: TYPE_API_KEY in: IN_HEADER } } }
        };
        option (gogoproto.goproto_getters_all) = false;
        service S {
          option (google.api.default_host) = "a.example.com";
          rpc Get(M) returns (M) {
            option (google.api.http) = { post: "/v1/{name=shelves/*}:go" body: "*" };
            option (google.api.method_signature) = "name,other";
            option (grpc.gateway.protoc_gen_openapiv2.options.openapiv2_operation) = { tags: "x"; parameters: { headers: { name: "h" } } };
          }
        }
        message M {
          option (google.api.resource) = { type: "a.example.com/M" pattern: "shelves/{shelf}" style: DECLARATIVE_FRIENDLY };
          option (validate.disabled) = true;
          option (buf.validate.message).cel = { id: "x" expression: "this.a < 1" };
          string name = 1 [(validate.rules).string = {min_len: 1, pattern: "^[a-z{}]+$"}, (google.api.field_behavior) = REQUIRED];
          int32 n = 2 [(buf.validate.field).int32.gt = 0, (buf.validate.field).required = true, (gogoproto.nullable) = false];
          oneof pick { option (validate.required) = true; string x = 3 [deprecated = true]; }
          buf.validate.Violations violations = 4;
        }
        enum E { Z = 0 [(gogoproto.enumvalue_customname) = "Zed"]; }
    "#,
    )]);
    let method = schema.find_method("a.S", "Get").unwrap().method;
    assert_eq!(
        &*method.http.as_ref().unwrap().pattern.template,
        "/v1/{name=shelves/*}:go"
    );
    assert_eq!(message(&schema, "a.M").fields.len(), 4);
}

/// The same in a real text of theirs is checked in full.
#[test]
fn a_vendored_option_file_is_compiled_itself() {
    let real =
        "syntax = \"proto2\"; package gogoproto; import \"google/protobuf/descriptor.proto\";
        extend google.protobuf.FieldOptions { optional bool nullable = 65001; }";
    let user = |option: &str| {
        format!(
            "syntax = \"proto3\"; import \"gogoproto/gogo.proto\"; message M {{ int32 n = 1 [(gogoproto.{option}) = false]; }}"
        )
    };
    schema_of(&[
        ("gogoproto/gogo.proto", real),
        ("a.proto", &user("nullable")),
    ]);
    let errors = refused(&[
        ("gogoproto/gogo.proto", real),
        ("a.proto", &user("nulable")),
    ]);
    assert!(shown(&errors).contains("a.proto:1:"), "{}", shown(&errors));
}

/// A tree that vendors googleapis below its root, as most do.
#[test]
fn vendored_copies_stand_in_for_built_in_files() {
    let http = super::super::builtin::text("google/api/http.proto").unwrap();
    let annotations = super::super::builtin::text("google/api/annotations.proto").unwrap();
    let schema = schema_of(&[
        ("third_party/googleapis/google/api/http.proto", http),
        (
            "third_party/googleapis/google/api/annotations.proto",
            annotations,
        ),
        (
            "google/protobuf/timestamp.proto",
            "this is not even a proto",
        ),
        (
            "a.proto",
            r#"
            syntax = "proto3";
            package a;
            import "google/api/annotations.proto";
            import "google/protobuf/timestamp.proto";
            message M { google.protobuf.Timestamp at = 1; }
            service S { rpc Get(M) returns (M) { option (google.api.http).get = "/v1/a"; } }
        "#,
        ),
    ]);
    assert!(
        schema
            .find_method("a.S", "Get")
            .unwrap()
            .method
            .http
            .is_some()
    );
}

#[test]
fn texts_made_to_hurt() {
    let deep = |open: &str, close: &str, n| {
        format!(
            "syntax = \"proto3\"; import \"google/api/annotations.proto\"; message M {{}} service S {{ rpc G(M) returns (M) {{ option (google.api.http) = {{ {}{} }}; }} }}",
            open.repeat(n),
            close.repeat(n)
        )
    };
    for (open, close) in [
        ("additional_bindings {", "}"),
        ("additional_bindings <", ">"),
        ("additional_bindings: [{", "}]"),
    ] {
        let errors = refused(&[("a.proto", &deep(open, close, 50_000))]);
        assert!(
            shown(&errors).contains("the file nests too deep"),
            "{}",
            shown(&errors)
        );
    }
    let nested = format!(
        "syntax = \"proto3\"; {}{}",
        "message M {".repeat(60),
        "}".repeat(60)
    );
    assert!(!refused(&[("a.proto", &nested)]).is_empty());
    for text in [
        "",
        ";",
        "\0",
        "syntax",
        "message",
        "\"",
        "'\\",
        "/*",
        "//",
        "syntax = \"proto3\"; message M { int32 a = 99999999999999999999; }",
        "\u{feff}syntax = \"proto3\";",
        "option x = {",
        "import \"\\377\";",
    ] {
        let _ = compile(&texts(&[("a.proto", text)]));
    }
    for path in [
        "",
        "/",
        "../a.proto",
        "a\0b",
        "google/protobuf/any.proto",
        "google/api/http.proto",
    ] {
        let _ = compile(&texts(&[(
            path,
            "syntax = \"proto3\"; package x; message M {}",
        )]));
    }
    let chain: Vec<_> = (0..3000)
        .map(|i| {
            (
                format!("{i}.proto"),
                format!("syntax = \"proto3\"; import \"{}.proto\";", i + 1),
            )
        })
        .collect();
    assert!(shown(&compile(&chain).unwrap_err()).contains("3000.proto"));
}

/// What the compiler makes, the builder takes: no source that compiles is refused later.
#[test]
fn nothing_given_is_an_empty_schema() {
    let set = compile(&[]).unwrap();
    let mut builder = SchemaBuilder::new();
    builder.add_set("protos empty/", &set).unwrap();
    assert!(builder.build().unwrap().services().is_empty());
}
