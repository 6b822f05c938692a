//! Questions to one name server: resolvers keep what they were told, so they can't show that a record
//! has just come.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::TokioResolver;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::limits::{DNS_ANSWER_TIMEOUT, LOOKUP_TIMEOUT};

/// The largest answer by UDP without an extension that asks for more.
const UDP_BYTES_MAX: usize = 512;
const PORT: u16 = 53;

/// The TXT records of `name`. One that isn't there has none.
pub(super) async fn texts(server: SocketAddr, name: &str) -> Result<Vec<String>, String> {
    let name = Name::from_ascii(name).map_err(|e| e.to_string())?;
    let answer = ask(server, name, RecordType::TXT).await?;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(code.to_string()),
    }
    let texts = answer.answers.iter().filter_map(|r| match &r.data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    });
    Ok(texts
        .map(|t| String::from_utf8_lossy(&t).into_owned())
        .collect())
}

/// The zone that `name` is in, as its server has it: the nearest name above with a SOA record.
pub(super) async fn zone_at(server: SocketAddr, name: &Name) -> Result<Name, String> {
    let mut at = name.clone();
    while !at.is_root() {
        let answer = ask(server, at.clone(), RecordType::SOA).await?;
        let own = |r: &&hickory_proto::rr::Record| {
            r.record_type() == RecordType::SOA && r.name.zone_of(&at)
        };
        // A name inside a zone is answered with the zone's own record, beside the answer.
        let mut all = answer.answers.iter().chain(&answer.authorities);
        if let Some(record) = all.find(own) {
            return Ok(record.name.clone());
        }
        at = at.base_name();
    }
    Err(format!("{server} has no zone for {name}: set `zone`"))
}

/// Addresses of the servers of the zone that `name` is in, as the system's resolver finds them.
pub(super) async fn servers_of(name: &str) -> Result<Vec<SocketAddr>, String> {
    let builder = TokioResolver::builder_tokio();
    let resolver = builder.and_then(|mut b| {
        b.options_mut().timeout = LOOKUP_TIMEOUT;
        b.build()
    });
    let resolver = resolver.map_err(|e| format!("the system's name servers can't be told: {e}"))?;
    let mut at = Name::from_ascii(name).map_err(|e| e.to_string())?;
    while !at.is_root() {
        let found = resolver.lookup(at.clone(), RecordType::NS).await;
        let hosts: Vec<_> = found
            .iter()
            .flat_map(|found| found.answers())
            .filter_map(|record| match &record.data {
                RData::NS(host) => Some(host.0.clone()),
                _ => None,
            })
            .collect();
        let mut servers = Vec::new();
        for host in &hosts {
            if let Ok(ips) = resolver.lookup_ip(host.clone()).await {
                // One address of each: they serve the same.
                servers.extend(ips.iter().next().map(|ip| SocketAddr::new(ip, PORT)));
            }
        }
        if !servers.is_empty() {
            return Ok(servers);
        }
        at = at.base_name();
    }
    Err(format!(
        "no name server of {name} can be found: set `propagation.servers`"
    ))
}

async fn ask(server: SocketAddr, name: Name, kind: RecordType) -> Result<Message, String> {
    let mut message = Message::query();
    message.add_query(Query::query(name, kind));
    let bytes = message.to_vec().map_err(|e| e.to_string())?;
    let id = message.metadata.id;
    let answer = over_udp(server, &bytes, id).await?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let answer = over_tcp(server, &bytes).await?;
    Message::from_vec(&answer).map_err(|e| e.to_string())
}

async fn over_udp(server: SocketAddr, question: &[u8], id: u16) -> Result<Message, String> {
    let here: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let exchange = async {
        let socket = UdpSocket::bind(here).await?;
        socket.connect(server).await?;
        socket.send(question).await?;
        let mut answer = [0; UDP_BYTES_MAX];
        loop {
            let read = socket.recv(&mut answer).await?;
            let message = answer.get(..read).map(Message::from_vec);
            if let Some(Ok(message)) = message
                && message.metadata.id == id
            {
                return Ok::<_, std::io::Error>(message);
            }
        }
    };
    limited(exchange).await
}

/// One message and its answer, each with its length before it (RFC 7766).
pub(super) async fn over_tcp(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
        let mut sent = length.to_be_bytes().to_vec();
        sent.extend_from_slice(question);
        stream.write_all(&sent).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    let answer = limited(exchange).await;
    answer.map_err(|e| format!("{server}: {e}"))
}

async fn limited<T>(exchange: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match timeout(DNS_ANSWER_TIMEOUT, exchange).await {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err(format!(
            "no answer within {}s",
            DNS_ANSWER_TIMEOUT.as_secs()
        )),
    }
}
