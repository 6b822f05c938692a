//! What is counted and timed, without a lock or a lookup where requests pass: each worker has cells of
//! its own, found when a generation is built, and gives a report of them when it is asked.

mod account;
mod book;
mod calls;
mod expose;
mod histogram;
mod line;
mod mishaps;
mod program;
mod quota;
mod report;
mod series;
mod sink;
mod trace;
mod transcoding;

pub use account::{Account, Speech, Text, brief};
pub use book::{Book, Open};
pub use calls::{CallReport, Side};
pub use expose::{Endpoint, Facts, Process, expose, old_generations};
pub use histogram::{BUCKETS, Histogram};
pub use line::{Session, Shown};
pub use mishaps::Mishap;
pub use program::{Level, LevelError, Logs, ProgramLog};
pub use quota::Quota;
pub use report::{Asking, Count, Counted, Reports, RouteReport, UpstreamReport, WorkerReport};
pub use series::{Cells, Label, Named, Rpc, Series, Track};
pub use sink::{Events, Output, Outputs, Sink, SinkReport};
pub use trace::{
    Attempt, Goal, Handshake, Shaken, SpanCounts, SpanOrder, SpanReport, Spans, Trace, Trail, Try,
};
pub use transcoding::{Direction, transcoded, transcoding};
