//! `gamehub.v1.Catalogue`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use prost_types::Timestamp;
use tonic::{Code, Request, Response, Status};

use super::errors::{Refusal, violation};
use super::paging::Cut;
use super::pb::catalogue_server as server;
use super::pb::{
    BatchGetGamesRequest, BatchGetGamesResponse, CreateGameRequest, DeleteGameRequest, Game,
    GameState, Genre, GetGameRequest, ListGamesRequest, ListGamesResponse, ListTagsRequest,
    ListTagsResponse, LookupGameRequest, PublishGameRequest, RateGameRequest, RateGameResponse,
    Tag, UpdateGameRequest,
};
use super::store::Store;
use super::{mask, validate};

const BATCH_MAX: usize = 50;

#[derive(Debug)]
pub(super) struct Catalogue {
    store: Arc<Store>,
}

impl Catalogue {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl server::Catalogue for Catalogue {
    async fn get_game(&self, request: Request<GetGameRequest>) -> Result<Response<Game>, Status> {
        let request = request.into_inner();
        let game = self.store.game(request.game_id)?;
        match mask::project(game, request.read_mask.as_ref()) {
            Ok(game) => Ok(Response::new(game)),
            Err(wrong) => Err(Refusal::bad_request(wrong)),
        }
    }

    async fn lookup_game(
        &self,
        request: Request<LookupGameRequest>,
    ) -> Result<Response<Game>, Status> {
        let name = request.into_inner().name;
        let found = self.store.find(|game| game.name == name);
        found.into_iter().next().map(Response::new).ok_or_else(|| {
            Refusal::new(Code::NotFound, format!("there is no game named {name:?}"))
                .reason("GAME_NOT_FOUND", [("name", name.clone())])
                .into()
        })
    }

    async fn list_games(
        &self,
        request: Request<ListGamesRequest>,
    ) -> Result<Response<ListGamesResponse>, Status> {
        let request = request.into_inner();
        let cut = Cut::of(&request)?;
        if !(0.0..=5.0).contains(&request.min_rating) {
            return Err(Refusal::field("min_rating", "must be between 0 and 5"));
        }
        let studio = format!("studios/{}/", request.studio);
        let state = request.state.unwrap_or(GameState::Published.into());
        let after = request.released_after.map(instant);
        let found = self.store.find(|game| {
            game.state == state
                && (request.genre == i32::from(Genre::Unspecified) || game.genre == request.genre)
                && request.tags.iter().all(|tag| game.tags.contains(tag))
                && game.rating >= request.min_rating
                && (request.studio.is_empty() || game.name.starts_with(&studio))
                && after.is_none_or(|after| game.released_at.map(instant) > Some(after))
        });
        let total_size = i32::try_from(found.len()).unwrap_or(i32::MAX);
        let mut rest = found.into_iter().filter(|game| game.id > cut.after);
        let games: Vec<Game> = rest.by_ref().take(cut.size).collect();
        let next_page_token = match (rest.next(), games.last()) {
            (Some(_), Some(last)) => cut.token(last.id),
            _ => String::new(),
        };
        Ok(Response::new(ListGamesResponse {
            games,
            next_page_token,
            total_size,
        }))
    }

    async fn batch_get_games(
        &self,
        request: Request<BatchGetGamesRequest>,
    ) -> Result<Response<BatchGetGamesResponse>, Status> {
        let ids = request.into_inner().game_ids;
        if ids.len() > BATCH_MAX {
            let wrong = format!("{} games are asked for: {BATCH_MAX} is the most", ids.len());
            return Err(Refusal::field("game_ids", wrong));
        }
        let games = ids.into_iter().map(|id| self.store.game(id));
        let games = games.collect::<Result<_, _>>()?;
        Ok(Response::new(BatchGetGamesResponse { games }))
    }

