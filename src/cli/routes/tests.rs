use super::*;
use crate::live::tests::live;

const ROUTES: &str = "  - { services: [\"shop.v1.*\"], upstream: games }\n  \
                      - { prefix: /, upstream: site }\n";

fn text(listing: &Listing) -> String {
    let mut out = Vec::new();
    listing.print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_table_is_aligned() {
    let listing = Listing::of(&live(ROUTES), Which::Ruled);
    assert_eq!(
        text(&listing),
        "\
METHOD  PATH                                 TARGET                    STREAM  UPSTREAM  PLACE
POST    /v1/games                            shop.v1.Games/CreateGame  unary   games     games.proto:12:3
GET     /v1/games/{game_id}                  shop.v1.Games/GetGame     unary   games     games.proto:6:3
GET     /v1/games/{game_id}:watch            shop.v1.Games/Watch       server  games     games.proto:15:3
POST    /v1/games:upload                     shop.v1.Games/Upload      client  games     games.proto:18:3
GET     /v1/shelves/{shelf}                  shop.v1.Shelves/GetShelf  unary   games     games.proto:24:3
GET     /v1/shelves/{shelf}/games/{game_id}  shop.v1.Games/GetGame     unary   games     games.proto:6:3
-       prefix /                             proxy                     -       site      transom.yaml:8:7
"
    );
}

#[test]
fn all_lists_methods_without_a_rule() {
    let listing = Listing::of(&live(ROUTES), Which::All);
    assert!(
        text(&listing).contains("  shop.v1.Games/Hidden: has no HTTP rule (games.proto:21:3)\n")
    );
    let by_name =
        "RPC     /shop.v1.Games/Hidden                shop.v1.Games/Hidden      unary   games";
    assert!(text(&listing).contains(by_name), "{}", text(&listing));
    let ruled = Listing::of(&live(ROUTES), Which::Ruled);
    assert!(!text(&ruled).contains("Hidden"));
}

#[test]
fn hosts_have_a_column_when_a_route_has_some() {
    let listing = Listing::of(
        &live(
            "  - { prefix: /a, hosts: [a.example.com, \"*.b.example.com\"], upstream: site }\n  \
               - { prefix: /b, upstream: site }\n",
        ),
        Which::Ruled,
    );
    assert_eq!(
        text(&listing),
        "METHOD  HOSTS                          PATH       TARGET  STREAM  UPSTREAM  PLACE\n\
         -       a.example.com,*.b.example.com  prefix /a  proxy   -       site      transom.yaml:7:7\n\
         -       *                              prefix /b  proxy   -       site      transom.yaml:8:7\n"
    );
}

#[test]
fn json_holds_the_same() {
    let listing = Listing::of(&live(ROUTES), Which::Ruled);
    let json = serde_json::to_value(&listing).unwrap();
    assert_eq!(
        json["routes"][1],
        serde_json::json!({
            "method": "GET", "path": "/v1/games/{game_id}", "hosts": [],
            "target": "shop.v1.Games/GetGame", "stream": "unary", "upstream": "games",
            "place": "games.proto:6:3"
        })
    );
    assert_eq!(json["unserved"], serde_json::json!([]));
    let all = Listing::of(&live(ROUTES), Which::All);
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json["unserved"][0]["method"], "shop.v1.Games/Hidden");
}
