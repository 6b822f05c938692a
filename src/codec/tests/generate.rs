//! Random messages, by descriptor.

use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Value,
};

/// SplitMix64: a seed is the whole case.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn bits64(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => self.next() & 0xff,
            4 => self.next() >> self.below(64),
            _ => self.next(),
        }
    }

    fn bits32(&mut self) -> u32 {
        match self.below(5) {
            0 => 0,
            1 => u32::MAX,
            2 => 1 << 31,
            3 => self.next() as u32 & 0xff,
            _ => self.next() as u32,
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1 => -0.0,
            2 => 0.1,
            3 => 1e21,
            4 => f64::INFINITY,
            5 => (self.next() % 1000) as f64,
            _ => {
                let v = f64::from_bits(self.next());
                if v.is_nan() { 1.5 } else { v }
            }
        }
    }

    fn finite(&mut self) -> f64 {
        let v = self.double();
        if v.is_finite() { v } else { 2.25 }
    }

    fn float(&mut self) -> f32 {
        match self.below(6) {
            0 => 0.0,
            1 => 0.1,
            2 => f32::NEG_INFINITY,
            3 => (self.next() % 1000) as f32,
            _ => {
                let v = f32::from_bits(self.next() as u32);
                if v.is_nan() { -1.5 } else { v }
            }
        }
    }

    fn text(&mut self) -> String {
        let parts = [
            "a",
            "Z",
            "é",
            "\"",
            "\\",
            "\n",
            "\u{0}",
            "\u{1f}",
            "/",
            "😀",
            "\u{2028}",
            "<&>",
            "plain words that are longer than eight bytes",
            "\t",
            "\u{7f}",
            "x",
            "日本",
        ];
        let len = match self.below(8) {
            0 => 0,
            1 => 40,
            _ => self.below(6),
        };
        (0..len).map(|_| parts[self.below(parts.len())]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(6) {
            0 => 0,
            1 => 200,
            _ => self.below(10),
        };
        (0..len).map(|_| self.next() as u8).collect()
    }
}

pub fn message(rng: &mut Random, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let span = 253_402_300_799i64 + 62_135_596_800;
            let seconds = (rng.next() % span as u64) as i64 - 62_135_596_800;
            set_time(&mut message, seconds, nanos(rng));
            return message;
        }
        "google.protobuf.Duration" => {
            let sign = if rng.one_in(2) { -1 } else { 1 };
            let seconds = (rng.next() % 315_576_000_000) as i64 >> rng.below(40);
            set_time(&mut message, seconds * sign, nanos(rng) * sign as i32);
            return message;
        }
        "google.protobuf.FieldMask" => {
            let paths = ["game_id", "title.en_us", "a", "x1.y", "long_name_of_field"];
            let list =
                (0..rng.below(4)).map(|_| Value::String(paths[rng.below(paths.len())].into()));
            message.set_field_by_name("paths", Value::List(list.collect()));
            return message;
        }
        // The oracle prints a wrapped infinity as null.
        "google.protobuf.DoubleValue" => {
            message.set_field_by_name("value", Value::F64(rng.finite()));
            return message;
        }
        "google.protobuf.FloatValue" => {
            let v = rng.float();
            let v = if v.is_finite() { v } else { 0.5 };
            message.set_field_by_name("value", Value::F32(v));
            return message;
        }
        "google.protobuf.Value" => {
            value(rng, &mut message, depth);
            return message;
        }
        "google.protobuf.Any" => {
            any(rng, &mut message, depth);
            return message;
        }
        _ => {}
    }
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    let count = if fields.len() > 8 {
        rng.below(if depth > 2 { 4 } else { 10 })
    } else {
        fields.len()
    };
    for _ in 0..count {
        let field = &fields[rng.below(fields.len())];
        if depth > 5 && matches!(field.kind(), Kind::Message(_)) {
            continue;
        }
        let value = field_value(rng, field, depth);
        message.set_field(field, value);
    }
    for field in descriptor.fields() {
        if field.cardinality() == Cardinality::Required && !message.has_field(&field) {
            let value = field_value(rng, &field, depth);
            message.set_field(&field, value);
        }
    }
    if rng.one_in(3) {
        let extensions: Vec<_> = descriptor.extensions().collect();
        if !extensions.is_empty() {
            let extension = &extensions[rng.below(extensions.len())];
            let value = if extension.is_list() {
                Value::List(
                    (0..rng.below(4))
                        .map(|_| one(rng, &extension.kind(), depth))
                        .collect(),
                )
            } else {
                one(rng, &extension.kind(), depth)
            };
            message.set_extension(extension, value);
        }
    }
    message
}

