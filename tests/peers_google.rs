//! Whole services of npm's google-proto-files, mounted through a config file: every rule planned,
//! URLs explained, and messages as an upstream gets them judged by prost-reflect.
#![cfg(feature = "peers")]

#[path = "peers_google/requests.rs"]
mod requests;
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MethodDescriptor, Value as Reflected};
use requests::{Expected, NEAR, REQUESTS};
use serde_json::{Value, json};
use support::{client, grpc, soon, upstream::Upstream};
use tempfile::TempDir;
use transom::app::App;
use transom::cli::explain::{Answer, Question, explain};
use transom::config::model::Config;
use transom::control::sources::{Built, Reflection, load};
use transom::live::Live;

/// Folders of the package that are mounted, and what they import.
const FOLDERS: [&str; 16] = [
    "google/api",
    "google/bigtable/v2",
    "google/cloud/compute/v1",
    "google/cloud/kms/inventory/v1",
    "google/cloud/kms/v1",
    "google/cloud/language/v1",
    "google/cloud/secretmanager/v1",
    "google/cloud/tasks/v2",
    "google/firestore/v1",
    "google/iam/v1",
    "google/logging",
    "google/longrunning",
    "google/pubsub/v1",
    "google/rpc",
    "google/spanner/admin/database/v1",
    "google/type",
];

const PACKAGES: [&str; 11] = [
    "google.bigtable.v2",
    "google.cloud.compute.v1",
    "google.cloud.kms.inventory.v1",
    "google.cloud.kms.v1",
    "google.cloud.language.v1",
    "google.cloud.secretmanager.v1",
    "google.cloud.tasks.v2",
    "google.firestore.v1",
    "google.logging.v2",
    "google.pubsub.v1",
    "google.spanner.admin.database.v1",
];

/// A config, and the folder of protos that it names.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(folders: &[&str], routes: &Value) -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/google-proto-files");
        assert!(
            package.is_dir(),
            "there is no {}: run tests/peers/google_protos first",
            package.display()
        );
        let site = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        for folder in folders {
            copy(&package.join(folder), &site.protos().join(folder));
        }
        let operations = "google/cloud/extended_operations.proto";
        if let Some(cloud) = site
            .protos()
            .join(operations)
            .parent()
            .filter(|p| p.is_dir())
        {
            let to = cloud.join("extended_operations.proto");
            std::fs::copy(package.join(operations), to).expect("a copy");
        }
        let config = json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "descriptors": [{ "protos": "protos" }],
            "upstreams": { "google": { "endpoints": ["127.0.0.1:${UPSTREAM:-1}"] } },
            "routes": routes,
        });
        std::fs::write(site.config(), config.to_string()).expect("the config");
        site
    }

    fn protos(&self) -> PathBuf {
        self.folder.path().join("protos")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("transom.json")
    }

    fn load(&self, upstream: Option<SocketAddr>) -> Config {
        let port = upstream.map(|address| address.port().to_string());
        let environment = |name: &str| port.clone().filter(|_| name == "UPSTREAM");
        let loaded = transom::config::load(&self.config(), &environment);
        loaded.unwrap_or_else(|e| panic!("{e:?}")).config
    }

    /// Exit code and output of the command.
    fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_transom"))
            .args(arguments)
            .arg("-c")
            .arg(self.config())
            .output()
            .expect("the binary starts");
        let text = String::from_utf8(output.stdout).expect("text");
        (output.status.code(), text)
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder of the package") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else if from.extension().is_some_and(|e| e == "proto") {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let services = PACKAGES.map(|p| format!("{p}.*"));
    Site::new(
        &FOLDERS,
        &json!([{ "services": services, "upstream": "google" }]),
    )
});

static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let config = SITE.load(None);
    support::on_a_worker(load(&config, &Reflection::Kept))
        .unwrap_or_else(|report| panic!("{report:?}"))
});

/// The same texts by protox and prost-reflect.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut texts = Vec::new();
    for package in PACKAGES {
        let folder = SITE.protos().join(package.replace('.', "/"));
        let entries = std::fs::read_dir(folder).expect("a folder");
        texts.extend(entries.map(|e| e.expect("an entry").path()));
    }
    let includes = [
        SITE.protos(),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"),
    ];
    let mut compiler = protox::Compiler::new(includes).expect("folders");
    compiler.include_imports(true);
    compiler.open_files(texts).expect("protos");
    compiler.descriptor_pool()
});

/// Rules of a method's annotation, bindings included, as prost-reflect reads them.
fn annotated(method: &MethodDescriptor) -> usize {
    let http = POOL.get_extension_by_name("google.api.http");
    let http = http.expect("the extension");
    let options = method.options();
    if !options.has_extension(&http) {
        return 0;
    }
    let rule = options.get_extension(&http);
    let rule = rule.as_message().expect("a rule");
    let more = rule.get_field_by_name("additional_bindings");
    1 + more
        .and_then(|m| m.as_list().map(<[Reflected]>::len))
        .unwrap_or(0)
}

