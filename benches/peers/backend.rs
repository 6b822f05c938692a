//! A cheap gRPC service with canned answers, so that the proxy in front is what is measured.
//!
//! `backend serve GRPC_ADDRESS PLAIN_ADDRESS` answers, gRPC on one and HTTP/1.1 on the other;
//! `backend bodies FOLDER` writes the request bodies that the load generator sends.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message;

type Failed = Box<dyn Error + Send + Sync>;

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Money {
    #[prost(string, tag = "1")]
    currency: String,
    #[prost(int64, tag = "2")]
    units: i64,
    #[prost(int32, tag = "3")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Item {
    #[prost(string, tag = "1")]
    item_id: String,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(int64, tag = "4")]
    stock: i64,
    #[prost(double, tag = "5")]
    rating: f64,
    #[prost(bool, tag = "6")]
    listed: bool,
    #[prost(string, repeated, tag = "7")]
    tags: Vec<String>,
    #[prost(map = "string, string", tag = "8")]
    attributes: HashMap<String, String>,
    #[prost(message, optional, tag = "9")]
    created: Option<Timestamp>,
    #[prost(int32, tag = "10")]
    category: i32,
    #[prost(message, optional, tag = "11")]
    price: Option<Money>,
}

#[derive(Clone, PartialEq, Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Item>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Created {
    #[prost(string, tag = "1")]
    item_id: String,
}

/// `Manual`, and by its first field `GetItemRequest`.
#[derive(Clone, PartialEq, Message)]
struct Manual {
    #[prost(string, tag = "1")]
    item_id: String,
    #[prost(string, tag = "2")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct BatchCreated {
    #[prost(int32, tag = "1")]
    created: i32,
}

fn item(number: usize) -> Item {
    Item {
        item_id: format!("item-{number:05}"),
        title: format!("The \"great\" adventure, volume {number}"),
        description:
            "A long enough description that a shop would show beside the picture: what it \
                      is, who it is for, what is in the box, and why one wants it. "
                .repeat(2),
        stock: 9_007_199_254 + i64::try_from(number).unwrap_or(0),
        rating: 3.0 + (number % 20) as f64 / 10.0,
        listed: true,
        tags: ["family", "co-op", "award-2026"].map(String::from).to_vec(),
        attributes: [("colour".to_owned(), "green".to_owned())].into(),
        created: Some(Timestamp {
            seconds: 1_790_000_000 + number as i64,
            nanos: 250_000_000,
        }),
        category: 2,
        price: Some(Money {
            currency: "EUR".to_owned(),
            units: 59,
            nanos: 990_000_000,
        }),
    }
}

/// A mebibyte of prose, with an escape now and then.
fn long_text() -> String {
    let mut text =
        "It is \"never\" too late to read the manual: chapter after chapter.\n".repeat(16_384);
    text.truncate(1 << 20);
    text
}

/// The JSON that a client would send for [`item`].
fn item_json(number: usize) -> serde_json::Value {
    let item = item(number);
    serde_json::json!({
        "itemId": item.item_id, "title": item.title, "description": item.description,
        "stock": item.stock.to_string(), "rating": item.rating, "listed": true, "tags": item.tags,
        "attributes": item.attributes, "created": "2026-09-21T14:13:20.250Z",
        "category": "CATEGORY_GAMES", "price": {"currency": "EUR", "units": "59", "nanos": 990_000_000},
    })
}

fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&body);
    framed.into()
}

struct Canned {
    replies: HashMap<&'static str, Vec<Bytes>>,
}

