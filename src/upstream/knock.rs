//! A connection to an instance that is opened to see whether it can be, as calls would open it, and is
//! closed again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::model::{self, Upstream, UpstreamProtocol};
use crate::limits::Timeouts;
use crate::rt::LocalExec;

use super::connection::{BEGINNING, spoken};
use super::endpoint::Endpoint;
use super::fleet::{Fleet, Location, Member};
use super::unreachable::Unreachable;

/// Harmless, and every server of HTTP/1.1 has some answer to it.
const QUESTION: &str = "OPTIONS * HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";

/// Tries one instance of `upstream`. TLS is shaken hands on, and the protocol is seen to be the one that
/// is wanted. Only to be called where local tasks can be spawned.
///
/// # Errors
/// Why calls would not get through, for operators.
pub async fn knock(
    upstream: &Upstream,
    endpoint: &model::Endpoint,
    location: Location,
    timeouts: &Timeouts,
) -> Result<(), String> {
    let Some(member) = Member::new(location, endpoint).map(Arc::new) else {
        return Err(format!("{endpoint}: not a name that requests can have"));
    };
    let shared = Fleet::new(1).upstream(upstream);
    let (counted, open) = (Rc::default(), Rc::default());
    let counts = (&counted, &open);
    let instance = Endpoint::new(&member, &shared, timeouts, counts, LocalExec::default());
    let knocked = match upstream.protocol {
        UpstreamProtocol::Http2 => instance.lease().await.map(drop),
        UpstreamProtocol::Http1 => ask(&instance, timeouts.connect).await,
    };
    instance.retire();
    knocked.map_err(|e| e.to_string())
}

/// Sees that the other side speaks HTTP/1.1, which nothing but an answer tells.
async fn ask(instance: &Endpoint, limit: Duration) -> Result<(), Unreachable> {
    let failed = |why: &str| Unreachable::new(format_args!("{}: {why}", instance.member));
    let mut line = instance.dial().await?;
    let question = QUESTION.replace("HOST", instance.authority().as_str());
    let mut begins = Vec::with_capacity(BEGINNING);
    let asked = async {
        line.write_all(question.as_bytes()).await?;
        line.flush().await?;
        let mut begin = (&mut line).take(BEGINNING as u64);
        begin.read_to_end(&mut begins).await
    };
    let asked = tokio::time::timeout(limit, asked).await;
    if let Some(other) = spoken(&begins, UpstreamProtocol::Http1) {
        return Err(failed(other));
    }
    match asked {
        Ok(_) if begins.starts_with(b"HTTP/") => Ok(()),
        Ok(Ok(0)) => Err(failed("it closes the connection without an answer")),
        Ok(Ok(_)) => Err(failed("its answer is no HTTP")),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed(&format!("no answer within {limit:?}"))),
    }
}
