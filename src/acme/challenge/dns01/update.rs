//! Dynamic updates of a zone (RFC 2136), signed with a key that the server knows (RFC 8945).

use std::fmt;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigner};

use crate::limits::DNS_RECORD_TTL_SECONDS;

use super::{Action, query};

/// The zone's primary server, and the key that it takes updates with.
pub struct Update {
    pub server: SocketAddr,
    /// `None`: found by asking the server.
    pub zone: Option<Name>,
    /// `None`: the server trusts our address.
    pub key: Option<TSigner>,
}

impl Update {
    pub(super) async fn change(
        &self,
        action: Action,
        record: &str,
        value: &str,
    ) -> Result<(), String> {
        let name = Name::from_ascii(record).map_err(|e| format!("{record}: {e}"))?;
        let zone = match &self.zone {
            Some(zone) if zone.zone_of(&name) => zone.clone(),
            Some(zone) => return Err(format!("{record} isn't in the zone {zone}")),
            None => query::zone_at(self.server, &name).await?,
        };
        let message = message(action, name, zone.clone(), value);
        let code = self.send(message).await?;
        match code {
            ResponseCode::NoError => Ok(()),
            code => Err(format!(
                "{} refuses the update of {zone}: {code}",
                self.server
            )),
        }
    }

    async fn send(&self, mut message: Message) -> Result<ResponseCode, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(|_| "the clock is before 1970".to_owned())?;
        let mut verifier = None;
        if let Some(key) = &self.key {
            let signed = message.finalize(key, now.as_secs());
            verifier = signed.map_err(|e| format!("the update can't be signed: {e}"))?;
        }
        let bytes = message.to_vec().map_err(|e| e.to_string())?;
        // By TCP: signatures and long names don't fit everywhere.
        let answer = query::over_tcp(self.server, &bytes).await?;
        let read = Message::from_vec(&answer).map_err(|e| format!("{}: {e}", self.server))?;
        if read.metadata.id != message.metadata.id {
            return Err(format!("{} answers something else", self.server));
        }
        let code = read.metadata.response_code;
        // A refusal may be unsigned, for want of a key in common.
        if code == ResponseCode::NoError
            && let Some(mut verifier) = verifier
        {
            let proved = verifier.verify(&answer);
            proved.map_err(|e| format!("{}: the answer's signature: {e}", self.server))?;
        }
        Ok(code)
    }
}

/// One record more, or that one fewer: others of the name are left alone, since a name and its
/// wildcard are proved side by side.
fn message(action: Action, name: Name, zone: Name, value: &str) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    let mut section = Query::query(zone, RecordType::SOA);
    section.set_query_class(DNSClass::IN);
    message.add_query(section);
    let data = RData::TXT(TXT::new(vec![value.to_owned()]));
    let mut record = Record::from_rdata(name, DNS_RECORD_TTL_SECONDS, data);
    if action == Action::Withdraw {
        (record.dns_class, record.ttl) = (DNSClass::NONE, 0);
    }
    // The update section stands where the authority section does (RFC 2136 §2.2).
    message.authorities.push(record);
    message
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update")
            .field("server", &self.server)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}
