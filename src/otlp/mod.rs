//! Sends spans to a collector, by OTLP over gRPC or HTTP, on a thread of its own.
//!
//! Whatever the collector does, requests don't feel it: the queue is bounded (`telemetry::Spans`), each
//! batch is tried a few times within limits, and what isn't taken is counted.

mod client;
mod message;
mod spans;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::config::model::Tracing;
use crate::limits::{TRACE_ATTEMPTS_MAX, TRACE_RETRY_WAIT, TRACE_RETRY_WAIT_MAX};
use crate::telemetry::{SpanCounts, SpanOrder, Spans, brief};
use crate::tls::{Material, Outgoing};

use client::{Client, ExportError};
use message::{ExportRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span};

/// Why there is no exporter.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("can't read {0}: {1}")]
    File(String, io::Error),
    #[error("TLS to the collector of traces: {0}")]
    Tls(#[from] crate::tls::OutgoingError),
    #[error("a thread can't be started: {0}")]
    Thread(#[from] io::Error),
}

/// Starts the exporter's thread; it ends with the last clone of what is returned.
///
/// # Errors
/// Certificates that can't be used, or no thread.
pub fn start(rule: &Tracing) -> Result<Spans, StartError> {
    let tls = match rule.endpoint.scheme_str() {
        Some("https") => Some(outgoing(rule)?),
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (spans, coming, counts) = Spans::new(rule.clone());
    let rule = Arc::new(rule.clone());
    let exporter = Exporter {
        client: Client::new(Arc::clone(&rule), tls),
        rule,
        counts,
        batch: Vec::new(),
        trails: 0,
        failing: false,
    };
    thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || runtime.block_on(exporter.run(coming)))?;
    Ok(spans)
}

fn outgoing(rule: &Tracing) -> Result<Outgoing, StartError> {
    let read = |path: &Path| {
        let text = std::fs::read(path);
        text.map_err(|error| StartError::File(path.display().to_string(), error))
    };
    let authorities = rule.ca.as_deref().map(read).transpose()?;
    let own = match &rule.own {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    Ok(Outgoing::new(&Material {
        authorities: authorities.as_deref(),
        own: own.as_ref().map(|(c, k)| (&**c, &**k)),
        name: None,
    })?)
}

struct Exporter {
    client: Client,
    rule: Arc<Tracing>,
    counts: Arc<SpanCounts>,
    batch: Vec<Span>,
    /// Requests that the batch is of.
    trails: usize,
    /// It has been said already.
    failing: bool,
}

impl Exporter {
    async fn run(mut self, mut coming: UnboundedReceiver<SpanOrder>) {
        // When the batch is sent though it isn't full.
        let mut due = None;
        loop {
            let order = match due {
                None => coming.recv().await,
                Some(due) => match tokio::time::timeout_at(due, coming.recv()).await {
                    Ok(order) => order,
                    Err(_) => Some(SpanOrder::Export(Vec::new())),
                },
            };
            let is_due = due.is_some_and(|due| Instant::now() >= due);
            match order {
                Some(SpanOrder::Export(trails)) => {
                    self.trails += trails.len();
                    self.batch.extend(trails.into_iter().flat_map(spans::of));
                }
                Some(SpanOrder::Tell(done)) => {
                    self.send().await;
                    done.try_send(()).ok();
                }
                None => return self.send().await,
            }
            if is_due || self.batch.len() >= self.rule.batch {
                self.send().await;
            }
            due = match self.batch.is_empty() {
                true => None,
                false => due
                    .filter(|_| !is_due)
                    .or_else(|| Some(Instant::now() + self.rule.wait)),
            };
        }
    }

    /// Sends the batch, or gives it up.
    async fn send(&mut self) {
        let spans = std::mem::take(&mut self.batch);
        let trails = std::mem::take(&mut self.trails);
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let request = self.request(spans);
        let mut attempt = 1;
        let failure = loop {
            match self.client.export(&request).await {
                Ok(answer) => {
                    let rejected = answer.partial_success.unwrap_or_default();
                    let lost = u64::try_from(rejected.rejected_spans)
                        .unwrap_or(0)
                        .min(count);
                    self.counts.exported(count - lost);
                    self.counts.failed(lost);
                    if lost > 0 {
                        let why = brief(rejected.error_message);
                        tracing::warn!(spans = lost, %why, "the collector refused spans");
                    }
                    break None;
                }
                Err(error) => match wait(&error, attempt) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => break Some(error),
                },
            }
            attempt += 1;
        };
        self.counts.done(trails);
        let before = std::mem::replace(&mut self.failing, failure.is_some());
        match failure {
            Some(error) => {
                self.counts.failed(count);
                if !before {
                    let endpoint = &self.rule.endpoint;
                    tracing::warn!(%endpoint, %error, "traces can't be exported: spans are dropped");
                }
            }
            None if before => tracing::info!("traces are exported again"),
            None => {}
        }
    }

    fn request(&self, spans: Vec<Span>) -> ExportRequest {
        let mut attributes: Vec<_> = self
            .rule
            .resource
            .iter()
            .map(|(name, value)| KeyValue::text(name, value))
            .collect();
        attributes.push(KeyValue::text("telemetry.sdk.language", "rust"));
        attributes.push(KeyValue::text("telemetry.sdk.name", "transom"));
        let version = env!("CARGO_PKG_VERSION");
        attributes.push(KeyValue::text("telemetry.sdk.version", version));
        if !self
            .rule
            .resource
            .iter()
            .any(|(n, _)| n == "service.version")
        {
            attributes.push(KeyValue::text("service.version", version));
        }
        ExportRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(Scope {
                        name: "transom".to_owned(),
                        version: version.to_owned(),
                    }),
                    spans,
                }],
            }],
        }
    }
}

/// How long until another attempt, if there is one.
fn wait(error: &ExportError, attempt: u32) -> Option<Duration> {
    let asked = error.may_pass()?;
    if attempt >= TRACE_ATTEMPTS_MAX {
        return None;
    }
    let ours = TRACE_RETRY_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let wait = asked.unwrap_or_default().max(ours);
    Some(wait.min(TRACE_RETRY_WAIT_MAX))
}
