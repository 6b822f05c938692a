//! What went wrong on the way to a certificate: at which step, in whose words, and when to ask again.

use std::fmt;
use std::time::Duration;

use instant_acme::{Error, Problem};

use super::http::{Http, HttpError, Last};
use crate::limits::ACME_ERROR_BYTES_MAX;

/// What was being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Directory,
    Account,
    Order,
    Authorization,
    Challenge(Box<str>),
    Validation,
    Finalize,
    Download,
    RenewalInfo,
    Revocation,
}

/// Why there is no certificate.
#[derive(Clone, Debug)]
pub struct AcmeError {
    pub step: Step,
    pub cause: Cause,
    /// How long the authority wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Whose fault it is, and what was said.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The authority says no (RFC 8555 §6.7).
    Refused(Box<Problem>),
    /// It says so of several names.
    Invalid(Vec<(Box<str>, Problem)>),
    /// An answer that is no problem document.
    Status(http::StatusCode, String),
    /// No answer.
    Http(HttpError),
    /// It took too long.
    Slow(Duration),
    /// A challenge can't be answered here.
    Solver(String),
    /// What came is no certificate for the key.
    Certificate(String),
    /// The configuration or the authority's features don't allow it.
    Unsupported(String),
    /// Something else.
    Other(String),
}

impl AcmeError {
    #[must_use]
    pub fn new(step: Step, cause: Cause) -> Self {
        Self {
            step,
            cause,
            retry_after: None,
        }
    }

    /// From the library's error, with what the authority's last answer tells beside it.
    #[must_use]
    pub fn told(step: Step, error: Error, http: &Http) -> Self {
        let last = http.last();
        let retry_after = last.retry_after;
        let cause = match error {
            Error::Api(problem) => Cause::Refused(Box::new(problem)),
            Error::Other(other) => match other.downcast::<HttpError>() {
                Ok(error) => Cause::Http(*error),
                Err(other) => Cause::Other(other.to_string()),
            },
            Error::Json(_) | Error::Str(_) => unreadable(last, &error),
            Error::Unsupported(what) => Cause::Unsupported(what.to_owned()),
            error => Cause::Other(error.to_string()),
        };
        Self {
            step,
            cause,
            retry_after,
        }
    }

    /// The type of the authority's problem, without the prefix that all have.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match &self.cause {
            Cause::Refused(problem) => kind(problem),
            _ => None,
        }
    }

    /// Whether nothing was decided: the same step may be tried again soon.
    #[must_use]
    pub fn passes(&self) -> bool {
        match &self.cause {
            Cause::Http(error) => !matches!(
                error,
                HttpError::Url(_) | HttpError::Certificate { .. } | HttpError::Large { .. }
            ),
            Cause::Status(status, _) => status.is_server_error(),
            Cause::Refused(problem) => {
                kind(problem) == Some("serverInternal") || kind(problem) == Some("badNonce")
            }
            _ => false,
        }
    }

    /// Whether the authority has heard of the attempt.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        let Cause::Http(error) = &self.cause else {
            return true;
        };
        let unheard = matches!(
            error,
            HttpError::Url(_) | HttpError::Unreachable { .. } | HttpError::Certificate { .. }
        );
        !unheard || !matches!(self.step, Step::Directory | Step::Account | Step::Order)
    }

    /// Whether the authority has had enough of us for now.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        match &self.cause {
            Cause::Status(status, _) => *status == http::StatusCode::TOO_MANY_REQUESTS,
            _ => self.kind() == Some("rateLimited"),
        }
    }

    /// Whether the authority doesn't know the account any more.
    #[must_use]
    pub fn is_account_gone(&self) -> bool {
        self.kind() == Some("accountDoesNotExist")
    }
}

/// The library could make nothing of an answer: the answer says more than where it gave up.
fn unreadable(last: Last, error: &Error) -> Cause {
    match last.status {
        Some(status) if !status.is_success() => Cause::Status(status, last.said),
        _ => Cause::Other(error.to_string()),
    }
}

