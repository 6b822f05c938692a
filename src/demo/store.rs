//! What the service remembers: games, ratings, pictures. Small and bounded, behind one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::{Code, Status};

use super::errors::Refusal;
use super::games;
use super::pb::{Game, GameState, Rating};
use super::proto::google::api::HttpBody;

/// Games that it holds at most.
const GAMES_MAX: usize = 1000;
/// Uploaded pictures that it holds at most; each is at most 1 MiB.
const PICTURES_MAX: usize = 32;
/// Ratings that it remembers, so that nobody rates a game twice.
const RATINGS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    games: BTreeMap<i64, Game>,
    last_id: i64,
    /// Writes so far: part of each etag.
    revision: u64,
    ratings: BTreeSet<(i64, String)>,
    pictures: BTreeMap<i64, HttpBody>,
    reports: i64,
}

impl Store {
    pub(super) fn with_sample_games() -> Self {
        let games: BTreeMap<_, _> = games::sample().into_iter().map(|g| (g.id, g)).collect();
        Self {
            inner: Mutex::new(Inner {
                last_id: games.keys().next_back().copied().unwrap_or_default(),
                revision: 1,
                games,
                ..Inner::default()
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each write leaves a whole value behind, so a poisoned lock guards nothing broken.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn game(&self, id: i64) -> Result<Game, Status> {
        let inner = self.lock();
        inner
            .games
            .get(&id)
            .cloned()
            .ok_or_else(|| Refusal::no_game(id))
    }

    pub(super) fn find(&self, mut wanted: impl FnMut(&Game) -> bool) -> Vec<Game> {
        let inner = self.lock();
        inner
            .games
            .values()
            .filter(|g| wanted(g))
            .cloned()
            .collect()
    }

    /// Keeps a new draft and gives it its number.
    pub(super) fn add(&self, mut game: Game) -> Result<Game, Status> {
        let mut inner = self.lock();
        if inner.games.len() >= GAMES_MAX {
            let message = format!("the catalogue is full: it holds {GAMES_MAX} games");
            return Err(Refusal::new(Code::ResourceExhausted, message)
                .reason("CATALOGUE_FULL", [])
                .into());
        }
        if inner.games.values().any(|g| g.name == game.name) {
            let message = format!("there is a game named {:?} already", game.name);
            return Err(Refusal::new(Code::AlreadyExists, message)
                .reason("GAME_EXISTS", [("name", game.name)])
                .into());
        }
        inner.last_id = inner.last_id.saturating_add(1);
        game.id = inner.last_id;
        game.state = GameState::Draft.into();
        game.etag = inner.next_etag(game.id);
        inner.games.insert(game.id, game.clone());
        Ok(game)
    }

    /// Changes a game; on an error of `edit` it stays as it was.
    pub(super) fn edit(
        &self,
        id: i64,
        edit: impl FnOnce(&mut Game) -> Result<(), Status>,
    ) -> Result<Game, Status> {
        let mut inner = self.lock();
        let Some(mut game) = inner.games.get(&id).cloned() else {
            return Err(Refusal::no_game(id));
        };
        edit(&mut game)?;
        game.etag = inner.next_etag(id);
        inner.games.insert(id, game.clone());
        Ok(game)
    }

    /// Removes a game if it still has this etag; an empty one fits all.
    pub(super) fn remove(&self, id: i64, etag: &str) -> Result<(), Status> {
        let mut inner = self.lock();
        let Some(game) = inner.games.get(&id) else {
            return Err(Refusal::no_game(id));
        };
        if !etag.is_empty() && game.etag != etag {
            let message = format!("game {id} has changed: its etag is {:?} now", game.etag);
            return Err(Refusal::new(Code::Aborted, message)
                .reason("ETAG_MISMATCH", [("etag", game.etag.clone())])
                .into());
        }
        inner.games.remove(&id);
        inner.pictures.remove(&id);
        Ok(())
    }

    pub(super) fn rate(&self, id: i64, player: String, stars: i32) -> Result<Rating, Status> {
        let mut inner = self.lock();
        let Inner { games, ratings, .. } = &mut *inner;
        let Some(game) = games.get_mut(&id) else {
            return Err(Refusal::no_game(id));
        };
        if ratings.len() >= RATINGS_MAX || !ratings.insert((id, player)) {
            let message = format!("game {id} has been rated by this player: again tomorrow");
            return Err(Refusal::new(Code::ResourceExhausted, message)
                .reason("RATED_ALREADY", [("game_id", id.to_string())])
                .retry_after(24 * 60 * 60)
                .into());
        }
        let sum = game.rating * f64::from(game.ratings) + f64::from(stars);
        game.ratings = game.ratings.saturating_add(1);
        game.rating = sum / f64::from(game.ratings);
        Ok(Rating {
            mean: game.rating,
            count: game.ratings,
        })
    }

    pub(super) fn picture(&self, id: i64) -> Option<HttpBody> {
        self.lock().pictures.get(&id).cloned()
    }

    pub(super) fn keep_picture(&self, id: i64, picture: HttpBody) -> Result<(), Status> {
        let mut inner = self.lock();
        if !inner.games.contains_key(&id) {
            return Err(Refusal::no_game(id));
        }
        if inner.pictures.len() >= PICTURES_MAX && !inner.pictures.contains_key(&id) {
            let message = format!("no room: {PICTURES_MAX} pictures are kept at most");
            return Err(Refusal::new(Code::ResourceExhausted, message)
                .reason("PICTURES_FULL", [])
                .into());
        }
        inner.pictures.insert(id, picture);
        Ok(())
    }

    pub(super) fn forget_picture(&self, id: i64) {
        self.lock().pictures.remove(&id);
    }

    /// Counts a report and gives its number.
    pub(super) fn count_report(&self) -> i64 {
        let mut inner = self.lock();
        inner.reports = inner.reports.saturating_add(1);
        inner.reports
    }
}

impl Inner {
    fn next_etag(&mut self, id: i64) -> String {
        self.revision = self.revision.saturating_add(1);
        format!("g{id}-{}", self.revision)
    }
}