fn nanos(rng: &mut Random) -> i32 {
    let n = (rng.next() % 1_000_000_000) as i32;
    match rng.below(4) {
        0 => 0,
        1 => n / 1_000_000 * 1_000_000,
        2 => n / 1000 * 1000,
        _ => n,
    }
}

fn set_time(message: &mut DynamicMessage, seconds: i64, nanos: i32) {
    message.set_field_by_name("seconds", Value::I64(seconds));
    message.set_field_by_name("nanos", Value::I32(nanos));
}

fn value(rng: &mut Random, message: &mut DynamicMessage, depth: usize) {
    let names = [
        "null_value",
        "number_value",
        "string_value",
        "bool_value",
        "struct_value",
        "list_value",
    ];
    let name = names[rng.below(if depth > 4 { 4 } else { 6 })];
    let field = message.descriptor().get_field_by_name(name).unwrap();
    let value = match name {
        "null_value" => Value::EnumNumber(0),
        "number_value" => Value::F64(rng.finite()),
        _ => one(rng, &field.kind(), depth),
    };
    message.set_field(&field, value);
}

/// Never empty: the oracle refuses to print an `Any` without a type, which ProtoJSON has as `{}`.
fn any(rng: &mut Random, any: &mut DynamicMessage, depth: usize) {
    let names = [
        "wide.v3.Leaf",
        "wide.v3.Wide",
        "wide.v2.Wide",
        "google.protobuf.Timestamp",
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "google.protobuf.Int64Value",
        "google.protobuf.Any",
        "google.protobuf.FieldMask",
    ];
    let name = names[rng.below(names.len())];
    let pool = &super::WORLD.pool;
    let inner = message(rng, &pool.get_message_by_name(name).unwrap(), depth + 2);
    let bytes = prost::Message::encode_to_vec(&inner);
    any.set_field_by_name(
        "type_url",
        Value::String(format!("type.googleapis.com/{name}")),
    );
    any.set_field_by_name("value", Value::Bytes(bytes.into()));
}

fn field_value(rng: &mut Random, field: &FieldDescriptor, depth: usize) -> Value {
    let count = if matches!(field.kind(), Kind::Message(_)) {
        rng.below(3)
    } else {
        rng.below(6)
    };
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            unreachable!()
        };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let entries = (0..count).map(|_| {
            let key = match one(rng, &key.kind(), depth) {
                Value::Bool(v) => MapKey::Bool(v),
                Value::I32(v) => MapKey::I32(v),
                Value::I64(v) => MapKey::I64(v),
                Value::U32(v) => MapKey::U32(v),
                Value::U64(v) => MapKey::U64(v),
                Value::String(v) => MapKey::String(v),
                _ => unreachable!(),
            };
            (key, one(rng, &value.kind(), depth))
        });
        Value::Map(entries.collect())
    } else if field.is_list() {
        Value::List((0..count).map(|_| one(rng, &field.kind(), depth)).collect())
    } else {
        one(rng, &field.kind(), depth)
    }
}

fn one(rng: &mut Random, kind: &Kind, depth: usize) -> Value {
    match kind {
        Kind::Double => Value::F64(rng.double()),
        Kind::Float => Value::F32(rng.float()),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(rng.bits32() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(rng.bits64() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(rng.bits32()),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(rng.bits64()),
        Kind::Bool => Value::Bool(rng.one_in(2)),
        Kind::String => Value::String(rng.text()),
        Kind::Bytes => Value::Bytes(rng.bytes().into()),
        Kind::Message(m) => Value::Message(message(rng, m, depth + 1)),
        Kind::Enum(e) => {
            let values: Vec<i32> = e.values().map(|v| v.number()).collect();
            if e.full_name() == "wide.v3.Genre" && rng.one_in(5) {
                return Value::EnumNumber(rng.bits32() as i32);
            }
            Value::EnumNumber(values[rng.below(values.len())])
        }
    }
}
