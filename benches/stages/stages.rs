//! One stage of a request's pure path, done again and again: `stages STAGE TIMES`. Without a stage it
//! lists them. `benches/stages/run` counts their instructions and holds them to their budgets.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use transom::codec::{Codec, CodecLimits, JsonOptions, Printer, Progress};
use transom::failure::{Failure, GrpcCode};
use transom::limits::ByteLimit;
use transom::route::{Builder, Lookup, PathTemplate, RawPath, RouteId, Table};
use transom::schema::{SchemaBuilder, compile};
use transom::transcode::error_body::{ErrorFormat, error_body};
use transom::transcode::frame::{self, Decoder};
use transom::transcode::metadata;
use transom::transcode::{Compat, Inner, MethodPlan, QueryPolicy, UnknownQuery};

type Failed = Box<dyn std::error::Error>;
type Stage = Box<dyn FnMut() -> usize>;

const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 16 << 20,
};
const STAGES: [&str; 10] = [
    "match",
    "match_10k",
    "bind",
    "metadata",
    "encode",
    "encode_100",
    "frame",
    "decode",
    "decode_100",
    "refuse",
];
const ITEM: &str = "/v1/items/item-00007";
const WIDE_ITEM: &str = "/v1/shelf5003/item-00007/part5";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (Some(stage), Some(Ok(times))) = (words.next(), words.next().map(|n| n.parse::<usize>()))
    else {
        println!("{}", STAGES.join("\n"));
        return ExitCode::SUCCESS;
    };
    match World::new().and_then(|world| world.stage(&stage)) {
        Ok(mut work) => {
            // The first times are others: buffers grow, symbols are bound.
            let _warm: usize = (0..10).map(|_| work()).sum();
            let least = counted(&mut work, times);
            if least == 0 {
                eprintln!("{stage}: did nothing");
                return ExitCode::FAILURE;
            }
            println!("{stage}: {times} times, {least} or more each");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{stage}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Callgrind counts from here on, by the name.
#[inline(never)]
fn counted(work: &mut Stage, times: usize) -> usize {
    (0..times)
        .map(|_| black_box(work()))
        .fold(usize::MAX, usize::min)
}

/// The catalogue of benches/peers, planned.
struct World {
    codec: Arc<Codec>,
    plans: Vec<(String, Arc<MethodPlan>)>,
    table: Table,
    wide: Table,
}

impl World {
    fn new() -> Result<Self, Failed> {
        let set = compile(&[(
            "shop.proto".to_owned(),
            include_str!("../peers/shop.proto").to_owned(),
        )])
        .map_err(|e| format!("{e:?}"))?;
        let mut builder = SchemaBuilder::new();
        builder.add_set("shop", &set)?;
        let schema = Arc::new(builder.build().map_err(|e| format!("{e:?}"))?);
        let codec = Arc::new(Codec::build(Arc::clone(&schema), JsonOptions::default()));
        let (mut few, mut many) = (Builder::default(), Builder::default());
        let mut plans = Vec::new();
        let service = schema.find_service("shop.v1.Shop").ok_or("no shop")?;
        for (index, method) in (0..).zip(&service.methods) {
            let found = schema
                .find_method("shop.v1.Shop", &method.name)
                .ok_or("no method")?;
            let rule = method.http.as_ref().ok_or("no rule")?;
            let built = MethodPlan::build(Arc::clone(&codec), found, rule, Compat::None);
            let (plan, template) = built.map_err(|e| format!("{e:?}"))?;
            for table in [&mut few, &mut many] {
                table.rule(
                    &[],
                    &rule.pattern.method,
                    &template,
                    RouteId(index),
                    "shop".into(),
                );
            }
            plans.push((method.name.to_string(), Arc::new(plan)));
        }
        for index in 10..10_004_u32 {
            let template = format!("/v1/shelf{index}/{{item_id}}/part{}", index % 7);
            let template = PathTemplate::parse(&template)?;
            many.rule(&[], "GET", &template, RouteId(index), "wide".into());
        }
        let table = |builder: Builder| builder.build().map_err(|e| format!("{e:?}"));
        Ok(Self {
            codec,
            plans,
            table: table(few)?,
            wide: table(many)?,
        })
    }

    fn plan(&self, method: &str) -> Result<Arc<MethodPlan>, Failed> {
        let found = self.plans.iter().find(|(name, _)| name == method);
        found
            .map(|(_, plan)| Arc::clone(plan))
            .ok_or_else(|| method.into())
    }

    /// JSON to protobuf, as the method's request body.
    fn encoding(&self, method: &str, json: String) -> Result<Stage, Failed> {
        let plan = self.plan(method)?;
        let target = plan.body_target().ok_or("no body")?;
        let mut wire = Vec::new();
        plan.encode_body(target, None, json.as_bytes(), LIMITS, &mut wire)?;
        Ok(Box::new(move || {
            wire.clear();
            let done =
                plan.encode_body(target, None, black_box(json.as_bytes()), LIMITS, &mut wire);
            done.map_or(0, |()| wire.len())
        }))
    }

    /// Protobuf to JSON, as the method's reply.
    fn decoding(&self, method: &str, json: &str) -> Result<Stage, Failed> {
        let plan = self.plan(method)?;
        let target = plan.response_target().ok_or("no JSON")?;
        let mut wire = Vec::new();
        plan.codec
            .encode(target, json.as_bytes(), LIMITS, &mut wire)?;
        let mut out = Vec::new();
        let mut print = move || {
            out.clear();
            let Ok(mut job) = Printer::new(&plan.codec, target, black_box(&wire), LIMITS) else {
                return 0;
            };
            loop {
                match job.step(&plan.codec, &wire, usize::MAX, &mut out) {
                    Ok(Progress::More) => {}
                    Ok(_) => return out.len(),
                    Err(_) => return 0,
                }
            }
        };
        match print() {
            0 => Err("can't be printed".into()),
            _ => Ok(Box::new(print)),
        }
    }

    fn stage(self, stage: &str) -> Result<Stage, Failed> {
        match stage {
            "match" | "match_10k" => {
                let (table, path) = match stage {
                    "match" => (self.table, ITEM),
                    _ => (self.wide, WIDE_ITEM),
                };
                Ok(Box::new(move || {
                    let Ok(path) = RawPath::parse(black_box(path)) else {
                        return 0;
                    };
                    match table.lookup("shop.example.com", &Method::GET, &path) {
                        Lookup::Matched(found) => found.captures.len(),
                        _ => 0,
                    }
                }))
            }
            "bind" => {
                let plan = self.plan("ListItems")?;
                let policy = QueryPolicy {
                    unknown: UnknownQuery::Reject,
                    ignored: &[],
                    parameters_max: 100,
                    partial: false,
                    compat: Compat::None,
                };
                let mut wire = Vec::new();
                Ok(Box::new(move || {
                    wire.clear();
                    let query = black_box("page_size=100&page_token=item-00100");
                    let done = plan.bind(&[], Some(query), &policy, &mut wire);
                    done.map_or(0, |()| wire.len())
                }))
            }
            "metadata" => {
                let headers = browser();
                Ok(Box::new(move || {
                    let headers = black_box(&headers);
                    headers
                        .keys()
                        .filter(|name| metadata::client_metadata(name))
                        .count()
                }))
            }
            "encode" => self.encoding("CreateItem", item(7)),
            "encode_100" => self.encoding("BatchCreate", format!(r#"{{"items":[{}]}}"#, items())),
            "frame" => {
                let mut wire = Vec::new();
                Ok(Box::new(move || {
                    wire.clear();
                    let at = frame::start(&mut wire);
                    wire.extend_from_slice(black_box(&[7; 256]));
                    let Ok(()) = frame::finish(&mut wire, at) else {
                        return 0;
                    };
                    let mut decoder = Decoder::new(ByteLimit::ANY);
                    decoder.push(Bytes::copy_from_slice(&wire));
                    decoder.next_message().ok().flatten().map_or(0, |m| m.len())
                }))
            }
            "decode" => self.decoding("GetItem", &item(7)),
            "decode_100" => self.decoding("ListItems", &format!(r#"{{"items":[{}]}}"#, items())),
            "refuse" => Ok(Box::new(move || {
                let mut failure = Failure::upstream(GrpcCode::NotFound, "item-00007 isn't here");
                failure.code = GrpcCode::NotFound;
                let (_, body) = error_body(
                    &failure,
                    ErrorFormat::Status,
                    Inner::Hide,
                    Some(&self.codec),
                );
                body.len()
            })),
            _ => Err(format!("no such stage; there are: {}", STAGES.join(", ")).into()),
        }
    }
}

/// What a browser sends along.
fn browser() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "shop.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/150.0",
        ),
        ("accept", "application/json"),
        ("accept-language", "en"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("authorization", "Bearer abc.def.ghi"),
        ("cookie", "session=12345"),
        ("x-request-id", "01a20a75-bae0-7583-9978-85fa44919962"),
    ] {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    headers
}

fn item(number: usize) -> String {
    format!(
        r#"{{"itemId":"item-{number:05}","title":"The \"great\" adventure, volume {number}","description":"A short description of what it is.","stock":"{}","rating":{}.7,"listed":true,"tags":["family","co-op"],"attributes":{{"colour":"blue","size":"large"}},"created":"2026-03-{:02}T10:15:30.250Z","category":"CATEGORY_GAMES","price":{{"currency":"EUR","units":"{}","nanos":990000000}}}}"#,
        number * 7919,
        number % 5,
        number % 28 + 1,
        number % 90 + 10,
    )
}

fn items() -> String {
    (0..100).map(item).collect::<Vec<_>>().join(",")
}
