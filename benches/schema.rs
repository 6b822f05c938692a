//! How long descriptors take: `.proto` texts to a set, a set to a linked schema, and that to all that
//! serves it (`Live::build`: every rule planned, the route table, the codec's tables).
//!
//! `cargo bench --bench schema -- FOLDER` with a folder of `.proto` texts. Without one it takes what
//! `tests/peers/google_protos` fetches (npm `google-proto-files`, some 8,000 texts). It also holds
//! the result beside prost-reflect's and ends with status 1 when they differ.

#[path = "../tests/schema_oracle/compare.rs"]
mod compare;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use transom::config::{Syntax, parse};
use transom::live::Live;
use transom::route::PathTemplate;
use transom::schema::{Schema, SchemaBuilder, SchemaError, Service, compile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args()
        .skip(1)
        .find(|a| !a.starts_with("--"))
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".peers/google-proto-files"),
            PathBuf::from,
        );
    let texts = read(&folder)?;
    let bytes: usize = texts.iter().map(|(_, t)| t.len()).sum();
    println!(
        "{}: {} texts, {} KiB",
        folder.display(),
        texts.len(),
        bytes / 1024
    );

    let began = Instant::now();
    let set = compile(&texts).map_err(|e| shown(&e))?;
    println!(
        "compile from text        {:>9.3} s   -> {} KiB of descriptors",
        began.elapsed().as_secs_f64(),
        set.len() / 1024
    );

    let mut best = Duration::MAX;
    let mut schema = None;
    for _ in 0..5 {
        let began = Instant::now();
        let mut builder = SchemaBuilder::new();
        builder.add_set("bench", &set)?;
        schema = Some(builder.build().map_err(|e| shown(&e))?);
        best = best.min(began.elapsed());
    }
    let schema = schema.ok_or("no schema")?;
    let fields: usize = schema.messages().iter().map(|m| m.fields.len()).sum();
    let methods: usize = schema.services().iter().map(|s| s.methods.len()).sum();
    let (messages, services) = (schema.messages().len(), schema.services().len());
    println!(
        "load and link, best of 5 {:>9.3} s   {messages} messages, {fields} fields, {services} services, {methods} methods",
        best.as_secs_f64()
    );

    let schema = plan(schema)?;

    let began = Instant::now();
    let pool = DescriptorPool::decode(&*set)?;
    println!(
        "prost-reflect, the same  {:>9.3} s",
        began.elapsed().as_secs_f64()
    );
    let found = compare::differences(&schema, &pool);
    for difference in found.iter().take(20) {
        println!("differs: {difference}");
    }
    if !found.is_empty() {
        return Err(format!("{} differences from prost-reflect", found.len()).into());
    }
    println!("agrees with prost-reflect");
    Ok(())
}

/// Options that differ in what the codec's tables hold.
const JSON: [&str; 4] = [
    "{}",
    r#"{"emit_defaults": true}"#,
    r#"{"proto_names": true, "enums_as_numbers": true}"#,
    r#"{"strip_enum_prefix": true, "case_insensitive_enums": true}"#,
];

/// Plans every service, on a host of its own each, as services of one company have the same paths.
fn plan(schema: Schema) -> Result<Schema, Box<dyn std::error::Error>> {
    let own = |s: &&Service| !s.file.starts_with("built in");
    let all: Vec<&Service> = schema.services().iter().filter(own).collect();
    let count = |why: Fit| all.iter().filter(|s| fit(s) == why).count();
    println!(
        "services                 {:>9}     {} with a template that isn't in the grammar, {} whose rules clash: both left out below",
        all.len(),
        count(Fit::Template),
        count(Fit::Clash)
    );
    let services: Vec<&Service> = all
        .iter()
        .filter(|s| fit(s) == Fit::Fits)
        .copied()
        .collect();
    let configs = [1, JSON.len()].map(|options| {
        let route = |(index, service): (usize, &&Service)| {
            json!({
                "services": [&*service.full_name],
                "hosts": [format!("s{index}.example.com")],
                "upstream": "one",
                "json": serde_json::from_str::<Value>(JSON[index % options]).expect("JSON"),
            })
        };
        let routes: Vec<Value> = services.iter().enumerate().map(route).collect();
        json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "descriptors": [{ "file": "named-but-not-read.binpb" }],
            "upstreams": { "one": { "endpoints": ["127.0.0.1:1"] } },
            "routes": routes,
        })
        .to_string()
    });
    let schema = Arc::new(schema);
    for (options, text) in [1, JSON.len()].into_iter().zip(configs) {
        let loaded = parse("bench.json", &text, Syntax::Json, Path::new(""), &|_| None)
            .map_err(|report| format!("{report:?}"))?;
        let mut best = Duration::MAX;
        let mut routes = 0;
        for _ in 0..5 {
            let began = Instant::now();
            let live = Live::build(&loaded.config, Arc::clone(&schema), &[]).map_err(|e| {
                let first: String = e.iter().take(20).map(|e| format!("{e}\n")).collect();
                format!("{first}{} errors", e.len())
            })?;
            best = best.min(began.elapsed());
            routes = live.routes.len();
        }
        println!(
            "plan, best of 5          {:>9.3} s   {routes} routes, distinct JSON options: {options}",
            best.as_secs_f64()
        );
    }
    Ok(Arc::into_inner(schema).ok_or("the schema is still in use")?)
}

/// Whether a service can be mounted as it is annotated.
#[derive(Clone, Copy, PartialEq)]
enum Fit {
    Fits,
    /// `**` before the end.
    Template,
    /// Two rules take the same requests.
    Clash,
}

fn fit(service: &Service) -> Fit {
    let mut shapes = HashSet::new();
    let mut fit = Fit::Fits;
    for rule in service.methods.iter().filter_map(|m| m.http.as_ref()) {
        for rule in std::iter::once(rule).chain(&rule.additional_bindings) {
            let Ok(template) = PathTemplate::parse(&rule.pattern.template) else {
                return Fit::Template;
            };
            if !shapes.insert((rule.pattern.method.clone(), template.shape())) {
                fit = Fit::Clash;
            }
        }
    }
    fit
}

fn shown(errors: &[SchemaError]) -> String {
    let mut text: String = errors.iter().take(20).map(|e| format!("{e}\n")).collect();
    text.push_str(&format!("{} errors", errors.len()));
    text
}

fn read(root: &Path) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let mut texts = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| {
            format!(
                "{}: {e} (tests/peers/google_protos fetches it)",
                folder.display()
            )
        })?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                let name = path
                    .strip_prefix(root)?
                    .to_string_lossy()
                    .replace('\\', "/");
                texts.push((name, std::fs::read_to_string(&path)?));
            }
        }
    }
    texts.sort();
    Ok(texts)
}
