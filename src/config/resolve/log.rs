//! The `log` section.

use std::path::Path;

use crate::config::model::{AccessLog, Log, LogFormat, LogLevel, LogOutput, Share};
use crate::config::raw::Section;

pub(super) fn log(file: &Section<'_, '_>, folder: &Path) -> Log {
    let Some(section) = file.section("log") else {
        return Log::default();
    };
    let level = section.field("level").and_then(|f| f.choice());
    Log {
        level: level.and_then(LogLevel::named).unwrap_or_default(),
        format: format(&section),
        access: section.section("access").map(|s| access(&s, folder)),
    }
}

fn access(section: &Section<'_, '_>, folder: &Path) -> AccessLog {
    let output = section.field("output").and_then(|f| f.text());
    let share = section.field("sample_2xx").and_then(|f| f.share());
    let query = section.field("query").and_then(|f| f.bool());
    let project = section.field("project").and_then(|f| f.text());
    AccessLog {
        format: format(section),
        output: match output {
            None | Some("stdout") => LogOutput::Stdout,
            Some("stderr") => LogOutput::Stderr,
            Some(path) => LogOutput::File(folder.join(path)),
        },
        sample_2xx: share.and_then(Share::new).unwrap_or(Share::ALL),
        query: query.unwrap_or_default(),
        project: project.map(str::to_owned),
    }
}

fn format(section: &Section<'_, '_>) -> Option<LogFormat> {
    Some(match section.field("format")?.choice()? {
        "pretty" => LogFormat::Pretty,
        "json" => LogFormat::Json,
        "gcp" => LogFormat::Gcp,
        "ecs" => LogFormat::Ecs,
        _ => return None,
    })
}
