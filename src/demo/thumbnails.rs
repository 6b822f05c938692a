//! `gamehub.v1.Thumbnails`: pictures as plain HTTP bodies.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use super::errors::Refusal;
use super::pb::thumbnails_server as server;
use super::pb::{
    DownloadThumbnailRequest, Game, GetThumbnailRequest, PurgeThumbnailRequest,
    PutThumbnailRequest, Thumbnail,
};
use super::proto::google::api::HttpBody;
use super::store::Store;

const PICTURE_BYTES_MAX: usize = 1024 * 1024;
const PIECE_BYTES: usize = 256;
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Backgrounds by genre number.
const COLOURS: [&str; 7] = [
    "#555555", "#1f6f78", "#b5332e", "#3d5a2a", "#d2691e", "#4b3b7c", "#7a2048",
];

#[derive(Debug)]
pub(super) struct Thumbnails {
    store: Arc<Store>,
}

impl Thumbnails {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    fn picture(&self, id: i64) -> Result<HttpBody, Status> {
        let game = self.store.game(id)?;
        Ok(self.store.picture(id).unwrap_or_else(|| drawing(&game)))
    }
}

#[tonic::async_trait]
impl server::Thumbnails for Thumbnails {
    async fn get_thumbnail(
        &self,
        request: Request<GetThumbnailRequest>,
    ) -> Result<Response<HttpBody>, Status> {
        self.picture(request.into_inner().game_id)
            .map(Response::new)
    }

    type DownloadThumbnailStream = Pin<Box<dyn Stream<Item = Result<HttpBody, Status>> + Send>>;

    async fn download_thumbnail(
        &self,
        request: Request<DownloadThumbnailRequest>,
    ) -> Result<Response<Self::DownloadThumbnailStream>, Status> {
        let request = request.into_inner();
        let size = match usize::try_from(request.piece_bytes) {
            Ok(0) => PIECE_BYTES,
            Ok(size @ 1..=PIECE_BYTES_MAX) => size,
            _ => return Err(Refusal::field("piece_bytes", "must be between 1 and 65536")),
        };
        let picture = self.picture(request.game_id)?;
        let pieces = stream::unfold((picture.data, true), move |(mut data, first)| {
            let piece = (!data.is_empty()).then(|| data.split_to(size.min(data.len())));
            let content_type = if first {
                picture.content_type.clone()
            } else {
                String::new()
            };
            std::future::ready(piece.map(|data_now| {
                let piece = HttpBody {
                    content_type,
                    data: data_now,
                    extensions: Vec::new(),
                };
                (Ok(piece), (data, false))
            }))
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn put_thumbnail(
        &self,
        request: Request<PutThumbnailRequest>,
    ) -> Result<Response<Thumbnail>, Status> {
        let request = request.into_inner();
        let image = request.image.unwrap_or_default();
        if image.data.is_empty() {
            return Err(Refusal::field("image.data", "must not be empty"));
        }
        if image.data.len() > PICTURE_BYTES_MAX {
            let message = "a picture has at most 1 MiB";
            return Err(Refusal::new(Code::OutOfRange, message).into());
        }
        if !image.content_type.starts_with("image/") {
            let wrong = format!("{:?} is not a type of picture", image.content_type);
            return Err(Refusal::field("image.content_type", wrong));
        }
        let answer = Thumbnail {
            game_id: request.game_id,
            content_type: image.content_type.clone(),
            size_bytes: i64::try_from(image.data.len()).unwrap_or(i64::MAX),
            crc32: crc32(&image.data),
        };
        self.store.keep_picture(request.game_id, image)?;
        Ok(Response::new(answer))
    }

    async fn purge_thumbnail(
        &self,
        request: Request<PurgeThumbnailRequest>,
    ) -> Result<Response<()>, Status> {
        self.store.forget_picture(request.into_inner().game_id);
        Ok(Response::new(()))
    }
}

/// The picture of a game that has none: its title on the colour of its genre.
fn drawing(game: &Game) -> HttpBody {
    let genre = usize::try_from(game.genre).unwrap_or_default();
    let colour = COLOURS.get(genre).copied().unwrap_or("#555555");
    let title = game
        .title
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let angle = game.id.wrapping_mul(37).rem_euclid(360);
    let svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="320" height="180" viewBox="0 0 320 180">
<rect width="320" height="180" fill="{colour}"/>
<g fill="none" stroke="#ffffff" stroke-opacity="0.35" transform="rotate({angle} 160 90)">
<circle cx="160" cy="90" r="30"/><circle cx="160" cy="90" r="60"/><path d="M0 90h320M160 -70v320"/>
</g>
<text x="160" y="98" font-family="sans-serif" font-size="26" fill="#ffffff" text-anchor="middle">{title}</text>
</svg>
"##
    );
    HttpBody {
        content_type: "image/svg+xml".to_owned(),
        data: Bytes::from(svg),
        extensions: Vec::new(),
    }
}

/// CRC-32 with the IEEE polynomial, bit by bit: pictures are small.
fn crc32(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}
