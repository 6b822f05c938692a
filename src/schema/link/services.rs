//! Services and methods, their HTTP rules and the places they are declared at.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use prost::Message as _;

use super::super::descriptor::{Location, MethodDescriptor, ServiceDescriptor};
use super::super::error::{Place, SchemaError};
use super::super::http_rule;
use super::super::names;
use super::super::sources::{Item, SourceFile, Unit};
use super::super::types::{MessageId, Method, Service, StreamKind};
use super::super::wire;
use super::{Linker, Symbol};

/// `FileDescriptorProto.service` and `ServiceDescriptorProto.method`, as in source paths.
const SERVICE_TAG: i32 = 6;
const METHOD_TAG: i32 = 2;

/// Line and column, from one, by service and method index.
type Locations = HashMap<(i32, i32), (usize, usize)>;

impl<'a> Linker<'a, '_> {
    pub(super) fn link_services(&mut self, units: &[Unit<'a>]) -> Vec<Service> {
        let mut services = Vec::new();
        let mut locations: HashMap<usize, Locations> = HashMap::new();
        let files = self.files;
        for unit in units {
            let (Item::Service(proto), Some(source)) = (unit.item, files.get(unit.file)) else {
                continue;
            };
            let places = locations
                .entry(unit.file)
                .or_insert_with(|| method_locations(source));
            services.push(self.link_service(proto, unit, source, places));
        }
        services
    }

    fn link_service(
        &mut self,
        proto: &ServiceDescriptor,
        unit: &Unit<'_>,
        source: &SourceFile,
        places: &Locations,
    ) -> Service {
        let package = source.file.package.as_deref().unwrap_or_default();
        let full_name = names::join(package, proto.name.as_deref().unwrap_or_default());
        let mut seen = HashSet::new();
        let mut methods = Vec::with_capacity(proto.method.len());
        for (index, method) in proto.method.iter().enumerate() {
            let at = (
                i32::try_from(unit.index).unwrap_or(-1),
                i32::try_from(index).unwrap_or(-1),
            );
            let name = method.name.as_deref().unwrap_or_default();
            let full = names::join(&full_name, name);
            if !names::is_identifier(name) {
                self.fault(unit.file, &full, "the method's name is not an identifier");
                continue;
            }
            if !seen.insert(name) {
                self.fault(unit.file, &full, "the method is declared twice");
                continue;
            }
            let place = places.get(&at).copied();
            methods.extend(self.link_method(method, &full, unit.file, place));
        }
        Service {
            full_name: full_name.into(),
            methods: methods.into(),
            file: Arc::clone(&source.label),
        }
    }

    fn link_method(
        &mut self,
        proto: &MethodDescriptor,
        full: &str,
        file: usize,
        place: Option<(usize, usize)>,
    ) -> Option<Method> {
        let input = self.method_type(proto.input_type.as_deref(), full, file, "request");
        let output = self.method_type(proto.output_type.as_deref(), full, file, "response");
        let options = proto.options.as_ref();
        let http = match options
            .and_then(|o| o.http.as_ref())
            .map(http_rule::of_option)
        {
            None => None,
            Some(Ok(rule)) => Some(rule),
            Some(Err(messages)) => {
                for message in messages {
                    let mut error = SchemaError::new(message).of(full);
                    if let Some((line, column)) = place {
                        error = error.at(Place {
                            line,
                            column,
                            width: 1,
                            snippet: None,
                        });
                    }
                    self.fault_with(file, error);
                }
                None
            }
        };
        // NO_SIDE_EFFECTS = 1, IDEMPOTENT = 2; anything newer promises nothing that we know of.
        let idempotency = options.and_then(|o| o.idempotency_level).unwrap_or(0);
        let name = self
            .files
            .get(file)
            .and_then(|f| f.file.name.as_deref())
            .unwrap_or_default();
        let client = proto.client_streaming.unwrap_or(false);
        let server = proto.server_streaming.unwrap_or(false);
        Some(Method {
            name: proto.name.as_deref().unwrap_or_default().into(),
            input: input?,
            output: output?,
            stream: match (client, server) {
                (false, false) => StreamKind::Unary,
                (true, false) => StreamKind::Client,
                (false, true) => StreamKind::Server,
                (true, true) => StreamKind::Bidi,
            },
            http,
            idempotent: matches!(idempotency, 1 | 2),
            no_side_effects: idempotency == 1,
            location: place.map(|(line, column)| format!("{name}:{line}:{column}").into()),
        })
    }

    fn method_type(
        &mut self,
        name: Option<&str>,
        full: &str,
        file: usize,
        role: &str,
    ) -> Option<MessageId> {
        let name = name.filter(|n| !n.is_empty());
        let Some(name) = name else {
            self.fault(file, full, format!("the method has no {role} type"));
            return None;
        };
        let scope = full.rsplit_once('.').map_or("", |(scope, _)| scope);
        match self.find(scope, name) {
            Some(Symbol::Message(id)) => Some(id),
            Some(_) => {
                self.fault(
                    file,
                    full,
                    format!("the {role} type {} is not a message", names::shown(name)),
                );
                None
            }
            None => {
                self.unresolved(file, full, name);
                None
            }
        }
    }
}

/// Broken source info costs the places, not the schema: nothing depends on it. Locations are read one
/// by one, because a file has thousands and only those of methods are kept.
fn method_locations(source: &SourceFile) -> Locations {
    let mut places = Locations::new();
    let info = source.file.source_code_info.as_deref().unwrap_or_default();
    for (tag, bytes) in wire::Fields(info) {
        let Some(location) = Location::decode(bytes).ok().filter(|_| tag == 1) else {
            continue;
        };
        let [SERVICE_TAG, service, METHOD_TAG, method] = *location.path.as_slice() else {
            continue;
        };
        let [line, column, ..] = *location.span.as_slice() else {
            continue;
        };
        let from_one = |n: i32| usize::try_from(n).ok()?.checked_add(1);
        if let (Some(line), Some(column)) = (from_one(line), from_one(column)) {
            places.insert((service, method), (line, column));
        }
    }
    places
}
