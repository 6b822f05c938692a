//! TLS of the listeners: which certificate is shown, who is let in, and files that change.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion};
use support::client::Http1;
use support::tls::{Authority, connect, shown};
use support::{PATIENCE, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

/// The binary over a folder of its own.
struct Running {
    process: Child,
    addresses: Vec<SocketAddr>,
    /// What it says on stderr, line by line.
    said: mpsc::Receiver<String>,
}

const ROUTES: &str =
    "routes: [{ prefix: /, respond: { body: here, headers: { x-transom: \"1\" } } }]\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn command(&self, config: &str, verb: &str) -> Command {
        // Each its own: one that is written anew is read anew.
        let mut number = 0;
        let mut file = self.path("transom.yaml");
        while verb == "run" && file.exists() {
            number += 1;
            file = self.path(&format!("transom-{number}.yaml"));
        }
        fs::write(&file, config).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_transom"));
        command.args([verb, "-c"]).arg(file);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What `check` prints, and whether it is content.
    fn check(&self, config: &str) -> (bool, String) {
        let done = self.command(config, "check").output().expect("it runs");
        let text = [done.stdout, done.stderr].concat();
        (
            done.status.success(),
            String::from_utf8(text).expect("text"),
        )
    }

    fn run(&self, config: &str) -> Running {
        let mut process = self.command(config, "run").spawn().expect("it starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let listeners = config.matches("address:").count();
        let mut addresses = Vec::new();
        for _ in 0..listeners {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("text");
            let address = line.trim().rsplit_once("//").map(|(_, a)| a.parse());
            let Some(Ok(address)) = address else {
                let mut told = String::new();
                let stderr = process.stderr.as_mut().expect("piped");
                stderr.read_to_string(&mut told).expect("text");
                panic!("{line:?}\n{told}");
            };
            addresses.push(address);
        }
        let (tell, said) = mpsc::channel();
        let stderr = BufReader::new(process.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Running {
            process,
            addresses,
            said,
        }
    }
}

impl Running {
    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Waits for a line with these words, and gives it.
    fn says(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never said: {words}"));
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// One request by the byte; the whole reply.
async fn ask(mut stream: TlsStream<TcpStream>, host: &str) -> String {
    let request = format!("GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut reply = Vec::new();
    let read = soon("the reply", stream.read_to_end(&mut reply)).await;
    // The server says in TLS that it is done.
    read.expect("a whole reply");
    String::from_utf8(reply).expect("text")
}

/// The head of the request on an origin's connection, which is answered: what isn't would be sent again.
async fn answered(mut stream: TcpStream) -> String {
    let mut head = [0; 4096];
    let length = stream.read(&mut head).await.expect("a head");
    let reply = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    stream.write_all(reply).await.expect("sent");
    String::from_utf8(head[..length].to_vec()).expect("text")
}

fn http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

type Sender = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

async fn over_http2(stream: TlsStream<TcpStream>) -> Sender {
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn status(sender: &mut Sender, host: &str) -> u16 {
    let request = http::Request::get(format!("https://{host}/x"));
    let request = request.body(Empty::new()).expect("a request");
    let reply = soon("the reply", sender.send_request(request)).await;
    let reply = reply.expect("a reply");
    let status = reply.status().as_u16();
    reply.collect().await.expect("a body");
    status
}

fn listener(tls: &str) -> String {
    format!("listeners: [{{ address: \"127.0.0.1:0\", tls: {{ {tls} }} }}]\nworkers: 2\n{ROUTES}")
}

#[tokio::test]
async fn both_protocols_are_spoken_with_the_key_exchange_of_today() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    authority
        .server(&["api.example.com"])
        .write(folder.0.path(), "a");
    let running = folder.run(&listener("certificates: [{ cert: a.crt, key: a.key }]"));

    let plain = connect(running.address(), "api.example.com", authority.trusted()).await;
    let stream = plain.expect("a handshake");
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = session.negotiated_key_exchange_group().expect("a group");
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    let reply = ask(stream, "api.example.com").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.ends_with("here"), "{reply}");

    let config = http2(authority.trusted());
    let stream = connect(running.address(), "api.example.com", config).await;
    let mut sender = over_http2(stream.expect("a handshake")).await;
    assert_eq!(status(&mut sender, "api.example.com").await, 200);
    assert_eq!(status(&mut sender, "API.example.com:8443").await, 200);
}

#[tokio::test]
async fn a_session_goes_on_from_its_ticket_on_any_worker() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    authority
        .server(&["api.example.com"])
        .write(folder.0.path(), "a");
    let running = folder.run(&listener("certificates: [{ cert: a.crt, key: a.key }]"));
    let config = Arc::new(authority.trusted());
    for round in 0..8 {
        let stream = connect(running.address(), "api.example.com", Arc::clone(&config)).await;
        let stream = stream.expect("a handshake");
        let kind = stream.get_ref().1.handshake_kind();
        let wanted = match round {
            0 => HandshakeKind::Full,
            _ => HandshakeKind::Resumed,
        };
        assert_eq!(kind, Some(wanted), "round {round}");
        // The tickets come with the reply.
        ask(stream, "api.example.com").await;
    }
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let issue = |file: &str, names: &[&str]| authority.server(names).write(folder.0.path(), file);
    issue("first", &["first.example.com"]);
    issue("wild", &["*.example.com", "example.com"]);
    issue("exact", &["api.example.com"]);
    issue("address", &["127.0.0.1"]);
    let all = "certificates: [{ cert: first.crt, key: first.key }, { cert: wild.crt, key: wild.key }, \
               { cert: exact.crt, key: exact.key }, { cert: address.crt, key: address.key }]";
    let running = folder.run(&listener(all));
    for (asked, names) in [
        ("first.example.com", "first.example.com"),
        ("api.example.com", "api.example.com"),
        ("API.Example.COM", "api.example.com"),
        ("www.example.com", "*.example.com"),
        ("example.com", "*.example.com"),
        // An address is no name: the one that it is connected to has a certificate.
        ("127.0.0.1", "7f:00:00:01"),
    ] {
        let stream = connect(running.address(), asked, authority.trusted()).await;
        let stream = stream.unwrap_or_else(|e| panic!("{asked}: {e}"));
        assert!(
            shown(&stream)[0].contains(names),
            "{asked}: {:?}",
            shown(&stream)
        );
        assert!(ask(stream, asked).await.starts_with("HTTP/1.1 200"));
    }
    // No certificate is for these: the first is shown, and clients refuse it.
    for asked in ["deep.www.example.com", "other.test"] {
        let error = connect(running.address(), asked, authority.trusted()).await;
        let error = error.expect_err(asked).to_string();
        assert!(error.contains("not valid for name"), "{error}");
    }

    let strict = folder.run(&listener(&format!("unknown_name: refuse, {all}")));
    let error = connect(strict.address(), "other.test", authority.trusted()).await;
    let error = error.expect_err("refused").to_string();
    assert!(!error.contains("not valid for name"), "{error}");
    let known = connect(strict.address(), "api.example.com", authority.trusted()).await;
    assert!(known.is_ok());
}

#[tokio::test]
async fn requests_for_other_hosts_are_sent_away() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let issue = |file: &str, names: &[&str]| authority.server(names).write(folder.0.path(), file);
    issue(
        "a",
        &[
            "a.example.com",
            "b.example.com",
            "*.pages.example.com",
            "vip.example.com",
        ],
    );
    issue("c", &["c.example.com"]);
    issue("vip", &["vip.example.com"]);
    folder.write("ca.crt", &authority.pem);
    let running = folder.run(&listener(
        "certificates: [{ cert: vip.crt, key: vip.key, client_certificates: { ca: ca.crt } }, \
         { cert: a.crt, key: a.key }, { cert: c.crt, key: c.key }]",
    ));
    let config = http2(authority.trusted());
    let stream = connect(running.address(), "a.example.com", config).await;
    let mut sender = over_http2(stream.expect("a handshake")).await;
    for (host, wanted) in [
        ("a.example.com", 200),
        // Browsers put all names of the certificate on one connection.
        ("b.example.com", 200),
        ("any.pages.example.com:443", 200),
        ("deep.any.pages.example.com", 421),
        ("c.example.com", 421),
        ("127.0.0.1", 421),
        // The certificate has it, but there clients must say who they are.
        ("vip.example.com", 421),
        ("a.example.com", 200),
    ] {
        assert_eq!(status(&mut sender, host).await, wanted, "{host}");
    }
}

#[tokio::test]
async fn no_name_is_a_way_around_the_rules_of_another() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let issue = |file: &str, names: &[&str]| authority.server(names).write(folder.0.path(), file);
    issue("www", &["www.example.com", "open.example.com", "10.9.8.7"]);
    issue("vip", &["*.vip.example.com", "192.0.2.9"]);
    folder.write("ca.crt", &authority.pem);
    let running = folder.run(&listener(
        "certificates: [{ cert: www.crt, key: www.key }, \
         { cert: vip.crt, key: vip.key, client_certificates: { ca: ca.crt } }]",
    ));
    let blind = |name: &'static str| {
        let mut config = authority.trusted();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Anyone));
        config.enable_sni = !name.is_empty();
        let name = if name.is_empty() {
            "www.example.com"
        } else {
            name
        };
        connect(running.address(), name, config)
    };
    // Nobody's names get the first certificate.
    let stream = blind("other.test").await.expect("a handshake");
    assert!(ask(stream, "other.test").await.starts_with("HTTP/1.1 200"));
    // Routes of `*.vip.example.com` take this one, so it isn't nobody's.
    assert!(blind("a.b.vip.example.com").await.is_err());
    // Without a name, an address may be asked for, unless it has rules of its own.
    for (host, wanted) in [
        ("10.1.1.1", "200"),
        ("192.0.2.9", "421"),
        ("a.vip.example.com", "421"),
    ] {
        let stream = blind("").await.expect("a handshake");
        let reply = ask(stream, host).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {wanted}")),
            "{host}: {reply}"
        );
    }
    // A name may be written with the root's dot.
    let stream = blind("www.example.com").await.expect("a handshake");
    assert!(
        ask(stream, "open.example.com.:443")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn no_session_outlives_the_certificate_that_it_began_with() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    authority
        .server(&["api.example.com"])
        .write(folder.0.path(), "a");
    folder.write("clients.crt", &authority.pem);
    for versions in ["1.2", "1.3"] {
        let running = folder.run(&listener(
            "certificates: [{ cert: a.crt, key: a.key }], client_certificates: { ca: clients.crt }",
        ));
        let of = |pair: &support::tls::Pair| {
            let version = match versions {
                "1.2" => &rustls::version::TLS12,
                _ => &rustls::version::TLS13,
            };
            Arc::new(authority.client_of(Some(pair), &[version]))
        };
        let kind = |config: Arc<ClientConfig>| async {
            let stream = connect(running.address(), "api.example.com", config).await?;
            let kind = stream.get_ref().1.handshake_kind();
            // The tickets come with the reply, or the refusal.
            let (mut read, mut write) = tokio::io::split(stream);
            let request = b"GET /x HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n";
            write.write_all(request).await?;
            let mut reply = String::new();
            read.read_to_string(&mut reply).await?;
            assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
            std::io::Result::Ok(kind)
        };
        let lasting = of(&authority.client("shop", 7));
        for wanted in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            let kind = kind(Arc::clone(&lasting)).await.expect("let in");
            assert_eq!(kind, Some(wanted), "TLS {versions}");
        }
        let ends = SystemTime::now() + Duration::from_secs(4);
        let brief = of(&authority.client_until("shop", 8, ends));
        // However often it goes on, and gets new tickets.
        let goes_on = async { while kind(Arc::clone(&brief)).await.is_ok() {} };
        soon("the refusal", goes_on).await;
        assert!(SystemTime::now() > ends - Duration::from_secs(1));
    }
}

