//! The service through its own socket, as a gRPC client sees it.

use prost::{Message, Name};
use prost_types::{Duration, FieldMask, Timestamp};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::pb::catalogue_client::CatalogueClient;
use super::pb::chat_client::ChatClient;
use super::pb::game::Delivery;
use super::pb::moderation_client::ModerationClient;
use super::pb::scores_client::ScoresClient;
use super::pb::telemetry_client::TelemetryClient;
use super::pb::thumbnails_client::ThumbnailsClient;
use super::proto::google::api::HttpBody;
use super::proto::google::rpc;
use super::*;

/// A running service and a channel to it. Fields drop in order: the channel first.
struct Running {
    channel: Channel,
    _server: GrpcServer,
}

async fn running() -> Running {
    let server = start("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = Channel::from_shared(format!("http://{}", server.address())).unwrap();
    Running {
        channel: endpoint.connect().await.unwrap(),
        _server: server,
    }
}

/// The detail of this type in the status.
fn detail<M: Message + Name + Default>(status: &Status) -> M {
    let details = rpc::Status::decode(status.details()).unwrap().details;
    let found = details.iter().find(|d| d.type_url == M::type_url());
    M::decode(&*found.expect("the detail is there").value).unwrap()
}

fn violated(status: &Status) -> Vec<String> {
    let wrong: rpc::BadRequest = detail(status);
    wrong
        .field_violations
        .into_iter()
        .map(|v| v.field)
        .collect()
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|&p| p.to_owned()).collect(),
    })
}

#[tokio::test]
async fn games_are_found_by_number_name_and_filter() {
    let hub = running().await;
    let mut catalogue = CatalogueClient::new(hub.channel.clone());
    let game = |game_id, read_mask| pb::GetGameRequest { game_id, read_mask };

    let tidal = catalogue
        .get_game(game(1, None))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(tidal.title, "Tidal");
    assert_eq!(tidal.localized_titles["ja"], "潮汐");
    let part = catalogue.get_game(game(1, mask(&["title", "browser.url"])));
    let part = part.await.unwrap().into_inner();
    assert_eq!((part.id, part.title.as_str()), (0, "Tidal"));
    assert!(matches!(part.delivery, Some(Delivery::Browser(b)) if b.width == 0));
    let wrong = catalogue
        .get_game(game(1, mask(&["colour"])))
        .await
        .unwrap_err();
    assert_eq!(violated(&wrong), ["read_mask"]);

    let name = tidal.name.clone();
    let named = catalogue.lookup_game(pb::LookupGameRequest { name }).await;
    assert_eq!(named.unwrap().into_inner(), tidal);

    let list = pb::ListGamesRequest {
        tags: vec!["water".into(), "singleplayer".into()],
        min_rating: 4.0,
        released_after: tidal.released_at,
        ..Default::default()
    };
    let found = catalogue.list_games(list).await.unwrap().into_inner();
    let titles: Vec<_> = found.games.iter().map(|g| g.title.as_str()).collect();
    assert_eq!(titles, ["Night Ferry"], "after Tidal's own release day");

    let missing = catalogue.get_game(game(404, None)).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(detail::<rpc::ErrorInfo>(&missing).reason, "GAME_NOT_FOUND");
    assert_eq!(detail::<rpc::LocalizedMessage>(&missing).locale, "en");
}

