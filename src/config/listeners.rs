//! Addresses to listen on, and how connections are taken there.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::model::Place;

#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: Option<Tls>,
    /// Every request is sent to the same place under `https`.
    pub redirect: Option<ToHttps>,
    /// Connections of trusted peers begin with a PROXY header that tells whose they are.
    pub proxy_protocol: bool,
    pub accept: Accept,
    /// It serves what clients may read of the API.
    pub openapi: bool,
    pub place: Place,
}

/// Who accepts its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// Each worker on a socket of its own; the kernel deals.
    #[default]
    Reuseport,
    /// One thread, which gives each to the worker with the fewest.
    Deal,
}

impl Listener {
    /// A listener without more to it.
    #[must_use]
    pub fn plain(address: SocketAddr, place: Place) -> Self {
        Self {
            address,
            tls: None,
            redirect: None,
            proxy_protocol: false,
            accept: Accept::default(),
            openapi: false,
            place,
        }
    }
}

/// Which of the listeners: several may take any free port of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId {
    /// As configured.
    pub address: SocketAddr,
    /// How many with the same address stand before it.
    pub nth: usize,
}

impl ListenerId {
    /// Those of a config's listeners, in their order.
    pub fn of(listeners: &[Listener]) -> impl Iterator<Item = Self> {
        listeners.iter().enumerate().map(|(at, listener)| Self {
            address: listener.address,
            nth: listeners
                .iter()
                .take(at)
                .filter(|before| before.address == listener.address)
                .count(),
        })
    }
}

/// Where clients without TLS are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToHttps {
    /// `None` is the port that clients see: see [`ToHttps::port_for`].
    pub port: Option<u16>,
    /// The first listener with TLS.
    pub listener: Option<u16>,
}

impl ToHttps {
    /// The port for a client that came for `asked` (of its `Host`) to our `local` port. One that came
    /// to that very port sees our ports as they are; any other comes through a mapping of ports (a
    /// load balancer, a Kubernetes Service), behind which HTTPS is where everybody has it.
    #[must_use]
    pub fn port_for(&self, asked: u16, local: u16) -> u16 {
        const HTTPS: u16 = 443;
        match (self.port, self.listener) {
            (Some(port), _) => port,
            (None, Some(listener)) if asked == local => listener,
            (None, _) => HTTPS,
        }
    }
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct Tls {
    pub certificates: Vec<Certificate>,
    /// For development: names of a certificate that nobody vouches for.
    pub self_signed: Option<Vec<String>>,
    /// Names whose certificates come from an authority.
    pub acme: Option<Issued>,
    pub client: Option<ClientCertificates>,
    /// What a client gets that asks for a name that no certificate has.
    pub unknown_name: UnknownName,
    pub only_tls13: bool,
    pub place: Place,
}

/// Certificates of an authority.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Index into [`Config::acme`](super::model::Config::acme).
    pub authority: usize,
    /// In lower case.
    pub names: Vec<(Box<str>, Place)>,
}

/// A certificate with its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain: the server's certificate first.
    pub cert: PathBuf,
    pub cert_place: Place,
    pub key: PathBuf,
    pub key_place: Place,
    /// In place of the listener's.
    pub client: Option<ClientCertificates>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The first certificate.
    #[default]
    First,
    /// No handshake.
    Refuse,
}

/// Whose clients are let in.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// Certificates of the authorities.
    pub authorities: PathBuf,
    pub authorities_place: Place,
    /// What those have revoked.
    pub revoked: Option<(PathBuf, Place)>,
    pub required: bool,
}

impl Tls {
    /// Every file that it is made of.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.certificates.iter().flat_map(|c| [&c.cert, &c.key]);
        let clients = self.certificates.iter().filter_map(|c| c.client.as_ref());
        let clients = clients.chain(&self.client);
        let clients = clients.flat_map(|c| {
            let revoked = c.revoked.as_ref().map(|(file, _)| file);
            std::iter::once(&c.authorities).chain(revoked)
        });
        own.chain(clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_the_port_that_they_can_reach() {
        let by_itself = ToHttps {
            port: None,
            listener: Some(8443),
        };
        // On the machine itself, or in a test.
        assert_eq!(by_itself.port_for(8080, 8080), 8443);
        // Behind a Service that maps 80 to 8080 and 443 to 8443.
        assert_eq!(by_itself.port_for(80, 8080), 443);
        // Where both are as everybody has them.
        let standard = ToHttps {
            port: None,
            listener: Some(443),
        };
        assert_eq!(standard.port_for(80, 80), 443);
        let told = ToHttps {
            port: Some(4443),
            listener: Some(8443),
        };
        assert_eq!(told.port_for(80, 8080), 4443);
        let elsewhere = ToHttps {
            port: None,
            listener: None,
        };
        assert_eq!(elsewhere.port_for(8080, 8080), 443);
    }
}
