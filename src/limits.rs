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

    /// No limit.
    pub const ANY: Self = Self(NonZeroUsize::MAX);

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
    /// Connections that the process accepts in a second; the others wait in the kernel's queue.
    pub accept_rate_max: usize,
    /// Bytes in a second that a request body must come with, averaged over `timeouts.body_idle`.
    pub body_rate_min: ByteLimit,
    /// HTTP/2 frames without content (PING, SETTINGS, RST_STREAM, WINDOW_UPDATE and the like) of one
    /// client connection in a minute, beside those that our own frames give reason for. Also pings,
    /// pongs and empty messages of a WebSocket.
    pub control_frames_max: usize,
    /// Replies that one worker compresses at once: each takes up to 2 MiB. More go out as they are.
    pub compressors_max: usize,
    /// Calls that one worker keeps open for clients that watch the gateway's health.
    pub health_watches_max: usize,
    /// What is kept of the replies to an HTTP/1.1 client that sends requests and doesn't read. Sockets
    /// hold some megabytes beside it.
    pub kept_replies_bytes_max: ByteLimit,
    /// Copies of good answers, for when their upstream is down, of the whole process.
    pub stale_copies_bytes_max: ByteLimit,
    /// Bodies and messages that are held whole, of the whole process; never more than half of its
    /// memory.
    pub held_bytes_max: ByteLimit,
    pub memory: MemoryGuard,
}

/// What is done when the process runs out of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryGuard {
    pub is_on: bool,
    /// Of the process. Without one, that of its cgroup.
    pub limit: Option<ByteLimit>,
    /// Thousandths of the limit, from which on HTTP/1.1 connections end with their reply.
    pub spare: u16,
    /// From which on requests are refused.
    pub shed: u16,
    /// From which on new connections are closed.
    pub refuse: u16,
}

impl Default for MemoryGuard {
    fn default() -> Self {
        Self {
            is_on: true,
            limit: None,
            spare: 900,
            shed: 950,
            refuse: 980,
        }
    }
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
            accept_rate_max: 10_000,
            body_rate_min: ByteLimit(NonZeroUsize::MIN.saturating_add(99)),
            control_frames_max: 1000,
            compressors_max: 256,
            health_watches_max: 1000,
            kept_replies_bytes_max: ByteLimit::kib(1024),
            stale_copies_bytes_max: ByteLimit::kib(64 * 1024),
            held_bytes_max: ByteLimit::kib(512 * 1024),
            memory: MemoryGuard::default(),
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
    /// Between two pieces of a request body, or of a WebSocket's message.
    pub body_idle: Duration,
    /// A client that doesn't read: between two successful writes while data is waiting.
    pub write_idle: Duration,
    /// TLS handshake.
    pub handshake: Duration,
    /// Opening a connection to an upstream.
    pub connect: Duration,
    /// Keep-alive ping to HTTP/2 clients, WebSockets and upstreams.
    pub ping_interval: Duration,
    /// Wait for the answer to that ping.
    pub ping_timeout: Duration,
    /// Age at which a client connection takes no more requests, give or take a tenth, so that clients
    /// spread over instances that came later (gRFC A9).
    pub max_age: Duration,
    /// After SIGTERM: how long connections are accepted still, while load balancers learn that the
    /// process is not ready. In Kubernetes that takes a few seconds, and clouds are slower.
    pub drain_delay: Duration,
    /// After that, and after `max_age`: how long exchanges may go on. Both together are less than the 30
    /// seconds that Kubernetes gives a pod.
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
            max_age: Duration::from_secs(60 * 60),
            drain_delay: Duration::from_secs(5),
            drain: Duration::from_secs(20),
        }
    }
}

