"""Judges a JSON codec by protobuf's own json_format, over pipes.

Frames are a length (four bytes, little-endian) and that many bytes. The first frame out is a
descriptor set. Then, for each frame in that holds a seed, a case goes out: message name, options,
wire, JSON, and a number of odd documents. Back come, each with a first byte saying whether it was
accepted: the JSON encoded, the wire printed, each odd document encoded. The last frame out is the
verdict: empty, or what is wrong. An empty frame in ends it, and is answered by a count of each
known difference met, as JSON.
"""

import collections
import json
import math
import os
import random
import re
import struct
import sys
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as F
from grpc_tools import protoc
import grpc_tools

ROOTS = ["wide.v3.Wide", "wide.v2.Wide", "wide.e2023.Wide"]


def read_frame():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        sys.exit()
    return sys.stdin.buffer.read(struct.unpack("<I", head)[0])


def write_frame(data):
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)


def compiled(files):
    """The descriptor set of files, by the protoc that knows editions."""
    includes = {os.path.dirname(f) for f in files}
    includes.add(os.path.join(os.path.dirname(grpc_tools.__file__), "_proto"))
    with tempfile.NamedTemporaryFile() as out:
        arguments = ["protoc", "--include_imports", f"--descriptor_set_out={out.name}"]
        arguments += [f"-I{i}" for i in sorted(includes)] + files
        if protoc.main(arguments) != 0:
            sys.exit("protoc failed")
        return out.read()


POOL = descriptor_pool.DescriptorPool()


def load(descriptors):
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        POOL.AddSerializedFile(file.SerializeToString())


def new(name):
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))()


