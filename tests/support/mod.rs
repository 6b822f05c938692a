//! Builders that the tests over sockets share: the only place that binds.
//!
//! Nothing sleeps to synchronise: whoever waits, waits for an event, under [`PATIENCE`].

#![allow(dead_code, reason = "each test uses its part of it")]

pub mod acme;
pub mod both;
pub mod client;
pub mod collector;
pub mod edge;
pub mod gateway;
pub mod grpc;
pub mod kubernetes;
pub mod line;
pub mod load;
pub mod names;
pub mod pebble;
pub mod ports;
pub mod process;
pub mod protos;
pub mod rpc;
pub mod site;
pub mod tls;
pub mod upstream;
pub mod way;
pub mod websocket;

use std::future::Future;
use std::time::Duration;

/// Longer than any event takes on a loaded machine. Only a broken test waits for so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The event, or a failed test.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Runs `test` as a worker would: on a runtime of one thread, where tasks need not be `Send`.
pub fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("runtime")
        .block_on(test)
}
