//! `gamehub.v1.Scores`: scores from a counter, so that every watcher of a game sees the same ones.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use prost_types::Timestamp;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::errors::Refusal;
use super::pb::scores_server as server;
use super::pb::{ListScoresRequest, ListScoresResponse, Score, WatchScoresRequest};
use super::store::Store;

/// 2026-01-01T12:00:00Z: the time of the first score of every stream.
const FIRST_SECOND: i64 = 1_767_268_800;
const PLAYERS: [&str; 12] = [
    "ada", "bo", "cyd", "dara", "eli", "fen", "gus", "hana", "ines", "jun", "kofi", "lea",
];
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Scores that the leaderboard is made of.
const LEADERBOARD: u32 = 100;

#[derive(Debug)]
pub(super) struct Scores {
    store: Arc<Store>,
}

impl Scores {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl server::Scores for Scores {
    async fn list_scores(
        &self,
        request: Request<ListScoresRequest>,
    ) -> Result<Response<ListScoresResponse>, Status> {
        let request = request.into_inner();
        let limit = match request.limit {
            0 => 10,
            limit @ 1..=100 => usize::try_from(limit).unwrap_or(10),
            _ => return Err(Refusal::field("limit", "must be between 1 and 100")),
        };
        let game = self.store.game(request.game_id)?;
        let mut scores: Vec<Score> = (1..=LEADERBOARD).map(|n| score(game.id, n)).collect();
        scores.sort_by_key(|score| (std::cmp::Reverse(score.points), score.sequence));
        scores.truncate(limit);
        Ok(Response::new(ListScoresResponse { scores }))
    }

    type WatchScoresStream = Pin<Box<dyn Stream<Item = Result<Score, Status>> + Send>>;

    async fn watch_scores(
        &self,
        request: Request<WatchScoresRequest>,
    ) -> Result<Response<Self::WatchScoresStream>, Status> {
        let request = request.into_inner();
        let interval = interval(request.interval)?;
        let game = self.store.game(request.game_id)?.id;
        let scores = stream::unfold(Some(1), move |next| async move {
            let sequence = next?;
            if request.fail_after > 0 && sequence > request.fail_after {
                return Some((Err(lost(sequence)), None));
            }
            if request.count > 0 && sequence > request.count {
                return None;
            }
            if sequence > 1 && !interval.is_zero() {
                tokio::time::sleep(interval).await;
            }
            Some((Ok(score(game, sequence)), sequence.checked_add(1)))
        });
        Ok(Response::new(Box::pin(scores)))
    }
}

fn interval(asked: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(asked) = asked else {
        return Ok(INTERVAL);
    };
    Duration::try_from(asked)
        .ok()
        .filter(|interval| *interval <= INTERVAL_MAX)
        .ok_or_else(|| Refusal::field("interval", "must be between 0s and 60s"))
}

/// What a watcher gets who asked for a failure.
fn lost(sequence: u32) -> Status {
    let seen = sequence.saturating_sub(1);
    let message = format!("the score feed went away after {seen} scores");
    Refusal::new(Code::Unavailable, message)
        .reason("FEED_LOST", [("seen", seen.to_string())])
        .retry_after(2)
        .into()
}

/// The score with this number: its player and points come from mixed bits of game and number.
fn score(game: i64, sequence: u32) -> Score {
    let bits = mix(mix(game.cast_unsigned()) ^ u64::from(sequence));
    let player = usize::try_from(bits % 12).ok().and_then(|n| PLAYERS.get(n));
    Score {
        game_id: game,
        sequence,
        player: player.copied().unwrap_or("ada").to_owned(),
        points: i64::try_from((bits >> 8) % 99_000).unwrap_or_default() + 1000,
        at: Some(Timestamp {
            seconds: FIRST_SECOND.saturating_add(i64::from(sequence) - 1),
            nanos: 0,
        }),
        personal_best: (bits >> 4).is_multiple_of(5),
    }
}

/// The finaliser of splitmix64.
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