fn methods() -> Vec<MethodDescriptor> {
    let mounted = |package: &str| PACKAGES.contains(&package);
    let services = POOL.services().filter(|s| mounted(s.package_name()));
    services
        .flat_map(|s| s.methods().collect::<Vec<_>>())
        .collect()
}

fn ask(method: &str, url: &str, body: Option<&Value>) -> Answer {
    let question = Question {
        headers: Vec::new(),
        method: method.parse().expect("a method"),
        url: url.parse().unwrap_or_else(|e| panic!("{url}: {e}")),
        host: None,
        body: body.map(|b| b.to_string().into_bytes()),
    };
    explain(&BUILT.live, &question)
}

#[test]
fn check_finds_nothing_wrong() {
    let (code, text) = SITE.command(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.ends_with("fine: 1394 routes\n"), "{text}");
    for word in ["error:", "warning:"] {
        assert!(!text.contains(word), "{text}");
    }
}

#[test]
fn every_annotation_is_a_route() {
    let (code, text) = SITE.command(&["routes", "--format", "json"]);
    assert_eq!(code, Some(0), "{text}");
    let listing: Value = serde_json::from_str(&text).expect("JSON");
    let listed = |key: &str| listing[key].as_array().expect("an array").clone();
    let (routes, unserved) = (listed("routes"), listed("unserved"));
    assert_eq!(routes.len(), 1394);

    let mut unlike = Vec::new();
    for method in methods() {
        let name = format!("{}/{}", method.parent_service().full_name(), method.name());
        let wanted = annotated(&method);
        let served = routes.iter().filter(|r| r["target"] == *name).count();
        if served != wanted {
            unlike.push((name, wanted, served));
        }
    }
    assert_eq!(unlike, [], "method, annotated, routes");
    assert_eq!(unserved, [] as [Value; 0]);
}

