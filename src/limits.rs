//! Every bound in the program, with its unit and the reason for its default.
//!
//! A limit has a name in the config file (`limits.*`, `timeouts.*`), a default here, and is counted
//! when it is hit. Nothing in the program queues, buffers or waits without one of these.

use std::num::NonZeroUsize;
use std::time::Duration;

/// A size in bytes that is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteLimit(NonZeroUsize);

impl ByteLimit {
    /// A limit of `bytes`, or `None` for zero.
    #[must_use]
    pub const fn new(bytes: usize) -> Option<Self> {
        match NonZeroUsize::new(bytes) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// A limit of `kib` × 1024 bytes; zero counts as one byte.
    #[must_use]
    pub const fn kib(kib: usize) -> Self {
        match NonZeroUsize::new(kib.saturating_mul(1024)) {
            Some(n) => Self(n),
            None => Self(NonZeroUsize::MIN),
        }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0.get()
    }
}

/// Sizes and counts: what one client, request or message may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Request line and headers of one HTTP/1.1 request; header list of one HTTP/2 stream.
    pub header_bytes_max: ByteLimit,
    /// Header fields of one request.
    pub headers_max: usize,
    /// Path and query of one request.
    pub uri_bytes_max: ByteLimit,
    /// Body of one unary request, and one message of a stream, as the client sends it.
    pub body_bytes_max: ByteLimit,
    /// One encoded gRPC message to an upstream: JSON may grow when it is encoded.
    pub message_bytes_max: ByteLimit,
    /// One message from an upstream.
    pub reply_bytes_max: ByteLimit,
    /// Query parameters of one request.
    pub query_parameters_max: usize,
    /// Nesting of JSON and of messages. Protobuf decoders stop at 100.
    pub depth_max: usize,
    /// Open client connections of the process.
    pub connections_max: usize,
    /// Open client connections of one address.
    pub connections_per_ip_max: usize,
    /// Concurrent HTTP/2 streams of one client connection.
    pub streams_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: ByteLimit::kib(32),
            headers_max: 100,
            uri_bytes_max: ByteLimit::kib(16),
            body_bytes_max: ByteLimit::kib(4 * 1024),
            message_bytes_max: ByteLimit::kib(4 * 1024),
            reply_bytes_max: ByteLimit::kib(16 * 1024),
            query_parameters_max: 1000,
            depth_max: 100,
            connections_max: 20_000,
            connections_per_ip_max: 512,
            streams_max: 100,
        }
    }
}

/// Waits: how long each stage may take before the program gives up on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the request headers; also for each later request's headers once
    /// their first byte is there.
    pub headers: Duration,
    /// A kept-alive HTTP/1.1 connection, or an HTTP/2 one without streams, with nothing to do.
    /// Longer than common load balancers' 60 s, so that they close first.
    pub keep_alive: Duration,
    /// Between two pieces of a request body.
    pub body_idle: Duration,
    /// A client that doesn't read: between two successful writes while data is waiting.
    pub write_idle: Duration,
    /// TLS handshake.
    pub handshake: Duration,
    /// Opening a connection to an upstream.
    pub connect: Duration,
    /// HTTP/2 keep-alive ping to clients and upstreams.
    pub ping_interval: Duration,
    /// Wait for the answer to that ping.
    pub ping_timeout: Duration,
    /// After a stop signal: how long exchanges may go on.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            write_idle: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(30),
        }
    }
}

/// The whole of a unary call, and the time to the first message of a stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A stream with no message in either direction.
pub const STREAM_IDLE: Duration = Duration::from_secs(5 * 60);
/// Pure work (encode, decode) handed back to the runtime after this many bytes.
pub const WORK_SLICE_BYTES: usize = 64 * 1024;
/// A chunk of a JSON document on its way to the client.
pub const PRINT_CHUNK_BYTES: usize = 64 * 1024;
/// Names in one dotted query parameter (`a.b.c` has three): deeper than real requests go.
pub const FIELD_PATH_DEPTH_MAX: usize = 32;
/// Faults reported for the path and query of one request; the rest is left out.
pub const VIOLATIONS_MAX: usize = 16;
/// Segments of a request path. No template is longer, and a lookup may visit each.
pub const PATH_SEGMENTS_MAX: usize = 256;
/// Text of one path template.
pub const TEMPLATE_BYTES_MAX: usize = 4096;
/// Segments of one path template.
pub const TEMPLATE_SEGMENTS_MAX: usize = 128;
/// Trie nodes that one lookup may visit in one host's routes, whatever the path. Ordinary tables stay
/// under 50; a table that could need more is refused when it is built.
pub const LOOKUP_VISITS_MAX: usize = 2048;
/// Rules that `explain` lists.
pub const EXPLAINED_MAX: usize = 16;
