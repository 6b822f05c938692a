//! What is told of TLS: why handshakes came to nothing, and what lines of the access log have of it.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use support::client::Http1;
use support::process::Process;
use support::soon;
use support::tls::{Authority, Pair, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `transom run` over a folder with these files.
fn run(config: &str, files: impl FnOnce(&std::path::Path)) -> Process {
    let folder = tempfile::tempdir().expect("a folder");
    files(folder.path());
    std::fs::write(folder.path().join("transom.yaml"), config).expect("written");
    Process::start(folder)
}

/// Of each value of its label, a counter that isn't zero.
async fn counted(gateway: &Process, family: &str) -> BTreeMap<String, u64> {
    let (_, text) = gateway.admin("/metrics").await;
    let rows = text.lines().filter_map(|line| {
        let (label, value) = line.strip_prefix(family)?.split_once("\"} ")?;
        let (_, label) = label.split_once("=\"")?;
        Some((label.to_owned(), value.parse().expect("a number")))
    });
    let rows: BTreeMap<_, _> = rows.collect();
    assert!(!rows.is_empty(), "no {family} in {text}");
    rows.into_iter().filter(|(_, value)| *value > 0).collect()
}

/// A ClientHello of TLS 1.2 and before, in its record.
fn hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let mut suites: Vec<u8> = suites.iter().flat_map(|s| s.to_be_bytes()).collect();
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len()).expect("few").to_be_bytes());
    body.append(&mut suites);
    body.extend([1, 0]);
    // Groups, forms of points, signatures, the extended master secret.
    let extensions: [&[u8]; 4] = [
        &[0, 10, 0, 4, 0, 2, 0, 29],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 4, 0, 2, 4, 3],
        &[0, 23, 0, 0],
    ];
    let extensions = extensions.concat();
    body.extend(u16::try_from(extensions.len()).expect("few").to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).expect("short");
    let [high, low] = length.to_be_bytes();
    let message = [&[1, 0, high, low][..], &body].concat();
    let [high, low] = (length + 4).to_be_bytes();
    [&[22, 3, 1, high, low][..], &message].concat()
}