/// The whole of a unary call, and the time to the first message of a stream.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A stream with no message in either direction.
pub const STREAM_IDLE: Duration = Duration::from_secs(5 * 60);
/// Silence of a stream of events before a comment is sent: shorter than proxies' usual 30 or 60 s.
pub const SSE_HEARTBEAT: Duration = Duration::from_secs(15);
/// One message of a raw body that is sent up as a stream.
pub const RAW_PIECE_BYTES: usize = 64 * 1024;
/// Messages of a stream of requests that are there together go up together, up to about so much.
pub const REQUEST_BATCH_BYTES: usize = 16 * 1024;
/// Pure work (encode, decode) handed back to the runtime after this many bytes.
pub const WORK_SLICE_BYTES: usize = 64 * 1024;
/// A chunk of a JSON document on its way to the client.
pub const PRINT_CHUNK_BYTES: usize = 64 * 1024;
/// What is read of a WebSocket at once; longer messages get room when they come.
pub const WEBSOCKET_READ_BYTES: usize = 4 * 1024;
/// What of a WebSocket's messages is written together, when there are more at once.
pub const WEBSOCKET_WRITE_BYTES: usize = 64 * 1024;
/// How many times its packed size a request body in a content coding may have. JSON packs tenfold,
/// seldom a hundredfold; bombs a thousandfold.
pub const UNPACKED_RATIO_MAX: usize = 200;
/// The headers of one part of a form: a name, a file name and a type.
pub const MULTIPART_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Parts of one form: as many as a query has parameters.
pub const MULTIPART_PARTS_MAX: usize = 1000;
/// The window of a zstd body (RFC 9659 has 8 MiB for HTTP).
pub const ZSTD_WINDOW_BITS_MAX: u32 = 23;
/// A reply that is shorter is not compressed.
pub const COMPRESSED_BYTES_MIN: u64 = 1024;
/// A piece of a file on its way to the client.
pub const FILE_CHUNK_BYTES: usize = 64 * 1024;
/// Threads of one worker that wait for disks and name servers; made when they are needed.
pub const BLOCKING_THREADS_MAX: usize = 16;
/// Names in one dotted query parameter (`a.b.c` has three): deeper than real requests go.
pub const FIELD_PATH_DEPTH_MAX: usize = 32;
/// Failed exchanges that a worker remembers for the live page: of clients' making, and of others'.
pub const MISHAPS_KEPT_MAX: usize = 32;
/// How many it takes up in a second: more are only counted.
pub const MISHAPS_A_SECOND_MAX: u32 = 64;
/// Reloads that the live page tells of.
pub const RELOADS_KEPT_MAX: usize = 20;
/// One OpenAPI document as it is served: all of googleapis has a quarter of it.
pub const OPENAPI_BYTES_MAX: usize = 32 << 20;
/// Fields that a request may choose for its reply: more than messages have.
pub const SELECTED_FIELDS_MAX: usize = 256;
/// Faults reported for the path and query of one request; the rest is left out.
pub const VIOLATIONS_MAX: usize = 16;
/// Segments of a request path. No template is longer, and a lookup may visit each.
pub const PATH_SEGMENTS_MAX: usize = 256;
/// Text of one path template.
pub const TEMPLATE_BYTES_MAX: usize = 4096;
/// Segments of one path template. Below 256: a table counts what follows a `**` in bytes.
pub const TEMPLATE_SEGMENTS_MAX: usize = 128;
/// Trie nodes that one lookup may visit in one host's routes, whatever the path. Ordinary tables stay
/// under 50; a table that could need more is refused when it is built.
pub const LOOKUP_VISITS_MAX: usize = 2048;
/// Rules that `explain` lists.
pub const EXPLAINED_MAX: usize = 16;

