//! How messages are framed for clients: documents and media types of REST, streams of JSON, and the
//! protocols of calls (gRPC, gRPC-Web, Connect, WebSocket).

pub mod coding;
pub mod connect;
pub mod dialect;
pub mod elements;
pub mod events;
pub mod grpc;
pub mod grpc_web;
pub mod multipart;
pub mod range;
pub mod rest;
pub mod stream;
pub mod websocket;