#[tokio::test]
async fn pages_join_up_and_tokens_belong_to_their_filters() {
    let hub = running().await;
    let mut catalogue = CatalogueClient::new(hub.channel.clone());
    let list = |token: &str, studio: &str| pb::ListGamesRequest {
        page: Some(pb::Page {
            size: 7,
            token: token.into(),
        }),
        studio: studio.into(),
        ..Default::default()
    };
    let mut ids = Vec::new();
    let mut token = String::new();
    loop {
        let page = catalogue
            .list_games(list(&token, ""))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.total_size, 24);
        ids.extend(page.games.iter().map(|g| g.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let other = catalogue
            .list_games(list(&token, "kiln"))
            .await
            .unwrap_err();
        assert_eq!(violated(&other), ["page.token"]);
    }
    assert_eq!(ids, (1..=24).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_game_is_created_changed_published_and_removed() {
    let hub = running().await;
    let mut catalogue = CatalogueClient::new(hub.channel.clone());
    let create = |game| pb::CreateGameRequest {
        game: Some(game),
        validate_only: false,
    };
    let bad = pb::Game {
        tags: vec!["ok".into(), "Not OK".into()],
        ..Default::default()
    };
    let refused = catalogue.create_game(create(bad)).await.unwrap_err();
    assert_eq!(
        violated(&refused),
        ["game.title", "game.genre", "game.tags[1]"]
    );
    let flooded = pb::Game {
        tags: vec!["Not OK".into(); 100_000],
        ..Default::default()
    };
    let refused = catalogue.create_game(create(flooded)).await.unwrap_err();
    assert_eq!(violated(&refused).len(), 3 + 10);

    let mut wanted = pb::Game {
        title: "Glass Garden".into(),
        tagline: Some("Grow slowly".into()),
        rating: 5.0,
        ..Default::default()
    };
    wanted.set_genre(pb::Genre::Puzzle);
    let made = catalogue
        .create_game(create(wanted.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((made.id, made.state()), (25, pb::GameState::Draft));
    assert_eq!(made.name, "studios/guest/games/glass-garden");
    assert_eq!(made.rating, 0.0, "a rating isn't the client's to give");
    let again = catalogue.create_game(create(wanted)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);

    let change = |update_mask, title: &str| pb::UpdateGameRequest {
        game: Some(pb::Game {
            id: 25,
            title: title.into(),
            ..Default::default()
        }),
        update_mask,
    };
    let changed = catalogue.update_game(change(mask(&["title", "tagline"]), "Glasshouse"));
    let changed = changed.await.unwrap().into_inner();
    assert_eq!(
        (changed.title.as_str(), changed.tagline),
        ("Glasshouse", None)
    );
    let kept = catalogue
        .update_game(change(None, "Glass House"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (kept.title.as_str(), kept.genre()),
        ("Glass House", pb::Genre::Puzzle)
    );
    let fixed = catalogue
        .update_game(change(mask(&["rating", "colour"]), ""))
        .await
        .unwrap_err();
    assert_eq!(violated(&fixed), ["update_mask", "update_mask"]);
    let empty = catalogue
        .update_game(change(mask(&["title"]), ""))
        .await
        .unwrap_err();
    assert_eq!(violated(&empty), ["game.title"]);

    let publish = pb::PublishGameRequest {
        game_id: 25,
        release_at: Some(Timestamp {
            seconds: 1_800_000_000,
            nanos: 0,
        }),
        ..Default::default()
    };
    let out = catalogue
        .publish_game(publish.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(out.state(), pb::GameState::Published);
    let twice = catalogue.publish_game(publish).await.unwrap_err();
    assert_eq!(twice.code(), Code::FailedPrecondition);

    let delete = |etag: &str| pb::DeleteGameRequest {
        game_id: 25,
        etag: etag.into(),
    };
    let stale = catalogue.delete_game(delete(&made.etag)).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    catalogue.delete_game(delete(&out.etag)).await.unwrap();
    let gone = catalogue.delete_game(delete("")).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn a_player_rates_a_game_once() {
    let hub = running().await;
    let mut catalogue = CatalogueClient::new(hub.channel.clone());
    let rate = || pb::RateGameRequest {
        game_id: 24,
        player: "ada".into(),
        stars: 5,
    };
    let rating = catalogue
        .rate_game(rate())
        .await
        .unwrap()
        .into_inner()
        .rating
        .unwrap();
    assert_eq!(rating.count, 206);
    assert!((rating.mean - (3.6 * 205.0 + 5.0) / 206.0).abs() < 1e-9);
    let again = catalogue.rate_game(rate()).await.unwrap_err();
    assert_eq!(again.code(), Code::ResourceExhausted);
    assert!(detail::<rpc::RetryInfo>(&again).retry_delay.is_some());
}

#[tokio::test]
async fn scores_are_the_same_for_every_watcher_and_fail_when_asked() {
    let hub = running().await;
    let mut scores = ScoresClient::new(hub.channel.clone());
    let watch = |count, fail_after| pb::WatchScoresRequest {
        game_id: 3,
        count,
        interval: Some(Duration::default()),
        fail_after,
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut stream = scores.watch_scores(watch(3, 0)).await.unwrap().into_inner();
        let mut points = Vec::new();
        while let Some(score) = stream.message().await.unwrap() {
            points.push((score.sequence, score.player, score.points));
        }
        seen.push(points);
    }
    assert_eq!(seen[0].len(), 3);
    assert_eq!(seen[0], seen[1]);

    let mut stream = scores.watch_scores(watch(0, 2)).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert!(stream.message().await.unwrap().is_some());
    let lost = stream.message().await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable);
    assert!(detail::<rpc::RetryInfo>(&lost).retry_delay.is_some());

    let best = pb::ListScoresRequest {
        game_id: 3,
        limit: 5,
    };
    let best = scores.list_scores(best).await.unwrap().into_inner().scores;
    assert_eq!(best.len(), 5);
    assert!(best.is_sorted_by(|a, b| a.points >= b.points));
}

#[tokio::test]
async fn pictures_are_drawn_replaced_sent_in_pieces_and_forgotten() {
    let hub = running().await;
    let mut thumbnails = ThumbnailsClient::new(hub.channel.clone());
    let get = || pb::GetThumbnailRequest { game_id: 3 };
    let drawn = thumbnails.get_thumbnail(get()).await.unwrap().into_inner();
    assert_eq!(drawn.content_type, "image/svg+xml");
    assert!(
        String::from_utf8(drawn.data.to_vec())
            .unwrap()
            .contains("Moth &amp; Flame")
    );

    let put = |content_type: &str| pb::PutThumbnailRequest {
        game_id: 3,
        image: Some(HttpBody {
            content_type: content_type.into(),
            data: b"123456789".as_slice().into(),
            extensions: Vec::new(),
        }),
    };
    let refused = thumbnails
        .put_thumbnail(put("text/plain"))
        .await
        .unwrap_err();
    assert_eq!(violated(&refused), ["image.content_type"]);
    let kept = thumbnails
        .put_thumbnail(put("image/png"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (kept.size_bytes, kept.crc32),
        (9, 0xcbf4_3926),
        "the check value of CRC-32"
    );

    let pieces = pb::DownloadThumbnailRequest {
        game_id: 3,
        piece_bytes: 4,
    };
    let mut stream = thumbnails
        .download_thumbnail(pieces)
        .await
        .unwrap()
        .into_inner();
    let mut sizes = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        sizes.push((piece.content_type, piece.data.len()));
    }
    assert_eq!(
        sizes,
        [
            ("image/png".into(), 4),
            (String::new(), 4),
            (String::new(), 1)
        ]
    );

    let purge = pb::PurgeThumbnailRequest { game_id: 3 };
    thumbnails.purge_thumbnail(purge).await.unwrap();
    assert_eq!(
        thumbnails.get_thumbnail(get()).await.unwrap().into_inner(),
        drawn
    );
}

#[tokio::test]
async fn everyone_in_a_room_hears_everyone() {
    let hub = running().await;
    let mut chat = ChatClient::new(hub.channel.clone());
    let says = |player: &str, text: &str| pb::ChatMessage {
        room: "lobby".into(),
        player: player.into(),
        text: text.into(),
        ..Default::default()
    };
    let (ada, from_ada) = tokio::sync::mpsc::channel(4);
    let from_ada = tokio_stream::wrappers::ReceiverStream::new(from_ada);
    ada.send(says("ada", "hello")).await.unwrap();
    let mut ada_hears = chat.join(from_ada).await.unwrap().into_inner();
    assert_eq!(ada_hears.message().await.unwrap().unwrap().text, "hello");

    let bo = tokio_stream::iter([says("bo", "hi, ada")]);
    let mut bo_hears = chat.join(bo).await.unwrap().into_inner();
    let mut heard = Vec::new();
    while let Some(message) = bo_hears.message().await.unwrap() {
        heard.push((message.sequence, message.text));
    }
    assert_eq!(heard, [(1, "hello".into()), (2, "hi, ada".into())]);
    assert_eq!(ada_hears.message().await.unwrap().unwrap().player, "bo");
    drop(ada);
    assert!(ada_hears.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_play_is_summed_up() {
    let hub = running().await;
    let mut telemetry = TelemetryClient::new(hub.channel.clone());
    let finished = |game_id, level, points| pb::PlayEvent {
        game_id,
        at: Some(Duration {
            seconds: i64::from(level) * 30,
            nanos: 0,
        }),
        event: Some(pb::play_event::Event::LevelFinished(pb::LevelFinished {
            level,
            points,
        })),
    };
    let events = tokio_stream::iter([finished(6, 1, 100), finished(0, 2, 250)]);
    let summary = telemetry.upload_play(events).await.unwrap().into_inner();
    assert_eq!(
        (summary.game_id, summary.events, summary.points),
        (6, 2, 350)
    );
    assert_eq!(summary.length.unwrap().seconds, 60);
    let mixed = tokio_stream::iter([finished(6, 1, 1), finished(7, 2, 1)]);
    let refused = telemetry.upload_play(mixed).await.unwrap_err();
    assert_eq!(violated(&refused), ["game_id"]);
}

#[tokio::test]
async fn reports_are_checked_and_counted() {
    let hub = running().await;
    let mut moderation = ModerationClient::new(hub.channel.clone());
    let mut report = pb::ReportRequest {
        game_id: 2,
        email: Some("nobody".into()),
        ..Default::default()
    };
    report.set_reason(pb::report_request::Reason::Other);
    let refused = moderation.report(report.clone()).await.unwrap_err();
    assert_eq!(violated(&refused), ["comment", "email"]);
    report.email = None;
    report.comment = "it crashes".into();
    let first = moderation
        .report(report.clone())
        .await
        .unwrap()
        .into_inner();
    let second = moderation.report(report).await.unwrap().into_inner();
    assert_eq!((first.report_id, second.report_id), (1, 2));
}

#[tokio::test]
async fn health_says_serving_and_unknown_services_are_unimplemented() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    let hub = running().await;
    let mut health = HealthClient::new(hub.channel.clone());
    for service in ["", "gamehub.v1.Catalogue"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let mut grpc = tonic::client::Grpc::new(hub.channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static("/gamehub.v1.Nothing/Get");
    let answer = grpc.unary(tonic::Request::new(()), path, codec).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
