//! Transom: the front door of a web platform.
//!
//! REST/JSON comes in, gRPC goes out, from protobuf descriptors that are loaded at run time. Modules
//! in reading order: [`route`] finds the rule for a path, [`schema`] holds the linked descriptors,
//! [`codec`] goes between JSON and the wire, [`transcode`] binds a request to a message and
//! [`protocol`] frames streams; [`openapi`] tells clients of all that. These are pure: no clock, no socket, no runtime, and build alone
//! with `--no-default-features`. The rest is the gateway around them.

#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

pub mod failure;
pub mod limits;

pub mod route;
pub mod schema;

pub mod codec;
pub mod transcode;

pub mod openapi;
pub mod protocol;

#[cfg(feature = "gateway")]
pub mod client_body;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "gateway")]
pub mod copies;
#[cfg(feature = "gateway")]
pub mod drain;
#[cfg(feature = "gateway")]
pub mod explain;
#[cfg(feature = "gateway")]
pub mod gather;
#[cfg(feature = "gateway")]
pub mod live;
#[cfg(feature = "gateway")]
pub mod memory;
#[cfg(feature = "gateway")]
pub mod rt;
#[cfg(feature = "gateway")]
pub mod snapshot;
#[cfg(feature = "gateway")]
pub mod telemetry;
#[cfg(feature = "gateway")]
pub mod tls;
#[cfg(feature = "gateway")]
pub mod tokens;

#[cfg(feature = "gateway")]
pub mod handover;
#[cfg(feature = "gateway")]
pub mod listener;
#[cfg(feature = "gateway")]
pub mod upstream;

#[cfg(feature = "gateway")]
pub mod exchange;

#[cfg(feature = "gateway")]
pub mod acme;
#[cfg(feature = "gateway")]
pub mod admin;
#[cfg(feature = "gateway")]
pub mod control;
#[cfg(feature = "gateway")]
pub mod demo;
#[cfg(feature = "gateway")]
pub mod otlp;

#[cfg(feature = "gateway")]
pub mod app;
#[cfg(feature = "gateway")]
pub mod cli;
#[cfg(feature = "gateway")]
pub mod worker;
