//! Files of a folder: one of them, or 404. Nothing hidden, nothing outside, no listings.
//!
//! ServeDir of tower-http has much of this, but follows links out of its root, has no `If-Range`, and
//! goes to the blocking threads for each call; here one visit finds the file and reads its beginning.

mod conditions;
mod open;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tokio::task::JoinHandle;

use crate::config::model::Files;
use crate::failure::{Failure, GrpcCode};
use crate::live::{Below, Route};
use crate::protocol::coding::{Accepted, Coding};
use crate::protocol::range::{self, Range};
use crate::telemetry::Account;

use super::body::{BreakOff, ReplyBody};
use super::vary::vary;
use super::{not_allowed, not_found};
pub(super) use conditions::{Validators, Verdict};
use open::{Found, Opened, Wanted};

/// Content that a browser asks for again, with what it has.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
/// Content whose name changes with it.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The reply to a request for a file. Dropping it, or the reply's body, stops reading after the piece
/// that is being read.
///
/// # Errors
/// 404, 405, 412, 416; 500 for what can't be read.
pub(super) async fn serve(
    files: &Arc<Files>,
    below: &Below,
    route: &Route,
    account: &Rc<Account>,
    head: &Parts,
) -> Result<Response<ReplyBody>, Failure> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(not_allowed(head, HeaderValue::from_static("GET, HEAD")));
    }
    let wanted = wanted(below, head).ok_or_else(not_found)?;
    let conditions = head.headers.clone();
    let (rule, reads) = (Arc::clone(files), head.method == Method::GET);
    let visit = tokio::task::spawn_blocking(move || visit(&rule, &wanted, &conditions, reads));
    match visit.await.map_err(io::Error::other).and_then(|v| v) {
        Ok(Visited::Answer(answer)) => {
            let mut reply = answer.into_reply(route, account);
            if files.precompressed {
                vary(reply.headers_mut(), "Accept-Encoding");
            }
            if files.spa.is_some() {
                // The same path is a page for a browser and 404 for its scripts.
                vary(reply.headers_mut(), "Accept");
            }
            Ok(reply)
        }
        Ok(Visited::Folder) => Ok(slash(head)),
        Ok(Visited::Nothing) => Err(not_found()),
        Ok(Visited::Refused(failure)) => Err(*failure),
        Err(error) => Err(unreadable(error)),
    }
}

fn unreadable(error: io::Error) -> Failure {
    Failure::gateway(GrpcCode::Internal, "the file can't be read").caused_by(error)
}

/// What a request asks of the folder; `None` for names that are never served.
fn wanted(below: &Below, head: &Parts) -> Option<Wanted> {
    let path = head.uri.path();
    let rest = match below {
        Below::Nothing => path.rfind('/').and_then(|at| path.get(at..))?,
        Below::Segments(_) => below.rest(path),
    };
    let inner = rest.strip_prefix('/').unwrap_or(rest);
    let folder = inner.is_empty() && path.ends_with('/') || inner.ends_with('/');
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let mut relative = String::with_capacity(inner.len());
    if !inner.is_empty() {
        for (at, raw) in inner.split('/').enumerate() {
            let name = percent_encoding::percent_decode_str(raw)
                .decode_utf8()
                .ok()?;
            let known = at == 0 && name == ".well-known";
            if !known && !is_plain(&name) {
                return None;
            }
            if at > 0 {
                relative.push('/');
            }
            relative.push_str(&name);
        }
    }
    let last = relative.rsplit('/').next().unwrap_or_default();
    Some(Wanted {
        navigates: !last.contains('.') && navigates(&head.headers),
        folder,
        codings: Accepted::of(&head.headers)
            .by_weight(&Coding::ALL)
            .collect(),
        path: relative,
    })
}

/// One name in a path: not hidden, no `..`, and nothing that makes it two.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && !name.contains(['/', '\\'])
        && !name.contains(|c: char| c.is_control())
}

/// Whether a browser goes to a page: scripts and programs ask for anything, or for data.
fn navigates(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter();
    accepts
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|media| media.trim().eq_ignore_ascii_case("text/html"))
}

/// To the folder's own path. Only a path of this site: it begins with the route's.
fn slash(head: &Parts) -> Response<ReplyBody> {
    let mut location = format!("/{}/", head.uri.path().trim_matches('/'));
    if let Some(query) = head.uri.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut reply = Response::new(ReplyBody::empty());
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

enum Visited {
    Answer(Box<Answer>),
    Folder,
    Nothing,
    Refused(Box<Failure>),
}

/// A reply to be: what blocking threads can make of it.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    first: Bytes,
    /// What is left to read.
    rest: Option<(File, u64, u64)>,
}

