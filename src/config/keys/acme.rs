//! Keys of an ACME authority.

use std::time::Duration;

use super::{DURATION_MAX, DURATION_OR_ZERO, Section, Shape, key};

const WAIT: Shape = Shape::Duration {
    min: Duration::from_secs(1),
    max: DURATION_MAX,
};

pub static ACME: Section = Section {
    name: "acme",
    about: "An authority that certificates come from, for listeners with `tls: { acme: NAME }`.",
    groups: &[&[
        key(
            "directory",
            Shape::Text,
            "`letsencrypt`, `letsencrypt-staging`, or the https URL of an authority's directory.",
        )
        .required(),
        key(
            "storage",
            Shape::Path,
            "A folder of the gateway's own, for accounts, keys and certificates. It must outlive the \
             process: who loses it asks for new ones, and the authority's limits are small.",
        )
        .required(),
        key(
            "agree_to_terms",
            Shape::Bool,
            "You have read the authority's terms of service and agree.",
        )
        .default("false"),
        key(
            "contact",
            Shape::List(&Shape::Text),
            "Mail addresses for the authority's notices.",
        ),
        key(
            "challenges",
            Shape::List(&Shape::Choice(&["tls-alpn-01", "http-01", "dns-01"])),
            "How to show that names are ours; one that fails gives way to the next. tls-alpn-01 comes \
             to port 443, http-01 to port 80 of each name; wildcards need dns-01. Default: \
             [tls-alpn-01, http-01], or dns-01 alone with `dns`.",
        ),
        key(
            "dns",
            Shape::Section(&ACME_DNS),
            "Who makes the TXT records of dns-01.",
        ),
        key(
            "key_type",
            Shape::Choice(&["p256", "p384", "rsa2048"]),
            "The keys of certificates; each has a new one.",
        )
        .default("p256"),
        key(
            "profile",
            Shape::Text,
            "One of the authority's profiles, such as Let's Encrypt's `shortlived`. Default: its own choice.",
        ),
        key(
            "eab",
            Shape::Section(&ACME_EAB),
            "The account elsewhere that some authorities want first.",
        ),
        key(
            "roots",
            Shape::Path,
            "PEM file with the roots of the authority's own HTTPS. Default: the system's.",
        ),
        key(
            "trial",
            Shape::Text,
            "Where a name is tried after a failure, until it passes there: `letsencrypt-staging`, the URL \
             of a directory, or `off`. Default: letsencrypt-staging for letsencrypt, else off.",
        ),
        key(
            "next",
            Shape::Text,
            "The authority to turn to when this one fails, by its name here. Default: none.",
        ),
        key("answer_timeout", WAIT, "How long one answer of the authority may take.")
            .default("30s"),
        key(
            "order_timeout",
            WAIT,
            "How long an order may take from its challenges to the certificate, DNS included.",
        )
        .default("10m"),
    ]],
    exactly_one: &[],
};

pub static ACME_EAB: Section = Section {
    name: "acme_eab",
    about: "External account binding (RFC 8555 §7.3.4), as the authority gives it.",
    groups: &[&[
        key("key_id", Shape::Text, "The key's identifier.").required(),
        key(
            "hmac_key",
            Shape::Text,
            "The key, in base64url: best from the environment, `${EAB_HMAC_KEY}`.",
        )
        .required(),
    ]],
    exactly_one: &[],
};

pub static ACME_DNS: Section = Section {
    name: "acme_dns",
    about: "Who makes TXT records: one of `update`, `exec` and `webhook`.",
    groups: &[&[
        key(
            "update",
            Shape::Section(&DNS_UPDATE),
            "Dynamic updates of the zone (RFC 2136): BIND, Knot, PowerDNS and others.",
        ),
        key(
            "exec",
            Shape::List(&Shape::Text),
            "A program with its arguments, run with `present RECORD VALUE` and `cleanup RECORD VALUE` \
             after them, without a shell.",
        ),
        key(
            "webhook",
            Shape::Section(&DNS_WEBHOOK),
            "A web service: POST to URL/present and URL/cleanup with {\"fqdn\", \"value\"}.",
        ),
        key(
            "timeout",
            WAIT,
            "How long the program or the web service may take.",
        )
        .default("1m"),
        key(
            "propagation",
            Shape::Section(&DNS_PROPAGATION),
            "When the authority is told to look.",
        ),
    ]],
    exactly_one: &[&["update", "exec", "webhook"]],
};

pub static DNS_UPDATE: Section = Section {
    name: "dns_update",
    about: "Dynamic updates, signed with TSIG (RFC 8945).",
    groups: &[&[
        key(
            "server",
            Shape::Address,
            "IP address and port of the zone's primary server: `192.0.2.53:53`.",
        )
        .required(),
        key(
            "zone",
            Shape::Text,
            "The zone. Default: what the server says.",
        ),
        key("key_name", Shape::Text, "The name of the key."),
        key(
            "key",
            Shape::Text,
            "The key, in base64: best from the environment. Default: updates aren't signed.",
        ),
        key(
            "algorithm",
            Shape::Choice(&["hmac-sha256", "hmac-sha384", "hmac-sha512"]),
            "Of the key.",
        )
        .default("hmac-sha256"),
    ]],
    exactly_one: &[],
};

pub static DNS_WEBHOOK: Section = Section {
    name: "dns_webhook",
    about: "A web service that makes TXT records.",
    groups: &[&[
        key("url", Shape::Text, "http or https, without the last part.").required(),
        key(
            "headers",
            Shape::HeaderValues,
            "Sent along, such as an `authorization`.",
        ),
        key(
            "roots",
            Shape::Path,
            "PEM file with the roots of its HTTPS. Default: the system's.",
        ),
    ]],
    exactly_one: &[],
};

pub static DNS_PROPAGATION: Section = Section {
    name: "dns_propagation",
    about: "When records count as seen.",
    groups: &[&[
        key("wait", DURATION_OR_ZERO, "Before the first look.").default("0s"),
        key(
            "timeout",
            DURATION_OR_ZERO,
            "How long until every server tells of the record; `0s` asks none.",
        )
        .default("2m"),
        key(
            "servers",
            Shape::List(&Shape::Address),
            "Name servers to ask. Default: the one that is updated, or those of the zone.",
        ),
    ]],
    exactly_one: &[],
};
