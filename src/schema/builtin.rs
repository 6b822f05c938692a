//! Texts that nobody has to vendor: `google/api`, `google/rpc`, `google/type`, gRPC's own services, and
//! stubs of the option files that real protos import.
//!
//! They are our own words, down to what the wire and JSON need; `tests/peers` compares them with the
//! published ones. Stubs declare the options' names only: [`compile`](super::compile) drops what is
//! written in those options, so any use of them is accepted and none is interpreted.

use std::sync::{Arc, LazyLock};

use super::compile;
use super::error::SchemaError;
use super::sources::SchemaBuilder;
use super::types::Schema;

macro_rules! texts {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../proto/", $path)))),*]
    };
}

/// Virtual path and text.
pub(crate) const TEXTS: &[(&str, &str)] = texts![
    "google/api/annotations.proto",
    "google/api/auth.proto",
    "google/api/backend.proto",
    "google/api/billing.proto",
    "google/api/client.proto",
    "google/api/config_change.proto",
    "google/api/consumer.proto",
    "google/api/context.proto",
    "google/api/control.proto",
    "google/api/distribution.proto",
    "google/api/documentation.proto",
    "google/api/endpoint.proto",
    "google/api/field_behavior.proto",
    "google/api/field_info.proto",
    "google/api/http.proto",
    "google/api/httpbody.proto",
    "google/api/label.proto",
    "google/api/launch_stage.proto",
    "google/api/log.proto",
    "google/api/logging.proto",
    "google/api/metric.proto",
    "google/api/monitored_resource.proto",
    "google/api/monitoring.proto",
    "google/api/policy.proto",
    "google/api/quota.proto",
    "google/api/resource.proto",
    "google/api/routing.proto",
    "google/api/source_info.proto",
    "google/api/system_parameter.proto",
    "google/api/usage.proto",
    "google/api/visibility.proto",
    "google/longrunning/operations.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/http.proto",
    "google/rpc/status.proto",
    "google/type/calendar_period.proto",
    "google/type/color.proto",
    "google/type/date.proto",
    "google/type/datetime.proto",
    "google/type/dayofweek.proto",
    "google/type/decimal.proto",
    "google/type/expr.proto",
    "google/type/fraction.proto",
    "google/type/interval.proto",
    "google/type/latlng.proto",
    "google/type/localized_text.proto",
    "google/type/money.proto",
    "google/type/month.proto",
    "google/type/phone_number.proto",
    "google/type/postal_address.proto",
    "google/type/quaternion.proto",
    "google/type/timeofday.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
    "protoc-gen-openapiv2/options/annotations.proto",
    "protoc-gen-openapiv2/options/openapiv2.proto",
    "validate/validate.proto",
    "buf/validate/validate.proto",
    "gogoproto/gogo.proto",
];

/// What `google/protobuf` holds; the compiler brings these.
pub(crate) const PROTOBUF: &[&str] = &[
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

/// In every schema, so that error details and `Any` print whatever the user's protos hold.
const POOL: &[&str] = &[
    "google/api/httpbody.proto",
    "google/rpc/code.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
];

/// What [`gateway_services`] is made of.
const GATEWAY: &[&str] = &[
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
];

/// Options of these packages are dropped while our stub stands in for the file that declares them.
pub(crate) const STUBS: &[(&str, &str)] = &[
    (
        "grpc.gateway.protoc_gen_openapiv2",
        "protoc-gen-openapiv2/options/annotations.proto",
    ),
    (
        "gateway.protoc_gen_openapiv2",
        "protoc-gen-openapiv2/options/annotations.proto",
    ),
    (
        "protoc_gen_openapiv2",
        "protoc-gen-openapiv2/options/annotations.proto",
    ),
    ("validate", "validate/validate.proto"),
    ("buf.validate", "buf/validate/validate.proto"),
    ("gogoproto", "gogoproto/gogo.proto"),
];

/// The text of a built-in file.
pub(crate) fn text(path: &str) -> Option<&'static str> {
    TEXTS
        .iter()
        .find(|(name, _)| *name == path)
        .map(|(_, text)| *text)
}

/// Whether it is one of protobuf's own files, which the compiler brings and nobody replaces.
pub(crate) fn is_protobuf(path: &str) -> bool {
    PROTOBUF.contains(&path) || path == "google/protobuf/compiler/plugin.proto"
}

/// Whether an import of this path needs no vendoring.
pub(crate) fn is_known(path: &str) -> bool {
    is_protobuf(path) || text(path).is_some()
}

/// Well-known files that a source can't redefine: their JSON form is fixed by ProtoJSON.
pub(crate) fn is_fixed_file(path: &str) -> bool {
    PROTOBUF.contains(&path) && path != "google/protobuf/descriptor.proto"
}

/// Packages that sources carry in versions of their own.
pub(crate) fn is_vendored_package(package: &str) -> bool {
    const ROOTS: &[&str] = &[
        "google.protobuf",
        "google.api",
        "google.rpc",
        "google.type",
        "google.longrunning",
        "google.iam",
        "grpc.health",
        "grpc.reflection",
        "grpc.gateway.protoc_gen_openapiv2",
        "validate",
        "buf.validate",
        "gogoproto",
        "udpa.annotations",
        "xds.annotations",
    ];
    ROOTS.iter().any(|root| {
        package
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The encoded set behind every schema.
pub(crate) fn pool_set() -> Result<&'static [u8], &'static Vec<SchemaError>> {
    static SET: LazyLock<Result<Vec<u8>, Vec<SchemaError>>> =
        LazyLock::new(|| compile::compile_named(POOL.iter().chain(PROTOBUF).copied()));
    SET.as_deref()
}

/// Services that a gateway itself has: `grpc.health.v1` and `grpc.reflection`.
///
/// # Errors
/// Never, as long as the tests pass.
pub fn gateway_services() -> Result<Arc<Schema>, Vec<SchemaError>> {
    static SCHEMA: LazyLock<Result<Arc<Schema>, Vec<SchemaError>>> = LazyLock::new(|| {
        let set = compile::compile_named(GATEWAY.iter().copied())?;
        let mut builder = SchemaBuilder::new().keep_files(true);
        builder
            .add_set("built in", &set)
            .map_err(|error| vec![error])?;
        builder.build().map(Arc::new)
    });
    SCHEMA.clone()
}
