//! What is counted and timed, without a lock or a lookup where requests pass: each worker has cells of
//! its own, found when a generation is built, and gives a report of them when it is asked.

mod expose;
mod histogram;
mod report;
mod series;

pub use expose::{Endpoint, Facts, Process, expose, old_generations};
pub use histogram::{BUCKETS, Histogram};
pub use report::{Asking, Count, Reports, RouteReport, UpstreamReport, WorkerReport};
pub use series::{Cells, Label, Series};
