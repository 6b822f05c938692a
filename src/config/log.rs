//! What is logged, how and where to.

use std::path::PathBuf;

/// The `log` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    pub level: LogLevel,
    /// Of the program's own; `None` is for people.
    pub format: Option<LogFormat>,
    pub access: Option<AccessLog>,
}

/// How much the program tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Error,
            Self::Warn,
            Self::Info,
            Self::Debug,
            Self::Trace,
        ];
        all.into_iter().find(|level| level.name() == name)
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// Flat JSON.
    Json,
    /// Cloud Logging's.
    Gcp,
    /// Elastic Common Schema.
    Ecs,
}

/// A line for each request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// `None`: by what the output is.
    pub format: Option<LogFormat>,
    pub output: LogOutput,
    pub sample_2xx: Share,
    /// Whether query strings are told.
    pub query: bool,
    /// Google's, for traces.
    pub project: Option<String>,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogOutput {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// A share of many, from none to all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(f64);

impl Share {
    pub const ALL: Self = Self(1.0);

    /// `None` for what is not from 0 to 1.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    #[must_use]
    pub fn is_all(self) -> bool {
        self.0 >= 1.0
    }

    /// Whether it takes one of them, by a random number from 0 to below 1.
    #[must_use]
    pub fn takes(self, random: f64) -> bool {
        random < self.0
    }
}
