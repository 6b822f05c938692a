//! The config file: raw (what it says) → resolve (every error, with its place) → model (what it means).

pub mod model;
