//! Listening sockets that somebody else has opened: the service manager, or the process before.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::model::ListenerId;

use super::socket;

/// One of them.
#[derive(Debug)]
pub struct Passed {
    pub socket: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it was opened for, if that was said.
    pub purpose: Option<Purpose>,
    /// What it is called, for messages.
    pub name: String,
}

/// What a socket was opened for, with the address as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    Listener(ListenerId),
    /// `admin` or `probes`
    Operators(String, SocketAddr),
}

impl Passed {
    /// # Errors
    /// It isn't a socket with an address.
    pub fn new(socket: TcpListener, purpose: Option<Purpose>, name: String) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket::welcome(&socket);
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            purpose,
            name,
        })
    }
}

/// All that nobody has claimed yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Passed>);

impl Inherited {
    #[must_use]
    pub fn new(passed: Vec<Passed>) -> Self {
        Self(passed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that listen where the listener wants to: opened for it, or on its very address, or, for all
    /// IPv4 addresses, on all addresses of both kinds.
    pub(super) fn claim(&mut self, id: ListenerId) -> Vec<TcpListener> {
        let is_for = |p: &Passed| p.purpose == Some(Purpose::Listener(id));
        let is_on = |p: &Passed| p.purpose.is_none() && p.address == id.address;
        let has_it = |p: &Passed| {
            let both = p.address.is_ipv6() && p.address.ip().is_unspecified() && !is_v6_alone(p);
            let any = id.address.is_ipv4() && id.address.ip().is_unspecified();
            p.purpose.is_none() && both && any && p.address.port() == id.address.port()
        };
        for wanted in [&is_for as &dyn Fn(&Passed) -> bool, &is_on, &has_it] {
            let (claimed, left) = std::mem::take(&mut self.0).into_iter().partition(wanted);
            self.0 = left;
            let claimed: Vec<Passed> = claimed;
            if !claimed.is_empty() {
                return claimed.into_iter().map(|p| p.socket).collect();
            }
        }
        Vec::new()
    }

    /// The socket of an address for operators.
    pub fn claim_operators(&mut self, scope: &str, address: SocketAddr) -> Option<TcpListener> {
        let at = self.0.iter().position(|p| match &p.purpose {
            Some(Purpose::Operators(of, configured)) => of == scope && *configured == address,
            Some(Purpose::Listener(_)) => false,
            None => p.address == address,
        })?;
        Some(self.0.swap_remove(at).socket)
    }

    /// What nobody wants, of those that came without a purpose: names and addresses.
    pub fn unclaimed(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        let unclaimed = self.0.iter().filter(|p| p.purpose.is_none());
        unclaimed.map(|p| (&*p.name, p.address))
    }
}

fn is_v6_alone(passed: &Passed) -> bool {
    rustix::net::sockopt::ipv6_v6only(&passed.socket).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(address: &str, of: Option<ListenerId>) -> Passed {
        let socket = TcpListener::bind(address).unwrap();
        let purpose = of.map(Purpose::Listener);
        Passed::new(socket, purpose, "test".to_owned()).unwrap()
    }

    fn listener(address: &str) -> ListenerId {
        ListenerId {
            address: address.parse().unwrap(),
            nth: 0,
        }
    }

    #[test]
    fn each_is_claimed_by_what_it_was_opened_for_or_by_its_address() {
        let any = listener("127.0.0.1:0");
        let (a, b) = (
            passed("127.0.0.1:0", Some(any)),
            passed("127.0.0.1:0", None),
        );
        let (of_a, of_b) = (a.address, b.address);
        let both = passed("[::]:0", None);
        let port = both.address.port();
        let mut inherited = Inherited::new(vec![a, b, both]);
        assert!(inherited.claim(listener("127.0.0.1:1")).is_empty());
        let claimed = inherited.claim(any);
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].local_addr().unwrap(), of_a);
        assert!(inherited.claim(any).is_empty());
        let elsewhere = listener(&format!("127.0.0.1:{port}"));
        assert!(inherited.claim(elsewhere).is_empty());
        assert_eq!(
            inherited.claim(listener(&format!("0.0.0.0:{port}"))).len(),
            1
        );
        let left: Vec<_> = inherited.unclaimed().collect();
        assert_eq!(left, [("test", of_b)]);
        assert!(inherited.claim_operators("admin", of_b).is_some());
        assert!(inherited.is_empty());
    }
}
