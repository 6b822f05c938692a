//! Compiles the demo's protos, and with them those of the tests' own service; unpacks the page that
//! shows OpenAPI documents.
//!
//! protox is a compiler in Rust: no `protoc` is needed. For each root two things are left in
//! `OUT_DIR`: the Rust code and the descriptor set with its comments and options, for reflection.
//! Of Swagger UI the three files that a page needs are left there, compressed as they are sent.

use std::error::Error;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A set of protos that become one Rust module tree.
struct Root {
    /// Name of the files in `OUT_DIR`.
    name: &'static str,
    folder: &'static str,
    files: &'static [&'static str],
    /// Packages whose Rust code is already somewhere.
    external: &'static [(&'static str, &'static str)],
}

const ROOTS: &[Root] = &[
    Root {
        name: "gamehub",
        folder: "proto",
        files: &[
            "gamehub/v1/catalogue.proto",
            "gamehub/v1/chat.proto",
            "gamehub/v1/game.proto",
            "gamehub/v1/moderation.proto",
            "gamehub/v1/scores.proto",
            "gamehub/v1/telemetry.proto",
            "gamehub/v1/thumbnails.proto",
            "google/rpc/error_details.proto",
            "google/rpc/status.proto",
        ],
        external: &[],
    },
    Root {
        name: "probe",
        folder: "tests/support/proto",
        files: &["gamehub/testing/v1/probe.proto"],
        external: &[
            (".gamehub.v1", "::transom::demo::proto::gamehub::v1"),
            (".google.api", "::transom::demo::proto::google::api"),
        ],
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=tests/support/proto");
    if std::env::var_os("CARGO_FEATURE_GATEWAY").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for root in ROOTS {
        // A published package has no tests folder.
        if Path::new(root.folder).is_dir() {
            compile(root, &out)?;
        }
    }
    unpack_page(&out)
}

/// Files of Swagger UI, and its licence.
const PAGE: [&str; 4] = [
    "dist/swagger-ui-bundle.js",
    "dist/swagger-ui.css",
    "LICENSE",
    "NOTICE",
];

fn unpack_page(out: &Path) -> Result<(), Box<dyn Error>> {
    let packed = Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED);
    let mut archive = zip::ZipArchive::new(packed)?;
    let names: Result<Vec<_>, _> = archive.file_names().map(|n| Ok(n?.into_owned())).collect();
    let names: Vec<String> = names.map_err(|error: zip::result::ZipError| error)?;
    let folder = out.join("page");
    std::fs::create_dir_all(&folder)?;
    for wanted in PAGE {
        // All is in one folder, named after the version.
        let within = |name: &&String| name.split_once('/').is_some_and(|(_, rest)| rest == wanted);
        let name = names.iter().find(within);
        let name = name.ok_or_else(|| format!("Swagger UI has no {wanted}"))?;
        let name_alone = wanted.rsplit('/').next().unwrap_or(wanted);
        let file = std::fs::File::create(folder.join(format!("{name_alone}.gz")))?;
        let mut gzip = GzEncoder::new(file, Compression::best());
        std::io::copy(&mut archive.by_name(name)?, &mut gzip)?;
        gzip.finish()?;
    }
    Ok(())
}

fn compile(root: &Root, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([root.folder, "proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(root.files)?;
    std::fs::write(
        out.join(format!("{}.binpb", root.name)),
        compiler.encode_file_descriptor_set(),
    )?;

    let folder = out.join(root.name);
    std::fs::create_dir_all(&folder)?;
    let mut code = tonic_prost_build::configure()
        .out_dir(&folder)
        .include_file("mod.rs")
        .emit_rerun_if_changed(false);
    for (proto, rust) in root.external {
        code = code.extern_path(*proto, *rust);
    }
    let mut config = tonic_prost_build::Config::new();
    // `Any::from_msg` needs the names; ordered maps make replies the same in every run.
    config
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .btree_map(["."])
        .bytes([".google.api.HttpBody"]);
    code.compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
