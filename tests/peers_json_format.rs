//! The codec judged by Python's protobuf: random messages of proto2, proto3 and an edition both ways,
//! and odd documents that both must accept or both refuse. Where the two differ on purpose is listed,
//! with reasons, in `tests/peers/python/json_judge.py`.
#![cfg(feature = "peers")]

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use transom::codec::{Codec, CodecLimits, JsonOptions, Target};
use transom::schema::{Schema, SchemaBuilder};

/// The judge's own limit of nesting is the same.
const LIMITS: CodecLimits = CodecLimits {
    depth_max: 100,
    encoded_bytes_max: 64 << 20,
};

/// The judge's process. It ends when its input does.
struct Judge {
    process: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl Judge {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".peers/python/bin/python");
        assert!(
            python.exists(),
            "there is no {}: run tests/peers/setup first",
            python.display()
        );
        let mut process = Command::new(&python)
            .arg(root.join("tests/peers/python/json_judge.py"))
            .arg(root.join("src/codec/tests/wide3.proto"))
            .arg(root.join("tests/peers/python/protos/widep2.proto"))
            .arg(root.join("tests/peers/python/protos/wide2023.proto"))
            .stdin(Stdio::piped())
            // The native implementation faults on some odd documents.
            .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the judge starts");
        let input = process.stdin.take().map(BufWriter::new);
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self {
            process,
            input,
            output,
        }
    }

    fn read(&mut self) -> Vec<u8> {
        let mut head = [0; 4];
        if self.output.read_exact(&mut head).is_err() {
            drop(self.input.take());
            panic!("the judge ended: {:?}", self.process.wait());
        }
        let mut frame = vec![0; u32::from_le_bytes(head) as usize];
        self.output.read_exact(&mut frame).expect("a whole frame");
        frame
    }

    fn read_text(&mut self) -> String {
        String::from_utf8(self.read()).expect("text")
    }

    fn write(&mut self, frame: &[u8]) {
        let input = self.input.as_mut().expect("it is open");
        let head = u32::try_from(frame.len()).expect("a short frame");
        input.write_all(&head.to_le_bytes()).expect("written");
        input.write_all(frame).expect("written");
    }

    /// An answer: whether it was accepted, and the result or the reason.
    fn answer<E: ToString>(&mut self, answer: Result<Vec<u8>, E>) {
        let (accepted, content) = match answer {
            Ok(content) => (1, content),
            Err(error) => (0, error.to_string().into_bytes()),
        };
        self.write(&[&[accepted], &*content].concat());
    }

    fn flush(&mut self) {
        self.input
            .as_mut()
            .expect("it is open")
            .flush()
            .expect("written");
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        drop(self.input.take());
        self.process.wait().ok();
    }
}

struct World {
    schema: Arc<Schema>,
    /// By the bits that say which options are on.
    codecs: Vec<Codec>,
}

impl World {
    fn new(descriptors: &[u8]) -> Self {
        let mut builder = SchemaBuilder::new();
        builder.add_set("the judge's", descriptors).expect("a set");
        let schema = Arc::new(builder.build().expect("a schema"));
        let codecs = (0..8).map(|bits| {
            let options = JsonOptions {
                proto_names: bits & 1 != 0,
                enums_as_numbers: bits & 2 != 0,
                emit_defaults: bits & 4 != 0,
                ..JsonOptions::default()
            };
            Codec::build(schema.clone(), options)
        });
        Self {
            codecs: codecs.collect(),
            schema,
        }
    }

    fn encode(&self, target: Target, json: &[u8]) -> Result<Vec<u8>, String> {
        let mut wire = Vec::new();
        let done = self.codecs[0].encode(target, json, LIMITS, &mut wire);
        done.map(|()| wire).map_err(|error| error.to_string())
    }

    fn print(&self, target: Target, options: u8, wire: &[u8]) -> Result<Vec<u8>, String> {
        let mut json = Vec::new();
        let codec = &self.codecs[usize::from(options)];
        let done = codec.print(target, wire, LIMITS, &mut json);
        done.map(|()| json).map_err(|error| error.to_string())
    }

    /// One case; what the judge has to say.
    fn case(&self, judge: &mut Judge, seed: u64) -> String {
        judge.write(seed.to_string().as_bytes());
        judge.flush();
        let name = judge.read_text();
        let target = Target::Message(self.schema.find_message(&name).expect("its message"));
        let options = judge.read()[0];
        let (wire, json) = (judge.read(), judge.read());
        let odd: Vec<_> = (0..judge.read()[0]).map(|_| judge.read()).collect();
        judge.answer(self.encode(target, &json));
        judge.answer(self.print(target, options, &wire));
        for document in odd {
            judge.answer(self.encode(target, &document));
        }
        judge.flush();
        judge.read_text()
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn python_reads_what_we_write_and_refuses_what_we_refuse() {
    let first = number("TRANSOM_SEED", 1);
    let cases = number("TRANSOM_CASES", 3000);
    println!("seeds from {first}, {cases} cases; TRANSOM_SEED and TRANSOM_CASES change them");

    let mut judge = Judge::start();
    let world = World::new(&judge.read());
    let mut problems = Vec::new();
    for seed in first..first + cases {
        let problem = world.case(&mut judge, seed);
        if !problem.is_empty() {
            problems.push(format!("seed {seed}: {problem}"));
        }
    }
    judge.write(b"");
    judge.flush();
    let counts: BTreeMap<String, u64> =
        serde_json::from_slice(&judge.read()).expect("a count of each");
    println!("odd documents: {counts:?}");
    assert!(
        problems.is_empty(),
        "{} of {cases} cases: {}",
        problems.len(),
        problems[..problems.len().min(20)].join("\n")
    );
    for side in ["both accept", "both refuse"] {
        assert!(
            counts[side] > cases / 10,
            "odd documents are not odd enough"
        );
    }
}
