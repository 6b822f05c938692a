//! What each fuzz target checks: one function of the input a target, in a file of its own.
//!
//! A check panics when the program is wrong and returns otherwise, whatever the input.

pub mod bind;
pub mod connect;
pub mod elements;
mod frames;
pub mod grpc_web;
pub mod json_in;
pub mod json_out;
pub mod multipart;
pub mod route_lookup;
pub mod template;
pub mod websocket;
mod wide;

/// A target's check.
pub type Check = fn(&[u8]);

/// All targets. The corpus of each is in `fuzz/corpus/NAME`, its binary in `fuzz_targets/NAME.rs`.
pub const TARGETS: &[(&str, Check)] = &[
    ("bind", bind::check),
    ("connect", connect::check),
    ("elements", elements::check),
    ("grpc_web", grpc_web::check),
    ("json_in", json_in::check),
    ("json_out", json_out::check),
    ("multipart", multipart::check),
    ("route_lookup", route_lookup::check),
    ("template", template::check),
    ("websocket", websocket::check),
];
