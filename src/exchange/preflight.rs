//! Questions of browsers about requests that they may send.

use http::Response;
use http::request::Parts;

use crate::failure::Failure;
use crate::live::Live;

use super::body::ReplyBody;
use super::reply::Voice;
use super::{cors, lookup, rpc};

/// The answer to a CORS preflight, by the policy of the route that the request it asks for would
/// take. `None` where that route has no such policy: its upstream may have one.
pub(super) fn answer<'l>(
    live: &'l Live,
    head: &Parts,
    voice: &mut Voice<'l>,
) -> Option<Result<Response<ReplyBody>, Failure>> {
    let method = cors::preflight(head)?;
    if let Some(route) = rpc::route(live, head).filter(|_| method == http::Method::POST) {
        *voice = Voice {
            account: voice.account,
            ..Voice::of_route(route, live)
        };
        let cors = voice.policy.cors.as_deref()?;
        return Some(cors::answer(
            cors,
            head,
            http::HeaderValue::from_static("POST"),
        ));
    }
    let allowed = match lookup(live, head, &method) {
        Ok(matched) => {
            *voice = Voice {
                account: voice.account,
                ..Voice::of_route(matched.route, live)
            };
            http::HeaderValue::from_str(method.as_str()).ok()?
        }
        // The browser says best which method is not allowed.
        Err(failure) => match failure.allow {
            Some(allow) => allow,
            None => return Some(Err(failure)),
        },
    };
    let cors = voice.policy.cors.as_deref()?;
    Some(cors::answer(cors, head, allowed))
}
