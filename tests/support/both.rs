//! The same request over HTTP/1.1 and HTTP/2: the replies must be alike.

use std::net::SocketAddr;

use super::client::{Http1, Http2, Reply, whole};

/// Asks over both; what differs by nature (chunks, ids, dates) is left out of the comparison.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: www.example.com\r\n");
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://www.example.com{path}"));
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
        request = request.header(*name, *value);
    }
    let mut h1 = Http1::connect(address).await;
    let first = match method {
        "HEAD" => {
            h1.send(format!("{text}connection: close\r\n\r\n")).await;
            h1.reply_to_head().await
        }
        _ => {
            h1.send(format!("{text}\r\n")).await;
            h1.reply().await.expect("a reply")
        }
    };
    let mut h2 = Http2::connect(address).await;
    let request = request
        .body(http_body_util::Full::default())
        .expect("request");
    let second = whole(h2.send(request).await.expect("a reply")).await;
    let told = |r: &Reply| {
        let of_transport = [
            "transfer-encoding",
            "connection",
            "content-length",
            "date",
            "x-request-id",
            "via",
        ];
        let mut headers = r.headers.clone();
        headers.retain(|(n, _)| !of_transport.contains(&n.as_str()));
        headers.sort();
        headers
    };
    let what = format!("{method} {path} {headers:?}");
    assert_eq!(first.status, second.status, "{what}");
    assert_eq!(told(&first), told(&second), "{what}");
    assert_eq!(first.body, second.body, "{what}");
    first
}
