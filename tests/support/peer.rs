//! Peers that run as processes of their own. `tests/peers/setup` makes what they need; a test of one
//! fails when it isn't there.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server in another language. It ends with the handle: its standard input is closed, then it is
/// stopped and waited for.
#[derive(Debug)]
pub struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    /// The grpcio server of `tests/peers/python`.
    pub fn python() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".peers/python/bin/python");
        assert!(
            python.exists(),
            "there is no {}: run tests/peers/setup first",
            python.display()
        );
        Self::start(&python, &[root.join("tests/peers/python/server.py")])
    }

    fn start(program: &Path, arguments: &[PathBuf]) -> Self {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        read.expect("the peer says its port");
        let port = line.trim().parse();
        let port = port.unwrap_or_else(|_| panic!("the peer ended without a port: {line:?}"));
        Self { process, port }
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
