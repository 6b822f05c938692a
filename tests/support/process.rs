//! `transom run` as a process over a folder of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Http1;
use super::{PATIENCE, soon};

/// A config with one listener and an admin address, and these keys.
pub fn config(more: &Value) -> String {
    let mut text = "listeners: [{ address: \"127.0.0.1:0\" }]\n\
                    admin: { address: \"127.0.0.1:0\" }\n"
        .to_owned();
    for (key, value) in more.as_object().expect("a map") {
        writeln!(text, "{key}: {value}").expect("text");
    }
    text
}

/// The running command. Killed with the handle.
pub struct Process {
    pub folder: tempfile::TempDir,
    process: Child,
    pub address: SocketAddr,
    /// Of all listeners, in the order of the config.
    pub addresses: Vec<SocketAddr>,
    /// Where the config has one.
    pub admin: Option<SocketAddr>,
    /// What it says on stderr, line by line.
    said: mpsc::Receiver<String>,
    /// Of one that nobody reads.
    unread: Option<(BufReader<ChildStdout>, ChildStderr)>,
}

impl Process {
    /// Runs `transom.yaml` of this folder.
    pub fn start(folder: tempfile::TempDir) -> Self {
        Self::start_by(folder, Command::new(env!("CARGO_BIN_EXE_transom")))
    }

    /// The same by a command that ends up as the binary.
    pub fn start_by(folder: tempfile::TempDir, command: Command) -> Self {
        let mut started = Self::start_unread(folder, command);
        started.read_on(std::io::sink());
        started
    }

    /// The same, with what it writes in pipes that fill up.
    pub fn start_unread(folder: tempfile::TempDir, mut command: Command) -> Self {
        let file = folder.path().join("transom.yaml");
        let config = fs::read_to_string(&file).expect("a config");
        let with_admin = config.contains("admin:");
        let others = usize::from(with_admin) + usize::from(config.contains("probes:"));
        let listeners = config.matches("address:").count() - others;
        let mut process = command
            .args(["run", "-c"])
            .arg(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
        let mut on = |what: &str| -> SocketAddr {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("text");
            let address = line.trim().strip_prefix(what);
            let address = address.and_then(|a| a.split_once("://")?.1.parse().ok());
            address.unwrap_or_else(|| {
                let mut told = String::new();
                let mut stderr = process.stderr.take().expect("piped");
                stderr.read_to_string(&mut told).expect("text");
                panic!("{line:?} for {what:?}\n{told}");
            })
        };
        let addresses: Vec<_> = (0..listeners).map(|_| on("listening on ")).collect();
        let admin = with_admin.then(|| on("admin on "));
        let stderr = process.stderr.take().expect("piped");
        Self {
            folder,
            process,
            address: addresses[0],
            addresses,
            admin,
            said: mpsc::channel().1,
            unread: Some((stdout, stderr)),
        }
    }

    /// Reads from now on: what comes on stdout goes to `out`.
    pub fn read_on(&mut self, mut out: impl Write + Send + 'static) {
        let Some((mut stdout, stderr)) = self.unread.take() else {
            return;
        };
        let (tell, said) = mpsc::channel();
        self.said = said;
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut out));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line with these words, and gives it.
    pub fn says(&self, words: &str) -> String {
        let mut others = Vec::new();
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("never said: {words}\nbut:\n{}", others.join("\n"));
            });
            if line.contains(words) {
                return line;
            }
            others.push(line);
        }
    }

    /// What it has said and nobody has waited for.
    pub fn unheard(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it runs");
    }

    /// Asks it to end, and waits for that.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let ended = async {
            loop {
                match self.process.try_wait().expect("ours") {
                    Some(status) => return status,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        soon("the end of the process", ended).await
    }

    /// Kills it, and gives its folder for the next.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.process.kill().ok();
        self.process.wait().ok();
        let other = tempfile::tempdir().expect("a folder");
        std::mem::replace(&mut self.folder, other)
    }

    pub async fn status(&self, path: &str) -> u16 {
        Http1::connect(self.address).await.get(path).await.status
    }

    /// Asks until the reply has this status.
    pub async fn until(&self, path: &str, status: u16) {
        let asked = async { while self.status(path).await != status {} };
        soon(path, asked).await;
    }

    /// `GET` of the admin address.
    pub async fn admin(&self, path: &str) -> (u16, String) {
        self.ask("GET", path).await
    }

    /// What `/status` says.
    pub async fn told(&self) -> Value {
        let (_, text) = self.admin("/status").await;
        serde_json::from_str(&text).expect("JSON")
    }

    /// Looks at `/status` until it is so.
    pub async fn until_told(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let looked = async {
            loop {
                let told = self.told().await;
                if is_so(&told) {
                    return told;
                }
            }
        };
        soon(what, looked).await
    }

    /// Has it reload, and gives what came of it.
    pub async fn reload(&self) -> (u16, Value) {
        let (status, text) = self.ask("POST", "/reload").await;
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let admin = self.admin.expect("the config has an admin address");
        let mut client = Http1::connect(admin).await;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n");
        client.send(&head).await;
        let reply = client.reply().await.expect("a reply");
        (reply.status, reply.text().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
