//! Keys of a listener and its TLS.

use super::{Section, Shape, key};

pub static LISTENER: Section = Section {
    name: "listener",
    about: "An address to listen on.",
    groups: &[&[
        key(
            "address",
            Shape::Address,
            "IP address and port: `0.0.0.0:8080`, `[::]:8080`. Port 0 takes any free port.",
        )
        .required(),
        key(
            "tls",
            Shape::Section(&TLS),
            "TLS 1.2 and 1.3 with the certificates named here. Default: none.",
        ),
        key(
            "redirect_https",
            Shape::Bool,
            "Send every request to the same place under https (308).",
        )
        .default("false"),
        key(
            "https_port",
            Shape::Integer {
                min: 1,
                max: 65_535,
            },
            "The port that `redirect_https` sends to. Default: that of the first listener with TLS, or \
             443 for clients that came through another port than this listener's own.",
        ),
        key(
            "proxy_protocol",
            Shape::Bool,
            "Connections of `trusted_proxies` begin with a PROXY header (version 1 or 2) that tells \
             the client's address.",
        )
        .default("false"),
        key(
            "accept",
            Shape::Choice(&["reuseport", "deal"]),
            "Who accepts: every worker on a socket of its own, or one thread that gives each connection \
             to the worker with the fewest, which is fairer to few connections with much to do.",
        )
        .default("reuseport"),
        key(
            "openapi",
            Shape::Bool,
            "Serve the OpenAPI 3.1 document of the routes at `/openapi.json`, and a page to read and try \
             them at `/docs`.",
        )
        .default("false"),
    ]],
    exactly_one: &[],
};

pub static TLS: Section = Section {
    name: "tls",
    about: "TLS of a listener: `certificates`, those of an authority (`acme`), or `self_signed` for development.",
    groups: &[&[
        key(
            "certificates",
            Shape::List(&Shape::Section(&CERTIFICATE)),
            "Certificates with their keys. Clients get the one that has the name that they ask for, an \
             exact one before a wildcard. The files are watched.",
        ),
        key(
            "acme",
            Shape::Text,
            "The authority under `acme` that certificates for `names` come from, and are renewed by.",
        ),
        key(
            "names",
            Shape::List(&Shape::Host),
            "With `acme`: hosts, `*.example.com` (by dns-01), or IP addresses. Each has a certificate \
             of its own.",
        ),
        key(
            "self_signed",
            Shape::Bool,
            "For development: a certificate for localhost that nobody vouches for, made at start.",
        )
        .default("false"),
        key(
            "unknown_name",
            Shape::Choice(&["first", "refuse"]),
            "What a client gets that asks for a name that no certificate has: the first one, or no \
             connection.",
        )
        .default("first"),
        key(
            "min_version",
            Shape::Choice(&["1.2", "1.3"]),
            "The oldest version of TLS.",
        )
        .default("1.2"),
        key(
            "client_certificates",
            Shape::Section(&CLIENT_CERTIFICATES),
            "Clients show certificates too. Services are told of them in x-forwarded-client-cert.",
        ),
    ]],
    exactly_one: &[&["certificates", "acme", "self_signed"]],
};

pub static CERTIFICATE: Section = Section {
    name: "certificate",
    about: "A certificate with its key, as PEM files.",
    groups: &[&[
        key(
            "cert",
            Shape::Path,
            "The server's certificate, then the one that signed it, and so on.",
        )
        .required(),
        key(
            "key",
            Shape::Path,
            "Its private key, not encrypted; best readable by nobody else.",
        )
        .required(),
        key(
            "client_certificates",
            Shape::Section(&CLIENT_CERTIFICATES),
            "For clients that ask for its names, in place of the listener's.",
        ),
    ]],
    exactly_one: &[],
};

pub static CLIENT_CERTIFICATES: Section = Section {
    name: "client_certificates",
    about: "Whose clients are let in.",
    groups: &[&[
        key(
            "ca",
            Shape::Path,
            "PEM file with the certificates of the authorities.",
        )
        .required(),
        key("crl", Shape::Path, "PEM file of what they have revoked."),
        key(
            "required",
            Shape::Bool,
            "Refuse clients without one. Otherwise services are told of those that have one.",
        )
        .default("true"),
    ]],
    exactly_one: &[],
};
