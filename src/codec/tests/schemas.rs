//! Against prost-reflect's DynamicMessage, over random schemas and random messages of them.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::generate::{self, Random};
use super::oracle::{options, oracle_json, parsed};
use super::{encode, print};
use crate::codec::{Codec, JsonOptions, Target};
use crate::schema::{SchemaBuilder, compile};

const SCALARS: [&str; 15] = [
    "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32",
    "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes",
];
const KNOWN: [&str; 8] = [
    "Timestamp",
    "Duration",
    "FieldMask",
    "Struct",
    "Value",
    "ListValue",
    "Int64Value",
    "StringValue",
];
const MESSAGES: usize = 4;

/// The text of a file: messages `M0` to `M3` that refer to each other, and two enums.
struct Writer {
    rng: Random,
    proto3: bool,
    text: String,
}

impl Writer {
    fn file(seed: u64) -> Self {
        let mut rng = Random::new(seed);
        let proto3 = rng.below(2) == 0;
        let text = format!(
            "syntax = \"proto{}\";\npackage random;\n",
            if proto3 { 3 } else { 2 }
        );
        let mut file = Self { rng, proto3, text };
        for import in ["timestamp", "duration", "field_mask", "struct", "wrappers"] {
            let _ = writeln!(file.text, "import \"google/protobuf/{import}.proto\";");
        }
        file.enums();
        for at in 0..MESSAGES {
            file.message(at);
        }
        if !proto3 {
            file.text += "extend M0 {\n";
            for at in 0..3 {
                let label = file.pick(&["optional", "repeated"]);
                let kind = file.kind();
                let _ = writeln!(file.text, "{label} {kind} ext_{at} = {};", 1000 + at * 7);
            }
            file.text += "}\n";
        }
        file
    }

    fn pick(&mut self, of: &[&str]) -> String {
        of[self.rng.below(of.len())].to_owned()
    }

    fn enums(&mut self) {
        for at in 0..2 {
            let first = if self.proto3 { 0 } else { self.rng.below(3) };
            let _ = writeln!(
                self.text,
                "enum E{at} {{ option allow_alias = true; E{at}_A = {first}; E{at}_B = 5; \
                 E{at}_ALSO_B = 5; E{at}_NEGATIVE = -{}; E{at}_HIGH = {}; }}",
                1 + self.rng.below(100),
                2000 + self.rng.below(1 << 30),
            );
        }
    }

    fn kind(&mut self) -> String {
        match self.rng.below(10) {
            0..=5 => self.pick(&SCALARS),
            6 => self.pick(&["E0", "E1"]),
            7 => format!("google.protobuf.{}", self.pick(&KNOWN)),
            _ => format!("M{}", self.rng.below(MESSAGES)),
        }
    }

    /// Mostly low numbers in order, at times far apart or going back.
    fn number(&mut self, at: usize) -> usize {
        match self.rng.below(5) {
            0 => 30_000 + at * 1_000_003,
            1 => 500 - at,
            _ => at + 1,
        }
    }

    fn message(&mut self, at: usize) {
        let _ = writeln!(self.text, "message M{at} {{");
        let fields = 1 + self.rng.below(12);
        for field in 0..fields {
            self.field(field);
        }
        for oneof in 0..self.rng.below(3) {
            let _ = writeln!(self.text, "oneof choice_{oneof} {{");
            for member in 0..1 + self.rng.below(4) {
                let kind = self.kind();
                let number = 50 + oneof * 10 + member;
                let _ = writeln!(self.text, "{kind} c_{oneof}_{member} = {number};");
            }
            self.text += "}\n";
        }
        if !self.proto3 && at == 0 {
            self.text += "extensions 1000 to 1999;\n";
        }
        self.text += "}\n";
    }

