//! Client connections over real sockets: protocols, limits, timeouts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use transom::app::App;
use transom::config::model::{Config, Listener, Policy};
use transom::limits::{Limits, Timeouts};
use transom::live::Live;
use transom::schema::Schema;

#[tokio::test]
async fn smoke() {
    let config = Config {
        listeners: vec![Listener {
            address: "127.0.0.1:0".parse().unwrap(),
            place: "test".into(),
        }],
        descriptors: vec![],
        upstreams: vec![],
        routes: vec![],
        defaults: Arc::new(Policy::default()),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        workers: std::num::NonZeroUsize::new(2),
        trusted_proxies: vec![],
    };
    let live = Live::build(&config, Arc::new(Schema::default()), &[]).unwrap();
    let running = App::start(&config, live).unwrap();
    let mut client = TcpStream::connect(running.addresses()[0]).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 "), "{text}");
    running.shutdown().await;
}
