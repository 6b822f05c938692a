//! Everything that a generation is made of, changed as its owners change it, and broken as they break it.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tonic::codegen::Service;
use transom::demo::Services;
use transom::schema::compile;

use crate::support::process::Process;
use crate::support::tls::{Authority, Pair};

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Config,
    Proto,
    Set,
    Certificate,
    Reflection,
}

pub const KINDS: [Kind; 5] = [
    Kind::Config,
    Kind::Proto,
    Kind::Set,
    Kind::Certificate,
    Kind::Reflection,
];

/// How a gateway tells of a change.
#[derive(Debug)]
pub enum Sign {
    /// This path is no longer 404.
    Path(String),
    /// New connections are shown a certificate of this name.
    Name(String),
    /// Its log says this.
    Says(String),
}

/// A service that can come to tell other descriptors without going away.
#[derive(Clone)]
pub struct Teller(Arc<Mutex<Services>>);

impl Teller {
    pub fn new(proto: &str) -> Self {
        Self(Arc::new(Mutex::new(tells(proto))))
    }

    fn tell(&self, proto: &str) {
        *self.0.lock().expect("unpoisoned") = tells(proto);
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

fn tells(proto: &str) -> Services {
    let services = Services::new().with_reflection(&set("shop", proto));
    services.expect("a set")
}

type Requests = http::Request<tonic::body::Body>;

impl Service<Requests> for Teller {
    type Response = <Services as Service<Requests>>::Response;
    type Error = <Services as Service<Requests>>::Error;
    type Future = <Services as Service<Requests>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Requests) -> Self::Future {
        self.0.lock().expect("unpoisoned").call(request)
    }
}

/// The folder of a gateway, and whoever changes it.
pub struct Sources {
    root: PathBuf,
    config: String,
    authority: Arc<Authority>,
    shop: Teller,
}

/// A package with one method at this path. With `twice`, two methods have it.
fn package(name: &str, number: usize, twice: bool) -> String {
    let rule = format!("option (google.api.http) = {{ get: \"/{name}/{number}\" }};");
    let again = match twice {
        true => format!("rpc Again(Item) returns (Item) {{ {rule} }}"),
        false => String::new(),
    };
    format!(
        "syntax = \"proto3\";\npackage {name}.v1;\nimport \"google/api/annotations.proto\";\n\
         service Service {{\n  rpc Get(Item) returns (Item) {{ {rule} }}\n{again}}}\n\
         message Item {{ int64 id = 1; string field{number} = 2; }}\n"
    )
}

fn set(name: &str, proto: &str) -> Vec<u8> {
    compile(&[(format!("{name}.proto"), proto.to_owned())]).expect("a proto")
}

/// What upstreams tell at first.
pub fn shop() -> String {
    package("shop", 0, false)
}

/// As editors do it: another file takes the name.
fn save(file: &Path, bytes: impl AsRef<[u8]>) {
    let beside = file.with_extension("tmp");
    fs::write(&beside, bytes).expect("written");
    fs::rename(beside, file).expect("renamed");
}

/// As Kubernetes does it: the link `..data` leads to another folder.
fn swap(folder: &Path, number: usize, pair: &Pair) {
    let data = folder.join(format!("..{number}"));
    fs::create_dir(&data).expect("a folder");
    pair.write(&data, "tls");
    let before = fs::read_link(folder.join("..data"));
    symlink(format!("..{number}"), folder.join("..data_tmp")).expect("a link");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
    if let Ok(before) = before {
        fs::remove_dir_all(folder.join(before)).expect("removed");
    }
}

impl Sources {
    /// All of it, in front of these two services.
    pub fn write(root: &Path, games: &str, shop_at: &str, shop: Teller) -> Self {
        let config = format!(
            "listeners:\n  - {{ address: \"127.0.0.1:0\" }}\n  - {{ address: \"127.0.0.1:0\", tls: {{ \
             certificates: [{{ cert: tls/tls.crt, key: tls/tls.key }}] }} }}\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             descriptors: [{{ protos: proto }}, {{ file: more.binpb }}, {{ reflection: shop }}]\n\
             upstreams:\n  games: {{ endpoints: [\"{games}\"] }}\n  shop: {{ endpoints: [\"{shop_at}\"] }}\n\
             reload: {{ reflection: 100ms, policy: apply }}\nworkers: 2\nroutes:\n  \
             - {{ services: [\"gamehub.v1.*\", \"extra.v1.*\", \"more.v1.*\"], upstream: games }}\n  \
             - {{ services: [\"shop.v1.*\"], upstream: shop }}\n"
        );
        let sources = Self {
            root: root.to_owned(),
            config,
            authority: Arc::new(Authority::new("Reloads")),
            shop,
        };
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/gamehub/v1");
        let proto = root.join("proto/gamehub/v1");
        fs::create_dir_all(&proto).expect("a folder");
        for file in fs::read_dir(own).expect("the protos") {
            let file = file.expect("a file");
            fs::copy(file.path(), proto.join(file.file_name())).expect("copied");
        }
        fs::create_dir(root.join("tls")).expect("a folder");
        for kind in KINDS {
            sources.change(kind, 0);
        }
        for name in ["tls.crt", "tls.key"] {
            let link = root.join("tls").join(name);
            symlink(format!("..data/{name}"), link).expect("a link");
        }
        sources
    }

