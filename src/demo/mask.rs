//! Field masks over a game: which fields a read sends back, which ones a write changes.

use prost_types::FieldMask;

use super::errors::violation;
use super::pb::game::Delivery;
use super::pb::{BrowserDelivery, DownloadDelivery, Game};
use super::proto::google::rpc::bad_request::FieldViolation;

/// Fields that only the catalogue sets.
const OUTPUT_ONLY: &[&str] = &[
    "id",
    "name",
    "rating",
    "ratings",
    "released_at",
    "play_count",
    "plays_by_country",
    "state",
    "etag",
];
/// Fields that a client may change.
const WRITABLE: &[&str] = &[
    "title",
    "localized_titles",
    "genre",
    "tags",
    "typical_session",
    "players_max",
    "minimum_age",
    "tagline",
    "browser",
    "download",
    "metadata",
    "awards",
];

/// The game with only the fields of the mask; an absent or empty mask is all of them.
pub(super) fn project(game: Game, mask: Option<&FieldMask>) -> Result<Game, Vec<FieldViolation>> {
    let Some(mask) = mask.filter(|m| !m.paths.is_empty()) else {
        return Ok(game);
    };
    let mut shown = Game::default();
    let mut wrong = Vec::new();
    for path in &mask.paths {
        if path == "*" {
            return Ok(game);
        }
        if !copy(path, &game, &mut shown) {
            wrong.push(violation(
                "read_mask",
                format!("a game has no field {path:?}"),
            ));
        }
    }
    if wrong.is_empty() {
        Ok(shown)
    } else {
        Err(wrong)
    }
}

