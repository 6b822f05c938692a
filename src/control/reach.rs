//! Sees whether the instances of every upstream can be reached, for who asks before anything is served.

use futures_util::{StreamExt, stream};

use super::{discovery, sources};
use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::model::{Config, Endpoint, Place, Upstream, UpstreamId};
use crate::limits::{KNOCKS_AT_ONCE, LOOKUP_TIMEOUT, Timeouts, UPSTREAM_MEMBERS_MAX};
use crate::upstream::{self, Location};

/// How often a name server that doesn't answer is waited for.
const LOOKUPS_MAX: u32 = 5;
/// Instances of one endpoint whose reasons are told.
const TOLD_MAX: usize = 4;

/// What is wrong with the endpoints of upstreams.
#[derive(Debug, Default)]
pub struct Reached {
    /// An endpoint of which no instance can be reached is an error, some of its instances are a warning.
    pub report: Report,
    /// Those without any instance that can be reached.
    pub unreached: Vec<UpstreamId>,
}

/// Connects to every instance of every upstream, as calls would, and sends no call. Only to be called
/// where local tasks can be spawned. Dropping the future ends all that it opened.
pub async fn reach(config: &Config) -> Reached {
    let mut reached = Reached::default();
    let all = (0..).map(UpstreamId).zip(&config.upstreams);
    let asking = stream::iter(all).map(|(id, upstream)| async move {
        let (any, report) = each(upstream, &config.timeouts).await;
        ((!any).then_some(id), report)
    });
    let mut asking = std::pin::pin!(asking.buffered(KNOCKS_AT_ONCE));
    while let Some((unreached, report)) = asking.next().await {
        reached.unreached.extend(unreached);
        reached.report.extend(report);
    }
    sources::quote(&mut reached.report);
    reached
}

/// Tries the endpoints of one upstream. Whether there is an instance that can be reached.
async fn each(upstream: &Upstream, timeouts: &Timeouts) -> (bool, Report) {
    let mut report = Report::default();
    // Building tells of files that can't be used.
    let Ok(upstream) = sources::equipped(upstream).await else {
        return (true, report);
    };
    let mut any = upstream.endpoints.is_empty();
    for (at, endpoint) in upstream.endpoints.iter().enumerate() {
        let place = upstream.endpoint_places.get(at);
        let place = place.unwrap_or(&upstream.place);
        any |= one(&upstream, endpoint, place, timeouts, &mut report).await;
    }
    (any, report)
}

/// Tries the instances of one endpoint. Whether there is one that can be reached.
async fn one(
    upstream: &Upstream,
    endpoint: &Endpoint,
    place: &Place,
    timeouts: &Timeouts,
    report: &mut Report,
) -> bool {
    let name = &upstream.name;
    let mut tell = |make: fn(String) -> Diagnostic, why: &str| {
        let told = make(format!("upstream `{name}` can't be reached: {why}"));
        report.push(match place.is_empty() {
            true => told,
            false => told.at(place),
        });
    };
    let limit = LOOKUP_TIMEOUT.saturating_mul(LOOKUPS_MAX);
    let found = tokio::time::timeout(limit, discovery::find(upstream, endpoint)).await;
    let mut found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => {
            tell(
                Diagnostic::error,
                &format!("{endpoint}: {why}{}", way_out(endpoint)),
            );
            return false;
        }
        Err(_) => {
            let why = format!(
                "{endpoint}: not found within {limit:?}{}",
                way_out(endpoint)
            );
            tell(Diagnostic::error, &why);
            return false;
        }
    };
    found.truncate(UPSTREAM_MEMBERS_MAX);
    let all = found.len();
    let knocking = stream::iter(found)
        .map(|location: Location| upstream::knock(upstream, endpoint, location, timeouts));
    let knocked: Vec<_> = knocking.buffered(KNOCKS_AT_ONCE).collect().await;
    let failed: Vec<_> = knocked.into_iter().filter_map(Result::err).collect();
    let any = failed.len() < all;
    let mut why = failed.get(..TOLD_MAX).unwrap_or(&failed).join("; ");
    if let Some(more @ 1..) = failed.len().checked_sub(TOLD_MAX) {
        why = format!("{why}; and {more} more");
    }
    if all == 0 {
        tell(
            Diagnostic::error,
            &format!("{endpoint}: it has no instances"),
        );
    } else if !any {
        tell(Diagnostic::error, &why);
    } else if !failed.is_empty() && !is_this_machine(endpoint) {
        let why = format!("{} of {all} instances: {why}", failed.len());
        tell(Diagnostic::warning, &why);
    }
    any
}

/// `localhost` has two addresses, and most servers there listen at one.
fn is_this_machine(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Host { host, .. } if &**host == "localhost")
}

/// What to look at when instances can't be found.
fn way_out(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Host { .. } | Endpoint::Srv(_) => {
            "; is it written as it should be, and known to the name servers here? (`dns: { servers: […] }` asks others)"
        }
        Endpoint::Kubernetes(_) => {
            "; are name and namespace right, and may this account list its EndpointSlices? (`kubernetes: { … }`)"
        }
        Endpoint::Unix(_) => "",
    }
}
