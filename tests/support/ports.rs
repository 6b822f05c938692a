//! Ports that nobody listens on, for those who want to be told where to listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what kernels give to clients and to whoever asks for any port (32768 and up on Linux): one of
/// those may be somebody else's by the time it is listened on.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Each is given once; the tests of another process begin elsewhere.
static NEXT: AtomicU16 = AtomicU16::new(0);

pub fn free() -> SocketAddr {
    let start = (std::process::id() % u32::from(COUNT / 64)) as u16 * 64;
    for _ in 0..COUNT {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(nth < COUNT, "all ports have been given");
        let port = FIRST + (start + nth) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}
