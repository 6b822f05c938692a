//! What the gateway tells of descriptors: the services that are mounted and the files that they need,
//! and nothing that only others do.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::route::HostPattern;
use crate::schema::{FileId, Files, Schema, SymbolKind, gateway_services};

use super::Live;
use super::rpcs::Rpcs;

/// Types of error details: any service may answer with them.
const OF_ERRORS: [&str; 2] = ["google.rpc.Status", "google.rpc.ErrorInfo"];

/// Which files are told of, by the hosts that services are mounted for.
#[derive(Debug)]
pub struct Described {
    visible: Vec<(Box<[HostPattern]>, HashSet<FileId>)>,
    schema: Arc<Schema>,
    /// Of the gateway's own services.
    own: Option<Arc<Schema>>,
}

impl Described {
    pub(super) fn of(schema: &Arc<Schema>, rpcs: &Rpcs) -> Self {
        let files = schema.files();
        let mut roots: Vec<(Box<[HostPattern]>, HashSet<FileId>)> = Vec::new();
        for route in rpcs.routes() {
            let declaring = route.service().and_then(|s| files.declaring(s));
            let Some((_, file)) = declaring else {
                continue;
            };
            match roots.iter_mut().find(|(hosts, _)| *hosts == route.hosts) {
                Some((_, all)) => _ = all.insert(file),
                None => roots.push((route.hosts.clone(), HashSet::from([file]))),
            }
        }
        let of_errors = || OF_ERRORS.iter().filter_map(|name| files.declaring(name));
        let visible = roots.into_iter().map(|(hosts, roots)| {
            let roots = roots.into_iter().chain(of_errors().map(|(_, file)| file));
            (hosts, files.closure(roots))
        });
        Self {
            visible: visible.collect(),
            schema: Arc::clone(schema),
            own: gateway_services().ok(),
        }
    }
}

/// What of it a client of one host may see.
#[derive(Clone, Copy, Debug)]
pub struct View<'l> {
    live: &'l Live,
    described: &'l Described,
    host: &'l str,
}

/// Where a file is: among the schema's, or among those of the gateway's own services.
#[derive(Clone, Copy)]
struct Found<'l> {
    files: &'l Files,
    id: FileId,
}

impl<'l> View<'l> {
    /// `None` where descriptors are told to nobody. `host` is without a port.
    #[must_use]
    pub fn new(live: &'l Live, host: &'l str) -> Option<Self> {
        Some(Self {
            live,
            described: live.described.as_ref()?,
            host,
        })
    }

