//! How an upstream's instances are asked about their health.

use std::num::NonZeroU32;

use http::StatusCode;

use super::super::health::{Health, HealthQuestion};
use super::super::model::UpstreamProtocol;
use super::super::raw::Section;
use super::super::scalar;
use super::upstream::{WordOr, small, word_or_section};

pub(super) fn health(section: &Section<'_, '_>, protocol: UpstreamProtocol) -> Option<Health> {
    let usual = Health::default();
    let wait = |name, usual| {
        let field = section.field(name);
        field.and_then(|f| f.duration()).unwrap_or(usual)
    };
    let row = |name, usual| {
        let given = small(section, name).and_then(NonZeroU32::new);
        given.unwrap_or(usual)
    };
    Some(Health {
        interval: wait("interval", usual.interval),
        timeout: wait("timeout", usual.timeout),
        healthy_after: row("healthy_after", usual.healthy_after),
        unhealthy_after: row("unhealthy_after", usual.unhealthy_after),
        panic_percent: small(section, "panic_percent")
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(usual.panic_percent),
        // Last, so that a mistake here hides no other.
        ask: question(section, protocol)?,
    })
}

fn question(section: &Section<'_, '_>, protocol: UpstreamProtocol) -> Option<HealthQuestion> {
    if let Some(field) = section.field("grpc") {
        if protocol == UpstreamProtocol::Http1 {
            field.error("an upstream with `protocol: http1` speaks no gRPC");
            return None;
        }
        return Some(match word_or_section(&field)? {
            WordOr::Word(_) => Health::default().ask,
            WordOr::Section(grpc) => HealthQuestion::Grpc {
                service: grpc
                    .field("service")
                    .and_then(|f| f.text().map(Into::into))
                    .unwrap_or_default(),
                watch: grpc.field("watch").and_then(|f| f.bool()).unwrap_or(false),
            },
        });
    }
    let http = section.section("http")?;
    let status = small(&http, "status").and_then(|n| u16::try_from(n).ok());
    let path = http.field("path")?;
    let text = path.parse(|text| scalar::url_path(text).map(|()| text))?;
    let Ok(path_and_query) = text.parse() else {
        path.error("this can't stand in a request");
        return None;
    };
    Some(HealthQuestion::Http {
        path: path_and_query,
        status: status.and_then(|n| StatusCode::from_u16(n).ok()),
    })
}
