//! `routes`: one matcher, an upstream that can serve it, policy on top of the defaults.

use std::path::Path;
use std::sync::Arc;

use super::super::keys::{RULE_MATCHERS, TRANSCODING_POLICY};
use super::super::model::{
    Destination, Excluded, Fallback, Glob, Matcher, Policy, Route, RulePlaces,
};
use super::super::raw::{Field, Section};
use super::super::scalar::{self, Trouble};
use super::{Upstreams, policy, site};
use crate::route::{PathMatch, PathTemplate};
use crate::schema::{HttpPattern, HttpRule};

/// Keys that only an HTTP rule with its `rpc` has.
const RULE_KEYS: &[&str] = &[
    "rpc",
    "body",
    "response_body",
    "additional_bindings",
    "override",
    "location",
];

pub fn routes(
    file: &Section<'_, '_>,
    upstreams: &Upstreams<'_>,
    defaults: &Policy,
    folder: &Path,
) -> Vec<Route> {
    let described = file.has("descriptors");
    let items = file.items("routes");
    let reader = file.reader;
    let faultless = |item: &Field<'_, '_>| {
        let before = reader.errors();
        let route = route(&item.section()?, upstreams, defaults, described, folder)?;
        (reader.errors() == before).then_some(route)
    };
    items.iter().filter_map(faultless).collect()
}

fn route(
    section: &Section<'_, '_>,
    upstreams: &Upstreams<'_>,
    defaults: &Policy,
    described: bool,
    folder: &Path,
) -> Option<Route> {
    let policy = policy::policy(section, defaults);
    let items = section.items("hosts");
    let hosts = items.iter().filter_map(|i| i.parse(scalar::host)).collect();
    let matcher = matcher(section);
    let what = match &matcher {
        Some(Matcher::Services { .. }) => Some("a `services` route"),
        Some(Matcher::Rpc { .. }) => Some("a transcoded route"),
        Some(Matcher::Path(_)) | None => None,
    };
    let destination = destination(section, upstreams, what, folder);
    let fallback = fallback(section, upstreams, what);
    let rewrite = rewrite(section, matcher.as_ref());
    if let Some(what) = what.filter(|_| !described) {
        section.reader.push(
            section
                .reader
                .source
                .error(section.span, format!("{what} without `descriptors`"))
                .key(&section.path)
                .help("say where they come from, for example `descriptors: [{ reflection: NAME_OF_UPSTREAM }]`"),
        );
    }
    Some(Route {
        matcher: matcher?,
        destination: destination?,
        fallback,
        rewrite,
        hosts,
        policy: Arc::new(policy),
        place: section.place(),
    })
}

/// `what` is a route that only gRPC can serve.
fn destination(
    section: &Section<'_, '_>,
    upstreams: &Upstreams<'_>,
    what: Option<&str>,
    folder: &Path,
) -> Option<Destination> {
    let upstream = section.field("upstream").and_then(|field| match what {
        Some(what) => upstreams.grpc_named_by(&field, what),
        None => upstreams.named_by(&field),
    });
    let here = |name| {
        let opened = section.section(name)?;
        if let Some(what) = what {
            let why = format!("{what} has an `upstream`");
            refuse_keys(section, &[name], &why);
        }
        Some(opened)
    };
    let files = here("files").and_then(|s| site::files(&s, folder));
    let redirect = here("redirect").and_then(|s| site::redirect(&s));
    let respond = here("respond").and_then(|s| site::respond(&s));
    upstream
        .map(Destination::Upstream)
        .or(files.map(|f| Destination::Files(Arc::new(f))))
        .or(redirect.map(|r| Destination::Redirect(Arc::new(r))))
        .or(respond.map(|r| Destination::Respond(Arc::new(r))))
}

/// What stands in for the route's upstream.
fn fallback(
    section: &Section<'_, '_>,
    upstreams: &Upstreams<'_>,
    what: Option<&str>,
) -> Option<Arc<Fallback>> {
    let own = section.section("fallback")?;
    if !section.has("upstream") {
        let why = "it stands in for an `upstream`, and this route has none";
        refuse_keys(section, &["fallback"], why);
        return None;
    }
    let upstream = own.field("upstream").and_then(|field| {
        if field.text() == section.field("upstream").and_then(|f| f.text()) {
            field.error("this is the upstream that it stands in for");
        }
        match what {
            Some(what) => upstreams.grpc_named_by(&field, what),
            None => upstreams.named_by(&field),
        }
    });
    let respond = own.section("respond").and_then(|s| site::respond(&s));
    if !["upstream", "stale", "respond"].iter().any(|k| own.has(k)) {
        let reader = own.reader;
        reader.push(
            reader
                .source
                .error(own.span, "a fallback that stands for nothing")
                .key(&own.path)
                .help("say what: `upstream: NAME`, `stale: 1h` or `respond: { status: 503 }`"),
        );
    }
    Some(Arc::new(Fallback {
        upstream,
        stale: own.field("stale").and_then(|f| f.duration()),
        respond: respond.map(Arc::new),
    }))
}

fn rewrite(section: &Section<'_, '_>, matcher: Option<&Matcher>) -> Option<Arc<str>> {
    let text = section
        .field("rewrite")?
        .parse(|text| scalar::url_path(text).map(|()| text))?;
    let proxied = matches!(matcher, Some(Matcher::Path(_))) && section.has("upstream");
    if !proxied {
        let why = "it changes the path that an upstream sees, for a `prefix` or `path` route";
        refuse_keys(section, &["rewrite"], why);
    }
    Some(text.into())
}

