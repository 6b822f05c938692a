//! A service that writes each call down before it answers, to be compared with what clients know.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use transom::demo::Services;
use transom::demo::proto::gamehub::v1::moderation_server::{Moderation, ModerationServer};
use transom::demo::proto::gamehub::v1::scores_server::{Scores, ScoresServer};
use transom::demo::proto::gamehub::v1::{
    ListScoresRequest, ListScoresResponse, ReportRequest, ReportResponse, Score, WatchScoresRequest,
};

/// So that there are calls under way at any time.
const TAKES: Duration = Duration::from_millis(4);

/// The services' ledger: a file with a line for each call, `who kind number`.
#[derive(Clone, Debug)]
pub struct Book(PathBuf);

impl Book {
    pub fn create(path: PathBuf) -> Self {
        File::create(&path).expect("a file");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// How often each call of a kind was carried out, by number.
    pub fn times(&self, kind: &str) -> HashMap<u64, u32> {
        let mut times = HashMap::new();
        for [_, of, number] in self.lines() {
            if of == kind {
                *times.entry(number.parse().expect("a number")).or_default() += 1;
            }
        }
        times
    }

    /// How many calls each server has had.
    pub fn shares(&self) -> HashMap<String, u32> {
        let mut shares = HashMap::new();
        for [who, ..] in self.lines() {
            *shares.entry(who).or_default() += 1;
        }
        shares
    }

    fn lines(&self) -> Vec<[String; 3]> {
        let text = std::fs::read_to_string(&self.0).expect("the ledger");
        let words = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            words.try_into().expect("three words")
        };
        text.lines().map(words).collect()
    }
}

/// The services, as one server has them.
#[derive(Clone, Debug)]
struct Booked {
    book: Arc<File>,
    who: String,
}

impl Booked {
    fn write(&self, kind: &str, number: impl std::fmt::Display) {
        // One write each, so that lines of several servers don't mix.
        let line = format!("{} {kind} {number}\n", self.who);
        let mut book = &*self.book;
        book.write_all(line.as_bytes()).expect("written");
    }
}

type Feed = Pin<Box<dyn Stream<Item = Result<Score, Status>> + Send>>;

#[tonic::async_trait]
impl Scores for Booked {
    async fn list_scores(
        &self,
        request: Request<ListScoresRequest>,
    ) -> Result<Response<ListScoresResponse>, Status> {
        self.write("scores", request.get_ref().game_id);
        tokio::time::sleep(TAKES).await;
        Ok(Response::new(ListScoresResponse::default()))
    }

    type WatchScoresStream = Feed;

    async fn watch_scores(
        &self,
        request: Request<WatchScoresRequest>,
    ) -> Result<Response<Feed>, Status> {
        let count = request.get_ref().count;
        self.write("watch", request.get_ref().game_id);
        let feed = stream::unfold(0, move |sequence| async move {
            tokio::time::sleep(TAKES).await;
            let score = Score {
                sequence: sequence + 1,
                ..Score::default()
            };
            (sequence < count).then_some((Ok(score), sequence + 1))
        });
        Ok(Response::new(Box::pin(feed)))
    }
}

#[tonic::async_trait]
impl Moderation for Booked {
    async fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        self.write("report", &request.get_ref().comment);
        tokio::time::sleep(TAKES).await;
        Ok(Response::new(ReportResponse {
            report_id: 1,
            ..ReportResponse::default()
        }))
    }
}

/// Serves until `stop`, then finishes what is under way: tonic as it comes.
pub async fn serve(
    socket: tokio::net::TcpListener,
    book: &Path,
    who: &str,
    stop: impl Future<Output = ()>,
) {
    let file = OpenOptions::new().append(true).open(book);
    let booked = Booked {
        book: Arc::new(file.expect("the ledger")),
        who: who.to_owned(),
    };
    let services = Services::new()
        .with(ScoresServer::new(booked.clone()))
        .with(ModerationServer::new(booked));
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .serve_with_incoming_shutdown(services, TcpListenerStream::new(socket), stop)
        .await
        .expect("served");
}