impl Canned {
    fn new() -> Self {
        let list = Items {
            items: (0..100).map(item).collect(),
            next_page_token: String::new(),
        };
        let small = Item {
            description: "A short description.".to_owned(),
            ..item(7)
        };
        let replies = HashMap::from([
            ("/shop.v1.Shop/GetItem", vec![frame(&small)]),
            (
                "/shop.v1.Shop/CreateItem",
                vec![frame(&Created {
                    item_id: "item-00007".into(),
                })],
            ),
            ("/shop.v1.Shop/ListItems", vec![frame(&list)]),
            (
                "/shop.v1.Shop/BatchCreate",
                vec![frame(&BatchCreated { created: 100 })],
            ),
            (
                "/shop.v1.Shop/GetManual",
                vec![frame(&Manual {
                    item_id: "item-00007".into(),
                    text: long_text(),
                })],
            ),
            (
                "/shop.v1.Shop/WatchItems",
                (0..100).map(|n| frame(&item(n))).collect(),
            ),
        ]);
        Self { replies }
    }
}

/// `/plain/1k` and `/plain/1m` over HTTP/1.1; `/v1/traces` takes spans.
async fn serve_plain(address: String) -> Result<(), Failed> {
    let (small, large) = (vec![b'x'; 1 << 10], vec![b'x'; 1 << 20]);
    let (small, large) = (Bytes::from(small), Bytes::from(large));
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (small, large) = (small.clone(), large.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let body = match request.uri().path() {
                    "/v1/traces" => Bytes::new(),
                    path if path.ends_with("1m") => large.clone(),
                    _ => small.clone(),
                };
                async move {
                    request.into_body().collect().await?;
                    Ok::<_, hyper::Error>(Response::new(Full::new(body)))
                }
            });
            // A proxy that is stopped in the middle of a call is not this service's fault.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

async fn serve(address: &str, plain: &str) -> Result<(), Failed> {
    tokio::spawn(serve_plain(plain.to_owned()));
    let canned = Arc::new(Canned::new());
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let canned = Arc::clone(&canned);
        tokio::spawn(async move {
            if let Err(error) = connection(socket, canned).await {
                eprintln!("connection: {error}");
            }
        });
    }
}

async fn connection(socket: tokio::net::TcpStream, canned: Arc<Canned>) -> Result<(), Failed> {
    let mut server = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .max_concurrent_streams(1000)
        .handshake::<_, Bytes>(socket)
        .await?;
    while let Some(request) = server.accept().await {
        let (request, respond) = request?;
        let canned = Arc::clone(&canned);
        tokio::spawn(async move {
            // A proxy that is stopped in the middle of a call is not this service's fault.
            let _ = answer(request, respond, &canned).await;
        });
    }
    Ok(())
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    canned: &Canned,
) -> Result<(), Failed> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut response = Response::new(());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    let mut trailers = HeaderMap::new();
    let Some(frames) = canned.replies.get(path.as_str()) else {
        trailers.insert("grpc-status", HeaderValue::from_static("12"));
        response.headers_mut().extend(trailers);
        respond.send_response(response, true)?;
        return Ok(());
    };
    let mut stream = respond.send_response(response, false)?;
    for frame in frames {
        stream.send_data(frame.clone(), false)?;
    }
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

fn write_bodies(folder: &Path) -> Result<(), Failed> {
    fs::create_dir_all(folder)?;
    let batch: Vec<_> = (0..100).map(item_json).collect();
    let mut small = item_json(7);
    small["description"] = "A short description.".into();
    fs::write(folder.join("post.json"), serde_json::to_vec(&small)?)?;
    fs::write(
        folder.join("large.json"),
        serde_json::to_vec(&serde_json::json!({ "description": long_text() }))?,
    )?;
    let get = Manual {
        item_id: "item-00007".into(),
        text: String::new(),
    };
    fs::write(folder.join("get.frame"), frame(&get))?;
    fs::write(
        folder.join("batch.json"),
        serde_json::to_vec(&serde_json::json!({ "items": batch }))?,
    )?;
    Ok(())
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["serve", address, plain] => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(serve(address, plain)),
        ["bodies", folder] => write_bodies(Path::new(folder)),
        _ => Err("usage: backend serve GRPC_ADDRESS PLAIN_ADDRESS | backend bodies FOLDER".into()),
    }
}