/// HTTP/2 connections of one worker to one endpoint (`connections.max`).
pub const UPSTREAM_CONNECTIONS_MAX: usize = 16;
/// Streams on one upstream connection, when the peer allows more (`connections.streams`). With the stream window it gives the
/// connection window, so that streams nobody reads never stop the others.
pub const UPSTREAM_STREAMS_MAX: usize = 128;
/// What an upstream may send on one stream before it is read.
pub const UPSTREAM_STREAM_WINDOW: u32 = 128 * 1024;
/// What it may send on all streams of one connection: a full window for each.
pub const UPSTREAM_CONNECTION_WINDOW: u32 = UPSTREAM_STREAM_WINDOW * 128;
/// HTTP/1.1 connections of one worker to one endpoint, each serving one request at a time
/// (`connections.max` too).
pub const UPSTREAM_HTTP1_CONNECTIONS_MAX: usize = 256;
/// Requests of one worker that wait for a connection to one endpoint.
pub const UPSTREAM_WAITING_MAX: usize = 1024;
/// An upstream connection without requests is closed after this (`connections.idle`).
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(5 * 60);
/// gRPC servers take more than one ping in five minutes for abuse unless told otherwise, and close
/// the connection (gRFC A8); dead peers are found sooner by TCP keep-alive.
pub const UPSTREAM_PING_INTERVAL: Duration = Duration::from_secs(5 * 60 + 10);
/// The header of an instance's answer when it is asked how it is.
pub const HEALTH_HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The message of such an answer: a number.
pub const HEALTH_MESSAGE_BYTES_MAX: ByteLimit = ByteLimit::kib(1);
/// Age at which an upstream connection is replaced, give or take a tenth (`connections.max_age`), so that
/// instances behind one address that came later get their share.
pub const UPSTREAM_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// First wait after a failed connection; doubled each time, up to the maximum, and each give or take a
/// fifth.
pub const UPSTREAM_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait before an endpoint that can't be reached is tried again.
pub const UPSTREAM_BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How often one request may be sent, when the upstream has provably not begun on it.
pub const SENDS_MAX: u32 = 3;
/// What is kept of a stream of requests until its answer begins, to send it again when the upstream has
/// not begun on it.
pub const RESENT_BYTES_MAX: usize = 64 * 1024;
/// Instances of one upstream: more are left out.
pub const UPSTREAM_MEMBERS_MAX: usize = 1000;
/// A name is asked for again after this, however short its time to live is.
pub const LOOKUP_TTL_MIN: Duration = Duration::from_secs(5);
/// And after this however long it is: instances are found by asking again.
pub const LOOKUP_TTL_MAX: Duration = Duration::from_secs(30);
/// First wait before a name without an answer is asked for again, doubled each time.
pub const LOOKUP_AGAIN_MIN: Duration = Duration::from_millis(500);
/// Between two questions for one upstream's names, also when calls fail.
pub const LOOKUP_NUDGED_MIN: Duration = Duration::from_secs(1);
/// Questions for the targets of one name at the same time.
pub const LOOKUPS_AT_ONCE: usize = 16;
/// Instances of an endpoint that `check --online` connects to at the same time.
pub const KNOCKS_AT_ONCE: usize = 16;
/// One question to a name server.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// One answer of a Kubernetes API server, and its silence at the end of a watch.
pub const KUBERNETES_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it is asked to tell of changes, at most; then it is asked again.
pub const KUBERNETES_WATCH: Duration = Duration::from_secs(5 * 60);
/// EndpointSlices of one page of a list.
pub const KUBERNETES_PAGE: usize = 500;
/// One page: a slice has a hundred endpoints, of less than a kilobyte each.
pub const KUBERNETES_LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One event of a watch: a slice has a thousand endpoints at most.
pub const KUBERNETES_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Connections to the admin address, and to that of probes; more wait.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// A request's head there, and a connection without one.
pub const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long who asks for a reload waits for what comes of it.
pub const RELOAD_ANSWER_MAX: Duration = Duration::from_secs(60);
/// What a client is told to wait when an upstream has as many calls as it may have.
pub const OVERLOAD_RETRY_AFTER_SECONDS: u32 = 1;
/// Header or trailer list of an upstream's answer.
pub const REPLY_HEADER_BYTES_MAX: usize = 64 * 1024;
/// What h2 is told instead: it cuts trailers at its limit without a word, so that ours must be the
/// smaller one to be seen.
pub const REPLY_HEADER_BYTES_READ: u32 = 4 * 64 * 1024;
/// Bytes that one HTTP/2 stream may hold on their way out.
pub const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one turn of a connection that wait to be sent together.
pub const GATHER_BYTES_MAX: usize = 16 * 1024;
/// Connections that the kernel has made and we have not accepted, for each socket.
pub const ACCEPT_QUEUE: i32 = 1024;
/// From the start of the next process, when one is handed over to, until it serves: after that it is ended.
pub const HANDOVER_MAX: Duration = Duration::from_secs(60);
/// How long the next process waits for the sockets of the one before.
pub const HANDOVER_SOCKETS_MAX: Duration = Duration::from_secs(10);
/// What requests to the operators' addresses have left when another process answers there.
pub const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// Connections that a worker has been dealt and not taken up.
pub const DEALT_MAX: usize = 16;
/// For how long a socket that yields to another waits for clients who are half connected: less than
/// the second after which a new one that was left unanswered asks again (RFC 6298 §2).
pub const YIELD_GRACE: Duration = Duration::from_millis(500);
/// How often the limits on calls to upstreams are looked at, where they follow from the answers.
pub const LOAD_LOOK: Duration = Duration::from_millis(100);
/// How often the memory in use is looked at: a worker that reads bodies at 10 Gbit/s takes another
/// 125 MB meanwhile.
pub const MEMORY_LOOK: Duration = Duration::from_millis(100);
/// First pause of accepting when the process is out of files; doubled each time, up to the maximum.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause of accepting.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Read buffer of one HTTP/1.1 connection, when headers may not be larger.
pub const H1_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What a client may send on one HTTP/2 stream before it is read.
pub const CLIENT_STREAM_WINDOW: u32 = 64 * 1024;
/// What it may send on all streams of one connection before they are read.
pub const CLIENT_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams that a client reset before we looked at them (rapid reset); more end the connection.
pub const H2_PENDING_RESETS_MAX: usize = 20;
/// Streams that we reset for a client's errors (MadeYouReset); more end the connection.
pub const H2_ERROR_RESETS_MAX: usize = 256;
/// Frames of a client that one frame of ours with headers or data gives reason for.
pub const H2_FRAMES_ANSWERED: usize = 4;
/// Smallest data frame of ours that counts so: a client can make us send them byte by byte.
pub const H2_ANSWERED_BYTES_MIN: usize = 16;
/// After GOAWAY on an idle connection, or the last reply of an HTTP/1.1 one: how long the client may
/// take to close it, or to send more of what nobody reads.
pub const CLOSE_GRACE: Duration = Duration::from_secs(5);
/// A connection that was accepted just before a drain's end: its time to the first bytes.
pub const FIRST_BYTES_GRACE: Duration = Duration::from_secs(1);
/// How long an HTTP/1.1 client may go on sending after the last reply, so that it comes to read it.
pub const LINGER_MAX: Duration = Duration::from_secs(30);