impl Answer {
    fn into_reply(self, route: &Route, account: &Rc<Account>) -> Response<ReplyBody> {
        let body = match self.rest {
            None => ReplyBody::whole(self.first),
            Some((file, at, to)) => ReplyBody::File(Box::new(FileBody {
                file: Arc::new(file),
                at,
                to,
                ready: Some(self.first),
                reading: None,
                broken: BreakOff::new(Arc::clone(&route.rule), Some(account)),
            })),
        };
        let mut reply = Response::new(body);
        *reply.status_mut() = self.status;
        *reply.headers_mut() = self.headers;
        reply
    }
}

/// Finds the file, judges the conditions, and reads the beginning. Blocks.
fn visit(files: &Files, wanted: &Wanted, asked: &HeaderMap, reads: bool) -> io::Result<Visited> {
    let opened = match open::find(files, wanted)? {
        Found::File(opened) => opened,
        Found::Folder => return Ok(Visited::Folder),
        Found::Nothing => return Ok(Visited::Nothing),
    };
    let mut answer = Answer {
        status: StatusCode::OK,
        headers: HeaderMap::with_capacity(12),
        first: Bytes::new(),
        rest: None,
    };
    describe(&opened, files, &mut answer.headers);
    match opened.validators.check(asked) {
        Verdict::Send => fill(&mut answer, *opened, asked, reads)?,
        Verdict::NotModified => {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.headers.remove(CONTENT_TYPE);
            answer.headers.remove(CONTENT_ENCODING);
        }
        Verdict::Failed => {
            let message = "the file is not what `If-Match` or `If-Unmodified-Since` says";
            let failure = Failure::client(message).status(StatusCode::PRECONDITION_FAILED);
            return Ok(Visited::Refused(Box::new(failure)));
        }
    }
    Ok(Visited::Answer(Box::new(answer)))
}

/// The content that is asked for: its length, and its beginning where it is wanted.
fn fill(answer: &mut Answer, opened: Opened, asked: &HeaderMap, reads: bool) -> io::Result<()> {
    let length = opened.length;
    let (from, to) = match asked_range(&opened, asked, reads) {
        Range::Whole => (0, length),
        Range::Part { from, to } => {
            answer.status = StatusCode::PARTIAL_CONTENT;
            let last = to.saturating_sub(1);
            content_range(
                &mut answer.headers,
                &format!("bytes {from}-{last}/{length}"),
            );
            (from, to)
        }
        Range::Unsatisfiable => {
            answer.status = StatusCode::RANGE_NOT_SATISFIABLE;
            content_range(&mut answer.headers, &format!("bytes */{length}"));
            for name in [CONTENT_TYPE, CONTENT_ENCODING, CACHE_CONTROL] {
                answer.headers.remove(name);
            }
            return Ok(());
        }
    };
    let size = HeaderValue::from(to.saturating_sub(from));
    answer.headers.insert(CONTENT_LENGTH, size);
    if reads && from < to {
        answer.first = open::piece(&opened.file, from, to)?.into();
        let at = from.saturating_add(answer.first.len() as u64);
        answer.rest = (at < to).then_some((opened.file, at, to));
    }
    Ok(())
}

fn asked_range(opened: &Opened, asked: &HeaderMap, reads: bool) -> Range {
    let value = asked.get(RANGE).and_then(|v| v.to_str().ok());
    match value {
        Some(value) if reads && opened.validators.allows_range(asked) => {
            range::range(value, opened.length)
        }
        _ => Range::Whole,
    }
}

fn content_range(headers: &mut HeaderMap, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(CONTENT_RANGE, value);
    }
}

fn describe(opened: &Opened, files: &Files, headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, media_type(&opened.path));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let forever = is_immutable(files, &opened.path);
    headers.insert(CACHE_CONTROL, if forever { FOREVER } else { REVALIDATE });
    if let Some(coding) = opened.coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    opened.validators.write(headers);
}

/// By extension; texts are UTF-8.
fn media_type(path: &str) -> HeaderValue {
    let guessed = mime_guess::from_path(Path::new(path)).first_raw();
    let Some(guessed) = guessed else {
        return HeaderValue::from_static("application/octet-stream");
    };
    if guessed.starts_with("text/") {
        let text = HeaderValue::try_from(format!("{guessed}; charset=utf-8"));
        return text.unwrap_or(HeaderValue::from_static(guessed));
    }
    HeaderValue::from_static(guessed)
}