/// Changes `game` to `wanted` in the fields of the mask. Without a mask those that are set in
/// `wanted` change (AIP-134), with `*` all that a client may change.
pub(super) fn update(
    game: &mut Game,
    wanted: &Game,
    mask: Option<&FieldMask>,
) -> Result<(), Vec<FieldViolation>> {
    let paths: Vec<String> = match mask {
        None => set_fields(wanted).map(str::to_owned).collect(),
        Some(mask) if mask.paths.iter().any(|p| p == "*") => {
            WRITABLE.iter().map(|&p| p.to_owned()).collect()
        }
        // The id is how the game is found; a mask made from the body may name it.
        Some(mask) => mask.paths.iter().filter(|p| *p != "id").cloned().collect(),
    };
    let mut wrong = Vec::new();
    for path in &paths {
        let top = path.split('.').next().unwrap_or_default();
        if OUTPUT_ONLY.contains(&top) {
            wrong.push(violation(
                "update_mask",
                format!("{path:?} can't be changed"),
            ));
        } else if !copy(path, wanted, game) {
            wrong.push(violation(
                "update_mask",
                format!("a game has no field {path:?}"),
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Writable fields that differ from those of an empty game.
fn set_fields(wanted: &Game) -> impl Iterator<Item = &'static str> {
    let empty = Game::default();
    WRITABLE.iter().copied().filter(move |path| {
        let mut changed = Game::default();
        copy(path, wanted, &mut changed) && changed != empty
    })
}

/// Sets the field in `to` as it is in `from`. `false` when there is no such field.
fn copy(path: &str, from: &Game, to: &mut Game) -> bool {
    let (top, rest) = match path.split_once('.') {
        Some((top, rest)) => (top, Some(rest)),
        None => (path, None),
    };
    match (top, rest) {
        ("metadata", Some(key)) => copy_metadata(key, from, to),
        ("browser", rest) => copy_browser(rest, from, to),
        ("download", rest) => copy_download(rest, from, to),
        (_, None) => copy_plain(top, from, to),
        _ => false,
    }
}

fn copy_plain(name: &str, from: &Game, to: &mut Game) -> bool {
    match name {
        "id" => to.id = from.id,
        "name" => to.name.clone_from(&from.name),
        "title" => to.title.clone_from(&from.title),
        "localized_titles" => to.localized_titles.clone_from(&from.localized_titles),
        "genre" => to.genre = from.genre,
        "tags" => to.tags.clone_from(&from.tags),
        "rating" => to.rating = from.rating,
        "ratings" => to.ratings = from.ratings,
        "released_at" => to.released_at = from.released_at,
        "typical_session" => to.typical_session = from.typical_session,
        "play_count" => to.play_count = from.play_count,
        "plays_by_country" => to.plays_by_country.clone_from(&from.plays_by_country),
        "players_max" => to.players_max = from.players_max,
        "minimum_age" => to.minimum_age = from.minimum_age,
        "tagline" => to.tagline.clone_from(&from.tagline),
        "metadata" => to.metadata.clone_from(&from.metadata),
        "awards" => to.awards.clone_from(&from.awards),
        "state" => to.state = from.state,
        "etag" => to.etag.clone_from(&from.etag),
        _ => return false,
    }
    true
}

fn copy_metadata(key: &str, from: &Game, to: &mut Game) -> bool {
    let value = from.metadata.as_ref().and_then(|m| m.fields.get(key));
    let fields = &mut to.metadata.get_or_insert_default().fields;
    match value {
        Some(value) => drop(fields.insert(key.to_owned(), value.clone())),
        None => drop(fields.remove(key)),
    }
    true
}

fn copy_browser(field: Option<&str>, from: &Game, to: &mut Game) -> bool {
    let source = match &from.delivery {
        Some(Delivery::Browser(browser)) => Some(browser.clone()),
        _ => None,
    };
    let mut target = match &to.delivery {
        Some(Delivery::Browser(browser)) => browser.clone(),
        _ => BrowserDelivery::default(),
    };
    let value = source.clone().unwrap_or_default();
    match field {
        None => {
            // Naming a member of a oneof that isn't set clears it, but no other member.
            if source.is_some() || matches!(to.delivery, Some(Delivery::Browser(_))) {
                to.delivery = source.map(Delivery::Browser);
            }
            return true;
        }
        Some("url") => target.url = value.url,
        Some("width") => target.width = value.width,
        Some("height") => target.height = value.height,
        Some(_) => return false,
    }
    to.delivery = Some(Delivery::Browser(target));
    true
}

fn copy_download(field: Option<&str>, from: &Game, to: &mut Game) -> bool {
    let source = match &from.delivery {
        Some(Delivery::Download(download)) => Some(download.clone()),
        _ => None,
    };
    let mut target = match &to.delivery {
        Some(Delivery::Download(download)) => download.clone(),
        _ => DownloadDelivery::default(),
    };
    let value = source.clone().unwrap_or_default();
    match field {
        None => {
            if source.is_some() || matches!(to.delivery, Some(Delivery::Download(_))) {
                to.delivery = source.map(Delivery::Download);
            }
            return true;
        }
        Some("url") => target.url = value.url,
        Some("size_bytes") => target.size_bytes = value.size_bytes,
        Some("sha256") => target.sha256 = value.sha256,
        Some(_) => return false,
    }
    to.delivery = Some(Delivery::Download(target));
    true
}

#[cfg(test)]
mod tests {
    use prost_types::{Struct, Value, value::Kind};

    use super::*;

    fn browser(url: &str, width: i32) -> Option<Delivery> {
        Some(Delivery::Browser(BrowserDelivery {
            url: url.into(),
            width,
            height: 1,
        }))
    }

    fn changed(game: &Game, wanted: &Game, paths: &[&str]) -> Game {
        let mut game = game.clone();
        let mask = FieldMask {
            paths: paths.iter().map(|&p| p.to_owned()).collect(),
        };
        update(&mut game, wanted, Some(&mask)).unwrap();
        game
    }

    #[test]
    fn a_member_of_a_oneof_clears_itself_and_no_other() {
        let game = Game {
            delivery: browser("https://a", 5),
            ..Game::default()
        };
        let nothing = Game::default();
        assert_eq!(changed(&game, &nothing, &["download"]), game);
        assert_eq!(changed(&game, &nothing, &["browser"]).delivery, None);
        let other = Game {
            delivery: browser("https://b", 9),
            ..Game::default()
        };
        let part = changed(&game, &other, &["browser.width"]);
        assert_eq!(part.delivery, browser("https://a", 9));
        let switched = changed(&game, &other, &["download.url"]);
        assert!(matches!(switched.delivery, Some(Delivery::Download(_))));
        assert_eq!(changed(&switched, &nothing, &["browser"]), switched);
    }

    #[test]
    fn one_key_of_the_metadata_is_set_or_removed() {
        let of = |pairs: &[(&str, f64)]| Game {
            metadata: Some(Struct {
                fields: pairs
                    .iter()
                    .map(|&(key, number)| {
                        let kind = Some(Kind::NumberValue(number));
                        (key.to_owned(), Value { kind })
                    })
                    .collect(),
            }),
            ..Game::default()
        };
        let game = of(&[("a", 1.0), ("b", 2.0)]);
        let wanted = of(&[("a", 7.0)]);
        let paths = ["metadata.a", "metadata.b"];
        assert_eq!(changed(&game, &wanted, &paths), of(&[("a", 7.0)]));
        assert_eq!(changed(&game, &wanted, &["metadata"]), wanted);
    }

    #[test]
    fn a_star_is_all_that_a_client_may_change() {
        let game = Game {
            id: 4,
            title: "old".into(),
            rating: 3.0,
            ..Game::default()
        };
        let kept = Game {
            title: String::new(),
            ..game.clone()
        };
        assert_eq!(changed(&game, &Game::default(), &["*"]), kept);
    }
}