#[tokio::test]
async fn clients_show_certificates_and_services_are_told() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let clients = Authority::new("Clients");
    authority
        .server(&["api.example.com"])
        .write(folder.0.path(), "a");
    folder.write("clients.crt", &clients.pem);
    folder.write("clients.crl", &clients.revoke(13));
    let origin = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let at = origin.local_addr().expect("an address");
    let config = |required: bool| {
        format!(
            "listeners: [{{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: a.crt, key: a.key }}], \
             client_certificates: {{ ca: clients.crt, crl: clients.crl, required: {required} }} }} }}]\n\
             upstreams: {{ site: {{ endpoints: [\"{at}\"], protocol: http1 }} }}\n\
             routes: [{{ prefix: /, upstream: site }}]\nworkers: 1\n"
        )
    };
    let strict = folder.run(&config(true));
    let lax = folder.run(&config(false));
    let with = |pair| authority.client_config(pair);
    let good = clients.client("shop", 7);
    let told = |address, config| {
        let origin = &origin;
        async move {
            let stream = connect(address, "api.example.com", config).await?;
            let (mut read, mut write) = tokio::io::split(stream);
            let request = "GET /x HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\
                           x-forwarded-client-cert: Subject=\"CN=forged\"\r\n\r\n";
            write.write_all(request.as_bytes()).await?;
            let mut first = [0];
            let head = tokio::select! {
                came = origin.accept() => {
                    answered(came.expect("accepted").0).await
                }
                // TLS 1.3 tells of a refusal when the client reads.
                read = read.read_exact(&mut first) => {
                    return Err(read.expect_err("no reply without the origin"));
                }
            };
            std::io::Result::Ok(head)
        }
    };
    for address in [strict.address(), lax.address()] {
        let head = soon("the origin's part", told(address, with(Some(&good)))).await;
        let head = head.expect("let in");
        let line = head
            .lines()
            .find(|l| l.starts_with("x-forwarded-client-cert"));
        let line = line.expect("told");
        assert!(line.contains("Hash="), "{line}");
        assert!(line.contains("Subject=\"CN=shop\""), "{line}");
        assert!(line.contains("URI=spiffe://example.com/shop"), "{line}");
        assert!(!head.contains("forged"), "{head}");
    }
    let head = soon("the origin's part", told(lax.address(), with(None))).await;
    let head = head.expect("let in");
    assert!(!head.contains("x-forwarded-client-cert"), "{head}");

    let revoked = clients.client("gone", 13);
    let stranger = Authority::new("Strangers").client("shop", 7);
    for (address, own, why) in [
        (strict.address(), None, "CertificateRequired"),
        (strict.address(), Some(&revoked), "CertificateRevoked"),
        (strict.address(), Some(&stranger), "UnknownCA"),
        (lax.address(), Some(&revoked), "CertificateRevoked"),
        (lax.address(), Some(&stranger), "UnknownCA"),
    ] {
        let error = soon("the refusal", told(address, with(own))).await;
        let error = error.expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_and_who_says_nothing_is_cut_off() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    authority.server(&["localhost"]).write(folder.0.path(), "a");
    let config = listener("certificates: [{ cert: a.crt, key: a.key }]");
    let running = folder.run(&format!("{config}timeouts: {{ handshake: 200ms }}\n"));
    let reply = Http1::connect(running.address()).await.get("/").await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("use https://"), "{}", reply.text());

    let silent = Http1::connect(running.address()).await;
    assert_eq!(silent.closed().await, b"");
    let mut garbled = Http1::connect(running.address()).await;
    garbled
        .send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        .await;
    // An alert, and the end.
    assert_eq!(garbled.closed().await.first(), Some(&21));
    let mut half = Http1::connect(running.address()).await;
    half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .await;
    assert_eq!(half.closed().await, b"");
    let stream = connect(running.address(), "localhost", authority.trusted()).await;
    assert!(
        ask(stream.expect("a handshake"), "localhost")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn without_tls_there_is_a_way_to_it() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    authority.server(&["localhost"]).write(folder.0.path(), "a");
    let running = folder.run(&format!(
        "listeners:\n- {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: a.crt, key: a.key }}] }} }}\n\
         - {{ address: \"127.0.0.1:0\", redirect_https: true }}\n\
         - {{ address: \"127.0.0.1:0\", redirect_https: true, https_port: 4443 }}\n\
         defaults: {{ security_headers: {{ hsts: {{ max_age: 1h, include_subdomains: true }} }} }}\n{ROUTES}"
    ));
    for (listener, host, to) in [
        (1, "shop.example.com", "https://shop.example.com/a%2Fb?q=1"),
        (
            2,
            "shop.example.com:8080",
            "https://shop.example.com:4443/a%2Fb?q=1",
        ),
        (2, "[::1]:8080", "https://[::1]:4443/a%2Fb?q=1"),
    ] {
        let mut client = Http1::connect(running.addresses[listener]).await;
        client
            .send(format!(
                "POST /a%2Fb?q=1 HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        let reply = client.reply().await.expect("a reply");
        assert_eq!((reply.status, reply.header("location")), (308, Some(to)));
        assert_eq!(reply.header("strict-transport-security"), None);
    }
    let stream = connect(running.address(), "localhost", authority.trusted()).await;
    let reply = ask(stream.expect("a handshake"), "localhost").await;
    let hsts = "strict-transport-security: max-age=3600; includeSubDomains\r\n";
    assert!(reply.contains(hsts), "{reply}");
}

#[tokio::test]
async fn a_balancer_tells_whose_connection_it_is() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    authority.server(&["localhost"]).write(folder.0.path(), "a");
    let origin = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let at = origin.local_addr().expect("an address");
    let config = |trusted: &str| {
        format!(
            "listeners:\n- {{ address: \"127.0.0.1:0\", proxy_protocol: true, \
             tls: {{ certificates: [{{ cert: a.crt, key: a.key }}] }} }}\n\
             - {{ address: \"127.0.0.1:0\", proxy_protocol: true }}\n\
             upstreams: {{ site: {{ endpoints: [\"{at}\"], protocol: http1 }} }}\n\
             routes: [{{ prefix: /, upstream: site }}]\n{trusted}\n"
        )
    };
    let head_of = || async { answered(origin.accept().await.expect("accepted").0).await };
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n";
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let trusting = folder.run(&config("trusted_proxies: [127.0.0.0/8]"));

    let mut client = Http1::connect(trusting.addresses[1]).await;
    client.send([HEADER, REQUEST].concat()).await;
    let head = soon("the request", head_of()).await;
    assert!(head.contains("x-forwarded-for: 192.0.2.7\r\n"), "{head}");

    // The client isn't trusted as the balancer is, and TLS comes behind the header.
    let mut socket = TcpStream::connect(trusting.addresses[0])
        .await
        .expect("connect");
    socket.write_all(HEADER).await.expect("sent");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(authority.trusted()));
    let name = "localhost".try_into().expect("a name");
    let mut stream = connector.connect(name, socket).await.expect("a handshake");
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 9.9.9.9\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let head = soon("the request", head_of()).await;
    assert!(head.contains("x-forwarded-for: 192.0.2.7\r\n"), "{head}");
    assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");

    // Without the header nobody knows whose it is.
    let mut bare = Http1::connect(trusting.addresses[1]).await;
    bare.send(REQUEST).await;
    assert_eq!(bare.closed().await, b"");
    // A stranger's header is no HTTP.
    let wary = folder.run(&config(""));
    let mut stranger = Http1::connect(wary.addresses[1]).await;
    stranger.send([HEADER, REQUEST].concat()).await;
    let reply = stranger.reply().await.expect("a reply");
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn for_development_a_certificate_is_made() {
    let folder = Folder::new();
    let running = folder.run(&listener("self_signed: true"));
    let mut config = Authority::new("Nobody").trusted();
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anyone));
    for (name, host) in [
        ("localhost", "localhost"),
        ("shop.localhost", "shop.localhost"),
        // What somebody puts in /etc/hosts, or a phone in the same network.
        ("dev.test", "dev.test"),
        ("127.0.0.1", "192.168.1.5:8443"),
    ] {
        let stream = connect(running.address(), name, config.clone()).await;
        let reply = ask(stream.expect("a handshake"), host).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{name}: {reply}");
    }
}

