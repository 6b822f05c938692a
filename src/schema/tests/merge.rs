//! Several sources to one pool.

use super::super::descriptor::{FieldDescriptor, FileDescriptor, MessageDescriptor};
use super::super::{Schema, SchemaBuilder, SchemaError, WellKnown};
use super::hostile::{file, message as declare, scalar, set};
use super::{message, shown};

fn merged(sources: &[(&str, &[FileDescriptor])]) -> Result<Schema, Vec<SchemaError>> {
    let mut builder = SchemaBuilder::new();
    for (name, files) in sources {
        builder.add_set(name, &set(files)).map_err(|e| vec![e])?;
    }
    builder.build()
}

fn of(path: &str, package: &str, messages: Vec<MessageDescriptor>) -> FileDescriptor {
    FileDescriptor {
        package: Some(package.to_owned()),
        message_type: messages,
        ..file(path)
    }
}

fn game() -> MessageDescriptor {
    declare("Game", vec![scalar("game_id", 1, 9)])
}

#[test]
fn equal_files_are_one() {
    let a = of("games.proto", "p", vec![game()]);
    // Reflection leaves JSON names and comments out.
    let json = FieldDescriptor {
        json_name: Some("gameId".into()),
        ..scalar("game_id", 1, 9)
    };
    let info = bytes::Bytes::from_static(b"\x0a\x00");
    let b = FileDescriptor {
        source_code_info: Some(info),
        ..of("games.proto", "p", vec![declare("Game", vec![json])])
    };
    let schema = merged(&[("file a", std::slice::from_ref(&a)), ("reflection b", &[b])]).unwrap();
    assert_eq!(&*message(&schema, "p.Game").file, "file a: games.proto");
    // The same file by another path, as trees with another root have it.
    let elsewhere = of("proto/games.proto", "p", vec![game()]);
    merged(&[
        ("file a", std::slice::from_ref(&a)),
        ("file b", &[elsewhere]),
    ])
    .unwrap();
    merged(&[("file a", &[a.clone(), a])]).unwrap();
}

#[test]
fn one_file_name_for_two_things_is_fine() {
    let a = of("service.proto", "games", vec![game()]);
    let b = of("service.proto", "shop", vec![declare("Order", vec![])]);
    let schema = merged(&[("reflection games", &[a]), ("reflection shop", &[b])]).unwrap();
    message(&schema, "games.Game");
    message(&schema, "shop.Order");
}

#[test]
fn different_declarations_of_one_name_clash() {
    let old = of(
        "games.proto",
        "p",
        vec![game(), declare("List", vec![scalar("a", 1, 9)])],
    );
    let new = of(
        "games.proto",
        "p",
        vec![
            declare("Game", vec![scalar("id", 1, 9)]),
            declare("List", vec![]),
        ],
    );
    let errors = merged(&[("file a.binpb", &[old]), ("reflection games", &[new])]).unwrap_err();
    assert_eq!(errors.len(), 1);
    let error = &errors[0];
    assert_eq!(
        (error.origin(), error.file(), error.symbol()),
        ("reflection games", Some("games.proto"), Some("p.Game"))
    );
    assert_eq!(
        error.message(),
        "declared differently by file a.binpb: games.proto; so do 1 other names of these files"
    );
    // The same words in another language are another message.
    let proto2 = FileDescriptor {
        syntax: None,
        ..of("games.proto", "p", vec![game()])
    };
    let errors = merged(&[
        ("file a", &[of("games.proto", "p", vec![game()])]),
        ("file b", &[proto2]),
    ])
    .unwrap_err();
    assert!(
        shown(&errors).contains("p.Game: declared differently by file a: games.proto"),
        "{}",
        shown(&errors)
    );
    // Twice in one file.
    let errors =
        merged(&[("file a", &[of("games.proto", "p", vec![game(), game()])])]).unwrap_err();
    assert!(
        shown(&errors).contains("p.Game: declared twice in one file"),
        "{}",
        shown(&errors)
    );
}

#[test]
fn vendored_packages_come_in_versions() {
    let short = of(
        "gogo.proto",
        "gogoproto",
        vec![declare("Opts", vec![scalar("a", 1, 9)])],
    );
    let long = of(
        "gogoproto/gogo.proto",
        "gogoproto",
        vec![declare("Opts", vec![scalar("a", 1, 9), scalar("b", 2, 9)])],
    );
    for sources in [
        [("file a", &short), ("file b", &long)],
        [("file a", &long), ("file b", &short)],
    ] {
        let sources = sources.map(|(name, f)| (name, std::slice::from_ref(f)));
        let schema = merged(&sources).unwrap();
        assert_eq!(message(&schema, "gogoproto.Opts").fields.len(), 2);
    }
}

#[test]
fn built_in_messages_may_be_extended_but_not_changed() {
    let status = |fields| {
        of(
            "google/rpc/status.proto",
            "google.rpc",
            vec![declare("Status", fields)],
        )
    };
    let details = || FieldDescriptor {
        label: Some(3),
        type_name: Some(".google.protobuf.Any".into()),
        ..scalar("details", 3, 11)
    };
    let richer = status(vec![
        scalar("code", 1, 5),
        scalar("message", 2, 9),
        details(),
        scalar("more", 4, 9),
    ]);
    let schema = merged(&[("file a", &[richer])]).unwrap();
    assert_eq!(message(&schema, "google.rpc.Status").fields.len(), 4);
    let wrong = status(vec![
        scalar("code", 1, 9),
        scalar("message", 2, 9),
        details(),
        scalar("more", 4, 9),
    ]);
    let schema = merged(&[("file a", &[wrong])]).unwrap();
    assert_eq!(message(&schema, "google.rpc.Status").fields.len(), 3);
}

#[test]
fn well_known_types_stay_as_they_are() {
    let odd = of(
        "google/protobuf/timestamp.proto",
        "google.protobuf",
        vec![declare("Timestamp", vec![scalar("text", 1, 9)])],
    );
    let schema = merged(&[("file a", &[odd])]).unwrap();
    let timestamp = message(&schema, "google.protobuf.Timestamp");
    assert_eq!(
        (timestamp.well_known, timestamp.fields.len()),
        (Some(WellKnown::Timestamp), 2)
    );
    // Nor may they grow, or they would stop being read as what they are.
    let more = declare(
        "Timestamp",
        vec![
            scalar("seconds", 1, 3),
            scalar("nanos", 2, 5),
            scalar("zone", 3, 9),
        ],
    );
    let more = of(
        "google/protobuf/timestamp.proto",
        "google.protobuf",
        vec![more],
    );
    let schema = merged(&[("file a", &[more])]).unwrap();
    assert_eq!(
        message(&schema, "google.protobuf.Timestamp").well_known,
        Some(WellKnown::Timestamp)
    );
    // HttpBody may grow, but then it is no longer read by position.
    let any = FieldDescriptor {
        label: Some(3),
        type_name: Some(".google.protobuf.Any".into()),
        ..scalar("extensions", 3, 11)
    };
    let body = declare(
        "HttpBody",
        vec![
            scalar("content_type", 1, 9),
            scalar("data", 2, 12),
            any,
            scalar("new", 4, 9),
        ],
    );
    let schema = merged(&[(
        "file a",
        &[of("google/api/httpbody.proto", "google.api", vec![body])],
    )])
    .unwrap();
    assert_eq!(message(&schema, "google.api.HttpBody").well_known, None);
}
