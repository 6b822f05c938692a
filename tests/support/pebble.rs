//! Let's Encrypt's test authority, from the Debian package that `tests/peers/setup` installs.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::acme::Root;
use super::ports::free;

/// A running Pebble. It ends with the handle.
pub struct Pebble {
    process: Child,
    pub directory: String,
    pub management: String,
    /// Where it looks for files, and for certificates.
    pub http: SocketAddr,
    pub tls: SocketAddr,
    pub root: Root,
    _folder: tempfile::TempDir,
}

/// How it is to behave.
#[derive(Default)]
pub struct Terms<'a> {
    pub env: &'a [(&'a str, &'a str)],
    pub dns: Option<SocketAddr>,
    /// Keys of accounts elsewhere, which it wants then.
    pub external: Option<(&'a str, &'a str)>,
    /// Seconds that certificates live.
    pub validity: Option<u64>,
}

impl Pebble {
    pub fn start(terms: &Terms<'_>) -> Self {
        let root = Root::new();
        let folder = tempfile::tempdir().expect("a folder");
        let pair = root.server();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("chain.pem"), pair.chain).expect("written");
        std::fs::write(at("key.pem"), pair.key).expect("written");
        let [listen, management, http, tls] = [(); 4].map(|()| free());
        let mut config = serde_json::json!({
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": at("chain.pem"),
            "privateKey": at("key.pem"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": terms.external.is_some(),
        });
        if let Some((id, key)) = terms.external {
            config["externalAccountMACKeys"] = serde_json::json!({ id: key });
        }
        if let Some(seconds) = terms.validity {
            config["certificateValidityPeriod"] = seconds.into();
        }
        let config = serde_json::json!({ "pebble": config }).to_string();
        std::fs::write(at("pebble.json"), config).expect("written");
        let mut command = Command::new("pebble");
        command.arg("-config").arg(at("pebble.json"));
        if let Some(dns) = terms.dns {
            command.arg("-dnsserver").arg(dns.to_string());
        }
        command
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .env("PEBBLE_AUTHZREUSE", "0")
            .envs(terms.env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let started = command.spawn();
        let mut process = started.expect("there is no pebble: run tests/peers/setup first");
        let log = BufReader::new(process.stdout.take().expect("it is piped"));
        // Read to the end, so that it never waits for us.
        std::thread::spawn(move || log.lines().for_each(drop));
        let until = Instant::now() + super::PATIENCE;
        while TcpStream::connect(listen).is_err() || TcpStream::connect(management).is_err() {
            let ended = process.try_wait().expect("its state");
            assert!(ended.is_none(), "pebble ended: {ended:?}");
            assert!(Instant::now() < until, "pebble doesn't listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            process,
            directory: format!("https://{listen}/dir"),
            management: format!("https://{management}"),
            http,
            tls,
            root,
            _folder: folder,
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
