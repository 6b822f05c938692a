//! What a table says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The config's `defaults`.
    #[serde(default)]
    pub defaults: Value,
    /// The config's `limits`.
    #[serde(default)]
    pub limits: Value,
    /// Routes of the config beside those that all tables have.
    #[serde(default)]
    pub routes: Vec<Value>,
    pub cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// `GET /v1/games/7`
    pub request: String,
    /// One value, or several.
    #[serde(default)]
    pub headers: BTreeMap<String, Value>,
    /// A JSON body, with its content type.
    pub json: Option<Value>,
    /// Any other body.
    pub body: Option<String>,
    /// The call that must be made; none at all when this is missing.
    pub call: Option<Call>,
    /// What the service answers; an empty message when this is missing.
    #[serde(default)]
    pub answer: Answer,
    pub reply: Reply,
    /// Why the core alone can't show it.
    pub gateway_only: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `gamehub.v1.Catalogue/GetGame`
    pub method: String,
    /// The whole message, in ProtoJSON.
    #[serde(default)]
    pub message: Value,
    /// Of a stream of requests, in place of `message`.
    pub messages: Option<Vec<Value>>,
    /// The call is given up before its end; nothing is said of messages then.
    #[serde(default)]
    pub cancelled: bool,
    /// Metadata that must be there; `null` for what must not.
    #[serde(default)]
    pub metadata: BTreeMap<String, Option<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub message: Option<Value>,
    /// Of a stream.
    pub messages: Option<Vec<Value>>,
    /// Bytes of the message in hex, when no codec would write them.
    pub wire: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// `NOT_FOUND`; OK when missing.
    pub status: Option<String>,
    /// `grpc-message`, percent-encoded as it is.
    pub text: Option<String>,
    /// `google.rpc.Status.details`
    #[serde(default)]
    pub details: Vec<Value>,
    #[serde(default)]
    pub trailers: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    pub status: u16,
    /// Headers that must be there; `null` for what must not.
    #[serde(default)]
    pub headers: BTreeMap<String, Option<String>>,
    /// The same of its trailers.
    #[serde(default)]
    pub trailers: BTreeMap<String, Option<String>>,
    pub json: Option<Value>,
    /// One JSON document a line.
    pub lines: Option<Vec<Value>>,
    /// The body, byte by byte.
    pub text: Option<String>,
    /// What an error's message says somewhere.
    pub says: Option<String>,
    /// The fields that an error's BadRequest names, in order.
    pub violations: Option<Vec<String>>,
}

pub fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "cases"]
        .iter()
        .collect()
}

impl Table {
    pub fn read(name: &str) -> Self {
        let path = folder().join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the table");
        let documents = Yaml::load_from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let table: Self = serde_json::from_value(json_of(&documents[0]))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut names = std::collections::BTreeSet::new();
        for case in &table.cases {
            assert!(
                names.insert(&case.name),
                "{name}: two cases {:?}",
                case.name
            );
            assert!(case.json.is_none() || case.body.is_none(), "{}", case.name);
        }
        table
    }
}

fn json_of(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(b)) => Value::Bool(*b),
        Yaml::Value(Scalar::Integer(i)) => Value::from(*i),
        Yaml::Value(Scalar::FloatingPoint(f)) => Value::from(f.into_inner()),
        Yaml::Value(Scalar::String(s)) => Value::from(s.as_ref()),
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Mapping(pairs) => Value::Object(
            pairs
                .iter()
                .map(|(k, v)| {
                    let key = k
                        .as_str()
                        .unwrap_or_else(|| panic!("a key that is no text: {k:?}"));
                    (key.to_owned(), json_of(v))
                })
                .collect::<Map<_, _>>(),
        ),
        other => panic!("not for tables: {other:?}"),
    }
}

impl Case {
    pub fn method(&self) -> &str {
        self.request.split_once(' ').expect("METHOD url").0
    }

    pub fn url(&self) -> &str {
        self.request.split_once(' ').expect("METHOD url").1
    }

