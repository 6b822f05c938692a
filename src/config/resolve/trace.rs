//! The `trace` section.

use crate::config::raw::Section;
use crate::config::scalar::Trouble;
use crate::config::trace::{OtlpProtocol, TraceKeys, collector, is_of_exports};

use super::site;

pub(super) fn trace(file: &Section<'_, '_>) -> Option<TraceKeys> {
    let section = file.section("trace")?;
    let endpoint = section.field("endpoint");
    let protocol = section.field("protocol").and_then(|f| f.choice());
    Some(TraceKeys {
        endpoint: endpoint.and_then(|f| f.parse(|text| collector(text).map_err(Trouble::new))),
        protocol: protocol.map(|name| match name {
            "grpc" => OtlpProtocol::Grpc,
            _ => OtlpProtocol::Http,
        }),
        sample: section.field("sample").and_then(|f| f.share()),
        headers: section.field("headers").map_or_else(Vec::new, |field| {
            let all = site::values(&field);
            for (name, _) in all.iter().filter(|(name, _)| is_of_exports(name)) {
                field.error(format!(
                    "`{name}` says how exports are sent: it can't be set"
                ));
            }
            all
        }),
    })
}
