//! Path templates of `google.api.http` as those of OpenAPI: one parameter for each segment that varies.

use std::collections::HashSet;
use std::ops::Range;

use crate::route::{PathTemplate, Segment};
use crate::transcode::MethodPlan;

/// A template in OpenAPI's form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// `/v1/studios/{studio}/games/{game}:publish`
    pub text: String,
    /// What it matches, whatever its parts are called.
    pub shape: String,
    pub parameters: Vec<Part>,
}

/// A segment that varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    /// The variable that it is of, by its place in the plan.
    pub variable: Option<usize>,
    /// It is all of that variable.
    pub whole: bool,
    /// Any number of segments.
    pub rest: bool,
}

impl Address {
    /// `None` for a template that isn't one, which no plan has.
    pub fn of(plan: &MethodPlan) -> Option<Self> {
        let template = PathTemplate::parse(&plan.template).ok()?;
        let spans: Vec<Range<usize>> = (0..template.variables().len())
            .filter_map(|at| template.covered_by(at))
            .collect();
        let mut text = String::new();
        let mut parameters: Vec<Part> = Vec::new();
        let mut seen = HashSet::new();
        for (at, segment) in template.segments().iter().enumerate() {
            text.push('/');
            if let Segment::Literal(_) = segment {
                text.push_str(&segment.to_string());
                continue;
            }
            let variable = spans.iter().position(|span| span.contains(&at));
            let span = variable.and_then(|v| spans.get(v).cloned());
            let whole = span.as_ref().is_some_and(|span| span.len() == 1);
            let named = variable.and_then(|v| Some(&*template.variables().get(v)?.field_path));
            let before = at
                .checked_sub(1)
                .filter(|before| !whole && span.as_ref().is_none_or(|span| span.contains(before)));
            let literal = before.and_then(|before| match template.segments().get(before) {
                Some(Segment::Literal(literal)) => singular(literal),
                _ => None,
            });
            let wanted = literal.or_else(|| named.map(str::to_owned));
            let name = unused(wanted.unwrap_or_else(|| "segment".to_owned()), &mut seen);
            text.push('{');
            text.push_str(&name);
            text.push('}');
            parameters.push(Part {
                name,
                variable,
                whole,
                rest: *segment == Segment::Rest,
            });
        }
        let shape = template.shape();
        if template.verb().is_some()
            && let Some((_, verb)) = shape.rsplit_once(':')
        {
            text.push(':');
            text.push_str(verb);
        }
        Some(Self {
            text,
            shape,
            parameters,
        })
    }

    /// Takes over the names of another template of the same shape.
    pub fn rename(&mut self, names: &[String]) {
        for (part, name) in self.parameters.iter_mut().zip(names) {
            part.name.clone_from(name);
        }
    }
}

/// What one of `studios` is called: `studio`. `None` for what can't be a name.
fn singular(literal: &str) -> Option<String> {
    const ENDINGS: [(&str, &str); 8] = [
        ("ies", "y"),
        ("lves", "lf"),
        ("xes", "x"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("sses", "ss"),
        ("ss", "ss"),
        ("s", ""),
    ];
    let fitting = ENDINGS.iter().find_map(|(plural, one)| {
        let stem = literal.strip_suffix(plural)?;
        (!stem.is_empty()).then(|| format!("{stem}{one}"))
    });
    let name = fitting.unwrap_or_else(|| literal.to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

fn unused(wanted: String, seen: &mut HashSet<String>) -> String {
    if seen.insert(wanted.clone()) {
        return wanted;
    }
    let free = (2_usize..)
        .map(|n| format!("{wanted}_{n}"))
        .find(|name| !seen.contains(name));
    let name = free.unwrap_or(wanted);
    seen.insert(name.clone());
    name
}