/// Descriptors of one upstream by server reflection: Google's whole public API takes about 20 MiB.
pub const REFLECTION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Files of one upstream by server reflection.
pub const REFLECTION_FILES_MAX: usize = 10_000;
/// Services of one upstream by server reflection.
pub const REFLECTION_SERVICES_MAX: usize = 4_000;
/// All of one upstream's reflection, over all its endpoints.
pub const REFLECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Instances of one upstream that are asked for descriptors at a time; of more, these at random.
pub const REFLECTION_INSTANCES_MAX: usize = 16;
/// How long those that haven't answered are waited for once one has.
pub const REFLECTION_OTHERS_WAIT: Duration = Duration::from_secs(1);
/// Between two questions to one upstream that something gives reason for: an answer UNIMPLEMENTED to a
/// known method, other instances. Doubled while the answers stay the same, up to the maximum.
pub const REFLECTION_NUDGED_MIN: Duration = Duration::from_secs(1);
/// Longest time between two such questions.
pub const REFLECTION_NUDGED_MAX: Duration = Duration::from_secs(30);
/// Connecting, and each answer, of one upstream's reflection.
pub const REFLECTION_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Upstreams whose last good descriptors are kept on disk; the oldest of more go.
pub const KEPT_FILES_MAX: usize = 256;

