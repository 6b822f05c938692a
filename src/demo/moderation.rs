//! `gamehub.v1.Moderation`: counts reports.

use std::sync::Arc;
use std::time::SystemTime;

use tonic::{Request, Response, Status};

use super::errors::{Refusal, violation};
use super::pb::moderation_server as server;
use super::pb::report_request::Reason;
use super::pb::{ReportRequest, ReportResponse};
use super::store::Store;

#[derive(Debug)]
pub(super) struct Moderation {
    store: Arc<Store>,
}

impl Moderation {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl server::Moderation for Moderation {
    async fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        let request = request.into_inner();
        let mut wrong = Vec::new();
        match request.reason() {
            Reason::Unspecified => wrong.push(violation("reason", "must be given")),
            Reason::Other if request.comment.is_empty() => {
                wrong.push(violation("comment", "must be given with the reason OTHER"));
            }
            _ => {}
        }
        if request.email.as_ref().is_some_and(|e| !e.contains('@')) {
            wrong.push(violation("email", "must be an address"));
        }
        Refusal::unless_empty(wrong)?;
        self.store.game(request.game_id)?;
        Ok(Response::new(ReportResponse {
            report_id: self.store.count_report(),
            received_at: Some(SystemTime::now().into()),
        }))
    }
}
