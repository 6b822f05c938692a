//! Peers that run as processes of their own. `tests/peers/setup` makes what they need; a test of one
//! fails when it isn't there.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A server in another language. It ends with the handle: its standard input is closed, then it is
/// stopped and waited for.
#[derive(Debug)]
pub struct Peer {
    process: Child,
    port: u16,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    /// The grpcio server of `tests/peers/python`.
    pub fn python() -> Self {
        Self::script("server.py", &[])
    }

    /// The same, listening on this socket too.
    pub fn python_at(socket: &Path) -> Self {
        let address = format!("unix:{}", socket.display());
        Self::script("server.py", &[&address])
    }

    /// A grpcio client and service, for one theme of `calls.py`.
    pub fn calls(theme: &str) -> Self {
        Self::script("calls.py", &[theme])
    }

    /// The same for one theme of `own_services.py`.
    pub fn own_services(theme: &str) -> Self {
        Self::script("own_services.py", &[theme])
    }

    fn script(name: &str, arguments: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".peers/python/bin/python");
        assert!(
            python.exists(),
            "there is no {}: run tests/peers/setup first",
            python.display()
        );
        let script = root.join("tests/peers/python").join(name);
        Self::start(Command::new(python).arg(script).args(arguments))
    }

    fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).expect("the peer says its port");
        let port = line.trim().parse();
        let port = port.unwrap_or_else(|_| panic!("the peer ended without a port: {line:?}"));
        Self {
            process,
            port,
            stdout,
        }
    }

    /// What it has to say about the gateway at `address`.
    pub fn report_on(mut self, address: SocketAddr) -> Value {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{address}").expect("the peer reads");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the peer reports");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
