//! `gamehub.v1.Telemetry`: sums up what it is sent and keeps nothing.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::errors::Refusal;
use super::pb::play_event::Event;
use super::pb::telemetry_server as server;
use super::pb::{PlayEvent, PlaySummary, Recording};
use super::proto::google::api::HttpBody;
use super::store::Store;

#[derive(Debug)]
pub(super) struct Telemetry {
    store: Arc<Store>,
}

impl Telemetry {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl server::Telemetry for Telemetry {
    async fn upload_play(
        &self,
        request: Request<Streaming<PlayEvent>>,
    ) -> Result<Response<PlaySummary>, Status> {
        let mut events = request.into_inner();
        let mut summary = PlaySummary::default();
        while let Some(event) = events.message().await? {
            if summary.events == 0 {
                summary.game_id = self.store.game(event.game_id)?.id;
            } else if ![0, summary.game_id].contains(&event.game_id) {
                return Err(Refusal::field("game_id", "must be that of the first event"));
            }
            summary.events = summary.events.saturating_add(1);
            if let Some(Event::LevelFinished(level)) = &event.event {
                summary.levels_finished = summary.levels_finished.saturating_add(1);
                summary.points = summary.points.saturating_add(level.points);
            }
            summary.length = event.at.or(summary.length);
        }
        if summary.events == 0 {
            return Err(Status::invalid_argument("a play has at least one event"));
        }
        Ok(Response::new(summary))
    }

    async fn upload_recording(
        &self,
        request: Request<Streaming<HttpBody>>,
    ) -> Result<Response<Recording>, Status> {
        let mut pieces = request.into_inner();
        let mut recording = Recording::default();
        while let Some(piece) = pieces.message().await? {
            if recording.pieces == 0 {
                recording.content_type = piece.content_type;
            }
            recording.pieces = recording.pieces.saturating_add(1);
            let size = i64::try_from(piece.data.len()).unwrap_or(i64::MAX);
            recording.size_bytes = recording.size_bytes.saturating_add(size);
        }
        Ok(Response::new(recording))
    }
}
