//! A name server whose answers the test writes, by UDP and by TCP.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// The largest answer by UDP (RFC 1035 §4.2.1).
const UDP_BYTES_MAX: usize = 512;

#[derive(Debug, Default)]
struct Zone {
    records: HashMap<String, Vec<RData>>,
    ttl: u32,
    /// In place of any answer.
    fails: Option<ResponseCode>,
}

/// A running name server. It ends with the runtime.
#[derive(Clone, Debug)]
pub struct Names {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<watch::Sender<usize>>,
    by_tcp: Arc<watch::Sender<usize>>,
}

impl Names {
    /// Knows no name yet; what it says holds for `ttl` seconds.
    pub async fn start(ttl: u32) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let udp = UdpSocket::bind(address).await.expect("the same port");
        let zone = Zone {
            ttl,
            ..Zone::default()
        };
        let server = Self {
            address,
            zone: Arc::new(Mutex::new(zone)),
            asked: Arc::default(),
            by_tcp: Arc::default(),
        };
        tokio::spawn(server.clone().over_udp(udp));
        tokio::spawn(server.clone().over_tcp(tcp));
        server
    }

    /// The addresses of a name, in place of what it has.
    pub fn addresses(&self, name: &str, addresses: &[&str]) {
        let data = |text: &&str| match text.parse().expect("an address") {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        self.set(name, addresses.iter().map(data).collect());
    }

    /// The services of a name, in place of what it has: priority, target and port.
    pub fn services(&self, name: &str, services: &[(u16, &str, u16)]) {
        let data = |(priority, target, port): &(u16, &str, u16)| {
            let target = Name::from_ascii(target).expect("a name");
            RData::SRV(SRV::new(*priority, 1, *port, target))
        };
        self.set(name, services.iter().map(data).collect());
    }

    fn set(&self, name: &str, data: Vec<RData>) {
        let mut zone = self.zone.lock().unwrap();
        zone.records.insert(format!("{name}."), data);
    }

    /// The name is no longer known.
    pub fn forget(&self, name: &str) {
        let mut zone = self.zone.lock().unwrap();
        zone.records.remove(&format!("{name}."));
    }

    /// Every answer is a failure, until it isn't.
    pub fn fails(&self, with: Option<ResponseCode>) {
        self.zone.lock().unwrap().fails = with;
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Of those, by TCP.
    pub fn asked_by_tcp(&self) -> usize {
        *self.by_tcp.borrow()
    }

    /// Resolves when there have been more questions than this.
    pub async fn asked_more_than(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|n| *n > count).await.expect("it runs");
    }

    async fn over_udp(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
            let mut answer = self.answer(&buffer[..read]);
            let mut bytes = answer.to_vec().expect("an answer");
            if bytes.len() > UDP_BYTES_MAX {
                answer.answers.clear();
                answer.metadata.truncation = true;
                bytes = answer.to_vec().expect("an answer");
            }
            socket.send_to(&bytes, from).await.ok();
        }
    }

    async fn over_tcp(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    if stream.read_exact(&mut question).await.is_err() {
                        return;
                    }
                    server.by_tcp.send_modify(|n| *n += 1);
                    let answer = server.answer(&question).to_vec().expect("an answer");
                    let length = u16::try_from(answer.len()).expect("it fits");
                    stream.write_u16(length).await.ok();
                    stream.write_all(&answer).await.ok();
                }
            });
        }
    }

    fn answer(&self, bytes: &[u8]) -> Message {
        let question = Message::from_vec(bytes).expect("a message");
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.authoritative = true;
        answer.add_queries(question.queries.iter().cloned());
        let query = question.queries.first().expect("a question");
        {
            let zone = self.zone.lock().unwrap();
            let name = query.name().to_ascii().to_ascii_lowercase();
            match (zone.fails, zone.records.get(&name)) {
                (Some(code), _) => answer.metadata.response_code = code,
                (None, None) => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    answer.authorities.push(soa());
                }
                (None, Some(records)) => {
                    let of_type = |data: &&RData| data.record_type() == query.query_type();
                    for data in records.iter().filter(of_type) {
                        let name = query.name().clone();
                        answer.add_answer(Record::from_rdata(name, zone.ttl, data.clone()));
                    }
                    if answer.answers.is_empty() {
                        answer.authorities.push(soa());
                    }
                }
            }
        }
        if query.query_type() != RecordType::AAAA {
            // A and AAAA are asked for together: one of them counts.
            self.asked.send_modify(|n| *n += 1);
        }
        answer
    }
}

/// Says for how long there is nothing (RFC 2308).
fn soa() -> Record {
    let zone = Name::root();
    let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, 1);
    Record::from_rdata(zone, 1, RData::SOA(soa))
}