    async fn create_game(
        &self,
        request: Request<CreateGameRequest>,
    ) -> Result<Response<Game>, Status> {
        let request = request.into_inner();
        let Some(wanted) = request.game else {
            return Err(Refusal::field("game", "must be given"));
        };
        let mut wrong = validate::game(&wanted);
        let mut game = Game {
            name: wanted.name.clone(),
            ..Game::default()
        };
        if game.name.is_empty() {
            game.name = format!("studios/guest/games/{}", validate::slug(&wanted.title));
        } else if !is_name(&game.name) {
            wrong.push(violation(
                "game.name",
                "must be like studios/{studio}/games/{path}",
            ));
        }
        Refusal::unless_empty(wrong)?;
        mask::update(&mut game, &wanted, None).map_err(Refusal::bad_request)?;
        if request.validate_only {
            game.state = GameState::Draft.into();
            return Ok(Response::new(game));
        }
        self.store.add(game).map(Response::new)
    }

    async fn update_game(
        &self,
        request: Request<UpdateGameRequest>,
    ) -> Result<Response<Game>, Status> {
        let request = request.into_inner();
        let Some(wanted) = request.game else {
            return Err(Refusal::field("game", "must be given"));
        };
        let edited = self.store.edit(wanted.id, |game| {
            mask::update(game, &wanted, request.update_mask.as_ref())
                .map_err(Refusal::bad_request)?;
            Refusal::unless_empty(validate::game(game))
        });
        edited.map(Response::new)
    }

    async fn delete_game(
        &self,
        request: Request<DeleteGameRequest>,
    ) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let removed = self.store.remove(request.game_id, &request.etag);
        removed.map(Response::new)
    }

    async fn publish_game(
        &self,
        request: Request<PublishGameRequest>,
    ) -> Result<Response<Game>, Status> {
        let request = request.into_inner();
        let edited = self.store.edit(request.game_id, |game| {
            if game.state != i32::from(GameState::Draft) {
                let message = format!("game {} is not a draft", game.id);
                return Err(Refusal::new(Code::FailedPrecondition, message)
                    .reason("NOT_A_DRAFT", [("game_id", game.id.to_string())])
                    .into());
            }
            game.state = GameState::Published.into();
            let at = request.release_at;
            game.released_at = Some(at.unwrap_or_else(|| SystemTime::now().into()));
            Ok(())
        });
        edited.map(Response::new)
    }

    async fn rate_game(
        &self,
        request: Request<RateGameRequest>,
    ) -> Result<Response<RateGameResponse>, Status> {
        let request = request.into_inner();
        if !(1..=5).contains(&request.stars) {
            return Err(Refusal::field("stars", "must be between 1 and 5"));
        }
        if request.player.len() > 64 {
            return Err(Refusal::field("player", "must have at most 64 bytes"));
        }
        let rating = self
            .store
            .rate(request.game_id, request.player, request.stars)?;
        Ok(Response::new(RateGameResponse {
            rating: Some(rating),
        }))
    }

    async fn list_tags(
        &self,
        _: Request<ListTagsRequest>,
    ) -> Result<Response<ListTagsResponse>, Status> {
        let mut counts = BTreeMap::<String, u32>::new();
        for tag in self.store.find(|_| true).into_iter().flat_map(|g| g.tags) {
            let count = counts.entry(tag).or_default();
            *count = count.saturating_add(1);
        }
        let mut tags: Vec<Tag> = counts
            .into_iter()
            .map(|(name, games)| Tag { name, games })
            .collect();
        tags.sort_by_key(|tag| std::cmp::Reverse(tag.games));
        Ok(Response::new(ListTagsResponse { tags }))
    }
}

/// A time that can be compared.
fn instant(time: Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

/// `studios/{studio}/games/{path…}` with no empty part.
fn is_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let shape = matches!(parts.as_slice(), ["studios", _, "games", _, ..]);
    shape && parts.iter().all(|part| !part.is_empty())
}