/// As a browser's user who clicks on.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = transom::tls::provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// As Kubernetes mounts a Secret: files are links into `..data`, which is a link that is renamed over.
fn mount(folder: &Folder, version: &str, pair: &support::tls::Pair) {
    let secret = folder.path("tls");
    fs::create_dir_all(secret.join(version)).expect("a folder");
    pair.write(&secret.join(version), "tls");
    symlink(version, secret.join("..new")).expect("a link");
    fs::rename(secret.join("..new"), secret.join("..data")).expect("renamed");
    for name in ["tls.crt", "tls.key"] {
        let link = secret.join(name);
        if !link.exists() {
            symlink(format!("..data/{name}"), link).expect("a link");
        }
    }
}

#[tokio::test]
async fn a_new_pair_is_shown_and_a_bad_one_is_refused() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let issue = |extra: &str| authority.server(&["api.example.com", extra]);
    mount(&folder, "..1", &issue("one.example.com"));
    let running = folder.run(&listener(
        "certificates: [{ cert: tls/tls.crt, key: tls/tls.key }]",
    ));
    let names = || async {
        let stream = connect(running.address(), "api.example.com", authority.trusted()).await;
        shown(&stream.expect("a handshake")).join(" ")
    };
    assert!(names().await.contains("one.example.com"));
    let config = http2(authority.trusted());
    let stream = connect(running.address(), "api.example.com", config).await;
    let mut old = over_http2(stream.expect("a handshake")).await;
    assert_eq!(status(&mut old, "api.example.com").await, 200);

    mount(&folder, "..2", &issue("two.example.com"));
    running.says("reloaded");
    soon("the new certificate", async {
        while !names().await.contains("two.example.com") {}
    })
    .await;

    // The key of another: as when one of two files has been copied.
    let mut torn = issue("three.example.com");
    torn.key = issue("four.example.com").key;
    mount(&folder, "..3", &torn);
    running.says("not reloaded");
    running.says("the key is not the one of the certificate");
    assert!(names().await.contains("two.example.com"));
    // Who is connected notices nothing of all this.
    assert_eq!(status(&mut old, "api.example.com").await, 200);

    mount(&folder, "..4", &issue("five.example.com"));
    soon("the mended certificate", async {
        while !names().await.contains("five.example.com") {}
    })
    .await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_whatever_else_is_wrong() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let renew = || {
        let pair = authority.server(&["api.example.com"]);
        pair.write(folder.0.path(), "api");
    };
    renew();
    let other = authority.server(&["other.example.com"]);
    other.write(folder.0.path(), "other");
    let running = folder.run(&listener(
        "certificates: [{ cert: api.crt, key: api.key }, { cert: other.crt, key: other.key }]",
    ));
    let leaf = || async {
        let stream = connect(running.address(), "api.example.com", authority.trusted()).await;
        let stream = stream.expect("a handshake");
        let certificates = stream.get_ref().1.peer_certificates().expect("some");
        certificates[0].clone().into_owned()
    };
    let first = leaf().await;
    // Another pair is torn, and then the config itself.
    folder.write("other.key", &authority.server(&["other.example.com"]).key);
    running.says("not reloaded");
    renew();
    let second = async {
        loop {
            let now = leaf().await;
            if now != first {
                return now;
            }
        }
    };
    let second = soon("the renewed certificate", second).await;
    running.says("a certificate from files is taken up");
    folder.write("transom.yaml", "listeners: [");
    running.says("not reloaded");
    renew();
    soon("the next one", async { while leaf().await == second {} }).await;
}

