//! dns-01 (RFC 8555 §8.4): a TXT record at `_acme-challenge`, made by a dynamic update of the zone, by
//! a program or by a web service, and waited for until name servers tell of it.

mod exec;
mod query;
mod update;
mod webhook;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use instant_acme::Identifier;
use tokio::time::{Instant, sleep};

use crate::limits::{DNS_LOOK_MAX, DNS_LOOK_MIN};

pub use exec::Exec;
pub use update::Update;
pub use webhook::Webhook;

use super::Ask;

/// Who makes the records, and when they are there.
#[derive(Debug)]
pub struct Dns {
    pub way: Way,
    pub propagation: Propagation,
}

/// Who makes the records.
#[derive(Debug)]
pub enum Way {
    Update(Update),
    Exec(Exec),
    Webhook(Webhook),
}

/// When records count as seen.
#[derive(Clone, Debug)]
pub struct Propagation {
    /// Before the first look.
    pub wait: Duration,
    /// Longest time until every server tells of the record. Zero: nobody is asked.
    pub timeout: Duration,
    /// Who is asked. Empty: the server that was updated, or those of the zone.
    pub servers: Vec<SocketAddr>,
}

/// A record's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Present,
    Withdraw,
}

impl Dns {
    pub(super) async fn present(&self, ask: &Ask) -> Result<(), String> {
        self.change(Action::Present, ask).await
    }

    pub(super) async fn withdraw(&self, ask: &Ask) -> Result<(), String> {
        self.change(Action::Withdraw, ask).await
    }

    async fn change(&self, action: Action, ask: &Ask) -> Result<(), String> {
        let record = record(ask).ok_or("an address has no TXT record")?;
        match &self.way {
            Way::Update(way) => way.change(action, &record, &ask.record).await,
            Way::Exec(way) => way.change(action, &record, &ask.record).await,
            Way::Webhook(way) => way.change(action, &record, &ask.record).await,
        }
    }

    /// Waits until name servers tell of every record.
    pub(super) async fn settle(
        &self,
        asks: impl Iterator<Item = &Ask>,
    ) -> Result<(), (Box<str>, String)> {
        let mut waited = false;
        for ask in asks {
            if !std::mem::replace(&mut waited, true) {
                sleep(self.propagation.wait).await;
            }
            let seen = self.seen(ask).await;
            seen.map_err(|e| (ask.name.clone(), e))?;
        }
        Ok(())
    }

    async fn seen(&self, ask: &Ask) -> Result<(), String> {
        let limit = self.propagation.timeout;
        if limit.is_zero() {
            return Ok(());
        }
        let record = record(ask).unwrap_or_default();
        let ends = Instant::now() + limit;
        let mut pause = DNS_LOOK_MIN;
        let mut servers: BTreeSet<_> = self.servers(&record).await?.into_iter().collect();
        loop {
            let mut says = String::new();
            for server in servers.clone() {
                match query::texts(server, &record).await {
                    Ok(texts) if texts.contains(&ask.record) => {
                        servers.remove(&server);
                    }
                    Ok(texts) if texts.is_empty() => says = format!("{server} has none"),
                    Ok(_) => says = format!("{server} has others"),
                    Err(error) => says = format!("{server}: {error}"),
                }
            }
            if servers.is_empty() {
                return Ok(());
            }
            if Instant::now() + pause > ends {
                let within = limit.as_secs();
                return Err(format!(
                    "the TXT record {record} isn't to be seen within {within}s: {says}"
                ));
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(DNS_LOOK_MAX);
        }
    }

    async fn servers(&self, record: &str) -> Result<Vec<SocketAddr>, String> {
        if !self.propagation.servers.is_empty() {
            return Ok(self.propagation.servers.clone());
        }
        match &self.way {
            Way::Update(update) => Ok(vec![update.server]),
            Way::Exec(_) | Way::Webhook(_) => query::servers_of(record).await,
        }
    }
}

/// The name of the record, absolute.
fn record(ask: &Ask) -> Option<String> {
    match &ask.identifier {
        Identifier::Dns(name) => Some(format!("_acme-challenge.{name}.")),
        _ => None,
    }
}
