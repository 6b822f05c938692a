//! Listening sockets: one for each worker on the same address, so that the kernel deals connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

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

/// From now on nobody begins to connect to the socket: a client's first segment is dropped, which it
/// sends again a second later. Who has had an answer to it connects still.
///
/// # Errors
/// Filters aren't allowed here.
pub(super) fn turn_away(socket: &impl AsFd) -> io::Result<()> {
    // Of the TCP header: byte 13 has the flags, of which SYN comes without ACK first.
    let (flags, syn, ack) = (13, 0x02, 0x10);
    socket2::SockRef::from(socket).attach_filter(&[
        SockFilter::new(bpf::LOAD_BYTE, 0, 0, flags),
        SockFilter::new(bpf::AND, 0, 0, syn | ack),
        SockFilter::new(bpf::JUMP_IF_EQUAL, 0, 1, syn),
        SockFilter::new(bpf::RETURN, 0, 0, bpf::NOTHING),
        SockFilter::new(bpf::RETURN, 0, 0, bpf::ALL),
    ])
}

/// Takes [`turn_away`] back, of one that came from elsewhere.
pub(super) fn welcome(socket: &TcpListener) {
    // It fails where nothing was in the way.
    socket2::SockRef::from(socket).detach_filter().ok();
}

/// Classic BPF (linux/filter.h).
mod bpf {
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const AND: u16 = 0x54;
    pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
    pub(super) const RETURN: u16 = 0x06;
    /// What is let through of a segment.
    pub(super) const NOTHING: u32 = 0;
    pub(super) const ALL: u32 = u32::MAX;
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