    fn field(&mut self, at: usize) {
        let number = self.number(at);
        let name = match self.rng.below(4) {
            0 => format!("_odd__{at}Name"),
            1 => format!("field_{at}"),
            2 => format!("snake_case_{at}_x"),
            _ => format!("f{at}"),
        };
        if !self.proto3 && self.rng.below(8) == 0 {
            let label = self.pick(&["optional", "repeated"]);
            let kind = self.pick(&SCALARS);
            let _ = writeln!(
                self.text,
                "{label} group Group{at} = {number} {{ optional {kind} inner = 1; optional M1 more = 2; }}"
            );
            return;
        }
        if self.rng.below(6) == 0 {
            let key = self.pick(&SCALARS[2..14]);
            let value = match self.kind() {
                // An enum of a map begins with zero.
                kind if kind.starts_with('E') && !self.proto3 => "bytes".to_owned(),
                kind => kind,
            };
            let _ = writeln!(self.text, "map<{key}, {value}> {name} = {number};");
            return;
        }
        let kind = self.kind();
        let label = match (self.proto3, self.rng.below(5)) {
            (true, 0) => "optional",
            (true, 1) | (false, 0 | 1) => "repeated",
            (true, _) => "",
            (false, 2) if SCALARS.contains(&&*kind) => "required",
            (false, _) => "optional",
        };
        let mut options = Vec::new();
        let packs = SCALARS[..13].contains(&&*kind) || kind.starts_with('E');
        if label == "repeated" && packs && self.rng.below(2) == 0 {
            options.push(format!("packed = {}", self.pick(&["true", "false"])));
        }
        if self.rng.below(6) == 0 {
            let odd = self.pick(&["a-b", "é日", "with space", "q\\\"uote", "x.y", "$", "UPPER"]);
            options.push(format!("json_name = \"{odd}{at}\""));
        }
        let options = match &*options.join(", ") {
            "" => String::new(),
            some => format!(" [{some}]"),
        };
        let _ = writeln!(self.text, "{label} {kind} {name} = {number}{options};");
    }
}

fn check(seed: u64, bits: u8) {
    let file = Writer::file(seed);
    let set = compile(&[("random.proto".to_owned(), file.text.clone())]);
    let set = set.unwrap_or_else(|e| panic!("{e:?}\n{}", file.text));
    let pool = DescriptorPool::decode(&*set).unwrap();
    let mut builder = SchemaBuilder::new();
    builder.add_set("random", &set).unwrap();
    let schema = Arc::new(builder.build().unwrap());
    // The oracle knows no defaults of proto2.
    let (ours, theirs) = options(if file.proto3 { bits } else { bits & !1 });
    let codec = Codec::build(schema.clone(), ours);
    let plain = Codec::build(schema.clone(), JsonOptions::default());
    let mut rng = Random::new(seed ^ 0x5eed);
    for at in 0..MESSAGES * 3 {
        let name = format!("random.M{}", at % MESSAGES);
        let descriptor = pool.get_message_by_name(&name).unwrap();
        let target = Target::Message(schema.find_message(&name).unwrap());
        let message = generate::message(&mut rng, &descriptor, 0);

        let wire = message.encode_to_vec();
        let expected = oracle_json(&message, &theirs);
        let json = print(&codec, target, &wire);
        let json = json.unwrap_or_else(|e| panic!("{e}: {expected}\n{}", file.text));
        assert_eq!(parsed(&json), parsed(&expected), "{}", file.text);

        let json = oracle_json(&message, &SerializeOptions::new());
        let wire = encode(&plain, target, json.as_bytes());
        let wire = wire.unwrap_or_else(|e| panic!("{e}: {json}\n{}", file.text));
        let back = DynamicMessage::decode(descriptor.clone(), &*wire).unwrap();
        let back = oracle_json(&back, &SerializeOptions::new());
        assert_eq!(parsed(&back), parsed(&json), "{}", file.text);
    }
}

/// `PROPTEST_CASES` asks for more.
#[test]
fn any_schema_means_what_the_oracle_says() {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 100;
    }
    proptest!(config, |(seed: u64, bits in 0u8..32)| check(seed, bits));
}