/// Certificates in the file of one chain.
pub const CERTIFICATES_IN_CHAIN_MAX: usize = 16;
/// A file of certificates, keys or revocation lists.
pub const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What is read of a request without TLS that comes where TLS is spoken.
pub const PLAIN_TO_TLS_BYTES_MAX: usize = 16 * 1024;
/// Handshakes that came to nothing, of which a worker writes a line in a second: more are only counted.
pub const REFUSALS_TOLD_A_SECOND_MAX: u32 = 10;
/// How long a worker says nothing of refused PROXY headers after a line about one: all are counted.
pub const PROXY_HEADERS_UNTOLD: Duration = Duration::from_secs(10);
/// A client's certificate that services are told of.
pub const CLIENT_CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Files and folders looked at below one `protos` folder: the whole of googleapis is 10,000.
pub const PROTO_ENTRIES_MAX: usize = 100_000;
/// Folders inside each other below a `protos` folder.
pub const PROTO_FOLDERS_DEEP_MAX: usize = 64;
/// One `.proto` text.
pub const PROTO_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// All `.proto` texts of a config.
pub const PROTOS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// One `FileDescriptorSet` file.
pub const DESCRIPTOR_SET_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Niceness of the builder thread: requests first, but no starving.
pub const BUILDER_NICENESS: i32 = 10;
/// Builds that wait for the builder thread; more mean that nobody looks at the results.
pub const BUILDS_WAITING_MAX: usize = 8;
/// Files that change are read once it has been quiet for so long.
pub const WATCH_QUIET: Duration = Duration::from_millis(100);
/// Or after so long anyway.
pub const WATCH_QUIET_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether a replaced generation is still used, to free it off the workers.
pub const RETIRED_LOOK: Duration = Duration::from_secs(1);
/// How long the start waits for reflection before it serves the rest.
pub const REFLECTION_AT_START_MAX: Duration = Duration::from_secs(5);
/// First wait before an upstream without an answer is asked for its descriptors again; doubled each
/// time, up to the maximum.
pub const REFLECTION_RETRY_MIN: Duration = Duration::from_secs(1);
/// What a client is told to wait whose path may be one of an upstream without an answer.
pub const DESCRIPTORS_RETRY_AFTER_SECONDS: u32 = 5;
/// Longest wait before it is asked again.
pub const REFLECTION_RETRY_MAX: Duration = Duration::from_secs(30);

