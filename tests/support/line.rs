//! Processes of the program that follow one another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, soon};

/// The first process of a line, and what all of them say on stdout and stderr.
pub struct Line {
    pub folder: tempfile::TempDir,
    first: Child,
    /// The one that serves.
    pub pid: i32,
    said: mpsc::Receiver<String>,
}

impl Line {
    /// Starts `command` with the config's place at its end.
    pub fn start(mut command: Command, folder: tempfile::TempDir, config: &str) -> Self {
        fs::write(folder.path().join("transom.yaml"), config).expect("written");
        let mut first = command
            .args(["run", "--pid-file"])
            .arg(folder.path().join("pid"))
            .arg("-c")
            .arg(folder.path().join("transom.yaml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (tell, said) = mpsc::channel();
        let stdout = first.stdout.take().expect("piped");
        let stderr = first.stderr.take().expect("piped");
        let pipes: [Box<dyn std::io::Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
        for pipe in pipes {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if tell.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        let pid = i32::try_from(first.id()).expect("a pid");
        Self {
            folder,
            first,
            pid,
            said,
        }
    }

    pub fn plain(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let command = Command::new(env!("CARGO_BIN_EXE_transom"));
        Self::start(command, folder, config)
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("transom.yaml")
    }

    /// Waits for a line with these words, and gives it.
    pub fn says(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("never said: {words}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The address in the next line with these words.
    pub fn address(&self, words: &str) -> SocketAddr {
        let line = self.says(words);
        let at = line.rsplit_once("://").expect("a URL").1;
        at.parse().expect("an address")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).expect("a pid"), signal).expect("it runs");
    }

    /// Has another process follow, and waits until it has.
    pub fn hand_over(&mut self) {
        self.signal(Signal::USR2);
        let line = self.says("another process has taken over");
        let pid = line.rsplit_once("pid=").expect("its id").1;
        let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
        self.pid = digits.parse().expect("a number");
        let written = fs::read_to_string(self.folder.path().join("pid")).expect("the pid file");
        assert_eq!(written.trim(), self.pid.to_string());
    }

    pub async fn first_ended(&mut self) -> Option<i32> {
        let ended = async {
            loop {
                if let Some(status) = self.first.try_wait().expect("a child") {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the end of the first process", ended).await
    }

    /// Waits for the end of a process that may be nobody's child here.
    pub async fn ended(&mut self, pid: i32) {
        let ended = async {
            loop {
                // One that nobody has waited for yet has ended too.
                self.first.try_wait().expect("a child");
                let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                let state = state
                    .rsplit_once(") ")
                    .map(|(_, rest)| rest.starts_with('Z'));
                if state != Some(false) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the end of a process", ended).await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.first.kill().ok();
        self.first.wait().ok();
        if let Some(pid) = Pid::from_raw(self.pid) {
            kill_process(pid, Signal::KILL).ok();
        }
    }
}