    /// Whom clients over TLS believe.
    pub fn authority(&self) -> Arc<Authority> {
        Arc::clone(&self.authority)
    }

    fn pair(&self, number: usize) -> Pair {
        let own = format!("n{number}.test");
        self.authority.server(&["localhost", &own])
    }

    /// Changes it into its version of this number.
    pub fn change(&self, kind: Kind, number: usize) -> Sign {
        let path = |name: &str| Sign::Path(format!("/{name}/{number}"));
        match kind {
            Kind::Config => {
                let route =
                    format!("  - {{ path: /config/{number}, respond: {{ status: 204 }} }}\n");
                save(
                    &self.root.join("transom.yaml"),
                    self.config.clone() + &route,
                );
                path("config")
            }
            Kind::Proto => {
                let text = package("extra", number, false);
                save(&self.root.join("proto/extra.proto"), text);
                path("extra")
            }
            Kind::Set => {
                let set = set("more", &package("more", number, false));
                save(&self.root.join("more.binpb"), set);
                path("more")
            }
            Kind::Certificate => {
                swap(&self.root.join("tls"), number, &self.pair(number));
                Sign::Name(format!("n{number}.test"))
            }
            Kind::Reflection => {
                self.shop.tell(&package("shop", number, false));
                path("shop")
            }
        }
    }

    /// Breaks it, each in its own way.
    pub fn spoil(&self, kind: Kind, number: usize) -> Sign {
        let says = |words: &str| Sign::Says(words.to_owned());
        match kind {
            Kind::Config => {
                let text = self.config.replace("upstream: shop", "upstream: gone");
                save(&self.root.join("transom.yaml"), text);
                says("unknown upstream `gone`")
            }
            Kind::Proto => {
                let text = package("extra", number, false);
                let half = &text[..text.len() - 12];
                fs::write(self.root.join("proto/extra.proto"), half).expect("written");
                says("extra.proto")
            }
            Kind::Set => {
                let set = set("more", &package("more", number, false));
                let half = &set[..set.len() - 7];
                save(&self.root.join("more.binpb"), half);
                says("more.binpb")
            }
            Kind::Certificate => {
                let pair = Pair {
                    key: self.pair(number).key,
                    ..self.pair(number)
                };
                swap(&self.root.join("tls"), number, &pair);
                says("tls.key")
            }
            Kind::Reflection => {
                self.shop.tell(&package("shop", number, true));
                says("`shop` tells by reflection can't be used")
            }
        }
    }
}

/// What the process takes of memory, in KiB.
pub fn resident(running: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB"));
    kib.expect("a line").trim().parse().expect("a number")
}
