//! Listening sockets: one for each worker on the same address, so that the kernel deals connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::ACCEPT_QUEUE;

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {}", reason(.cause))]
pub struct BindError {
    pub address: SocketAddr,
    /// Told of in the message.
    pub cause: io::Error,
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has the address".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need a privilege)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// One address, bound as often as it is accepted on.
#[derive(Debug)]
pub struct Bound {
    /// With the port that the kernel gave, when 0 was asked for.
    pub address: SocketAddr,
    pub sockets: Vec<TcpListener>,
}

/// Binds `address` `workers` times. A second process on it is refused, though `SO_REUSEPORT` would let
/// it in: a socket without that option is bound first.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Bound, BindError> {
    if address.port() != 0 {
        let probe = listening(address, Share::Alone);
        drop(probe.map_err(|cause| BindError { address, cause })?);
    }
    bind_more(address, Vec::new(), workers)
}

/// Binds `address` until there are `workers` sockets on it, the given ones among them.
///
/// # Errors
/// As [`bind`].
pub(super) fn bind_more(
    address: SocketAddr,
    mut sockets: Vec<TcpListener>,
    workers: usize,
) -> Result<Bound, BindError> {
    let at = |cause| BindError { address, cause };
    let mut given = address;
    if let Some(first) = sockets.first() {
        given = first.local_addr().map_err(at)?;
    }
    while sockets.len() < workers.max(1) {
        let socket = listening(given, Share::Workers).map_err(at)?;
        given = socket.local_addr().map_err(at)?;
        sockets.push(socket);
    }
    Ok(Bound {
        address: given,
        sockets,
    })
}

/// Whether others may listen on the socket's address as well.
pub(super) fn is_shared(socket: &TcpListener) -> bool {
    let shared = rustix::net::sockopt::socket_reuseport(socket);
    shared.unwrap_or_default()
}

/// Who else may listen on the address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Alone,
    Workers,
}

fn listening(address: SocketAddr, share: Share) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share == Share::Workers)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_QUEUE)?;
    Ok(socket.into())
}

/// Raises the soft limit of open files to the hard one, and says what it is then.
pub fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files can't be raised");
        }
    }
    getrlimit(Resource::Nofile).current
}