/// What a client does, and how it is counted.
enum Deed {
    /// Sends these bytes; then goes, or waits for the end.
    Bytes(Vec<u8>, Then),
    /// A handshake for this name.
    Shake(Arc<ClientConfig>, &'static str),
}

enum Then {
    Goes,
    Waits,
}

impl Deed {
    async fn be_done(self, to: SocketAddr) {
        match self {
            Self::Bytes(bytes, then) => {
                let mut client = Http1::connect(to).await;
                client.send(bytes).await;
                match then {
                    Then::Goes => drop(client),
                    Then::Waits => _ = soon("the end", client.closed()).await,
                }
            }
            Self::Shake(config, name) => {
                if let Ok(mut stream) = connect(to, name, config).await {
                    // With TLS 1.3 the refusal comes when the client believes to be done.
                    stream.read_to_end(&mut Vec::new()).await.ok();
                }
            }
        }
    }
}

const FAMILY: &str = "transom_tls_handshakes_failed_total";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn handshakes_that_come_to_nothing_are_counted_by_why() {
    let (authority, clients) = (Authority::new("Test"), Authority::new("Clients"));
    let config = "listeners:\n\
        - { address: \"127.0.0.1:0\", tls: { unknown_name: refuse, certificates: [{ cert: a.crt, key: a.key }] } }\n\
        - { address: \"127.0.0.1:0\", tls: { certificates: [{ cert: a.crt, key: a.key }], \
        client_certificates: { ca: clients.pem, crl: clients.crl } } }\n\
        - { address: \"127.0.0.1:0\", tls: { acme: none, names: [www.example.com] } }\n\
        acme: { none: { directory: \"https://127.0.0.1:1/\", storage: kept, agree_to_terms: true } }\n\
        admin: { address: \"127.0.0.1:0\" }\n\
        log: { level: debug }\n\
        routes: [{ prefix: /, respond: { body: here } }]\n";
    let gateway = run(config, |folder| {
        authority.server(&["localhost"]).write(folder, "a");
        std::fs::write(folder.join("clients.pem"), &clients.pem).expect("written");
        std::fs::write(folder.join("clients.crl"), clients.revoke(13)).expect("written");
    });
    let trusted = |own: Option<&Pair>| authority.client_config(own);
    let speaking = |protocol: &[u8]| {
        let mut config = trusted(None);
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    };
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
    let late = clients.client_until("late", 8, yesterday);
    let (revoked, stranger) = (
        clients.client("gone", 13),
        Authority::new("X").client("x", 7),
    );
    let shake = |config: ClientConfig, name| Deed::Shake(Arc::new(config), name);
    let half = hello([3, 3], &[0xc02b])[..20].to_vec();
    let bytes = |bytes: &[u8], then| Deed::Bytes(bytes.to_vec(), then);
    let deeds = [
        (0, bytes(b"", Then::Goes), "nothing_sent"),
        (0, Deed::Bytes(half, Then::Goes), "closed"),
        (0, bytes(GET, Then::Waits), "not_tls"),
        (
            0,
            bytes(b"\0\0\0\x08\x04\xd2\x16\x2f", Then::Waits),
            "not_tls",
        ),
        (
            0,
            bytes(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", Then::Waits),
            "malformed",
        ),
        (
            0,
            Deed::Bytes(hello([3, 2], &[0xc009]), Then::Waits),
            "version",
        ),
        (
            0,
            Deed::Bytes(hello([3, 3], &[0x002f]), Then::Waits),
            "no_common_algorithm",
        ),
        (0, shake(speaking(b"smtp"), "localhost"), "alpn"),
        (0, shake(trusted(None), "other.test"), "unknown_name"),
        (
            0,
            shake(speaking(b"acme-tls/1"), "localhost"),
            "no_challenge",
        ),
        (
            0,
            shake(Authority::new("Y").trusted(), "localhost"),
            "certificate_refused",
        ),
        (
            1,
            shake(trusted(None), "localhost"),
            "client_certificate_missing",
        ),
        (
            1,
            shake(trusted(Some(&late)), "localhost"),
            "client_certificate_expired",
        ),
        (
            1,
            shake(trusted(Some(&revoked)), "localhost"),
            "client_certificate_revoked",
        ),
        (
            1,
            shake(trusted(Some(&stranger)), "localhost"),
            "client_certificate_refused",
        ),
        (
            2,
            Deed::Bytes(hello([3, 3], &[0xc02b]), Then::Waits),
            "no_name",
        ),
    ];
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for (listener, deed, reason) in deeds {
        deed.be_done(gateway.addresses[listener]).await;
        *wanted.entry(reason.to_owned()).or_default() += 1;
        let seen = async { while counted(&gateway, FAMILY).await != wanted {} };
        let seen = tokio::time::timeout(support::PATIENCE, seen).await;
        let now = counted(&gateway, FAMILY).await;
        assert!(seen.is_ok(), "{reason}: {now:?}");
        if reason == "nothing_sent" {
            let line = gateway.says("a TLS handshake came to nothing");
            assert!(line.contains("peer=127.0.0.1:"), "{line}");
            assert!(line.contains("reason=\"nothing_sent\""), "{line}");
        }
    }
    // And those that come to something aren't among them.
    let stream = connect(gateway.addresses[0], "localhost", trusted(None)).await;
    stream.expect("a handshake");
    assert_eq!(counted(&gateway, FAMILY).await, wanted);
}

#[tokio::test]
async fn who_takes_too_long_over_a_handshake_is_counted() {
    let authority = Authority::new("Test");
    let config = "listeners:\n\
        - { address: \"127.0.0.1:0\", tls: { certificates: [{ cert: a.crt, key: a.key }] } }\n\
        - { address: \"127.0.0.1:0\" }\n\
        admin: { address: \"127.0.0.1:0\" }\n\
        timeouts: { handshake: 50ms, headers: 50ms }\n\
        routes: [{ prefix: /, respond: { body: here } }]\n";
    let gateway = run(config, |folder| {
        authority.server(&["localhost"]).write(folder, "a");
    });
    for (listener, sent) in [
        (0, &b""[..]),
        (0, &hello([3, 3], &[0xc02b])[..20]),
        (1, b"GET"),
    ] {
        let mut silent = Http1::connect(gateway.addresses[listener]).await;
        silent.send(sent).await;
        assert_eq!(soon("the end", silent.closed()).await, b"");
    }
    let wanted: Value = serde_json::json!({ "timeout": 2 });
    assert_eq!(
        serde_json::to_value(counted(&gateway, FAMILY).await).expect("JSON"),
        wanted
    );
    let limits = counted(&gateway, "transom_limits_hit_total").await;
    assert_eq!(limits.get("handshake"), Some(&2));
}

/// The next line of a log that begins at this byte.
async fn line(file: &std::path::Path, read: &mut usize) -> Value {
    let next = async {
        loop {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if let Some(line) = text
                .get(*read..)
                .and_then(|t| t.split_inclusive('\n').next())
                && line.ends_with('\n')
            {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    };
    let line = soon("a line", next).await;
    *read += line.len();
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test]
async fn the_access_log_tells_of_the_connection_s_tls() {
    let (authority, clients) = (Authority::new("Test"), Authority::new("Clients"));
    for format in ["json", "gcp", "ecs"] {
        let config = format!(
            "listeners:\n\
             - {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: a.crt, key: a.key }}], \
             client_certificates: {{ ca: clients.pem, required: false }} }} }}\n\
             - {{ address: \"127.0.0.1:0\" }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             log: {{ access: {{ format: {format}, output: access.log }} }}\n\
             routes: [{{ prefix: /, respond: {{ body: here }} }}]\n"
        );
        let gateway = run(&config, |folder| {
            authority.server(&["localhost"]).write(folder, "a");
            std::fs::write(folder.join("clients.pem"), &clients.pem).expect("written");
        });
        let (file, mut read) = (gateway.path("access.log"), 0);
        let of = |line: &Value, name: &str| {
            let (flat, ecs) = match name {
                "name" => ("tls_name", "tls.client.server_name"),
                "version" => ("tls_version", "tls.version"),
                "cipher" => ("tls_cipher", "tls.cipher"),
                "resumed" => ("tls_resumed", "tls.resumed"),
                "subject" => ("tls_client_subject", "tls.client.subject"),
                _ => ("tls_client_sha256", "tls.client.hash.sha256"),
            };
            line[if format == "ecs" { ecs } else { flat }].clone()
        };

        let plain = Http1::connect(gateway.addresses[1])
            .await
            .get("/plain")
            .await;
        assert_eq!(plain.status, 200);
        let told = line(&file, &mut read).await;
        assert!(!told.to_string().contains("tls"), "{told}");

        // What a subject holds is the client's to choose, where its authority lets it.
        let evil = "shop\",\"status\":\"0\n\u{1b}[2J";
        let own = clients.client(evil, 7);
        for (versions, version) in [
            (&[&rustls::version::TLS12][..], "1.2"),
            (&[&rustls::version::TLS13], "1.3"),
        ] {
            let named = Arc::new(authority.client_of(Some(&own), versions));
            for resumed in [false, true] {
                let stream = connect(gateway.address, "localhost", Arc::clone(&named)).await;
                let mut stream = stream.expect("a handshake");
                let suite = stream
                    .get_ref()
                    .1
                    .negotiated_cipher_suite()
                    .expect("a suite");
                // Two requests of one connection tell the same.
                for _ in 0..2 {
                    stream.write_all(GET).await.expect("sent");
                    let got = stream.read(&mut [0; 4096]).await.expect("a reply");
                    assert!(got > 0);
                    let told = line(&file, &mut read).await;
                    assert_eq!(of(&told, "version"), version);
                    let cipher = suite.suite().as_str().expect("known");
                    assert_eq!(of(&told, "cipher"), cipher.replace("TLS13_", "TLS_"));
                    assert_eq!(of(&told, "name"), "localhost");
                    assert_eq!(of(&told, "resumed"), resumed, "{version} {told}");
                    let subject = of(&told, "subject");
                    assert!(subject.as_str().is_some_and(|s| s.contains(evil)), "{told}");
                    let der = CertificateDer::from_pem_slice(own.cert.as_bytes()).expect("PEM");
                    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
                    let hash: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
                    let shown = of(&told, "sha256");
                    assert_eq!(shown.as_str().map(str::to_lowercase), Some(hash));
                }
            }
        }
        let stream = connect(gateway.address, "127.0.0.1", Arc::new(authority.trusted())).await;
        assert!(stream.is_err(), "the certificate is for localhost alone");
        let stream = connect(gateway.address, "localhost", authority.trusted()).await;
        let mut stream = stream.expect("a handshake");
        stream.write_all(GET).await.expect("sent");
        let told = line(&file, &mut read).await;
        assert_eq!(of(&told, "version"), "1.3");
        assert_eq!(
            (of(&told, "subject"), of(&told, "sha256")),
            (Value::Null, Value::Null)
        );
    }
}

#[tokio::test]
async fn refused_proxy_headers_are_warned_of_and_counted_by_why() {
    const FAMILY: &str = "transom_proxy_headers_refused_total";
    let config = |trusted: &str, wait: &str| {
        format!(
            "listeners: [{{ address: \"127.0.0.1:0\", proxy_protocol: true }}]\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             trusted_proxies: [{trusted}]\n\
             timeouts: {{ handshake: {wait} }}\n\
             workers: 1\n\
             routes: [{{ prefix: /, respond: {{ body: here }} }}]\n"
        )
    };
    let header = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
    let text = [&header[..], GET].concat();
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

    let trusting = run(&config("127.0.0.0/8", "10s"), |_| {});
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    // The first is warned of; those that come in the ten seconds after it have no line.
    for (sent, then, reason) in [
        (&b""[..], Then::Goes, Some("nothing_sent")),
        (GET, Then::Waits, Some("missing")),
        (b"PROXY TCP4 192.", Then::Goes, Some("closed")),
        (b"PROXY TCP4 1 2 3 4\r\n", Then::Waits, Some("malformed")),
        (
            &[&b"PROXY "[..], &[b'9'; 200]].concat(),
            Then::Waits,
            Some("too_long"),
        ),
        (
            &[&header[..], b"GET / HTTP/1.0\r\n\r\n"].concat(),
            Then::Waits,
            None,
        ),
    ] {
        Deed::Bytes(sent.to_vec(), then)
            .be_done(trusting.address)
            .await;
        if let Some(reason) = reason {
            *wanted.entry(reason.to_owned()).or_default() += 1;
        }
        let seen = async { while counted(&trusting, FAMILY).await != wanted {} };
        soon(reason.unwrap_or("the request"), seen).await;
    }
    let line = trusting.says("PROXY header refused");
    assert!(
        line.contains("WARN") && line.contains("peer=127.0.0.1:"),
        "{line}"
    );
    assert!(line.contains("reason=\"missing\""), "{line}");

    let wary = run(&config("192.0.2.0/24", "10s"), |_| {});
    for (sent, untrusted) in [(GET, 0), (&text, 1), (&binary[..], 2)] {
        let mut client = Http1::connect(wary.address).await;
        client.send(sent).await;
        let status = client.reply().await.expect("a reply").status;
        assert_eq!(status, if untrusted > 0 { 400 } else { 200 });
        let counts = counted(&wary, FAMILY).await;
        assert_eq!(
            counts.get("untrusted").copied().unwrap_or_default(),
            untrusted
        );
    }
    let line = wary.says("PROXY header refused");
    assert!(
        line.contains("its address is not among trusted_proxies"),
        "{line}"
    );

    let hasty = run(&config("127.0.0.0/8", "50ms"), |_| {});
    let mut half = Http1::connect(hasty.address).await;
    half.send(b"PROXY TCP4").await;
    soon("the end", half.closed()).await;
    assert_eq!(counted(&hasty, FAMILY).await.get("timeout"), Some(&1));
}
