//! One line of the access log, in each format.

mod ecs;
mod gcp;
mod json;
mod object;
mod pretty;
mod session;
mod text;
mod time;

use std::time::SystemTime;

use crate::config::model::LogFormat;
use crate::failure::{Blame, Speaker};

use super::account::{Account, Outcome, Text, Texts, version_text};

pub(super) use object::Object;
pub use session::{Session, Shown};
pub(super) use text::is_hidden;

/// What every line of a log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub format: LogFormat,
    /// Google's name of the project that traces are in.
    pub project: Option<String>,
    pub query: bool,
}

/// All that a format may tell of an exchange.
struct Facts<'a> {
    account: &'a Account,
    texts: Texts<'a>,
    outcome: Outcome,
    manner: &'a Manner,
    /// When it began.
    time: SystemTime,
}

/// Puts the line and its end.
pub(super) fn put(account: &Account, outcome: Outcome, manner: &Manner, out: &mut Vec<u8>) {
    let now = SystemTime::now();
    account.with_texts(|texts| {
        let facts = Facts {
            account,
            texts,
            outcome,
            manner,
            time: now.checked_sub(outcome.total).unwrap_or(now),
        };
        match manner.format {
            LogFormat::Pretty => pretty::put(&facts, out),
            LogFormat::Json => json::put(&facts, out),
            LogFormat::Gcp => gcp::put(&facts, out),
            LogFormat::Ecs => ecs::put(&facts, out),
        }
    });
    out.push(b'\n');
}

/// How bad it is: for those who are to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Info,
    /// A client's mistake, or what a service says of a request.
    Warning,
    Error,
}

impl<'a> Facts<'a> {
    fn severity(&self) -> Severity {
        match self.texts.fault.map(|f| (f.blame, f.speaker)) {
            None if self.outcome.status >= 500 => Severity::Error,
            None => Severity::Info,
            Some((Blame::Client, _) | (Blame::Upstream, Speaker::Service)) => Severity::Warning,
            Some((Blame::Upstream | Blame::Gateway, _)) => Severity::Error,
        }
    }

    fn fault(&self) -> Option<&'static str> {
        Some(match self.texts.fault?.blame {
            Blame::Client => "client",
            Blame::Gateway => "gateway",
            Blame::Upstream => "upstream",
        })
    }

    fn text(&self, what: Text) -> &'a [u8] {
        self.texts.of(what)
    }

    /// Where the log is to have it.
    fn query(&self) -> &'a [u8] {
        match self.manner.query {
            true => self.text(Text::Query),
            false => b"",
        }
    }

    fn rule(&self) -> &'a str {
        self.texts.track.map_or("", |t| &*t.rule)
    }

    fn rpc(&self) -> Option<&'a str> {
        self.texts.track?.rpc.as_ref().map(|rpc| &*rpc.name)
    }

    fn upstream(&self) -> Option<&'a str> {
        self.texts.track?.upstream.as_deref()
    }

    fn code(&self) -> Option<&'static str> {
        self.outcome.code.map(|code| code.name())
    }

    /// `1.1`
    fn version(&self) -> &'static str {
        version_text(self.account.version.get())
    }
}
