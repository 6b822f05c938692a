//! TOML to a [`Node`], by the toml crate's tables with places.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::source::{Source, Span};
use super::tree::{DEPTH_MAX, ERRORS_MAX, Entry, Kind, NODES_MAX, Node, Scalar, Value, insert};

/// # Errors
/// Every fault that the parser recovers from, not the first alone.
pub fn parse(source: &Source) -> Result<Node, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        let all = errors.iter().take(ERRORS_MAX).map(|error| {
            let span = error.span().unwrap_or_default();
            source.error(
                Span::new(span.start, span.end),
                format!("invalid TOML: {}", error.message()),
            )
        });
        return Err(all.collect());
    }
    let mut walk = Walk { source, nodes: 0 };
    let span = Span::new(0, source.text().len());
    walk.table(table.get_ref(), span, 1).map_err(|e| vec![*e])
}

struct Walk<'s> {
    source: &'s Source,
    nodes: usize,
}

impl Walk<'_> {
    fn table(
        &mut self,
        table: &DeTable<'_>,
        span: Span,
        depth: usize,
    ) -> Result<Node, Box<Diagnostic>> {
        let mut entries = Vec::new();
        let mut sorted: Vec<_> = table.iter().collect();
        sorted.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in sorted {
            let entry = Entry {
                key: key.get_ref().to_string(),
                key_span: spanned(key),
                value: self.value(value, depth)?,
            };
            insert(self.source, &mut entries, entry)?;
        }
        Ok(Node {
            value: Value::Map(entries),
            span,
        })
    }

    fn value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        depth: usize,
    ) -> Result<Node, Box<Diagnostic>> {
        let span = spanned(value);
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            let message =
                format!("nested more than {DEPTH_MAX} deep, or more than {NODES_MAX} values");
            return Err(Box::new(self.source.error(span, message)));
        }
        let scalar = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, span, depth + 1),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.value(item, depth + 1));
                return Ok(Node {
                    value: Value::List(items.collect::<Result<_, _>>()?),
                    span,
                });
            }
            DeValue::String(text) => Scalar::new(text.to_string(), Kind::String),
            DeValue::Integer(number) => {
                let decimal = i128::from_str_radix(number.as_str(), number.radix());
                let text = decimal.map_or_else(|_| number.to_string(), |n| n.to_string());
                Scalar::new(text, Kind::Integer)
            }
            DeValue::Float(number) => Scalar::new(number.to_string(), Kind::Float),
            DeValue::Boolean(yes) => Scalar::new(yes.to_string(), Kind::Bool),
            DeValue::Datetime(date) => Scalar::new(date.to_string(), Kind::Date),
        };
        Ok(Node {
            value: Value::Scalar(scalar),
            span,
        })
    }
}

fn spanned<T>(value: &Spanned<T>) -> Span {
    let range = value.span();
    Span::new(range.start, range.end)
}