#[test]
fn what_is_wrong_with_files_is_told_with_the_way_out() {
    let (folder, authority) = (Folder::new(), Authority::new("Test"));
    let intermediate = authority.below("Intermediate");
    let good = intermediate.server(&["api.example.com"]);
    let other = authority.server(&["other.example.com"]);
    good.write(folder.0.path(), "good");
    other.write(folder.0.path(), "other");
    authority
        .expired(&["old.example.com"])
        .write(folder.0.path(), "old");
    folder.write("turned.crt", &[&*intermediate.pem, &good.cert].concat());
    folder.write("torn.crt", &[&*good.cert, &authority.pem].concat());
    folder.write("cut.crt", &good.cert[..good.cert.len() / 2]);
    folder.write("empty.crt", "");
    folder.write(
        "words.crt",
        "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
    );
    folder.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    folder.write("whole.crt", &[&*good.cert, &intermediate.pem].concat());
    let pair = |cert: &str, key: &str| {
        listener(&format!("certificates: [{{ cert: {cert}, key: {key} }}]"))
    };
    for (cert, key, message, way_out) in [
        (
            "good.crt",
            "other.key",
            "the key is not the one of the certificate",
            "openssl",
        ),
        (
            "turned.crt",
            "good.key",
            "the key is that of certificate 2, which must come first",
            "comes first",
        ),
        (
            "torn.crt",
            "good.key",
            "certificate 1 of it is not signed by certificate 2",
            "comes first",
        ),
        ("cut.crt", "good.key", "it is cut off", "copied"),
        (
            "empty.crt",
            "good.key",
            "there is no certificate in it",
            "PEM",
        ),
        (
            "words.crt",
            "good.key",
            "its certificate 1 can't be read",
            "",
        ),
        (
            "good.crt",
            "good.crt",
            "there is no private key in it",
            "PEM",
        ),
        (
            "good.crt",
            "locked.key",
            "the private key is encrypted",
            "openssl pkey",
        ),
        ("good.crt", ".", "Is a directory", ""),
    ] {
        let (content, told) = folder.check(&pair(cert, key));
        assert!(!content, "{cert} {key}: {told}");
        assert!(told.contains(message), "{cert} {key}: {told}");
        assert!(told.contains(way_out), "{cert} {key}: {told}");
        assert!(told.contains("transom.yaml:1:"), "{told}");
        assert!(!told.contains("PRIVATE KEY-----\nM"), "{told}");
    }
    // Keys are seldom where configs are checked.
    let (content, told) = folder.check(&pair("good.crt", "absent.key"));
    assert!(content, "{told}");
    assert!(
        told.contains("absent.key isn't here, and could not be checked"),
        "{told}"
    );
    let absent = folder.command(&pair("good.crt", "absent.key"), "run");
    let done = { absent }.output().expect("it runs");
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(
        told.contains("absent.key: No such file or directory"),
        "{told}"
    );
    let (content, told) = folder.check(&pair("whole.crt", "good.key"));
    assert!(content && !told.contains("warning"), "{told}");
    let (content, told) = folder.check(&pair("old.crt", "old.key"));
    assert!(content, "{told}");
    assert!(told.contains("old.crt has expired on "), "{told}");

    let week = Duration::from_secs(7 * 86_400);
    folder.write("clients.crt", &authority.pem);
    folder.write(
        "stale.crl",
        &authority.revoke_at(13, SystemTime::now() - week),
    );
    folder.write("fresh.crl", &authority.revoke(13));
    let with_list = |list: &str| {
        listener(&format!(
            "certificates: [{{ cert: whole.crt, key: good.key }}], \
             client_certificates: {{ ca: clients.crt, crl: {list} }}"
        ))
    };
    let (content, told) = folder.check(&with_list("stale.crl"));
    assert!(
        content && told.contains("stale.crl: list 1 was to be replaced by "),
        "{told}"
    );
    let (content, told) = folder.check(&with_list("fresh.crl"));
    assert!(content && !told.contains("warning"), "{told}");
    let untrusted = "listeners: [{ address: \"127.0.0.1:0\", proxy_protocol: true }]\n";
    let (content, told) = folder.check(&format!("{untrusted}{ROUTES}"));
    assert!(
        content && told.contains("nobody is trusted to send a PROXY header"),
        "{told}"
    );
    assert!(told.contains("`trusted_proxies: ["), "{told}");

    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o755)).expect("set");
    fs::set_permissions(folder.path("good.key"), fs::Permissions::from_mode(0o644)).expect("set");
    let (content, told) = folder.check(&pair("whole.crt", "good.key"));
    assert!(content, "{told}");
    assert!(
        told.contains("everybody may read the private key"),
        "{told}"
    );
    assert!(told.contains("`chmod 600 "), "{told}");
}