class Generator:
    """Random messages by descriptor.

    Two values are left out because Python can't read what it, or anyone, prints for them: the
    greatest float ("too large", by its shortest digits) and minus zero (`-0` is the integer 0)."""

    TEXT = ["a", "Z", "é", '"', "\\", "\n", "\0", "\x1f", "/", "😀", "\u2028", "<&>", "\t", "\x7f",
            "plain words that are longer than eight bytes", "日本"]
    ANY = ["wide.v3.Leaf", "wide.v2.Leaf", "wide.e2023.Leaf", "google.protobuf.Timestamp",
           "google.protobuf.Duration", "google.protobuf.Struct", "google.protobuf.Int64Value",
           "google.protobuf.FieldMask", "google.protobuf.Empty"]
    MASKS = ["game_id", "title.en_us", "a", "x.y", "long_name_of_field"]

    def __init__(self, rng):
        self.rng = rng

    def text(self):
        return "".join(self.rng.choices(self.TEXT, k=self.rng.choice([0, 1, 2, 3, 5, 30])))

    def bits(self, width):
        value = self.rng.choice([0, 1, (1 << width) - 1, 1 << (width - 1), self.rng.getrandbits(8)])
        return self.rng.choice([value, self.rng.getrandbits(self.rng.randint(1, width))])

    def signed(self, width):
        value = self.bits(width)
        return value - (1 << width) if value >> (width - 1) else value

    def finite(self):
        kind = self.rng.randrange(5)
        if kind < 3:
            return [0.0, -1.0, float(self.rng.randrange(1000))][kind]
        value = struct.unpack("<d", struct.pack("<Q", self.rng.getrandbits(64)))[0]
        return value if math.isfinite(value) else self.rng.random()

    def scalar(self, field):
        rng, kind = self.rng, field.type
        if kind == F.TYPE_DOUBLE:
            return rng.choice([self.finite(), self.finite(), math.inf, -math.inf, math.nan])
        if kind == F.TYPE_FLOAT:
            value = struct.unpack("<f", struct.pack("<I", rng.getrandbits(32)))[0]
            return rng.choice([value, 0.0, 0.1, 3.4e38, math.inf, 16777216.0])
        if kind in (F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32):
            return self.signed(32)
        if kind in (F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64):
            return self.signed(64)
        if kind in (F.TYPE_UINT32, F.TYPE_FIXED32):
            return self.bits(32)
        if kind in (F.TYPE_UINT64, F.TYPE_FIXED64):
            return self.bits(64)
        if kind == F.TYPE_BOOL:
            return rng.random() < 0.5
        if kind == F.TYPE_STRING:
            return self.text()
        if kind == F.TYPE_BYTES:
            return rng.randbytes(rng.choice([0, 1, 2, 3, 4, 60, 200]))
        null = field.enum_type.full_name == "google.protobuf.NullValue"
        if not null and not field.enum_type.is_closed and rng.random() < 0.2:
            return self.signed(32)
        return rng.choice(field.enum_type.values).number

    def fill(self, message, depth):
        """Fills the message; the well-known ones with what JSON has a form for."""
        rng, name = self.rng, message.DESCRIPTOR.full_name
        nanos = rng.randrange(10**9) // rng.choice([1, 10**3, 10**6, 10**9])
        nanos *= rng.choice([1, 10**3])
        nanos %= 10**9
        if name == "google.protobuf.Timestamp":
            message.seconds = rng.choice([rng.randint(-62135596800, 253402300799), 0, -1, 951782400])
            message.nanos = nanos
        elif name == "google.protobuf.Duration":
            sign = rng.choice([1, -1])
            message.seconds = sign * rng.choice([0, 1, rng.randrange(315576000000)])
            message.nanos = sign * nanos
        elif name == "google.protobuf.FieldMask":
            message.paths.extend(rng.choices(self.MASKS, k=rng.randrange(4)))
        elif name == "google.protobuf.Any":
            inner = new(rng.choice(self.ANY))
            self.fill(inner, depth + 2)
            message.type_url = "type.googleapis.com/" + inner.DESCRIPTOR.full_name
            message.value = inner.SerializeToString(deterministic=True)
        elif name == "google.protobuf.Value":
            pick = rng.randrange(6 if depth < 4 else 4)
            if pick == 0:
                message.null_value = 0
            elif pick == 1:
                message.number_value = self.finite()
            elif pick == 2:
                message.string_value = self.text()
            elif pick == 3:
                message.bool_value = rng.random() < 0.5
            else:
                member = message.struct_value if pick == 4 else message.list_value
                member.SetInParent()
                self.fill(member, depth + 1)
        else:
            self.fields(message, depth)

    def fields(self, message, depth):
        rng, descriptor = self.rng, message.DESCRIPTOR
        fields = list(descriptor.fields)
        count = len(fields) if len(fields) < 4 else rng.randrange(3 if depth > 1 else 12)
        if descriptor.is_extendable and rng.random() < 0.4:
            fields += sorted(POOL.FindAllExtensions(descriptor), key=lambda f: f.number)
            count += 1
        chosen = rng.sample(fields, min(count, len(fields)))
        chosen += [f for f in descriptor.fields if f.is_required and f not in chosen]
        for field in chosen:
            if depth > 4 and field.message_type:
                continue
            self.field(message, field, depth)

    def field(self, message, field, depth):
        rng = self.rng
        entry = field.message_type
        if entry and entry.GetOptions().map_entry:
            key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
            into = getattr(message, field.name)
            for _ in range(rng.randrange(4)):
                if value.message_type:
                    self.fill(into[self.scalar(key)], depth + 1)
                else:
                    into[self.scalar(key)] = self.scalar(value)
        elif field.is_repeated:
            into = message.Extensions[field] if field.is_extension else getattr(message, field.name)
            for _ in range(rng.randrange(5)):
                if entry:
                    self.fill(into.add(), depth + 1)
                else:
                    into.append(self.scalar(field))
        elif entry:
            into = message.Extensions[field] if field.is_extension else getattr(message, field.name)
            into.SetInParent()
            self.fill(into, depth + 1)
        elif field.is_extension:
            message.Extensions[field] = self.scalar(field)
        else:
            setattr(message, field.name, self.scalar(field))


# What a value of a valid document is exchanged for.
ODD = [None, True, 0, 1, -1, 1.0, 1.5, -0.0, 1e2, 1e300, 2**31, -2**31 - 1, 2**32, 2**63, 2**64,
       -2**63 - 1, 0.1, "", "0", "1", "-1", "1.0", "1.5", "1e2", "1e400", "0x10", " 1", "1 ", "+1",
       "01", "1_0", "١", "true", "null", "NaN", "nan", "Infinity", "-Infinity", "inf", "GENRE_PUZZLE",
       "genre_puzzle", "OPEN_ONE", "TWO", "ALSO_TWO", "CLOSED_TWO", "CLOSED_NONE", "AA==", "AA", "A",
       "-_-_", "+/+/", "+_", "A A=", "****", "AB==", "2024-02-29T12:00:00Z", "2023-02-29T12:00:00Z",
       "2024-02-29T12:00:00", "2024-02-29t12:00:00z", "2024-02-29T12:00:00.1234567890Z",
       "2024-02-29T12:00:00+05:30", "2024-02-29T24:00:00Z", "2016-12-31T23:59:60Z",
       "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00", "2024-2-9T1:2:3Z", "1s", "-1.5s", "1.s",
       ".5s", "1", "1S", "315576000001s", "1.0000000001s", "+1s", "a.bC,d", "a_b", "aB,,c", ",",
       [], {}, [None], [1], {"a": 1}, {"a": None}, {"": ""}, {"@type": "type.googleapis.com/none"},
       {"@type": "type.googleapis.com/wide.v3.Leaf", "name": "x"}, {"@type": 7}, {"name": "x"},
       {"size": 1, "size ": 2}, [[]], [{}], "x"]


