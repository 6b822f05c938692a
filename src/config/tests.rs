use std::path::Path;

use super::*;

fn nothing(_: &str) -> Option<String> {
    None
}

fn yaml(text: &str) -> Result<Loaded, Report> {
    parse("t.yaml", text, Syntax::Yaml, Path::new("/etc/x"), &nothing)
}

#[test]
fn the_least_config() {
    let loaded = yaml(
        "listeners: [{ address: 127.0.0.1:0 }]\n\
         descriptors: [{ reflection: games }]\n\
         upstreams: { games: { endpoints: [localhost:50051] } }\n\
         routes: [{ services: ['*'], upstream: games }]\n",
    )
    .expect("loads");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.upstreams.len(), 1);
    assert_eq!(&*loaded.config.routes[0].place, "t.yaml:4:12");
}
