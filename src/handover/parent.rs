//! What a process is started with: sockets from the process before it, or from the service manager.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use listenfd::ListenFd;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};

use crate::limits::HANDOVER_SOCKETS_MAX;
use crate::listener::{Inherited, Passed};

use super::{VARIABLE, wire};

/// Sockets that were announced and can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error("the process before this one doesn't pass its sockets: {0}")]
    Before(io::Error),
    #[error("socket {name} of the service manager: {cause}")]
    Manager { name: String, cause: io::Error },
}

/// Whoever waits to hear how the start went, if anybody does.
#[derive(Debug, Default)]
pub struct Parent(Option<OwnedFd>);

impl Parent {
    /// This process serves.
    pub fn ready(&mut self) {
        self.say(wire::READY);
    }

    /// It won't.
    pub fn failed(&mut self, why: &str) {
        self.say(&format!("{}{}", wire::FAILED, why.trim_end()));
    }

    /// One word, and the last. A process that is gone hears nothing.
    fn say(&mut self, what: &str) {
        if let Some(to) = self.0.take() {
            wire::send(to.as_fd(), what, &[]).ok();
        }
    }
}

/// Takes what this process was started with. To be called once, before threads and files are opened.
///
/// # Errors
/// Sockets were announced, and aren't what they should be.
pub fn inherit() -> Result<(Parent, Inherited), InheritError> {
    if std::env::var_os(VARIABLE).is_some() {
        let (parent, passed) = from_before().map_err(InheritError::Before)?;
        return Ok((Parent(Some(parent)), Inherited::new(passed)));
    }
    Ok((Parent::default(), Inherited::new(from_manager()?)))
}

fn from_before() -> io::Result<(OwnedFd, Vec<Passed>)> {
    let stdin: BorrowedFd<'_> = rustix::stdio::stdin();
    // Anything but a socket: the variable was set by somebody else.
    socket_type(stdin)?;
    let parent = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    set_socket_timeout(&parent, Timeout::Recv, Some(HANDOVER_SOCKETS_MAX))?;
    let passed = wire::receive_sockets(parent.as_fd())?;
    Ok((parent, passed))
}

/// `LISTEN_FDS`, if they are for this very process.
fn from_manager() -> Result<Vec<Passed>, InheritError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut all = Vec::new();
    for at in 0..sockets.len() {
        let name = match names.next() {
            Some(name) => format!("`{name}`"),
            None => (at + 3).to_string(),
        };
        let taken = sockets.take_tcp_listener(at);
        let passed = taken.and_then(|socket| match socket {
            Some(socket) => Passed::new(socket, None, name.clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        all.push(passed.map_err(|cause| InheritError::Manager { name, cause })?);
    }
    Ok(all)
}