/// Two methods of BigQueryRead, and others of BigQueryWrite, have rules of one shape.
#[test]
fn annotations_that_clash_are_named_and_can_be_left_out() {
    let folders = ["google/cloud/bigquery/storage/v1"];
    let storage = "google.cloud.bigquery.storage.v1";
    let clashing = Site::new(
        &folders,
        &json!([{ "services": [format!("{storage}.*")], "upstream": "google" }]),
    );
    let (code, text) = clashing.command(&["check"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.ends_with("5 errors\n"), "{text}");
    let named = format!(
        "{storage}.BigQueryRead/SplitReadStream matches the same requests as the rule of \
         {storage}.BigQueryRead/ReadRows"
    );
    let out = format!("`exclude: [{storage}.BigQueryRead/SplitReadStream]`");
    assert!(text.contains(&named) && text.contains(&out), "{text}");

    let written = Site::new(
        &folders,
        &json!([
            {
                "services": [format!("{storage}.*")],
                "exclude": [
                    format!("{storage}.BigQueryRead/SplitReadStream"),
                    format!("{storage}.BigQueryWrite/CreateWriteStream"),
                ],
                "upstream": "google"
            },
            {
                "custom": { "kind": "POST", "path": "/v1/{name=projects/*/datasets/*/tables/*/streams/*}" },
                "rpc": format!("{storage}.BigQueryWrite/FinalizeWriteStream"),
                "body": "*",
                "override": true,
                "upstream": "google"
            }
        ]),
    );
    let (code, text) = written.command(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    let url = "/v1/projects/p/datasets/d/tables/t/streams/s";
    let (code, text) = written.command(&["explain", "POST", url]);
    assert_eq!(code, Some(0), "{text}");
    let wins = format!("goes to {storage}.BigQueryWrite/FinalizeWriteStream");
    assert!(text.contains(&wins), "{text}");
}

#[test]
fn urls_are_explained() {
    assert!(REQUESTS.len() >= 25);
    let mut wrong = Vec::new();
    for request in REQUESTS {
        let answer = ask(request.method, request.url, request.body().as_ref());
        let route = answer.route.as_ref();
        let sent = answer.sent.as_ref().map(|sent| &*sent.json);
        let sent: Value = sent.map_or(Value::Null, |text| {
            serde_json::from_str(text).expect("JSON")
        });
        let got = Expected {
            target: route.map_or("none", |r| &r.target),
            rule: route.map_or("none", |r| &r.rule),
            sent: &sent,
        };
        let wanted = request.sent();
        let expected = Expected {
            target: request.target,
            rule: request.rule,
            sent: &wanted,
        };
        if got != expected || answer.status.is_some() || !answer.violations.is_empty() {
            wrong.push(format!("{}\n  {expected:?}\n  {got:?}", answer.request));
        }
        let loose: Vec<_> = answer
            .bindings
            .iter()
            .filter(|b| b.field.is_none())
            .collect();
        assert!(loose.is_empty(), "{}: {loose:?}", answer.request);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn near_misses_say_why_they_lost() {
    for (method, url, winner, rule, why) in NEAR {
        let answer = ask(method, url, None);
        let route = answer.route.as_ref().map_or("", |r| &r.rule);
        assert_eq!(route, *winner, "{method} {url}");
        let others: Vec<_> = answer.others.iter().map(|o| (&*o.rule, &*o.why)).collect();
        let found = others.iter().find(|(other, _)| other == rule);
        let (_, told) = found.unwrap_or_else(|| panic!("{method} {url}: no {rule} in {others:#?}"));
        assert!(told.contains(why), "{method} {url}: {rule}: {told}");
    }
}

#[test]
fn a_wrong_value_names_its_field() {
    let cases = [
        ("/v1/projects/p/schemas?view=HALF", "view"),
        ("/v1/projects/p/topics?pageSize=many", "pageSize"),
        (
            "/v1/projects/p/databases/d/documents/c/x?readTime=noon",
            "readTime",
        ),
        ("/v1/projects/p/topics?pageSizes=1", "pageSizes"),
    ];
    for (url, field) in cases {
        let answer = ask("GET", url, None);
        assert_eq!(answer.status, Some(400), "{url}: {answer:?}");
        let named: Vec<_> = answer.violations.iter().map(|(f, _)| &**f).collect();
        assert_eq!(named, [field], "{url}");
    }
}

/// The rules' upstream gets the message that JSON of the expectation is, by prost-reflect.
#[tokio::test]
async fn an_upstream_gets_the_messages() {
    let mut upstream = Upstream::start().await;
    let config = SITE.load(Some(upstream.address));
    let built = tokio::task::spawn_blocking(|| Arc::clone(&BUILT.live.schema));
    let schema = built.await.expect("joined");
    let live = Live::build(&config, schema, &[]).unwrap_or_else(|e| panic!("{e:?}"));
    let gateway = App::start(&config, live).expect("start");
    let mut client = client::Http2::connect(gateway.addresses()[0]).await;

    for request in REQUESTS {
        let body = request.body().map(|b| b.to_string()).unwrap_or_default();
        let head = http::Request::builder()
            .method(request.method)
            .uri(format!("http://test{}", request.url))
            .header("content-type", "application/json");
        let asked = client.send(head.body(body.into()).expect("a request"));
        let answered = async {
            let mut call = upstream.next().await;
            let path = call.path().to_owned();
            let framed = call.body().await;
            let empty = grpc::framed(b"");
            let answer = http::Response::builder()
                .header("content-type", "application/grpc")
                .body(());
            let mut stream = call
                .respond
                .send_response(answer.expect("head"), false)
                .expect("respond");
            stream.send_data(empty.into(), false).expect("data");
            let trailers = grpc::trailers(&[("grpc-status", "0")]);
            stream.send_trailers(trailers).expect("trailers");
            (path, framed)
        };
        let (response, (path, framed)) =
            soon("an exchange", async { tokio::join!(asked, answered) }).await;
        let reply = client::whole(response.expect("a reply")).await;
        assert_eq!(reply.status, 200, "{}: {}", request.url, reply.text());
        assert_eq!(path, format!("/{}", request.target), "{}", request.url);
        judge(&framed, request.target, &request.sent(), request.url);
    }
    assert!(upstream.is_quiet());
}

/// Whether the frame holds the message that the JSON means.
fn judge(framed: &[u8], target: &str, json: &Value, url: &str) {
    let (service, name) = target.split_once('/').expect("a method");
    let service = POOL.get_service_by_name(service).expect("a service");
    let method = service.methods().find(|m| m.name() == name);
    let input = method.expect("a method").input();
    let wire = &framed[5..];
    let length = u32::try_from(wire.len()).expect("length").to_be_bytes();
    assert_eq!((framed[0], &framed[1..5]), (0, &length[..]), "{url}");
    let got = DynamicMessage::decode(input.clone(), wire).expect("wire of the message");
    let wanted =
        DynamicMessage::deserialize(input, json).unwrap_or_else(|e| panic!("{url}: {e}: {json}"));
    assert_eq!(got, wanted, "{url}");
    assert!(known(&got), "{url}: unknown fields in {got:?}");
}

/// Whether every field of the message is in its descriptor.
fn known(message: &DynamicMessage) -> bool {
    let own = message.unknown_fields().next().is_none();
    own && message
        .fields()
        .all(|(field, value)| match (field.kind(), value) {
            (Kind::Message(_), Reflected::Message(inner)) => known(inner),
            _ => true,
        })
}
