//! What a new config changes of where the gateway listens.

use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::model::Config;
use crate::listener::{BindError, Changed};

/// An address that can't be listened on, and where it is written.
pub(super) fn refused(config: &Config, error: &BindError) -> Report {
    let place = config.listeners.iter().find(|l| l.address == error.address);
    let fault = Diagnostic::error(error.to_string());
    Report::of(match place {
        Some(listener) => fault.at(&listener.place),
        None => fault,
    })
}

/// One line for each listener that is new or gone.
pub(super) fn told(changed: &Changed) -> Vec<String> {
    let opened = changed
        .opened
        .iter()
        .map(|address| format!("{address} is listened on"));
    let closed = changed
        .closed
        .iter()
        .map(|address| format!("{address} is not listened on any more"));
    opened.chain(closed).collect()
}

/// What the config says that takes a new process.
#[must_use]
pub fn needs_restart(before: &Config, after: &Config) -> Report {
    let mut report = Report::default();
    for (key, changed) in [
        ("workers", before.workers != after.workers),
        (
            "admin",
            (before.admin, &before.admin_token) != (after.admin, &after.admin_token),
        ),
        ("probes", before.probes != after.probes),
        ("trace", before.trace != after.trace),
        ("log.format", before.log.format != after.log.format),
    ] {
        if changed {
            let message = format!("`{key}` changes only with a restart");
            report.push(Diagnostic::warning(message));
        }
    }
    report
}
