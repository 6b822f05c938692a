//! Every fault of a service and of the way to it, for each kind of call, asked over HTTP/1.1 and
//! HTTP/2: the status, the end by the deadline, the stream that is reset, how often the call was sent,
//! and nothing that stays behind.
//!
//! The tables are in `fault_matrix/table.rs` and `fault_matrix/wire_table.rs`; a cell that is wrong prints its name, and `FAULT=name` in
//! the environment runs the rows of that name alone.

#[path = "fault_matrix/bench.rs"]
mod bench;
#[path = "fault_matrix/deeds.rs"]
mod deeds;
mod support;
#[path = "fault_matrix/table.rs"]
mod table;
#[path = "fault_matrix/wire.rs"]
mod wire;
#[path = "fault_matrix/wire_table.rs"]
mod wire_table;

use std::panic::AssertUnwindSafe;

use bench::{Bench, Cell, KINDS, Time};
use futures_util::FutureExt;

/// One test: it counts the files of the whole process.
#[tokio::test]
async fn every_fault_has_its_status_and_leaves_nothing_behind() {
    let only = std::env::var("FAULT").unwrap_or_default();
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for row in table::rows() {
        if !row.name.contains(&only) {
            continue;
        }
        let mut bench = Bench::start(&row).await;
        let all = (0..KINDS.len()).flat_map(|kind| [1, 2].map(|http| Cell { kind, http }));
        let all: Vec<_> = all.collect();
        // Who waits for a deadline waits beside the others.
        let together = match row.time {
            Time::Late | Time::SlowConnect => all.len(),
            Time::Ample => 1,
        };
        for batch in all.chunks(together) {
            cells += batch.len();
            let tried = AssertUnwindSafe(bench.run(&row, batch)).catch_unwind();
            match tried.await {
                Ok(found) => wrong.extend(found),
                Err(panic) => {
                    let said = panic.downcast_ref::<String>().map(String::as_str);
                    let said = said.or(panic.downcast_ref::<&str>().copied());
                    let names: Vec<_> = batch.iter().map(|c| c.name(&row)).collect();
                    wrong.push(format!("{names:?}: {}", said.unwrap_or("a panic")));
                    break;
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cells} cells:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("{cells} cells");
}