def slots(value):
    """Each place in a tree of JSON that can be exchanged: a container and a key."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from slots(value[key])


def odd_documents(rng, document):
    """Documents near a valid one: values exchanged, keys renamed, bytes changed."""
    for _ in range(2):
        tree = json.loads(document)
        places = list(slots(tree))
        if not places:
            break
        container, key = rng.choice(places)
        if isinstance(container, dict) and rng.random() < 0.15:
            container[rng.choice(["x", key.upper(), key + " ", "", "[a.b]"])] = container.pop(key)
        else:
            container[key] = rng.choice(ODD)
        yield json.dumps(tree, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    raw = bytearray(document.encode())
    at = rng.randrange(len(raw))
    kind = rng.randrange(4)
    if kind == 0:
        del raw[at]
    elif kind == 1:
        raw.insert(at, rng.choice(b'"{}[]:,\\0-.eE \n\t\x00\x80u+/'))
    elif kind == 2:
        raw[at] = rng.choice(b'"{}[]:,\\0-.eE \n\t\x00\xc3x')
    else:
        del raw[at:]
    yield bytes(raw)


def parse(name, text):
    """The message, or why not. Whatever is raised is a refusal: bad input raises all sorts."""
    message = new(name)
    try:
        json_format.Parse(text, message, descriptor_pool=POOL)
        message.SerializeToString()
        return message, None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def from_wire(name, wire):
    message = new(name)
    message.ParseFromString(wire)
    return message


def to_json(message, options):
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=bool(options & 1),
        use_integers_for_enums=bool(options & 2),
        always_print_fields_with_no_presence=bool(options & 4),
        indent=None,
        descriptor_pool=POOL,
    )


def same(a, b):
    """Equal messages, NaN and all; the bytes of an Any may be in another order."""
    return (a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)
            or level(json.loads(to_json(a, 0))) == level(json.loads(to_json(b, 0))))


def level(value, options=0):
    """JSON with floats and integers told apart by value alone, and to the precision of a float.

    NullValue stays `null` for us with enums as numbers, and is 0 for Python."""
    if isinstance(value, dict):
        return {k: level(v, options) for k, v in value.items()}
    if isinstance(value, list):
        return [level(v, options) for v in value]
    if isinstance(value, float):
        return ("number", f"{value:.7g}") if value != int_or_none(value) else ("number", int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return ("number", value)
    if value is None and options & 2:
        return ("number", 0)
    return value


def int_or_none(value):
    return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 1e15 else None


# The differences that are meant to be: who accepts, a pattern of the other's reason, and why it is
# right as it is. "python" is laxer than ProtoJSON nearly everywhere, because it takes whatever
# int(), float(), b64decode(), strptime() and truth take.
NUMBER = r"(expected|out of range for) an? (double|float|u?int(32|64))"
KNOWN = [
    ("number text", "python", NUMBER + r', found "(\+|0|-0| |[^"]*[ _]|[^"]*\\u|[^"]*[^\x00-\x7f])',
     "JSON's grammar holds for numbers in quotes as well: no plus, blanks, underscores, other digits"),
    ("infinity's names", "python", NUMBER + r', found "[+-]?(inf|nan)', "only NaN, Infinity, -Infinity"),
    ("true as a number", "python", NUMBER + r", found (true|false)", "a bool is an int in Python alone"),
    ("enum number as text", "python", r'" ?[+-]?[\d_]+ ?" is not a value of|"[^"]*(\\u|[^\x00-\x7f])[^"]*" is not a value',
     "a string is a name"),
    ("enum number", "python", r"the name or number of an enum value(, found|$)",
     "an enum is 32 bits wide, and neither a fraction nor a bool"),
    ("base64", "python", r"expected base64", "Python drops what is not of the alphabet"),
    ("empty as an object", "python", r'expected an object, found (an array|""|"[^"]*")',
     "an object is wanted; Python looks for fields in any container"),
    ("timestamp", "python", r"expected an RFC 3339 timestamp", "strptime takes missing zeros"),
    ("duration", "python", r"expected a duration", "Python takes a plus, and drops a tenth digit"),
    ("field mask", "python", r"expected a comma-separated list", "empty paths"),
    ("overflow", "python", r"1e400 is out of range for", "float() makes an infinity of it"),
    ("null among Values", "we", r"AttributeError: .* has no attribute 'null_value'",
     "Python fails on null in a repeated Value"),
    ("required", "we", r"missing required fields", "the service checks that, and says it better"),
    ("closed enum", "we", r"Invalid enum value -?[\d.]+ for enum type",
     "a number of a closed enum passes through: the service may know more values"),
]
PATTERNS = [(name, accepts, re.compile(pattern)) for name, accepts, pattern, _ in KNOWN]
COUNTS = collections.Counter({name: 0 for name, *_ in KNOWN})


def excused(ours, theirs_why, ours_why):
    """Whether one of the known differences explains that one accepts what the other refuses."""
    who, why = ("we", theirs_why) if ours is not None else ("python", ours_why)
    for name, accepts, pattern in PATTERNS:
        if accepts == who and pattern.search(why):
            COUNTS[name] += 1
            return True
    return False


def case(seed):
    rng = random.Random(seed)
    name = ROOTS[seed % len(ROOTS)]
    message = new(name)
    Generator(rng).fill(message, 0)
    options = rng.randrange(8)
    wire = message.SerializeToString(deterministic=True)
    document = to_json(message, options)
    # Maps are printed in another order each time; sorted, a seed is a case for good.
    odd = list(odd_documents(rng, json.dumps(json.loads(document), sort_keys=True)))
    for part in [name.encode(), bytes([options]), wire, document.encode(), bytes([len(odd)]), *odd]:
        write_frame(part)
    sys.stdout.buffer.flush()
    encoded, printed = read_frame(), read_frame()
    answers = [read_frame() for _ in odd]
    problems = []
    expected, why = parse(name, document)
    if expected is None:
        problems.append(f"python refuses its own JSON: {why}: {document}")
    elif encoded[0] == 0:
        problems.append(f"valid JSON refused: {encoded[1:].decode()}: {document}")
    elif not same(from_wire(name, encoded[1:]), expected):
        problems.append(f"encoded as another message: {document}\n"
                        f"  {to_json(from_wire(name, encoded[1:]), 0)}")
    if printed[0] == 0:
        problems.append(f"valid wire refused: {printed[1:].decode()}: {wire.hex()}")
    else:
        back, why = parse(name, printed[1:].decode())
        if back is None:
            problems.append(f"printed JSON refused: {why}: {printed[1:].decode()}")
        elif not same(back, message):
            problems.append(f"printed another message: {printed[1:].decode()}\n  {document}")
        if level(json.loads(printed[1:]), options) != level(json.loads(document), options):
            problems.append(f"printed JSON differs:\n  {printed[1:].decode()}\n  {document}")
    for text, answer in zip(odd, answers):
        problems += check_odd(name, text, answer)
    write_frame("\n".join(problems).encode())


def check_odd(name, text, answer):
    ours, ours_why = (answer[1:], None) if answer[0] else (None, answer[1:].decode())
    theirs, theirs_why = parse(name, text)
    shown = text.decode("utf-8", "backslashreplace")
    if (ours is None) != (theirs is None):
        COUNTS["disagree"] += 1
        if excused(ours, theirs_why, ours_why):
            return []
        return [f"one refuses: {shown}\n  we: {ours_why or 'accept'}\n"
                f"  python: {theirs_why or 'accept'}"]
    COUNTS["both refuse" if ours is None else "both accept"] += 1
    if ours is not None:
        try:
            mine = from_wire(name, ours)
        except Exception as error:
            return [f"python can't read our wire: {error}: {shown}"]
        if not same(mine, theirs):
            return [f"read differently: {shown}\n  we: {to_json(mine, 0)}\n"
                    f"  python: {to_json(theirs, 0)}"]
    return []


def main():
    descriptors = compiled(sys.argv[1:])
    load(descriptors)
    write_frame(descriptors)
    sys.stdout.buffer.flush()
    while seed := read_frame():
        case(int(seed))
        sys.stdout.buffer.flush()
    write_frame(json.dumps(COUNTS).encode())
    sys.stdout.buffer.flush()


main()