fn matcher(section: &Section<'_, '_>) -> Option<Matcher> {
    if let Some(field) = section.field("services") {
        refuse_keys(
            section,
            RULE_KEYS,
            "a `services` route takes its rules from annotations",
        );
        let globs = field.items();
        let globs = globs.iter().filter_map(|item| {
            let pattern = item.text()?;
            item.parse(scalar::service_glob)?;
            Some(Glob {
                pattern: pattern.into(),
                place: item.place(),
            })
        });
        let globs = globs.collect();
        let items = section.items("exclude");
        let excluded = items.iter().filter_map(|item| {
            let (service, method) = item.parse(scalar::rpc)?;
            Some(Excluded {
                service: service.into(),
                method: method.into(),
                place: item.place(),
            })
        });
        let excluded = excluded.collect();
        return Some(Matcher::Services { globs, excluded });
    }
    let why = "it leaves out methods of a `services` route";
    refuse_keys(section, &["exclude"], why);
    let why = "it gives rules to all methods of a `services` route";
    refuse_keys(section, &["auto"], why);
    let literal = |name| Some((section.field(name)?, name));
    if let Some((field, name)) = literal("prefix").or_else(|| literal("path")) {
        let why = format!("a `{name}` route doesn't transcode");
        refuse_keys(section, RULE_KEYS, &why);
        refuse_keys(section, TRANSCODING_POLICY, &why);
        if let Some(headers) = section.section("headers") {
            refuse_keys(
                &headers,
                &["to_metadata", "rpc_metadata", "to_response"],
                &why,
            );
        }
        let text = field.text()?;
        field.parse(scalar::url_path)?;
        return Some(Matcher::Path(match name {
            "prefix" => PathMatch::Prefix(text.into()),
            _ => PathMatch::Exact(text.into()),
        }));
    }
    if RULE_MATCHERS.iter().any(|m| section.has(m)) {
        return rpc(section);
    }
    None
}

fn refuse_keys(section: &Section<'_, '_>, names: &[&str], why: &str) {
    for name in names {
        if let Some(field) = section.field(name) {
            let message = format!("`{name}` has no meaning here");
            section.reader.push(
                section
                    .reader
                    .source
                    .error(field.key_span, message)
                    .key(&field.path)
                    .help(why),
            );
        }
    }
}

fn rpc(section: &Section<'_, '_>) -> Option<Matcher> {
    let rule = rule(section);
    let Some(field) = section.field("rpc") else {
        if !section.has("rpc") {
            section.reader.push(
                section
                    .reader
                    .source
                    .error(section.span, "an HTTP rule without `rpc`")
                    .key(&section.path)
                    .help("`rpc: package.Service/Method` is the method that it calls"),
            );
        }
        return None;
    };
    let (service, method) = field.parse(scalar::rpc)?;
    let overrides = section.field("override").and_then(|f| f.bool());
    let location = section.field("location").and_then(|field| {
        let text = template(&field)?;
        Some((text.into(), field.place()))
    });
    let (rule, places) = rule?;
    Some(Matcher::Rpc {
        rule,
        service: service.into(),
        method: method.into(),
        overrides: overrides.unwrap_or(false),
        places,
        location,
        rpc_place: field.place(),
    })
}

/// The HTTP rule of a route or an additional binding, and the places of its parts; those of its own
/// additional bindings follow.
pub fn rule(section: &Section<'_, '_>) -> Option<(HttpRule, Vec<RulePlaces>)> {
    let named = |name, star| {
        let field = section.field(name)?;
        let text = field.parse(|t| scalar::field(t, star).map(|()| t));
        Some((text.unwrap_or(""), field.place()))
    };
    let (body, body_place) = named("body", true).unzip();
    let (response_body, response_place) = named("response_body", false).unzip();
    let more = section.items("additional_bindings");
    let more = more.iter().filter_map(Field::section);
    let (more, more_places): (Vec<_>, Vec<_>) = more.filter_map(|s| rule(&s)).unzip();
    let (method, field) = pattern(section)?;
    let text = template(&field)?;
    let rule = HttpRule {
        pattern: HttpPattern {
            method: method?.into(),
            template: text.into(),
        },
        body: body.unwrap_or_default().into(),
        response_body: response_body.unwrap_or_default().into(),
        additional_bindings: more,
    };
    let own = RulePlaces {
        template: field.place(),
        body: body_place,
        response_body: response_place,
    };
    let places = std::iter::once(own).chain(more_places.into_iter().flatten());
    Some((rule, places.collect()))
}

/// The HTTP method, unless that is wrong, and the field that holds the template.
fn pattern<'r, 'n>(section: &Section<'r, 'n>) -> Option<(Option<String>, Field<'r, 'n>)> {
    if let Some(custom) = section.section("custom") {
        let kind = custom.field("kind");
        let kind = kind.and_then(|f| f.parse(|t| scalar::method(t).map(|()| t.to_owned())));
        return Some((kind, custom.field("path")?));
    }
    RULE_MATCHERS
        .iter()
        .find_map(|name| Some((Some(name.to_ascii_uppercase()), section.field(name)?)))
}

fn template<'n>(field: &Field<'_, 'n>) -> Option<&'n str> {
    let text = field.text()?;
    field.parse(|text| {
        PathTemplate::parse(text).map_err(|error| {
            Trouble::new(format!("invalid path template: {}", error.message))
                .at(error.offset..error.offset + 1)
        })
    })?;
    Some(text)
}
