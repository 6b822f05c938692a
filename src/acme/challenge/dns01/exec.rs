//! A program makes the record: it is run as `COMMAND… present|cleanup RECORD VALUE`, as lego's `exec`
//! provider runs its own.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::limits::HOOK_WORDS_BYTES_MAX;

use super::Action;

/// What is run. Nothing goes through a shell.
#[derive(Clone, Debug)]
pub struct Exec {
    pub program: String,
    pub arguments: Vec<String>,
    /// It is killed then.
    pub timeout: Duration,
}

impl Exec {
    pub(super) async fn change(
        &self,
        action: Action,
        record: &str,
        value: &str,
    ) -> Result<(), String> {
        let program = &self.program;
        let action = match action {
            Action::Present => "present",
            Action::Withdraw => "cleanup",
        };
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .args([action, record, value])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let started = command.spawn();
        let mut child = started.map_err(|e| format!("{program} can't be run: {e}"))?;
        let words = child.stderr.take();
        let run = async {
            let mut said = Vec::new();
            if let Some(mut words) = words {
                let mut first = (&mut words).take(HOOK_WORDS_BYTES_MAX);
                first.read_to_end(&mut said).await.ok();
                // The rest is read and forgotten, so that it never waits for us.
                tokio::io::copy(&mut words, &mut tokio::io::sink())
                    .await
                    .ok();
            }
            (child.wait().await, said)
        };
        let Ok((ended, said)) = timeout(self.timeout, run).await else {
            let seconds = self.timeout.as_secs();
            return Err(format!("{program} {action} isn't done within {seconds}s"));
        };
        let status = ended.map_err(|e| format!("{program} {action}: {e}"))?;
        if status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        Err(format!("{program} {action} ends with {status}: {said}"))
    }
}
