//! `transom certs`: the certificates of a running gateway, and what becomes of them.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::remote::{Args, ask};
use super::{Outcome, WRONG_INPUT};
use crate::limits::RELOAD_ANSWER_MAX;

/// `/certs`, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Certificate {
    names: Vec<String>,
    source: String,
    authority: Option<String>,
    issuer: Option<String>,
    not_after: Option<u64>,
    renewal: Option<u64>,
    next_attempt: Option<u64>,
    #[serde(default)]
    failures: u32,
    error: Option<String>,
}

pub fn certs(args: Args) -> Outcome {
    let (status, body) = ask(&args, Method::GET, "/certs", RELOAD_ANSWER_MAX)?;
    if status != StatusCode::OK {
        anyhow::bail!("it answers {status}: it may be older than this command");
    }
    let all: Vec<Certificate> =
        serde_json::from_slice(&body).context("it doesn't answer as transom does")?;
    let now = SystemTime::now();
    let text = match args.json {
        true => String::from_utf8_lossy(&body).into_owned(),
        false => shown(&all, now),
    };
    super::print(&text)?;
    let is_fine = |c: &Certificate| c.ends().is_some_and(|end| end > now);
    Ok(match all.iter().all(is_fine) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(WRONG_INPUT),
    })
}

fn shown(all: &[Certificate], now: SystemTime) -> String {
    if all.is_empty() {
        return "no listener has certificates\n".to_owned();
    }
    let mut text = String::new();
    for one in all {
        // Writing to a String doesn't fail.
        _ = writeln!(text, "{}", one.shown(now));
    }
    text
}

impl Certificate {
    fn ends(&self) -> Option<SystemTime> {
        self.not_after.map(time)
    }

    /// `api.example.com  acme letsencrypt, issued by R10, until …, renewed …`
    fn shown(&self, now: SystemTime) -> String {
        let mut text = format!("{}: {}", self.names.join(", "), self.source);
        if let Some(authority) = self.authority.as_ref().filter(|a| !a.is_empty()) {
            _ = write!(text, " {authority}");
        }
        if let Some(issuer) = &self.issuer {
            _ = write!(text, ", issued by {issuer}");
        }
        match self.ends() {
            None => text.push_str(", no certificate yet"),
            Some(end) if end <= now => _ = write!(text, ", EXPIRED on {}", date(end)),
            Some(end) => _ = write!(text, ", until {} ({})", date(end), left(end, now)),
        }
        if let Some(renewal) = self.renewal {
            _ = write!(text, ", to be renewed {}", date(time(renewal)));
        }
        if self.failures > 0 {
            let s = if self.failures == 1 { "" } else { "s" };
            _ = write!(text, "\n    {} failed attempt{s}", self.failures);
            if let Some(next) = self.next_attempt {
                _ = write!(text, ", the next {}", date(time(next)));
            }
        }
        if let Some(error) = &self.error {
            _ = write!(text, "\n    {error}");
        }
        text
    }
}

fn time(seconds: u64) -> SystemTime {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    at.unwrap_or(UNIX_EPOCH)
}

fn date(at: SystemTime) -> String {
    httpdate::fmt_http_date(at)
}

/// `89 days left`
fn left(end: SystemTime, now: SystemTime) -> String {
    const HOUR: u64 = 60 * 60;
    let seconds = end.duration_since(now).unwrap_or_default().as_secs();
    match (seconds / (24 * HOUR), seconds / HOUR, seconds / 60) {
        (days @ 2.., _, _) => format!("{days} days left"),
        (_, hours @ 2.., _) => format!("{hours} hours left"),
        (_, _, 1) => "1 minute left".to_owned(),
        (_, _, minutes) => format!("{minutes} minutes left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_told_on_a_line() {
        let all: Vec<Certificate> = serde_json::from_value(serde_json::json!([
            { "names": ["a.example.com", "b.example.com"], "source": "file", "issuer": "R10", "not_after": 864_000 },
            { "names": ["c.example.com"], "source": "acme", "authority": "letsencrypt", "failures": 2,
              "next_attempt": 3600, "error": "placing the order: no" },
            { "names": ["d.example.com"], "source": "acme", "authority": "letsencrypt", "issuer": "R11",
              "not_after": 10, "renewal": 5 },
        ]))
        .unwrap();
        let wanted = "\
a.example.com, b.example.com: file, issued by R10, until Sun, 11 Jan 1970 00:00:00 GMT (9 days left)
c.example.com: acme letsencrypt, no certificate yet
    2 failed attempts, the next Thu, 01 Jan 1970 01:00:00 GMT
    placing the order: no
d.example.com: acme letsencrypt, issued by R11, EXPIRED on Thu, 01 Jan 1970 00:00:10 GMT, to be renewed Thu, 01 Jan 1970 00:00:05 GMT
";
        assert_eq!(shown(&all, time(60)), wanted);
        assert_eq!(shown(&[], time(0)), "no listener has certificates\n");
    }
}