fn is_immutable(files: &Files, path: &str) -> bool {
    let inside = |folder: &str| {
        let below = path.strip_prefix(folder.trim_end_matches('/'));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    files.immutable.iter().any(|f| inside(f)) || files.hashed && has_hash(path)
}

/// Whether a name carries a hash of the content, as bundlers write it: `app-4f9a02c1.js`,
/// `main.8e0d62a03f.css`, `index-D3wrgTda.js`. What might as well be a word or a version
/// (`jquery-migrations.js`, `lib-20240131.js`, `Report-Covid2019.pdf`) doesn't count, nor do pages.
fn has_hash(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = name.split_once('.') else {
        return false;
    };
    if extension.ends_with("html") {
        return false;
    }
    let in_stem = stem.rsplit_once('-').map(|(_, hash)| hash);
    // The last word is the file's type.
    let between = extension.split('.').rev().skip(1);
    in_stem.into_iter().chain(between).any(is_hash)
}

fn is_hash(word: &str) -> bool {
    const LENGTH: std::ops::RangeInclusive<usize> = 8..=64;
    let of = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
    let all = |kind: fn(&u8) -> bool| word.as_bytes().iter().all(kind);
    let hex = all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let letters = all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mixed = of(u8::is_ascii_lowercase) && of(u8::is_ascii_uppercase);
    let named = || {
        let word = word.trim_end_matches(|c: char| c.is_ascii_digit());
        // `CamelCase`: a capital, then small letters.
        word.as_bytes().windows(2).all(|two| match two {
            [first, second] => !first.is_ascii_uppercase() || second.is_ascii_lowercase(),
            _ => true,
        }) && !word.contains(|c: char| c.is_ascii_digit())
    };
    LENGTH.contains(&word.len())
        && of(u8::is_ascii_digit)
        && (hex && of(u8::is_ascii_lowercase) || letters && mixed && !named())
}

/// The rest of a file: one piece in memory, and the next read only when that has been taken.
pub struct FileBody {
    file: Arc<File>,
    at: u64,
    to: u64,
    ready: Option<Bytes>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    broken: BreakOff,
}

impl FileBody {
    pub(super) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Failure>>> {
        if let Some(failure) = self.broken.take() {
            self.at = self.to;
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(ready) = self.ready.take() {
            return Poll::Ready(Some(Ok(ready)));
        }
        if self.at >= self.to {
            return Poll::Ready(None);
        }
        let (file, at, to) = (&self.file, self.at, self.to);
        let reading = self.reading.get_or_insert_with(|| {
            let file = Arc::clone(file);
            tokio::task::spawn_blocking(move || open::piece(&file, at, to))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        match read.map_err(io::Error::other).and_then(|r| r) {
            Ok(piece) => {
                self.at += piece.len() as u64;
                Poll::Ready(Some(Ok(piece.into())))
            }
            Err(error) => self.broken.defer(unreadable(error), cx),
        }
    }

    pub(super) fn left(&self) -> u64 {
        let ready = self.ready.as_ref().map_or(0, Bytes::len) as u64;
        self.to.saturating_sub(self.at).saturating_add(ready)
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody")
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_hash() {
        for path in [
            "assets/index-D3wrgTda.js",
            "assets/app-4f9a02c1.css",
            "main.8e0d62a03f.js",
            "main.8e0d62a03f.chunk.js",
            "index-BX9_ab31.js.map",
        ] {
            assert!(has_hash(path), "{path}");
        }
        for path in [
            "index.html",
            "page-4f9a02c1.html",
            "jquery-migrations.js",
            "lib-20240131.js",
            "Report-Covid2019.pdf",
            "report-covid2019.pdf",
            "bootstrap.bundle.min.js",
            "react-CamelCaseName.js",
            "app-4f9a.js",
            "robots.txt",
            "4f9a02c1aa",
            "Some-Documentation.pdf",
        ] {
            assert!(!has_hash(path), "{path}");
        }
    }

    #[test]
    fn only_plain_names_are_looked_up() {
        let find = |path: &str| {
            let (head, ()) = http::Request::get(path).body(()).unwrap().into_parts();
            let path = crate::route::PathMatch::Prefix("/app/".into());
            wanted(&Below::of(&path), &head).map(|w| (w.path, w.folder))
        };
        for (path, expected) in [
            ("/app/", Some(("", true))),
            ("/app/a/b.js", Some(("a/b.js", false))),
            ("/app/a/", Some(("a", true))),
            ("/app/a%20b", Some(("a b", false))),
            ("/app/.well-known/x", Some((".well-known/x", false))),
            ("/app/a/.well-known", None),
            ("/app/.env", None),
            ("/app/%2eenv", None),
            ("/app/..", None),
            ("/app/a%2Fb", None),
            ("/app/a%5Cb", None),
            ("/app/a%00b", None),
            ("/app//a", None),
            ("/app/a//b", None),
            ("/app/a/%2e%2e/b", None),
            ("/app/%ff", None),
        ] {
            let expected = expected.map(|(path, folder)| (path.to_owned(), folder));
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn browsers_navigate_and_programs_do_not() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("Text/HTML;q=0.9", true),
            ("*/*", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(navigates(&headers), expected, "{accept}");
        }
    }
}
