//! How long descriptors take: `.proto` texts to a set, and a set to a linked schema.
//!
//! `cargo bench --bench schema -- FOLDER` with a folder of `.proto` texts. Without one it takes what
//! `tests/peers/google_protos` fetches (npm `google-proto-files`, some 8,000 texts). It also holds
//! the result beside prost-reflect's and ends with status 1 when they differ.

#[path = "../tests/schema_oracle/compare.rs"]
mod compare;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost_reflect::DescriptorPool;
use transom::schema::{SchemaBuilder, SchemaError, compile};

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
