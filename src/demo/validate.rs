//! What a new or changed game must look like: every fault at once, field by field.

use super::errors::violation;
use super::pb::game::Delivery;
use super::pb::{Game, Genre};
use super::proto::google::rpc::bad_request::FieldViolation;

const TITLE_CHARS_MAX: usize = 80;
const TAGS_MAX: usize = 10;

/// Faults of the game, with fields named from `game.`.
pub(super) fn game(game: &Game) -> Vec<FieldViolation> {
    let mut wrong = Vec::new();
    let mut fault = |field: &str, what: &str| wrong.push(violation(field, what));
    if game.title.trim().is_empty() {
        fault("game.title", "must not be empty");
    } else if game.title.chars().count() > TITLE_CHARS_MAX {
        fault("game.title", "must have at most 80 characters");
    }
    match Genre::try_from(game.genre) {
        Ok(Genre::Unspecified) => fault("game.genre", "must be given"),
        Ok(_) => {}
        Err(_) => fault("game.genre", "is none that the catalogue knows"),
    }
    if game.tags.len() > TAGS_MAX {
        fault("game.tags", "must be at most 10");
    }
    for (at, tag) in game.tags.iter().take(TAGS_MAX).enumerate() {
        if !is_tag(tag) {
            let field = format!("game.tags[{at}]");
            fault(&field, "must be lower-case letters, digits and dashes");
        }
    }
    if game.players_max.is_some_and(|n| n < 2) {
        fault("game.players_max", "must be 2 or more, or left out");
    }
    if game.minimum_age.is_some_and(|age| !(0..=21).contains(&age)) {
        fault("game.minimum_age", "must be between 0 and 21");
    }
    if game
        .typical_session
        .is_some_and(|d| d.seconds < 0 || d.nanos < 0)
    {
        fault("game.typical_session", "must not be negative");
    }
    let url = match &game.delivery {
        Some(Delivery::Browser(browser)) => Some(("game.browser.url", &browser.url)),
        Some(Delivery::Download(download)) => Some(("game.download.url", &download.url)),
        None => None,
    };
    if let Some((field, url)) = url
        && !url.starts_with("https://")
    {
        fault(field, "must begin with https://");
    }
    wrong
}

fn is_tag(tag: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=30).contains(&tag.len()) && tag.chars().all(allowed)
}

/// The last part of a game's name, made from its title: `Salt & Pepper!` is `salt-pepper`.
pub(super) fn slug(title: &str) -> String {
    let words = title
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase);
    words.collect::<Vec<_>>().join("-")
}
