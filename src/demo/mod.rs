//! The embedded service: `gamehub.v1`, a catalogue of web games, held in memory.
//!
//! It is a real gRPC server on a socket of its own, with reflection and health, so that
//! `transom demo` shows the gateway as it is used. What it answers is the same in every run: names,
//! times and scores come from tables and counters. Nothing in it is on the gateway's request path.

mod catalogue;
mod chat;
mod errors;
mod games;
mod mask;
mod moderation;
mod paging;
pub mod proto;
mod scores;
mod server;
mod store;
mod telemetry;
mod thumbnails;
mod validate;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

pub use server::{GrpcServer, ServerError, Services};

use proto::gamehub::v1 as pb;

/// The descriptor set of `gamehub.v1` with its options and comments, as reflection serves it.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gamehub.binpb"));

/// Starts the service; it runs until the handle is dropped.
///
/// # Errors
/// The address can't be bound, or the thread can't start.
pub fn start(listen: SocketAddr) -> Result<GrpcServer, ServerError> {
    GrpcServer::start(listen, services()?)
}

/// All services of `gamehub.v1` over one catalogue, with reflection and health.
///
/// # Errors
/// The built-in descriptors are damaged.
pub fn services() -> Result<Services, ServerError> {
    let store = Arc::new(store::Store::with_sample_games());
    Services::new()
        .with(pb::catalogue_server::CatalogueServer::new(
            catalogue::Catalogue::new(Arc::clone(&store)),
        ))
        .with(pb::scores_server::ScoresServer::new(scores::Scores::new(
            Arc::clone(&store),
        )))
        .with(pb::telemetry_server::TelemetryServer::new(
            telemetry::Telemetry::new(Arc::clone(&store)),
        ))
        .with(pb::chat_server::ChatServer::new(chat::Chat::default()))
        .with(pb::thumbnails_server::ThumbnailsServer::new(
            thumbnails::Thumbnails::new(Arc::clone(&store)),
        ))
        .with(pb::moderation_server::ModerationServer::new(
            moderation::Moderation::new(store),
        ))
        .with_reflection(DESCRIPTORS)
}