/// One answer of an ACME authority: chains take some kilobytes.
pub const ACME_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What is told of an authority's refusal that is no problem document.
pub const ACME_EXCERPT_BYTES_MAX: usize = 512;
/// How far our clock may be from an authority's before that is told: its certificates count from its own.
pub const ACME_CLOCK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);
/// How long an authority's directory is taken as known.
pub const ACME_DIRECTORY_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// Nonces that may be refused in a row, beside the two that the library lets pass each time: with half
/// of all refused, one request in 17 million fails.
pub const ACME_NONCES_MAX: usize = 7;
/// First pause before an order's state is asked for; doubled each time, up to the maximum.
pub const ACME_POLL_MIN: Duration = Duration::from_millis(250);
/// Longest pause that we choose. The authority may want a longer one.
pub const ACME_POLL_MAX: Duration = Duration::from_secs(5);
/// Failures that may pass (no answer, 5xx) which one order bears.
pub const ACME_STRIKES_MAX: u32 = 6;
/// Pause after the first of them; doubled each time.
pub const ACME_STRIKE_PAUSE: Duration = Duration::from_millis(500);
/// When to ask again for a renewal window whose answer doesn't say (RFC 9773 §4.3.3).
pub const ACME_RENEWAL_POLL: Duration = Duration::from_secs(6 * 60 * 60);
/// The soonest, whatever the answer says.
pub const ACME_RENEWAL_POLL_MIN: Duration = Duration::from_secs(60);
/// The latest.
pub const ACME_RENEWAL_POLL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// One exchange with a DNS server.
pub const DNS_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause between looks at whether a TXT record can be seen; doubled each time, up to the maximum.
pub const DNS_LOOK_MIN: Duration = Duration::from_millis(250);
/// Longest pause between looks.
pub const DNS_LOOK_MAX: Duration = Duration::from_secs(10);
/// How long a challenge's TXT record may be kept by resolvers.
pub const DNS_RECORD_TTL_SECONDS: u32 = 60;
/// What is kept of a hook's words when it fails.
pub const HOOK_WORDS_BYTES_MAX: u64 = 2048;
/// Longest time that an ACME authority may want to be left alone: Let's Encrypt's longest limit is a
/// week's. One that names a year has made a mistake that would outlive every certificate.
pub const ACME_RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// What is told and kept of an ACME error: a problem document of ordinary length whole.
pub const ACME_ERROR_BYTES_MAX: usize = 8 * 1024;
/// One file of an ACME storage.
pub const ACME_STORED_BYTES_MAX: u64 = 1024 * 1024;
/// Orders under way at one authority.
pub const ACME_ORDERS_AT_ONCE: usize = 8;
/// Orders that may be placed without a pause: Let's Encrypt takes 300 in three hours.
pub const ACME_ORDERS_BURST: u32 = 200;
/// Between orders after those: Let's Encrypt lets one more in every 36 s.
pub const ACME_ORDER_PACE: Duration = Duration::from_secs(40);
/// How often it is looked whether another process has changed a certificate.
pub const ACME_STORAGE_POLL: Duration = Duration::from_secs(15);
/// How long a process that hangs keeps others from a name. Renewed at a third.
pub const ACME_LEASE: Duration = Duration::from_secs(10 * 60);
/// How often it is looked whether another process is done with asking for an account.
pub const ACME_ACCOUNT_LOCK_POLL: Duration = Duration::from_millis(500);
/// How often it is looked whether another process is done with a name.
pub const ACME_NAME_LOCK_POLL: Duration = Duration::from_secs(5);
/// Longest sleep of who looks after a certificate: other processes may renew it, and clocks are set.
pub const ACME_SLEEP_MAX: Duration = Duration::from_secs(60 * 60);
/// When a certificate or its course can't be kept or read: until the next try.
pub const ACME_DISK_RETRY: Duration = Duration::from_secs(15);
/// Who looked after a certificate and panicked begins anew then.
pub const ACME_PANIC_REST: Duration = Duration::from_secs(10 * 60);
/// Batches of log lines that wait to be written; more are dropped and counted.
pub const LOG_BATCHES_MAX: usize = 256;
/// Lines of one worker go to the writer together, when they are so many bytes.
pub const LOG_BATCH_BYTES: usize = 32 * 1024;
/// Or after so long.
pub const LOG_BATCH_WAIT: Duration = Duration::from_millis(50);
/// How often a log file's name is looked at: it may have been rotated.
pub const LOG_FILE_LOOK: Duration = Duration::from_secs(1);
/// How long the end of the process waits for log lines to be written.
pub const LOG_END_MAX: Duration = Duration::from_secs(1);
/// Accounts of exchanges that a worker keeps for the next ones.
pub const ACCOUNTS_KEPT_MAX: usize = 256;
/// Requests whose spans wait to be sent; more are dropped and counted.
pub const TRACE_QUEUE_REQUESTS: usize = 2048;
/// Spans that are sent together.
pub const TRACE_BATCH_SPANS: usize = 512;
/// Fewer are, after so long.
pub const TRACE_BATCH_WAIT: Duration = Duration::from_secs(5);
/// One attempt to send them.
pub const TRACE_EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts at sending one batch, with growing waits between; then its spans are dropped and counted.
pub const TRACE_ATTEMPTS_MAX: u32 = 4;
/// The wait before the second of them; a collector that asks for a longer one gets it, up to the other.
pub const TRACE_RETRY_WAIT: Duration = Duration::from_millis(500);
pub const TRACE_RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// What is read of a collector's answer.
pub const TRACE_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long the end of the process waits for spans to be sent.
pub const TRACE_END_MAX: Duration = Duration::from_secs(2);
/// Tries of one request that have spans of their own.
pub const TRACE_TRIES_MAX: usize = 32;
/// A client's `tracestate` beyond this is dropped: nobody has to keep more (Trace Context §3.3.1).
pub const TRACE_STATE_BYTES_MAX: usize = 512;
pub const TRACE_STATE_MEMBERS_MAX: usize = 32;
