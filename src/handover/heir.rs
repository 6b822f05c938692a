//! Starting the next process, and waiting until it serves.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::Interest;

use crate::limits::HANDOVER_MAX;
use crate::listener::Purpose;

use super::{VARIABLE, wire};

/// Why there is no next process. This one serves on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error(
        "process 1 can't be followed: its end is the end of the container, so start another one"
    )]
    Init,
    #[error("{program} can't be started: {cause}")]
    Start { program: String, cause: io::Error },
    #[error("the new process can't be spoken with: {0}")]
    Wire(#[from] io::Error),
    #[error("the new process doesn't start:\n{0}")]
    Failed(String),
    #[error("the new process ended with {0}, and says nothing of it here")]
    Ended(String),
    #[error("the new process isn't ready after {HANDOVER_MAX:?}")]
    TooSlow,
    #[error("another one is being started already")]
    Twice,
}

/// How this process was started.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// To be taken at the start. The program is named as it was then, so that a link that leads to
    /// another version by now is followed anew.
    ///
    /// # Errors
    /// Nobody knows where the program is.
    pub fn current() -> io::Result<Self> {
        let mut args = std::env::args_os();
        let named = args.next().map(PathBuf::from);
        let path = match named {
            // Without a slash it is looked for in PATH, then as now.
            Some(path) if path.components().count() > 1 => std::path::absolute(path)?,
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => std::env::current_exe()?,
        };
        Ok(Self {
            path,
            args: args.collect(),
        })
    }

    fn start(&self, socket: OwnedFd) -> Result<Heir, HandoverError> {
        let child = Command::new(&self.path)
            .args(&self.args)
            .env(VARIABLE, "1")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(socket))
            .spawn()
            .map_err(|cause| HandoverError::Start {
                program: self.path.display().to_string(),
                cause,
            })?;
        Ok(Heir(Some(child)))
    }
}

/// A process that isn't ready yet: dropped, it is ended.
#[derive(Debug)]
struct Heir(Option<Child>);

impl Heir {
    fn ended(&mut self) -> HandoverError {
        let Some(mut child) = self.0.take() else {
            return HandoverError::TooSlow;
        };
        // It is on its way out, or has lost its senses.
        child.kill().ok();
        match child.wait() {
            Ok(status) => HandoverError::Ended(status.to_string()),
            Err(error) => HandoverError::Wire(error),
        }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Starts the program anew with `sockets`, and waits until it serves; its process id. Dropping it ends
/// the new process.
///
/// # Errors
/// It doesn't start, or not in time: then it has ended.
pub async fn hand_over(
    program: Program,
    sockets: Vec<(Purpose, TcpListener)>,
) -> Result<u32, HandoverError> {
    if std::process::id() == 1 {
        return Err(HandoverError::Init);
    }
    let (ours, theirs) = pair()?;
    let mut heir = program.start(theirs)?;
    wire::send_sockets(ours.as_fd(), &sockets)?;
    drop(sockets);
    let ours = std::os::unix::net::UnixStream::from(ours);
    ours.set_nonblocking(true)?;
    let ours = tokio::net::UnixStream::from_std(ours)?;
    let answer = async {
        loop {
            ours.readable().await?;
            let receive = || wire::receive(ours.as_fd());
            match ours.try_io(Interest::READABLE, receive) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                answer => return answer,
            }
        }
    };
    let answer = tokio::time::timeout(HANDOVER_MAX, answer).await;
    match answer.map_err(|_| HandoverError::TooSlow)?? {
        Some((text, _)) if text == wire::READY => match heir.0.take() {
            Some(child) => Ok(child.id()),
            None => Err(HandoverError::TooSlow),
        },
        Some((text, _)) => {
            let why = text.strip_prefix(wire::FAILED).unwrap_or(&text);
            Err(HandoverError::Failed(why.to_owned()))
        }
        None => Err(heir.ended()),
    }
}

/// Two ends that keep messages apart.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}
