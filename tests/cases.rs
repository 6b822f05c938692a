//! Transcoding tables: `cases/*.yaml`. Each case is one request, the call that it makes, the answer of
//! a scripted service and the reply. It runs on the pure core, and through a running gateway over
//! HTTP/1.1 and HTTP/2. Messages are judged by an outside codec.

mod support;

#[path = "cases/core.rs"]
mod core;
#[path = "cases/running.rs"]
mod running;
#[path = "cases/table.rs"]
mod table;

use table::Table;

/// The least number of cases: the tables only grow.
const CASES_MIN: usize = 250;

macro_rules! tables {
    ($($name:ident),* $(,)?) => {
        const TABLES: &[&str] = &[$(stringify!($name)),*];

        $(
            mod $name {
                #[test]
                fn on_the_core() {
                    super::core::check(&super::Table::read(stringify!($name)));
                }

                #[test]
                fn through_the_gateway() {
                    super::running::check(&super::Table::read(stringify!($name)));
                }
            }
        )*
    };
}

tables!(
    binding,
    bodies,
    compact,
    conversations,
    errors,
    events,
    forms,
    gateway,
    kinds,
    lenient,
    metadata,
    partial,
    parts,
    raw,
    replies,
    routing,
    statuses,
    streams,
    updates,
    uploads,
    verbose,
);

#[test]
fn every_table_is_run_and_there_are_enough_cases() {
    let mut found: Vec<String> = std::fs::read_dir(table::folder())
        .expect("the tables")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| {
            path.file_stem()
                .expect("name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    assert_eq!(found, TABLES);
    let cases: usize = found.iter().map(|name| Table::read(name).cases.len()).sum();
    assert!(cases >= CASES_MIN, "only {cases} cases");
}
