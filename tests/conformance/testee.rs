//! The program that the official conformance runner tests: our codec between JSON and the wire, and
//! our normaliser between wire and wire. Never an echo. Text format and JSPB are skipped.
//!
//! Speaks on stdin and stdout: a length of four bytes, little endian, then a message of
//! `conformance.proto`, both ways. Its argument is a descriptor set with the suite's messages.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use prost::Message as _;
use transom::codec::{Codec, CodecLimits, JsonOptions, Target};
use transom::schema::{MessageId, SchemaBuilder};

const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 64 << 20,
};

/// `conformance.WireFormat`
const PROTOBUF: i32 = 1;
const JSON: i32 = 2;
/// `conformance.TestCategory.JSON_IGNORE_UNKNOWN_PARSING_TEST`
const IGNORE_UNKNOWN: i32 = 3;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(oneof = "Payload", tags = "1, 2, 7, 8")]
    payload: Option<Payload>,
    #[prost(int32, tag = "3")]
    requested_output_format: i32,
    #[prost(string, tag = "4")]
    message_type: String,
    #[prost(int32, tag = "5")]
    test_category: i32,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Payload {
    #[prost(bytes, tag = "1")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "2")]
    Json(String),
    #[prost(string, tag = "7")]
    Jspb(String),
    #[prost(string, tag = "8")]
    Text(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(oneof = "Outcome", tags = "1, 2, 3, 4, 5, 6")]
    outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Outcome {
    #[prost(string, tag = "1")]
    ParseError(String),
    #[prost(string, tag = "2")]
    RuntimeError(String),
    #[prost(bytes, tag = "3")]
    Protobuf(Vec<u8>),
    #[prost(string, tag = "4")]
    Json(String),
    #[prost(string, tag = "5")]
    Skipped(String),
    #[prost(string, tag = "6")]
    SerializeError(String),
}

struct Testee {
    strict: Codec,
    lenient: Codec,
}

impl Testee {
    fn answer(&self, request: &Request) -> Outcome {
        // The runner first asks which failures to expect: none, an empty `FailureSet`.
        if request.message_type == "conformance.FailureSet" {
            return Outcome::Protobuf(Vec::new());
        }
        let Some(id) = self.strict.schema().find_message(&request.message_type) else {
            return Outcome::RuntimeError(format!("no message {}", request.message_type));
        };
        let codec = match request.test_category {
            IGNORE_UNKNOWN => &self.lenient,
            _ => &self.strict,
        };
        if !matches!(request.requested_output_format, PROTOBUF | JSON) {
            return Outcome::Skipped("only protobuf and JSON are written".into());
        }
        let wire = match &request.payload {
            Some(Payload::Protobuf(wire)) => match codec.normalise(id, wire, LIMITS) {
                Ok(wire) => wire,
                Err(e) => return Outcome::ParseError(e.to_string()),
            },
            Some(Payload::Json(json)) => {
                let mut wire = Vec::new();
                match codec.encode(Target::Message(id), json.as_bytes(), LIMITS, &mut wire) {
                    Ok(()) => wire,
                    Err(e) => return Outcome::ParseError(e.to_string()),
                }
            }
            _ => return Outcome::Skipped("only protobuf and JSON are read".into()),
        };
        match request.requested_output_format {
            PROTOBUF => Outcome::Protobuf(wire),
            _ => print(codec, id, request, &wire),
        }
    }
}

/// Wire that came as wire is printed as it came, so that the printer sees what the runner sent.
fn print(codec: &Codec, id: MessageId, request: &Request, wire: &[u8]) -> Outcome {
    let wire = match &request.payload {
        Some(Payload::Protobuf(original)) => original,
        _ => wire,
    };
    let mut json = Vec::new();
    match codec.print(Target::Message(id), wire, LIMITS, &mut json) {
        Ok(()) => match String::from_utf8(json) {
            Ok(json) => Outcome::Json(json),
            Err(e) => Outcome::RuntimeError(e.to_string()),
        },
        Err(e) => Outcome::SerializeError(e.to_string()),
    }
}

fn build(set: &str) -> Result<Testee, String> {
    let bytes = std::fs::read(set).map_err(|e| format!("{set}: {e}"))?;
    let mut builder = SchemaBuilder::new();
    builder.add_set(set, &bytes).map_err(|e| e.to_string())?;
    let schema = builder.build().map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        all.join("\n")
    })?;
    let schema = Arc::new(schema);
    let lenient = JsonOptions {
        ignore_unknown_fields: true,
        ..JsonOptions::default()
    };
    Ok(Testee {
        strict: Codec::build(schema.clone(), JsonOptions::default()),
        lenient: Codec::build(schema, lenient),
    })
}

fn serve(testee: &Testee) -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let mut length = [0; 4];
        match input.read_exact(&mut length) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut bytes)?;
        let request = Request::decode(&*bytes).map_err(io::Error::other)?;
        let response = Response {
            outcome: Some(testee.answer(&request)),
        };
        let bytes = response.encode_to_vec();
        output.write_all(&(bytes.len() as u32).to_le_bytes())?;
        output.write_all(&bytes)?;
        output.flush()?;
    }
}

fn main() -> ExitCode {
    let run = || {
        let set = std::env::args().nth(1).ok_or("usage: testee SET")?;
        serve(&build(&set)?).map_err(|e| e.to_string())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
