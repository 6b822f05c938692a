//! A name server of one zone: every name is 127.0.0.1, TXT records come and go by updates that are
//! signed with one key. By UDP and by TCP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigResponseContext, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// A running name server.
#[derive(Clone)]
pub struct NameServer {
    pub address: SocketAddr,
    records: Arc<Mutex<Vec<(Name, String)>>>,
    zone: Name,
    key: Option<TSigner>,
}

impl NameServer {
    pub async fn start(zone: &str, key: Option<TSigner>) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp.local_addr().expect("an address");
        let udp = UdpSocket::bind(address).await.expect("the same port");
        let server = Self {
            address,
            records: Arc::default(),
            zone: Name::from_ascii(zone).expect("a name"),
            key,
        };
        tokio::spawn(server.clone().by_udp(udp));
        tokio::spawn(server.clone().by_tcp(tcp));
        server
    }

    /// The TXT records that there are now.
    pub fn records(&self) -> Vec<(Name, String)> {
        self.records.lock().unwrap().clone()
    }

    /// Makes a record, or takes it away.
    pub fn set(&self, name: &str, value: &str, there: bool) {
        let name = Name::from_ascii(name).expect("a name");
        let mut records = self.records.lock().unwrap();
        records.retain(|(n, v)| *n != name || v != value);
        if there {
            records.push((name, value.to_owned()));
        }
    }

    async fn by_udp(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
            let answer = self.answer(&buffer[..read]);
            socket.send_to(&answer, from).await.ok();
        }
    }

    async fn by_tcp(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; usize::from(length)];
                    if stream.read_exact(&mut question).await.is_err() {
                        return;
                    }
                    let answer = server.answer(&question);
                    let length = u16::try_from(answer.len()).expect("it fits");
                    stream.write_u16(length).await.ok();
                    stream.write_all(&answer).await.ok();
                }
            });
        }
    }

    fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        let question = Message::from_vec(bytes).expect("a message");
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.authoritative = true;
        answer.add_queries(question.queries.iter().cloned());
        match question.metadata.op_code {
            OpCode::Update => return self.update(bytes, &question, answer),
            _ => self.look_up(&question, &mut answer),
        }
        answer.to_vec().expect("an answer")
    }

    fn look_up(&self, question: &Message, answer: &mut Message) {
        let Some(query) = question.queries.first() else {
            return;
        };
        let name = query.name().clone();
        match query.query_type() {
            RecordType::A => {
                let data = RData::A(A(Ipv4Addr::LOCALHOST));
                answer.add_answer(Record::from_rdata(name, 1, data));
            }
            RecordType::TXT => {
                for (own, value) in self.records() {
                    if own == name {
                        let data = RData::TXT(TXT::new(vec![value]));
                        answer.add_answer(Record::from_rdata(own, 1, data));
                    }
                }
            }
            RecordType::SOA if self.zone.zone_of(&name) => {
                let zone = self.zone.clone();
                let soa = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, 60);
                let record = Record::from_rdata(zone.clone(), 1, RData::SOA(soa));
                match name == zone {
                    true => answer.add_answer(record),
                    false => {
                        answer.authorities.push(record);
                        answer
                    }
                };
            }
            _ => {}
        }
    }

    fn update(&self, bytes: &[u8], question: &Message, mut answer: Message) -> Vec<u8> {
        let mut signing = None;
        if let Some(key) = &self.key {
            let Ok((mac, time, _)) = key.verify_message_byte(bytes, None, true) else {
                answer.metadata.response_code = ResponseCode::NotAuth;
                return answer.to_vec().expect("an answer");
            };
            let id = question.metadata.id;
            signing = Some(TSigResponseContext::new(id, time, key.clone(), mac, None));
        }
        for record in &question.authorities {
            let RData::TXT(text) = &record.data else {
                continue;
            };
            let value = String::from_utf8(text.txt_data.concat()).expect("text");
            let there = record.dns_class == DNSClass::IN;
            self.set(&record.name.to_ascii(), &value, there);
        }
        if let Some(signing) = signing {
            let plain = answer.to_vec().expect("an answer");
            answer.set_signature(signing.sign(&plain).expect("a signature"));
        }
        answer.to_vec().expect("an answer")
    }
}
