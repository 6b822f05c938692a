//! What tables and answers of commands call the parts of a route.

use std::io::{self, Write};

use crate::live::{Live, Route, Target};
use crate::schema::StreamKind;

/// Columns padded to their widest cell, two spaces between them, none at the end of a line.
///
/// # Errors
/// Of the writer.
pub fn print_table(lines: &[Vec<&str>], out: &mut impl Write) -> io::Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|l| l.get(column));
        cells.map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for line in lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            text.push_str(cell);
            let padding = width.saturating_sub(cell.chars().count()) + 2;
            text.extend(std::iter::repeat_n(' ', padding));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// A target that is no method.
#[must_use]
pub fn plain(target: &Target) -> &'static str {
    match target {
        Target::Rpc(_) => "rpc",
        Target::Proxy { .. } => "proxy",
        Target::Files(..) => "files",
        Target::Redirect(..) => "redirect",
        Target::Respond(_) => "respond",
    }
}

/// Empty for a route without one.
#[must_use]
pub fn upstream_name(live: &Live, route: &Route) -> String {
    let upstream = route
        .upstream
        .and_then(|id| live.upstreams.get(id.0 as usize));
    upstream.map(|u| u.name.to_string()).unwrap_or_default()
}

/// `unary`, `server` …
#[must_use]
pub fn stream(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Unary => "unary",
        StreamKind::Server => "server",
        StreamKind::Client => "client",
        StreamKind::Bidi => "bidi",
    }
}