    /// The request's headers and those that its body asks for.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (name, value) in &self.headers {
            match value {
                Value::Array(values) => all.extend(
                    values
                        .iter()
                        .map(|v| (name.clone(), v.as_str().expect("text").to_owned())),
                ),
                one => all.push((name.clone(), one.as_str().expect("text").to_owned())),
            }
        }
        let typed = self
            .headers
            .keys()
            .any(|n| n.eq_ignore_ascii_case("content-type"));
        if self.json.is_some() && !typed {
            all.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        all
    }

    pub fn body(&self) -> Option<Vec<u8>> {
        match (&self.json, &self.body) {
            (Some(json), _) => Some(json.to_string().into_bytes()),
            (None, body) => body.clone().map(String::into_bytes),
        }
    }
}

impl Call {
    /// The messages that the service is to get.
    pub fn wanted(&self) -> Vec<Value> {
        self.messages
            .clone()
            .unwrap_or_else(|| vec![self.message.clone()])
    }
}

impl Answer {
    /// The messages on the wire, in order.
    pub fn wires(&self, of: &prost_reflect::MessageDescriptor) -> Vec<Vec<u8>> {
        use crate::support::protos::encode;
        if let Some(hex) = &self.wire {
            return vec![unhex(hex)];
        }
        let empty = Value::Object(Map::new());
        match (&self.message, &self.messages, &self.status) {
            (_, Some(messages), _) => messages.iter().map(|m| encode(of, m)).collect(),
            (Some(message), None, _) => vec![encode(of, message)],
            (None, None, Some(_)) => vec![],
            (None, None, None) => vec![encode(of, &empty)],
        }
    }

    /// Trailers, the status among them.
    pub fn ending(&self) -> http::HeaderMap {
        use base64::Engine as _;
        let code = match &self.status {
            None => transom::failure::GrpcCode::Ok,
            Some(name) => *transom::failure::GrpcCode::ALL
                .iter()
                .find(|c| c.name() == name)
                .unwrap_or_else(|| panic!("no code {name}")),
        };
        let mut map = http::HeaderMap::new();
        map.insert(
            "grpc-status",
            http::HeaderValue::from(u16::from(code.number())),
        );
        if let Some(text) = &self.text {
            map.insert("grpc-message", text.parse().expect("grpc-message"));
        }
        if !self.details.is_empty() {
            let status = serde_json::json!({
                "code": code.number(),
                "message": self.text.clone().unwrap_or_default(),
                "details": self.details,
            });
            let of = crate::support::protos::message("google.rpc.Status");
            let wire = crate::support::protos::encode(&of, &status);
            let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(wire);
            map.insert("grpc-status-details-bin", text.parse().expect("base64"));
        }
        for (name, value) in &self.trailers {
            let name: http::HeaderName = name.parse().expect("name");
            map.insert(name, value.parse().expect("value"));
        }
        map
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("hex"))
        .collect()
}

impl Reply {
    /// Judges a reply's body; `Err` says what is wrong with it.
    pub fn check_body(&self, body: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(body);
        if let Some(expected) = &self.text
            && *expected != text
        {
            return Err(format!("body is\n  {text:?}, not\n  {expected:?}"));
        }
        if let Some(expected) = &self.lines {
            let lines = text.lines().map(parse).collect::<Result<Vec<_>, _>>()?;
            same(&Value::Array(lines), &Value::Array(expected.clone()))?;
            if !text.is_empty() && !text.ends_with('\n') {
                return Err("the last line has no end".to_owned());
            }
        }
        if let Some(expected) = &self.json {
            same(&parse(&text)?, expected)?;
        }
        if self.says.is_none() && self.violations.is_none() {
            return Ok(());
        }
        let error = parse(&text)?;
        if let Some(expected) = &self.says
            && !error["message"]
                .as_str()
                .is_some_and(|m| m.contains(expected))
        {
            return Err(format!(
                "the message is {}, which doesn't say {expected:?}",
                error["message"]
            ));
        }
        match &self.violations {
            Some(expected) => same(&violated(&error), &Value::from(expected.clone())),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("not JSON ({e}): {text:?}"))
}

fn same(found: &Value, expected: &Value) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("body is\n  {found}, not\n  {expected}")),
    }
}

/// `field` of each violation.
fn violated(error: &Value) -> Value {
    let details = error["details"].as_array();
    details
        .into_iter()
        .flatten()
        .filter(|d| d["@type"] == "type.googleapis.com/google.rpc.BadRequest")
        .flat_map(|d| d["fieldViolations"].as_array().into_iter().flatten())
        .map(|v| v["field"].clone())
        .collect()
}
