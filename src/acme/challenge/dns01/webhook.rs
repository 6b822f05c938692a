//! A web service makes the record: `POST URL/present` and `URL/cleanup` with
//! `{"fqdn": RECORD, "value": VALUE}`, as lego's `httpreq` provider sends it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request};

use crate::acme::http::Http;

use super::Action;

/// Who is told.
pub struct Webhook {
    /// Without the last part.
    pub url: String,
    /// Headers that show who asks.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub http: Http,
}

impl Webhook {
    pub(super) async fn change(
        &self,
        action: Action,
        record: &str,
        value: &str,
    ) -> Result<(), String> {
        let action = match action {
            Action::Present => "present",
            Action::Withdraw => "cleanup",
        };
        let url = format!("{}/{action}", self.url.trim_end_matches('/'));
        let body = serde_json::json!({ "fqdn": record, "value": value }).to_string();
        let mut request = Request::post(&url).header(CONTENT_TYPE, "application/json");
        for (name, header) in &self.headers {
            request = request.header(name, header);
        }
        let request = request.body(Bytes::from(body)).map_err(|e| e.to_string())?;
        let http = self.http.apart();
        let answer = http.send(request).await.map_err(|e| e.to_string())?;
        if answer.head.status.is_success() {
            return Ok(());
        }
        let (status, said) = (answer.head.status, http.last().said);
        Err(format!("{url} answers {status}: {said}"))
    }
}

impl std::fmt::Debug for Webhook {
    /// Headers hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