    /// Full names, sorted.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&'l str> {
        let mut services = self.live.rpcs.services(self.host);
        services.extend(self.live.own.services(self.host));
        services
    }

    /// An encoded `FileDescriptorProto` by its name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Bytes> {
        self.find(|files| files.named(name)).map(|f| self.bytes(f))
    }

    /// That with a message, enum, extension, service or method.
    #[must_use]
    pub fn file_with_symbol(&self, full_name: &str) -> Option<Bytes> {
        let declaring = |files: &'l Files| {
            let (kind, id) = files.declaring(full_name)?;
            let service = match kind {
                SymbolKind::Type => return Some(id),
                SymbolKind::Service => full_name,
                SymbolKind::Method => {
                    let (service, method) = full_name.rsplit_once('.')?;
                    return self.has_method(service, method).then_some(id);
                }
            };
            let rpcs = [&self.live.rpcs, &self.live.own];
            let mounted = rpcs.iter().any(|r| r.has_service(self.host, service));
            mounted.then_some(id)
        };
        self.find(declaring).map(|f| self.bytes(f))
    }

    /// That with the extension of a message with a number.
    #[must_use]
    pub fn file_with_extension(&self, message: &str, number: i32) -> Option<Bytes> {
        let extending = |files: &'l Files| files.extensions(message)?.get(&number).copied();
        self.find(extending).map(|f| self.bytes(f))
    }

    /// The numbers of a message's extensions, ascending; `None` for a message that isn't known.
    #[must_use]
    pub fn extension_numbers(&self, message: &str) -> Option<Vec<i32>> {
        let declaring = |files: &'l Files| {
            let (kind, id) = files.declaring(message)?;
            (kind == SymbolKind::Type).then_some(id)
        };
        let Found { files, .. } = self.find(declaring)?;
        let all = files.extensions(message).into_iter().flatten();
        let visible = all.filter(|(_, id)| self.is_visible(files, **id));
        Some(visible.map(|(number, _)| *number).collect())
    }

    fn find(&self, by: impl Fn(&'l Files) -> Option<FileId>) -> Option<Found<'l>> {
        let own = self.described.own.as_deref().map(Schema::files);
        let pools = std::iter::once(self.described.schema.files()).chain(own);
        pools
            .filter_map(|files| {
                Some(Found {
                    files,
                    id: by(files)?,
                })
            })
            .find(|found| self.is_visible(found.files, found.id))
    }

    fn is_visible(&self, files: &Files, id: FileId) -> bool {
        if !std::ptr::eq(files, self.described.schema.files()) {
            return true;
        }
        let mut visible = self.described.visible.iter();
        visible.any(|(hosts, all)| {
            let fits = hosts.is_empty() || hosts.iter().any(|h| h.fit(self.host).is_some());
            fits && all.contains(&id)
        })
    }

    fn bytes(&self, found: Found<'l>) -> Bytes {
        let keep = |service: &str, method: &str| self.has_method(service, method);
        found.files.encoded(found.id, keep)
    }

    fn has_method(&self, service: &str, method: &str) -> bool {
        let path = format!("/{service}/{method}");
        let rpcs = [&self.live.rpcs, &self.live.own];
        rpcs.iter().any(|r| r.find(self.host, &path).is_some())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::prost_types::FileDescriptorProto;

    use super::*;
    use crate::live::tests::{CONFIG, PROTO};
    use crate::schema::{SchemaBuilder, compile};

    const OTHER: &str = "syntax = 'proto2'; package shop.internal;
        message Secret { extensions 100 to 200; } service Audit { rpc Log(Secret) returns (Secret); }";
    const MORE: &str = "syntax = 'proto2'; package shop.more; import 'audit.proto';
        extend shop.internal.Secret { optional string note = 100; optional int32 grade = 150; }";

    fn live() -> Live {
        let routes = "  - { services: [shop.v1.Games], exclude: [shop.v1.Games/Hidden], hosts: [a.example], upstream: games }
  - { services: [shop.internal.Audit], hosts: [b.example], upstream: games }
server_reflection: true
";
        let text = format!("{CONFIG}{routes}");
        let folder = std::path::Path::new("");
        let loaded = crate::config::parse(
            "transom.yaml",
            &text,
            crate::config::Syntax::Yaml,
            folder,
            &|_| None,
        );
        let config = loaded.unwrap_or_else(|r| panic!("{r:?}")).config;
        let texts = [
            ("games.proto", PROTO),
            ("audit.proto", OTHER),
            ("more.proto", MORE),
        ];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut builder = SchemaBuilder::new().keep_files(true);
        builder
            .add_set("protos", &compile(&texts).expect("protos"))
            .expect("a set");
        let schema = Arc::new(builder.build().expect("a schema"));
        Live::build(&config, schema, &[]).unwrap_or_else(|e| panic!("{e:?}"))
    }

    #[test]
    fn each_host_sees_what_is_mounted_for_it() {
        let live = live();
        let [a, b, c] = ["a.example", "b.example", "c.example"]
            .map(|host| View::new(&live, host).expect("a view"));
        let mounted = |view: View<'_>| {
            let services = view.services().into_iter().map(str::to_owned);
            services
                .filter(|s| s.starts_with("shop"))
                .collect::<Vec<_>>()
        };
        assert_eq!(mounted(a), ["shop.v1.Games"]);
        assert_eq!(mounted(b), ["shop.internal.Audit"]);
        assert_eq!(mounted(c), [""; 0]);

        let file = a.file_with_symbol("shop.v1.Games.GetGame").expect("a file");
        let file = FileDescriptorProto::decode(file).expect("a descriptor");
        let services: Vec<_> = file.service.iter().map(|s| s.name()).collect();
        assert_eq!(services, ["Games"], "Shelves isn't mounted");
        assert!(file.service[0].method.iter().all(|m| m.name() != "Hidden"));
        for hidden in [
            "shop.v1.Shelves",
            "shop.v1.Games.Hidden",
            "shop.internal.Secret",
            "shop.v1",
        ] {
            assert_eq!(a.file_with_symbol(hidden), None, "{hidden}");
        }
        assert_eq!(a.file("audit.proto"), None);
        assert_eq!(a.extension_numbers("shop.internal.Secret"), None);
        assert_eq!(b.file_with_symbol("shop.v1.Game"), None);
        assert!(b.file_with_symbol("google.rpc.RetryInfo").is_some());
        assert!(c.file_with_symbol("grpc.health.v1.Health").is_some());
    }

    #[test]
    fn extensions_are_found_from_what_they_extend() {
        let live = live();
        let view = View::new(&live, "b.example").expect("a view");
        assert_eq!(
            view.extension_numbers("shop.internal.Secret"),
            Some(vec![100, 150])
        );
        let more = view
            .file_with_extension("shop.internal.Secret", 150)
            .expect("a file");
        let more = FileDescriptorProto::decode(more).expect("a descriptor");
        assert_eq!(more.name(), "more.proto");
        assert_eq!(view.file_with_extension("shop.internal.Secret", 101), None);
        assert!(view.file_with_symbol("shop.more.note").is_some());
    }
}
