//! Keys of what a transcoded route takes beside JSON, and of the statuses that it answers with.

use super::{Key, Section, Shape, key};

/// An HTTP status for a call that went well.
const SUCCESS: Shape = Shape::Integer { min: 200, max: 399 };
/// An HTTP status for a failure.
const FAILURE: Shape = Shape::Integer { min: 400, max: 599 };

pub const REST_POLICY: &[Key] = &[
    key(
        "status",
        Shape::Section(&STATUS),
        "HTTP status by gRPC code, in place of the usual ones.",
    ),
    key(
        "form_bodies",
        Shape::Bool,
        "Take form bodies, their texts bound like a query. Files of multipart/form-data become bytes \
         and google.api.HttpBody fields.",
    )
    .default("false"),
    key(
        "method_override",
        Shape::Bool,
        "A POST with X-HTTP-Method-Override: GET, PUT, PATCH or DELETE is taken for that method.",
    )
    .default("false"),
    key(
        "compat",
        Shape::Choice(&["none", "grpc-gateway"]),
        "Answer as this gateway does where the two differ.",
    )
    .default("none"),
];

const OF_CODE: &str = "HTTP status for this code.";

pub static STATUS: Section = Section {
    name: "status",
    about: "HTTP status by gRPC code. What HTTP says more exactly (405, 413, 415) stays as it is.",
    groups: &[&[
        key("OK", SUCCESS, "HTTP status of a reply; 204 has no body.").default("200"),
        key("CANCELLED", FAILURE, OF_CODE).default("499"),
        key("UNKNOWN", FAILURE, OF_CODE).default("500"),
        key("INVALID_ARGUMENT", FAILURE, OF_CODE).default("400"),
        key("DEADLINE_EXCEEDED", FAILURE, OF_CODE).default("504"),
        key("NOT_FOUND", FAILURE, OF_CODE).default("404"),
        key("ALREADY_EXISTS", FAILURE, OF_CODE).default("409"),
        key("PERMISSION_DENIED", FAILURE, OF_CODE).default("403"),
        key("RESOURCE_EXHAUSTED", FAILURE, OF_CODE).default("429"),
        key("FAILED_PRECONDITION", FAILURE, OF_CODE).default("400"),
        key("ABORTED", FAILURE, OF_CODE).default("409"),
        key("OUT_OF_RANGE", FAILURE, OF_CODE).default("400"),
        key("UNIMPLEMENTED", FAILURE, OF_CODE).default("501"),
        key("INTERNAL", FAILURE, OF_CODE).default("500"),
        key("UNAVAILABLE", FAILURE, OF_CODE).default("503"),
        key("DATA_LOSS", FAILURE, OF_CODE).default("500"),
        key("UNAUTHENTICATED", FAILURE, OF_CODE).default("401"),
        key(
            "from_metadata",
            Shape::Header,
            "Metadata in which the service may name the status itself, such as `x-http-code`.",
        ),
    ]],
    exactly_one: &[],
};
