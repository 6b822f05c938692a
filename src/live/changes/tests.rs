use super::super::tests::{PROTO, live_of};
use super::*;

const ROUTES: &str = "  - { services: [\"shop.v1.*\"], upstream: games }\n";

fn changed(from: &str, to: &str) -> Changes {
    let (old, new) = (
        live_of(PROTO, ROUTES),
        live_of(&PROTO.replace(from, to), ROUTES),
    );
    Changes::between(&old, &new)
}

#[test]
fn nothing_is_different_from_itself() {
    let same = changed("", "");
    assert!(same.is_empty(), "{same:?}");
    assert_eq!(same.to_string(), "the same rules");
}

#[test]
fn rules_come_go_and_move() {
    let added = changed(
        "rpc Hidden(Game) returns (Game);",
        "rpc Hidden(Game) returns (Game) { option (google.api.http) = { get: \"/v1/hidden\" }; }",
    );
    assert_eq!(added.to_string(), "1 rule added (GET /v1/hidden)");
    assert_eq!(added.breaking, Vec::<Broken>::new());
    let moved = changed("get: \"/v1/shelves/{shelf}\"", "get: \"/v1/racks/{shelf}\"");
    assert_eq!(moved.added, ["GET /v1/racks/{shelf}"]);
    let gone = Broken {
        whose: Whose::Everyone,
        what: "GET /v1/shelves/{shelf} is gone".to_owned(),
    };
    assert_eq!(moved.breaking, [gone]);
    assert_eq!(
        moved.to_string(),
        "1 rule added (GET /v1/racks/{shelf}), 1 rule gone (GET /v1/shelves/{shelf}); one change breaks callers"
    );
}

#[test]
fn other_settings_of_a_route_are_told() {
    let slow = "  - { services: [\"shop.v1.*\"], upstream: games, timeout: 3s }\n";
    let changes = Changes::between(&live_of(PROTO, ROUTES), &live_of(PROTO, slow));
    assert!(
        changes
            .altered
            .contains(&"GET /v1/games/{game_id}".to_owned()),
        "{changes:?}"
    );
    assert_eq!(changes.breaking, Vec::<Broken>::new());
}

#[test]
fn fields_that_go_or_change_break_callers() {
    for (from, to, told) in [
        ("int64 plays = 3;", "", "shop.v1.Game.plays is gone"),
        (
            "int64 plays = 3;",
            "string plays = 3;",
            "shop.v1.Game.plays: its type was int64 and is string",
        ),
        (
            "int64 plays = 3;",
            "int64 played = 3;",
            "shop.v1.Game.plays: its JSON name is played now (in JSON alone)",
        ),
        (
            "int64 plays = 3;",
            "repeated int64 plays = 3;",
            "shop.v1.Game.plays: its type was int64 and is repeated int64",
        ),
        (
            "int64 plays = 3;",
            "int64 plays = 4;",
            "shop.v1.Game.plays: its number was 3 and is 4 (in binary alone)",
        ),
        (
            "int64 plays = 3;",
            "int32 plays = 3;",
            "shop.v1.Game.plays: its type was int64 and is int32 (in JSON alone)",
        ),
        (
            "int64 plays = 3;",
            "sint64 plays = 3;",
            "shop.v1.Game.plays: its type was int64 and is sint64 (in binary alone)",
        ),
        (
            "string title = 2;",
            "bytes title = 2;",
            "shop.v1.Game.title: its type was string and is bytes (in JSON alone)",
        ),
        (
            "returns (stream Game)",
            "returns (Game)",
            "GET /v1/games/{game_id}:watch: other sides of the call are streams",
        ),
    ] {
        let changes = changed(from, to);
        let all: Vec<_> = changes.breaking.iter().map(ToString::to_string).collect();
        assert!(all.contains(&told.to_owned()), "{changes:?}");
    }
    let more = changed("int64 plays = 3;", "int64 plays = 3; bool new = 4;");
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn what_is_read_as_before_is_a_risk_alone() {
    let changes = changed("int64 plays = 3;", "uint64 plays = 3;");
    let told = ["shop.v1.Game.plays: its type was int64 and is uint64".to_owned()];
    assert_eq!(changes.risky, told);
    assert_eq!(changes.breaking, Vec::<Broken>::new());
    let changes = changed("int64 plays = 3;", "oneof how { int64 plays = 3; }");
    let told = ["shop.v1.Game.plays is one of a oneof now".to_owned()];
    assert_eq!(changes.risky, told);
}

#[test]
fn names_of_enums_are_what_json_says() {
    let with = |values: &str| {
        let field = "int64 plays = 3; Kind kind = 9;";
        let proto = PROTO.replace("int64 plays = 3;", field);
        live_of(&format!("{proto}enum Kind {{ {values} }}\n"), ROUTES)
    };
    let old = with("NONE = 0; RACE = 1; QUIZ = 2;");
    for (values, told) in [
        (
            "NONE = 0; RACE = 1;",
            "shop.v1.Kind.QUIZ is gone (in JSON alone)",
        ),
        (
            "NONE = 0; RACE = 1; RIDDLE = 2;",
            "shop.v1.Kind.QUIZ is called RIDDLE now (in JSON alone)",
        ),
        (
            "NONE = 0; RACE = 1; QUIZ = 3;",
            "shop.v1.Kind.QUIZ: its number was 2 and is 3 (in binary alone)",
        ),
    ] {
        let changes = Changes::between(&old, &with(values));
        let all: Vec<_> = changes.breaking.iter().map(ToString::to_string).collect();
        assert_eq!(all, [told]);
    }
    let more = Changes::between(&old, &with("NONE = 0; RACE = 1; QUIZ = 2; DUEL = 3;"));
    assert!(more.is_empty(), "{more:?}");
}
