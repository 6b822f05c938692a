//! What each fuzz target checks: one function of the input a target, in a file of its own.
//!
//! A check panics when the program is wrong and returns otherwise, whatever the input.

pub mod bind;
pub mod route_lookup;
pub mod template;

/// A target's check.
pub type Check = fn(&[u8]);

/// All targets. The corpus of each is in `fuzz/corpus/NAME`, its binary in `fuzz_targets/NAME.rs`.
pub const TARGETS: &[(&str, Check)] = &[
    ("bind", bind::check),
    ("route_lookup", route_lookup::check),
    ("template", template::check),
];
