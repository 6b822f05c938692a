//! How messages are framed for clients: documents and media types of REST, and streams of JSON.

pub mod events;
pub mod rest;
pub mod stream;
