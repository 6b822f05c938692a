//! Rust code of `proto/gamehub/v1` and of what it imports, written by `build.rs`.

#![allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    rustdoc::all,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/gamehub/mod.rs"));