/// A problem's type without its prefix.
#[must_use]
pub fn kind(problem: &Problem) -> Option<&str> {
    problem
        .r#type
        .as_deref()?
        .strip_prefix("urn:ietf:params:acme:error:")
}

impl std::error::Error for AcmeError {}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = format!("{}: {}", self.step, self.cause);
        f.write_str(&on_a_line(&said))?;
        match self.retry_after {
            Some(wait) if !wait.is_zero() => {
                write!(f, " (to be asked again in {}s)", wait.as_secs())
            }
            _ => Ok(()),
        }
    }
}

/// As others' words may stand in a log, on a terminal and in what is kept: on one line, and no longer
/// than anybody reads.
fn on_a_line(said: &str) -> String {
    let end = said.floor_char_boundary(ACME_ERROR_BYTES_MAX);
    let (head, more) = said.split_at_checked(end).unwrap_or((said, ""));
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = head.chars().map(plain).collect();
    if !more.is_empty() {
        line.push('…');
    }
    line
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("reading the directory"),
            Self::Account => f.write_str("registering the account"),
            Self::Order => f.write_str("placing the order"),
            Self::Authorization => f.write_str("reading the authorizations"),
            Self::Challenge(name) => write!(f, "answering the challenge for {name}"),
            Self::Validation => f.write_str("waiting for validation"),
            Self::Finalize => f.write_str("finalizing the order"),
            Self::Download => f.write_str("fetching the certificate"),
            Self::RenewalInfo => f.write_str("asking when to renew"),
            Self::Revocation => f.write_str("revoking the certificate"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problem) => tell(f, problem),
            Self::Invalid(all) => {
                for (at, (name, problem)) in all.iter().enumerate() {
                    let between = if at == 0 { "" } else { "; " };
                    write!(f, "{between}{name}: ")?;
                    tell(f, problem)?;
                }
                Ok(())
            }
            Self::Status(status, said) if said.is_empty() => {
                write!(f, "the authority answers {status}")
            }
            Self::Status(status, said) => write!(f, "the authority answers {status}: {said}"),
            Self::Http(error) => error.fmt(f),
            Self::Slow(limit) => write!(f, "not done within {}s", limit.as_secs()),
            Self::Solver(reason) => f.write_str(reason),
            Self::Certificate(reason) => {
                write!(f, "the authority sent what can't be served: {reason}")
            }
            Self::Unsupported(what) => f.write_str(what),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// A problem document on one line, with what it says of single names.
fn tell(f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
    let said = problem.detail.as_deref().unwrap_or("no reason given");
    f.write_str(said)?;
    if let Some(kind) = kind(problem).or(problem.r#type.as_deref()) {
        write!(f, " [{kind}]")?;
    }
    for sub in &problem.subproblems {
        f.write_str("; ")?;
        match &sub.identifier {
            Some(identifier) => write!(f, "{}: ", identifier.authorized(false))?,
            None => f.write_str("also: ")?,
        }
        f.write_str(sub.detail.as_deref().unwrap_or("no reason given"))?;
        let prefix = "urn:ietf:params:acme:error:";
        if let Some(kind) = sub.r#type.as_deref() {
            write!(f, " [{}]", kind.strip_prefix(prefix).unwrap_or(kind))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_length_and_kind_make_a_line() {
        let told = |detail: &str| {
            let problem = Problem {
                r#type: None,
                detail: Some(detail.to_owned()),
                status: None,
                subproblems: Vec::new(),
            };
            AcmeError::new(Step::Order, Cause::Refused(Box::new(problem))).to_string()
        };
        let line = told("no\r\n2026-01-01 INFO all is well \x1b[2J");
        assert_eq!(
            line,
            "placing the order: no  2026-01-01 INFO all is well  [2J"
        );
        // Kept as JSON, where each of these takes six bytes.
        let long = told(&"\u{1}ö".repeat(1024 * 1024));
        assert!(long.len() < ACME_ERROR_BYTES_MAX + 8, "{}", long.len());
        assert!(long.ends_with('…'));
    }
}
