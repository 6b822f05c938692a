//! The first generation of a process: what can be served at once. Upstreams that are down, or tell
//! nonsense, are no reason not to serve the others; what is kept of them is served until they tell.

use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::model::Config;
use crate::tls;

use super::super::builder::Builder;
use super::super::sources::{self, Built};
use super::answers::{Answers, Ask, Whence};
use super::attempt::{self, Attempt};
use super::status::Status;
use super::{Origin, Seen, as_warnings, at_start, sources_of};

/// The first generation, and what [`super::Reloader`] goes on from.
#[derive(Debug)]
pub struct First {
    pub built: Built,
    pub answers: Answers,
    pub seen: Seen,
    pub status: Status,
    /// What is to be said of upstreams that don't answer.
    pub silent: Report,
    /// What is to be said of those whose answers are of no use, and of what is kept.
    pub warnings: Report,
}

/// Asks, reads and builds, the last two on the builder thread.
///
/// # Errors
/// The faults of config, files and routes; not those of upstreams.
pub async fn first(
    config: &Arc<Config>,
    origin: &Origin,
    builder: &Builder,
    tls: &Arc<tls::Shared>,
) -> Result<First, Report> {
    let mut answers = Answers::default();
    let ask = Ask {
        config,
        fleet: None,
        builder,
        budget: at_start(),
    };
    let (_, silent) = answers.ask(&ask, |_, _| true).await;
    let silent = as_warnings(silent);
    let (of, origin, tls) = (Arc::clone(config), origin.clone(), Arc::clone(tls));
    let build = move || {
        let warnings = match &of.reload.keep {
            Some(folder) => answers.recall(&of, folder),
            None => Report::default(),
        };
        let seen = Seen::of(&origin, &of);
        let tried = attempt::attempt(&of, &answers.choices(&of), &tls)?;
        Ok((tried, answers, seen, warnings))
    };
    let done = builder.run(build).await;
    let done = done.unwrap_or_else(|e| Err(Report::of(Diagnostic::error(e.to_string()))));
    let (tried, mut answers, seen, mut warnings) = done?;
    let Attempt {
        built,
        used,
        refused,
    } = tried;
    answers.settle(config, &used, &refused);
    let mut status = Status {
        sources: sources_of(config, &built.read, &answers),
        ..Status::default()
    };
    for refused in refused {
        status.error = Some(refused.text());
        warnings.extend(as_warnings(refused.report));
    }
    warnings.extend(from_disk(config, &answers));
    Ok(First {
        built,
        answers,
        seen,
        status,
        silent,
        warnings,
    })
}

/// Which routes are those of an earlier process.
fn from_disk(config: &Config, answers: &Answers) -> Report {
    let mut report = Report::default();
    for (id, place) in sources::reflection_sources(config) {
        let (Some(Whence::Kept(since)), _) = answers.state_of(config, id) else {
            continue;
        };
        let upstream = config.upstreams.get(id.0 as usize);
        let name = upstream.map_or("", |u| &*u.name);
        let since = httpdate::fmt_http_date(since);
        let message =
            format!("until `{name}` tells its descriptors, the last good ones serve, of {since}");
        report.push(Diagnostic::warning(message).at(&place));
    }
    report
}
