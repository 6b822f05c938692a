//! Imports: cycles are refused; a missing file is a fault only when a name that is needed is missing
//! with it. Sets without `google/api/annotations.proto`, or servers that don't tell files that hold
//! only options, are common and harmless.

use std::collections::HashMap;

use super::super::builtin;
use super::super::error::SchemaError;
use super::super::names;
use super::super::sources::{Faults, SourceFile};
use super::Linker;

/// Per file: the imports that no source has, and what could not be found.
#[derive(Default)]
pub(super) struct Imports {
    missing: HashMap<usize, Vec<String>>,
    /// First unresolved name and its user, and how many there are.
    wanted: HashMap<usize, (String, String, usize)>,
}

/// Builds the graph of files; a file name is looked for in the same source first.
pub(super) fn check(files: &[SourceFile], faults: &mut Faults) -> Imports {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, file) in files.iter().enumerate() {
        by_name
            .entry(file.file.name.as_deref().unwrap_or_default())
            .or_default()
            .push(at);
    }
    let mut imports = Imports::default();
    let mut graph: Vec<Vec<usize>> = Vec::with_capacity(files.len());
    for (at, file) in files.iter().enumerate() {
        let mut edges = Vec::new();
        for name in &file.file.dependency {
            match by_name.get(name.as_str()) {
                Some(found) => {
                    let same = |i: &&usize| files.get(**i).is_some_and(|f| f.origin == file.origin);
                    edges.extend(found.iter().find(same).or(found.first()));
                }
                None if builtin::is_known(name) => {}
                None => imports
                    .missing
                    .entry(at)
                    .or_default()
                    .push(names::shown(name)),
            }
        }
        graph.push(edges);
    }
    cycles(files, &graph, faults);
    imports
}

/// Depth-first with a stack of our own: a chain of imports may be as long as there are files.
fn cycles(files: &[SourceFile], graph: &[Vec<usize>], faults: &mut Faults) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; graph.len()];
    for root in 0..graph.len() {
        let mut stack = vec![(root, 0_usize)];
        while let Some((at, next)) = stack.pop() {
            let Some(state) = states.get_mut(at) else {
                continue;
            };
            if next == 0 {
                if *state != State::New {
                    continue;
                }
                *state = State::Open;
            }
            let Some(&to) = graph.get(at).and_then(|edges| edges.get(next)) else {
                *state = State::Done;
                continue;
            };
            stack.push((at, next.saturating_add(1)));
            match states.get(to) {
                Some(State::New) => stack.push((to, 0)),
                Some(State::Open) => report_cycle(files, &stack, to, faults),
                _ => {}
            }
        }
    }
}

fn report_cycle(files: &[SourceFile], stack: &[(usize, usize)], to: usize, faults: &mut Faults) {
    let name = |at: usize| {
        files
            .get(at)
            .and_then(|f| f.file.name.as_deref())
            .unwrap_or_default()
    };
    let mut path: Vec<&str> = stack
        .iter()
        .map(|(at, _)| *at)
        .skip_while(|at| *at != to)
        .map(name)
        .collect();
    path.push(name(to));
    let shown = if path.len() > 12 {
        format!("{} files long", path.len())
    } else {
        path.join(" -> ")
    };
    let origin = files.get(to).map_or("", |f| &*f.origin);
    faults.push(
        SchemaError::new(format!("files import each other: {shown}"))
            .with_origin(origin)
            .in_file(name(to)),
    );
}

impl Linker<'_, '_> {
    /// A type that can't be found: for a file that lacks an import, all of them make one fault.
    pub(super) fn unresolved(&mut self, file: usize, user: &str, name: &str) {
        let name = name.strip_prefix('.').unwrap_or(name);
        if self.imports.missing.contains_key(&file) {
            let first = || (names::shown(name), names::shown(user), 0);
            let wanted = self.imports.wanted.entry(file).or_insert_with(first);
            wanted.2 = wanted.2.saturating_add(1);
            return;
        }
        let message = format!(
            "the type {} is not declared in any source",
            names::shown(name)
        );
        self.fault_with(file, SchemaError::new(message).of(user).lacking());
    }

    pub(super) fn report_imports(&mut self) {
        let mut wanted: Vec<_> = std::mem::take(&mut self.imports.wanted)
            .into_iter()
            .collect();
        wanted.sort_by_key(|(file, _)| *file);
        for (file, (name, user, count)) in wanted {
            let missing = self
                .imports
                .missing
                .get(&file)
                .map(|m| m.join(", "))
                .unwrap_or_default();
            let others = if count > 1 {
                format!(" and {} more", count.saturating_sub(1))
            } else {
                String::new()
            };
            let error = SchemaError::new(format!("imports {missing}, which no source has; {name}{others} can't be found without"))
                .of(&user)
                .lacking()
                .with_help("protoc needs --include_imports to put imported files into the set (buf build does it by itself)");
            self.fault_with(file, error);
        }
    }
}
