//! The games that the catalogue starts with.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Duration, Struct, Timestamp, Value};

use super::errors::pack;
use super::pb::game::Delivery;
use super::pb::{Award, BrowserDelivery, DownloadDelivery, Game, GameState, Genre};

/// One row: what differs between the games.
struct Row {
    path: &'static str,
    title: &'static str,
    genre: Genre,
    tags: &'static [&'static str],
    rating: f64,
    ratings: u32,
    /// Day of the release, counted from 1970-01-01.
    day: i64,
    minutes: i64,
    plays: u64,
    players_max: Option<i32>,
    age: Option<i32>,
    tagline: Option<&'static str>,
}

macro_rules! rows {
    ($($path:literal $title:literal $genre:ident [$($tag:literal)*] $rating:literal/$ratings:literal
       day $day:literal, $minutes:literal min, $plays:literal plays, $max:expr, $age:expr, $line:expr;)*) => {
        &[$(Row {
            path: $path, title: $title, genre: Genre::$genre, tags: &[$($tag),*], rating: $rating,
            ratings: $ratings, day: $day, minutes: $minutes, plays: $plays, players_max: $max,
            age: $age, tagline: $line,
        }),*]
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = rows! {
    "paperfox/games/puzzle/tidal" "Tidal" Puzzle ["relaxing" "water" "singleplayer"] 4.7/1_820 day 19_358, 12 min, 9_417_220 plays, None, Some(6), Some("Move the sea, one tile at a time");
    "paperfox/games/puzzle/lantern-row" "Lantern Row" Puzzle ["logic" "night" "singleplayer"] 4.4/960 day 19_601, 8 min, 2_210_014 plays, None, Some(6), None;
    "paperfox/games/cards/moth-and-flame" "Moth & Flame" Cards ["duel" "multiplayer"] 4.1/611 day 19_822, 15 min, 840_551 plays, Some(2), Some(8), Some("A duel in forty cards");
    "northgate/games/racing/ice-circuit" "Ice Circuit" Racing ["multiplayer" "winter" "fast"] 4.3/2_204 day 19_012, 6 min, 12_880_390 plays, Some(8), Some(6), Some("No brakes above the Arctic Circle");
    "northgate/games/racing/paper-planes-gp" "Paper Planes GP" Racing ["casual" "multiplayer"] 3.9/1_015 day 18_701, 4 min, 7_702_118 plays, Some(12), None, None;
    "northgate/games/arcade/blockfall-97" "Blockfall '97" Arcade ["retro" "singleplayer" "fast"] 4.8/5_310 day 17_940, 5 min, 41_006_773 plays, None, Some(3), Some("Still falling");
    "kiln/games/strategy/river-kings" "River Kings" Strategy ["turn-based" "multiplayer" "history"] 4.6/1_440 day 19_120, 45 min, 3_350_907 plays, Some(6), Some(10), Some("Every trade route is a battlefield");
    "kiln/games/strategy/outpost-seven" "Outpost Seven" Strategy ["space" "singleplayer"] 4.2/875 day 19_477, 60 min, 1_120_436 plays, None, Some(12), None;
    "kiln/games/adventure/the-long-stair" "The Long Stair" Adventure ["story" "singleplayer"] 4.9/3_015 day 19_733, 90 min, 1_905_300 plays, None, Some(12), Some("1,024 steps, and someone on each");
    "kiln/games/adventure/salt-road" "Salt Road" Adventure ["story" "history" "singleplayer"] 4.5/1_212 day 20_011, 70 min, 690_412 plays, None, Some(12), None;
    "bitmoss/games/arcade/gecko-dash" "Gecko Dash" Arcade ["casual" "fast" "singleplayer"] 4.0/2_690 day 18_430, 3 min, 22_410_009 plays, None, Some(3), Some("Walls are only a suggestion");
    "bitmoss/games/arcade/neon-harvest" "Neon Harvest" Arcade ["retro" "multiplayer" "night"] 3.7/430 day 19_905, 7 min, 410_227 plays, Some(4), Some(8), None;
    "bitmoss/games/puzzle/ohm" "Ohm" Puzzle ["logic" "science" "singleplayer"] 4.6/1_130 day 19_250, 10 min, 1_733_840 plays, None, Some(8), Some("Current affairs");
    "bitmoss/games/puzzle/seven-bridges" "Seven Bridges" Puzzle ["logic" "history" "singleplayer"] 4.3/702 day 18_999, 9 min, 980_115 plays, None, Some(6), None;
    "holloway/games/cards/crow-court" "Crow Court" Cards ["multiplayer" "party"] 4.2/1_509 day 19_060, 20 min, 2_640_883 plays, Some(6), Some(10), Some("Lie to your friends, politely");
    "holloway/games/cards/patience-please" "Patience, Please" Cards ["relaxing" "singleplayer"] 3.8/390 day 18_210, 11 min, 5_117_640 plays, None, None, None;
    "holloway/games/strategy/hedge-maze" "Hedge Maze" Strategy ["casual" "multiplayer" "garden"] 4.0/512 day 19_540, 18 min, 603_990 plays, Some(4), Some(6), None;
    "holloway/games/adventure/night-ferry" "Night Ferry" Adventure ["story" "night" "water" "singleplayer"] 4.7/1_777 day 19_688, 55 min, 1_288_034 plays, None, Some(12), Some("The last crossing leaves at one");
    "sundial/games/racing/dust-devils" "Dust Devils" Racing ["multiplayer" "desert" "fast"] 4.1/1_340 day 18_860, 9 min, 6_045_217 plays, Some(10), Some(8), None;
    "sundial/games/racing/snail-mail" "Snail Mail" Racing ["casual" "garden" "singleplayer"] 4.4/2_020 day 19_390, 14 min, 1_402_666 plays, None, Some(3), Some("Delivery guaranteed, eventually");
    "sundial/games/arcade/comet-catcher" "Comet Catcher" Arcade ["space" "casual" "singleplayer"] 4.5/1_903 day 18_555, 4 min, 15_730_128 plays, None, Some(3), None;
    "sundial/games/strategy/wind-farm" "Wind Farm" Strategy ["relaxing" "science" "singleplayer"] 4.3/640 day 19_866, 35 min, 377_081 plays, None, Some(6), Some("A quiet kind of power");
    "tinroof/games/adventure/radio-valley" "Radio Valley" Adventure ["story" "science" "multiplayer"] 4.6/980 day 20_075, 40 min, 288_640 plays, Some(2), Some(10), Some("Two players, one frequency");
    "tinroof/games/puzzle/rain-check" "Rain Check" Puzzle ["relaxing" "water" "casual" "singleplayer"] 3.6/205 day 20_120, 6 min, 95_318 plays, None, None, None;
};

const DAY_SECONDS: i64 = 24 * 60 * 60;
const COUNTRIES: [(&str, u64); 4] = [("BR", 5), ("DE", 9), ("JP", 7), ("US", 3)];

/// The sample games, numbered from 1.
pub(super) fn sample() -> Vec<Game> {
    (1..).zip(ROWS).map(|(id, row)| game(id, row)).collect()
}

fn game(id: i64, row: &Row) -> Game {
    Game {
        id,
        name: format!("studios/{}", row.path),
        title: row.title.to_owned(),
        localized_titles: localized(row.title),
        genre: row.genre.into(),
        tags: row.tags.iter().map(|&tag| tag.to_owned()).collect(),
        rating: row.rating,
        ratings: row.ratings,
        released_at: Some(Timestamp {
            seconds: row.day.saturating_mul(DAY_SECONDS),
            nanos: 0,
        }),
        typical_session: Some(Duration {
            seconds: row.minutes.saturating_mul(60),
            nanos: 0,
        }),
        play_count: row.plays,
        plays_by_country: COUNTRIES
            .iter()
            .map(|&(country, share)| {
                let plays = row.plays.checked_div(share).unwrap_or_default();
                (country.to_owned(), i64::try_from(plays).unwrap_or(i64::MAX))
            })
            .collect(),
        players_max: row.players_max,
        minimum_age: row.age,
        tagline: row.tagline.map(str::to_owned),
        delivery: Some(delivery(id, row)),
        metadata: Some(metadata(row)),
        awards: awards(row),
        state: GameState::Published.into(),
        etag: format!("g{id}-1"),
    }
}

fn localized(title: &str) -> BTreeMap<String, String> {
    let title_in = |language: &str, title: &str| (language.to_owned(), title.to_owned());
    match title {
        "Tidal" => [title_in("de", "Gezeiten"), title_in("ja", "潮汐")].into(),
        "The Long Stair" => [
            title_in("de", "Die lange Treppe"),
            title_in("fr", "Le Long Escalier"),
            title_in("pt-BR", "A Longa Escada"),
        ]
        .into(),
        "Night Ferry" => [
            title_in("fr", "Le Bac de nuit"),
            title_in("ja", "夜の渡し船"),
        ]
        .into(),
        _ => BTreeMap::new(),
    }
}

/// Long games are downloads, short ones run in the browser.
fn delivery(id: i64, row: &Row) -> Delivery {
    if row.minutes < 60 {
        return Delivery::Browser(BrowserDelivery {
            url: format!("https://play.gamehub.example/{id}"),
            width: 1280,
            height: 720,
        });
    }
    Delivery::Download(DownloadDelivery {
        url: format!("https://downloads.gamehub.example/{id}.tar.zst"),
        size_bytes: row.minutes.saturating_mul(31_457_280),
        sha256: (0..32u8)
            .map(|n| n.wrapping_mul(37) ^ id.to_le_bytes()[0])
            .collect(),
    })
}

fn metadata(row: &Row) -> Struct {
    let kind = |kind| Value { kind: Some(kind) };
    let engine = if row.day < 18_800 { "canvas" } else { "webgl" };
    Struct {
        fields: [
            (
                "engine".to_owned(),
                kind(Kind::StringValue(engine.to_owned())),
            ),
            (
                "offline".to_owned(),
                kind(Kind::BoolValue(row.players_max.is_none())),
            ),
            (
                "levels".to_owned(),
                kind(Kind::NumberValue(f64::from(row.ratings % 60 + 4))),
            ),
        ]
        .into(),
    }
}

fn awards(row: &Row) -> Vec<prost_types::Any> {
    if row.rating < 4.7 {
        return Vec::new();
    }
    vec![pack(&Award {
        title: format!(
            "Players' choice: {}",
            row.genre
                .as_str_name()
                .trim_start_matches("GENRE_")
                .to_lowercase()
        ),
        year: 2024,
    })]
}
