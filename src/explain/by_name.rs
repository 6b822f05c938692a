//! Requests on a method's own path: which of them are calls, and what the others reach.

use http::Method;

use crate::live::{Live, Route, Target};
use crate::protocol::connect::{self, Query};
use crate::protocol::dialect::MessageFormat;
use crate::route::{Lookup, RawPath};
use crate::schema::StreamKind;
use crate::transcode::MethodPlan;

use super::{Answer, Question, policy, winner};

impl Answer {
    /// Whether a method is reached by its own name; then this says how.
    pub(super) fn explain_by_name(
        &mut self,
        live: &Live,
        host: &str,
        path: &RawPath<'_>,
        question: &Question,
    ) -> bool {
        let url = &question.url;
        let Some(route) = live.method(host, url.path()) else {
            return false;
        };
        let Target::Rpc(plan) = &route.target else {
            return false;
        };
        let query = url.query().unwrap_or_default();
        let get = question.method == Method::GET && connect::is_get(query);
        if question.method != Method::POST && !get {
            return false;
        }
        self.route = Some(winner(live, route));
        self.policy = policy::lines(route);
        if get {
            self.policy.insert(0, ("protocols", "Connect".to_owned()));
            self.explain_get(live, (route, plan), query, question);
            return true;
        }
        self.policy
            .insert(0, ("protocols", protocols(route).to_owned()));
        // JSON is Connect here, so what the rule gets is little.
        let other = live.table.lookup(host, &question.method, path);
        if let (false, Lookup::Matched(other)) = (route.policy.auto, other)
            && let Some(other) = live.route(other.route)
        {
            let told = format!(
                "content types of no protocol for calls, and not JSON, go to {} ({})",
                other.rule, other.place
            );
            self.policy.insert(1, ("otherwise", told));
        }
        self.bind(live, route, plan, &[], url.query(), question);
        true
    }

    /// Connect's GET, whose request message is in the query.
    fn explain_get(
        &mut self,
        live: &Live,
        (route, plan): (&Route, &MethodPlan),
        query: &str,
        question: &Question,
    ) {
        if plan.stream != StreamKind::Unary {
            return self.refuse(415, "this method's messages are streams".to_owned());
        }
        if !plan.no_side_effects {
            let why = "the method isn't declared NO_SIDE_EFFECTS: it is called with POST";
            return self.refuse(405, why.to_owned());
        }
        let asked = match Query::parse(query) {
            Ok(asked) => asked,
            Err(failure) => return self.fail(&failure),
        };
        // What is compressed or in protobuf is checked when it is sent.
        if asked.format == MessageFormat::Json && asked.compression.is_none() {
            let question = Question {
                headers: question.headers.clone(),
                method: question.method.clone(),
                url: question.url.clone(),
                host: question.host.clone(),
                body: Some(asked.message),
            };
            self.bind(live, route, plan, &[], None, &question);
        }
    }
}

/// What a method answers to on its own path.
fn protocols(route: &Route) -> &'static str {
    match (route.policy.auto, route.own) {
        (true, _) => {
            "gRPC, gRPC-Web, Connect, WebSocket; REST for JSON without `connect-protocol-version`"
        }
        (false, None) => "gRPC, gRPC-Web, Connect, WebSocket",
        (false, Some(_)) => "gRPC, gRPC-Web, Connect",
    }
}
