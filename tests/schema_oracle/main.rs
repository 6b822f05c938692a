//! The linked schema says of proto2 and proto3 files what prost-reflect says of them.

mod compare;

use prost_reflect::DescriptorPool;
use transom::schema::{SchemaBuilder, compile};

#[test]
fn agrees_with_prost_reflect_on_a_wide_proto_and_all_built_in_ones() {
    let mut files = vec![
        (
            "wide.proto".to_owned(),
            include_str!("wide.proto").to_owned(),
        ),
        (
            "wide2.proto".to_owned(),
            include_str!("wide2.proto").to_owned(),
        ),
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files.len() > 40, "{}", files.len());
    let set = compile(&files).unwrap_or_else(|e| panic!("{e:#?}"));
    let mut builder = SchemaBuilder::new();
    builder.add_set("protos proto/", &set).unwrap();
    let schema = builder.build().unwrap_or_else(|e| panic!("{e:#?}"));
    let pool = DescriptorPool::decode(&*set).unwrap();
    assert!(pool.all_messages().count() > 100);
    let found = compare::differences(&schema, &pool);
    assert!(found.is_empty(), "{found:#?}");
}
