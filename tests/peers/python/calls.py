"""Calls by grpcio to a grpcio service, with the gateway between them.

Both ends and the wires are here, so that what one end sees can be compared with what the other did. It
prints the port of the service, reads the address of a gateway for it, runs the theme that it is told and
prints what came of it as JSON.
"""

import base64
import concurrent.futures
import functools
import json
import pathlib
import queue
import socket
import sys
import tempfile
import threading

import grpc
from google.protobuf import any_pb2, duration_pb2, descriptor_pb2, descriptor_pool, message_factory  # noqa: F401
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from google.rpc import error_details_pb2, status_pb2
from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent
POOL = descriptor_pool.Default()
SERVICE = "peer.calls.v1.Calls"
# Nothing here takes so long unless it hangs.
SOON = 30


def compile_protos():
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "set.binpb"
        arguments = ["protoc", f"-I{HERE / 'protos'}", f"--descriptor_set_out={out}"]
        if protoc.main([*arguments, "peer/calls/v1/calls.proto"]) != 0:
            sys.exit("the protos don't compile")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    for file in files.file:
        POOL.AddSerializedFile(file.SerializeToString())


compile_protos()
ASK = message_factory.GetMessageClass(POOL.FindMessageTypeByName("peer.calls.v1.Ask"))
TOLD = message_factory.GetMessageClass(POOL.FindMessageTypeByName("peer.calls.v1.Told"))


# --- the service ---------------------------------------------------------------------------------------


class Call:
    """One that the service has begun on."""

    def __init__(self):
        self.over = threading.Event()
        # Whether the service had ended it before it was over.
        self.answered = False


class Service:
    """What it is asked for, and a note of each call's beginning and end."""

    def __init__(self):
        # Texts of calls that have begun, and of those that were ended for it.
        self.begun = queue.Queue()
        self.ended = queue.Queue()
        # Of the last call.
        self.metadata = []
        self.time_remaining = None

    def begin(self, text, context):
        self.metadata = [(pair.key, pair.value) for pair in context.invocation_metadata()]
        self.time_remaining = context.time_remaining()
        self.answer_metadata(context)
        call = Call()

        def over():
            call.over.set()
            if not call.answered:
                self.ended.put(text)

        if not context.add_callback(over):
            over()
        self.begun.put(text)
        return call

    def answer_metadata(self, context):
        def sent_back(prefix):
            return [(key[len(prefix) :], value) for key, value in self.metadata if key.startswith(prefix)]

        initial = sent_back("initial-")
        if initial:
            context.send_initial_metadata(initial)
        trailing = sent_back("trailing-")
        if trailing:
            context.set_trailing_metadata(trailing)

    def finish(self, call, ask, context):
        if ask.wait:
            call.over.wait(SOON)
        elif ask.code:
            call.answered = True
            status = status_pb2.Status(code=ask.code, message=ask.text)
            status.details.add().Pack(error_details_pb2.ErrorInfo(reason="ASKED_FOR", domain="peer.example"))
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.seconds = 3
            status.details.add().Pack(retry)
            context.abort_with_status(rpc_status.to_status(status))

    def one(self, ask, context):
        call = self.begin(ask.text, context)
        self.finish(call, ask, context)
        call.answered = True
        return TOLD(text=ask.text, load=ask.load)

    def many(self, ask, context):
        call = self.begin(ask.text, context)
        for sequence in range(1, ask.count + 1):
            yield TOLD(text=ask.text, load=ask.load, sequence=sequence)
        self.finish(call, ask, context)
        call.answered = True

    def sum(self, asks, context):
        told = TOLD()
        call = Call()
        for ask in asks:
            if not told.sequence:
                call = self.begin(ask.text, context)
            told.sequence += 1
            told.text += ask.text
            self.finish(call, ask, context)
        call.answered = True
        return told

    def talk(self, asks, context):
        call = Call()
        sequence = 0
        for ask in asks:
            if not sequence:
                call = self.begin(ask.text, context)
            sequence += 1
            yield TOLD(text=ask.text, load=ask.load, sequence=sequence)
            self.finish(call, ask, context)
        call.answered = True

    def handler(self):
        kinds = {
            "One": (grpc.unary_unary_rpc_method_handler, self.one),
            "Many": (grpc.unary_stream_rpc_method_handler, self.many),
            "Sum": (grpc.stream_unary_rpc_method_handler, self.sum),
            "Talk": (grpc.stream_stream_rpc_method_handler, self.talk),
        }
        table = {
            name: kind(method, request_deserializer=ASK.FromString, response_serializer=TOLD.SerializeToString)
            for name, (kind, method) in kinds.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, table)

    def start(self, compression):
        options = [("grpc.max_receive_message_length", 64 << 20)]
        server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(max_workers=256),
            options=options,
            compression=compression,
        )
        server.add_generic_rpc_handlers([self.handler()])
        reflection.enable_server_reflection([SERVICE, reflection.SERVICE_NAME], server, pool=POOL)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return server, port


class Wire:
    """A wire that tells how much goes over it each way, and which HTTP/2 frames go up.

    It refuses connections until it is plugged in.
    """

    def __init__(self):
        self.up = 0
        self.down = 0
        self.pings = 0
        self.pinged = threading.Condition()
        # Reasons of RST_STREAM frames.
        self.resets = queue.Queue()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def plug_in(self, port):
        self.socket.listen()
        threading.Thread(target=self.accept, args=(port,), daemon=True).start()
        return self

    def accept(self, port):
        while True:
            near, _ = self.socket.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.carry_up, args=(near, far), daemon=True).start()
            threading.Thread(target=self.carry_down, args=(far, near), daemon=True).start()

    def carry_up(self, near, far):
        frames = bytearray()
        preface = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        for data in self.pieces(near, far):
            self.up += len(data)
            frames += data
            if preface:
                if len(frames) < preface:
                    continue
                del frames[:preface]
                preface = 0
            while len(frames) >= 9:
                length = int.from_bytes(frames[:3], "big")
                if len(frames) < 9 + length:
                    break
                if frames[3] == 6 and not frames[4] & 1:
                    with self.pinged:
                        self.pings += 1
                        self.pinged.notify_all()
                if frames[3] == 3:
                    self.resets.put(int.from_bytes(frames[9:13], "big"))
                del frames[: 9 + length]

    def carry_down(self, far, near):
        for data in self.pieces(far, near):
            self.down += len(data)

    @staticmethod
    def pieces(source, sink):
        try:
            while data := source.recv(1 << 16):
                yield data
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


# --- the client ----------------------------------------------------------------------------------------


class Client:
    def __init__(self, address, compression=None, options=()):
        sizes = [("grpc.max_receive_message_length", 64 << 20)]
        # Connections of its own: grpcio shares them otherwise.
        own = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(address, options=[*sizes, *own, *options], compression=compression)
        codec = {"request_serializer": ASK.SerializeToString, "response_deserializer": TOLD.FromString}
        self.one = self.channel.unary_unary(f"/{SERVICE}/One", **codec)
        self.many = self.channel.unary_stream(f"/{SERVICE}/Many", **codec)
        self.sum = self.channel.stream_unary(f"/{SERVICE}/Sum", **codec)
        self.talk = self.channel.stream_stream(f"/{SERVICE}/Talk", **codec)

    def method(self, path):
        return self.channel.unary_unary(path, ASK.SerializeToString, TOLD.FromString)


class Requests:
    """A stream of requests that is written to as the test goes on."""

    def __init__(self, *first):
        self.queue = queue.Queue()
        for ask in first:
            self.queue.put(ask)

    def say(self, **ask):
        self.queue.put(ASK(**ask))

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


def outcome(call):
    """The status of a call that is not to succeed."""
    try:
        call() if callable(call) else list(call)
        return "OK"
    except (grpc.RpcError, grpc.FutureCancelledError) as error:
        return error.code().name if isinstance(error, grpc.RpcError) else "CANCELLED"


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


# --- themes --------------------------------------------------------------------------------------------


def kinds(service, client, **_):
    report = {"unary": client.one(ASK(text="a")).text}
    report["server"] = [told.sequence for told in client.many(ASK(text="b", count=3))]
    report["server of none"] = [told.sequence for told in client.many(ASK(text="b"))]
    told = client.sum(iter([ASK(text="c"), ASK(text="d"), ASK()]))
    report["client"] = [told.text, told.sequence]
    report["client of none"] = client.sum(iter([])).sequence

    # Each word is answered before the next is said.
    requests = Requests()
    answers = client.talk(iter(requests))
    heard = []
    for text in ("e", "f", "g"):
        requests.say(text=text)
        heard.append(next(answers).text)
    requests.end()
    report["bidi"] = heard
    report["bidi ended"] = [told.text for told in answers] == [] and answers.code().name
    return report


def deadlines(service, client, **_):
    """The client's own: it gives up, and the service must hear of it."""
    report = {}
    waiting = {"wait": True, "count": 1}
    talk = Requests(ASK(text="bidi", wait=True))
    calls = {
        "unary": lambda: client.one(ASK(text="unary", **waiting), timeout=1),
        "server": lambda: list(client.many(ASK(text="server", **waiting), timeout=1)),
        "client": lambda: client.sum(iter([ASK(text="client", **waiting)]), timeout=1),
        "bidi": lambda: list(client.talk(iter(talk), timeout=1)),
    }
    for kind, call in calls.items():
        code = outcome(call)
        told = service.time_remaining
        report[kind] = {
            "code": code,
            # Both ends round; the gateway's own would be 15 s, or none.
            "the service's is the client's": told is not None and 0 < told < 2,
            "the service heard": service.ended.get(timeout=SOON),
        }
    return report


def gateway_deadlines(service, client, **_):
    """The gateway's, where the client has none: `timeout` of the route is short here."""
    error = error_of(lambda: client.one(ASK(text="unary", wait=True)))
    report = {"unary": [error.code().name, error.details(), service.ended.get(timeout=SOON)]}
    error = error_of(lambda: next(client.many(ASK(text="server", wait=True))))
    report["server"] = [error.code().name, error.details(), service.ended.get(timeout=SOON)]
    # Of a stream that has begun the gateway has no such time.
    answers = client.many(ASK(text="begun", count=1, wait=True))
    report["begun"] = [next(answers).sequence]
    report["unary again"] = outcome(lambda: client.one(ASK(text="again", wait=True)))
    service.ended.get(timeout=SOON)
    report["begun goes on"] = answers.is_active()
    answers.cancel()
    report["begun"].append(service.ended.get(timeout=SOON))
    return report


def cancels(service, client, upstream, **_):
    """What the service's end of the wire gets is a reset. (To a handler in the midst of its requests
    grpcio may show their end first.)
    """
    report = {}
    reset = functools.partial(upstream.resets.get, timeout=SOON)

    call = client.one.future(ASK(text="unary", wait=True))
    service.begun.get(timeout=SOON)
    call.cancel()
    report["unary"] = [reset(), service.ended.get(timeout=SOON)]

    answers = client.many(ASK(text="server", count=2, wait=True))
    next(answers)
    answers.cancel()
    report["server"] = [reset(), service.ended.get(timeout=SOON), outcome(answers)]

    requests = Requests(ASK(text="client"))
    call = client.sum.future(iter(requests))
    while service.begun.get(timeout=SOON) != "client":
        pass
    call.cancel()
    report["client"] = reset()
    requests.end()

    requests = Requests(ASK(text="bidi"))
    answers = client.talk(iter(requests))
    next(answers)
    answers.cancel()
    report["bidi"] = [reset(), outcome(answers)]
    requests.end()

    # The connection serves on.
    report["then"] = client.one(ASK(text="still here")).text
    return report


def printable(metadata):
    """Pairs by name, apart from what the transport adds; bytes in base64."""
    found = {}
    for key, value in metadata:
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        found.setdefault(key, []).append(value)
    return found


def metadata(service, client, **_):
    every_byte = bytes(range(256))
    sent = [
        ("x-plain", "one"),
        ("x-plain", "two"),
        ("x-comma", "a, b"),
        ("x-raw-bin", every_byte),
        ("x-raw-bin", b"again"),
        ("authorization", "Bearer secret"),
        ("initial-x-first", "head"),
        ("initial-x-first-bin", every_byte),
        ("trailing-x-last", "tail"),
        ("trailing-x-last", "end"),
        ("trailing-x-last-bin", b"\x00,\xff"),
    ]
    _, call = client.one.with_call(ASK(text="a"), metadata=sent)
    report = {
        "sent": printable(service.metadata),
        "initial": printable(call.initial_metadata()),
        "trailing": printable(call.trailing_metadata()),
    }
    # And of a stream, whose head comes before any message.
    requests = Requests(ASK(text="a"))
    answers = client.talk(iter(requests), metadata=sent)
    report["stream's initial"] = printable(answers.initial_metadata())
    requests.end()
    report["stream's messages"] = len(list(answers))
    report["stream's trailing"] = printable(answers.trailing_metadata())
    return report


def statuses(service, client, **_):
    def told(error):
        status = rpc_status.from_call(error)
        details = []
        for detail in status.details if status else []:
            for of in (error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()):
                if detail.Unpack(of):
                    details.append(str(of).strip())
        return [error.code().name, error.details(), details]

    def midway(answers):
        seen = []
        try:
            seen.extend(told.sequence for told in answers)
        except grpc.RpcError as error:
            return [seen, *told(error)]
        return seen

    text = "no game “7”\n100 % näh"
    report = {"unary": told(error_of(lambda: client.one(ASK(text=text, code=5))))}
    report["server"] = midway(client.many(ASK(text=text, count=2, code=14)))
    report["client"] = told(error_of(lambda: client.sum(iter([ASK(text=text, code=9)]))))
    report["bidi"] = midway(client.talk(iter([ASK(text=text, code=16)])))
    every = {}
    for code in range(1, 17):
        error = error_of(lambda code=code: client.one(ASK(text="why", code=code)))
        every[code] = [error.code().value[0], error.details()]
    report["every"] = every
    unknown = {}
    for path in (f"/{SERVICE}/Missing", f"/{SERVICE}/Nothing", "/peer.calls.v1.Nobody/One"):
        error = error_of(lambda path=path: client.method(path)(ASK()))
        unknown[path] = [error.code().name, error.details()]
    report["unknown"] = unknown
    return report


def compression(service, client, address, upstream, **_):
    """Bytes on the wires: a mebibyte of the same letter takes a few KiB when it is compressed."""
    load = b"a" * (1 << 20)
    report = {}
    for name, kind in (("gzip", grpc.Compression.Gzip), ("deflate", grpc.Compression.Deflate)):
        near = Wire().plug_in(int(address.rsplit(":", 1)[1]))
        client = Client(f"127.0.0.1:{near.port}", compression=kind)
        before = (upstream.up, upstream.down)
        told = client.one(ASK(text="a", load=load))
        asks = (ASK(text="b", load=load) for _ in range(3))
        loads = [told.load == load for told in client.talk(asks)]
        report[name] = {
            "whole": [told.load == load, *loads],
            "small up": [near.up < 64 << 10, upstream.up - before[0] < 64 << 10],
            "small down": [near.down < 64 << 10, upstream.down - before[1] < 64 << 10],
        }
    # The service compresses what this client reads, though it sends plainly.
    near = Wire().plug_in(int(address.rsplit(":", 1)[1]))
    client = Client(f"127.0.0.1:{near.port}")
    whole = client.one(ASK(text="a", load=load)).load == load
    report["answers alone"] = {"whole": whole, "up": near.up > 1 << 20, "small down": near.down < 64 << 10}
    return report


def sizes(service, client, **_):
    """`limits.body` is 4 MiB, of answers 16 MiB."""
    report = {}
    load = bytes(range(256)) * (3 << 12)
    report["3 MiB"] = client.one(ASK(load=load)).load == load
    report["of a stream"] = [t.load == load for t in client.many(ASK(load=load, count=8))]
    report["both ways"] = [t.load == load for t in client.talk(ASK(load=load) for _ in range(8))]
    large = bytes(5 << 20)
    error = error_of(lambda: client.one(ASK(load=large)))
    report["too large"] = [error.code().name, error.details()]
    error = error_of(lambda: client.sum(iter([ASK(load=load), ASK(load=large)])))
    report["too large in a stream"] = [error.code().name, error.details()]
    report["then"] = client.one(ASK(text="still here")).text
    return report


def concurrency(service, client, address, **_):
    """More calls than one connection has streams (`limits.streams`)."""
    calls = [client.one.future(ASK(text=str(n))) for n in range(500)]
    report = {"one connection": [call.result().text for call in calls] == [str(n) for n in range(500)]}
    clients = [Client(address) for _ in range(8)]
    calls = [(str(n), clients[n % 8].one.future(ASK(text=str(n)))) for n in range(400)]
    report["eight connections"] = all(call.result().text == text for text, call in calls)
    talks = [(Requests(ASK(text=str(n))), n) for n in range(60)]
    talks = [(requests, client.talk(iter(requests)), n) for requests, n in talks]
    report["streams open at once"] = all(next(answers).text == str(n) for _, answers, n in talks)
    for requests, _, _ in talks:
        requests.end()
    report["streams ended"] = all(list(answers) == [] for _, answers, _ in talks)
    return report


def waiting(service, client, address, **_):
    """A client that waits for the gateway, and one that doesn't."""
    wire = Wire()
    client = Client(f"127.0.0.1:{wire.port}", options=[("grpc.max_reconnect_backoff_ms", 100)])
    report = {"impatient": outcome(lambda: client.one(ASK(text="a")))}
    call = client.one.future(ASK(text="b"), wait_for_ready=True)
    report["done before"] = call.done()
    wire.plug_in(int(address.rsplit(":", 1)[1]))
    report["patient"] = call.result(timeout=SOON).text
    return report


def pings(service, client, address, **_):
    """As eager as grpcio can be made: a ping a second, whatever is going on.

    A server of grpcio ends the connection at the third.
    """
    wire = Wire().plug_in(int(address.rsplit(":", 1)[1]))
    eager = [
        ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_time_between_pings_ms", 1000),
    ]
    client = Client(f"127.0.0.1:{wire.port}", options=eager)
    requests = Requests(ASK(text="a"))
    answers = client.talk(iter(requests))
    report = {"first": next(answers).sequence}
    with wire.pinged:
        enough = wire.pinged.wait_for(lambda: wire.pings >= 5, timeout=SOON)
    report["enough pings"] = enough
    requests.say(text="b")
    requests.end()
    report["rest"] = [told.sequence for told in answers]
    report["code"] = answers.code().name
    return report


THEMES = [
    kinds,
    deadlines,
    gateway_deadlines,
    cancels,
    metadata,
    statuses,
    compression,
    sizes,
    concurrency,
    waiting,
    pings,
]


def main(themes):
    theme = next(t for t in themes if t.__name__ == sys.argv[1])
    service = Service()
    gzip = grpc.Compression.Gzip if theme is compression else None
    server, port = service.start(gzip)
    wire = Wire().plug_in(port)
    print(wire.port, flush=True)
    address = sys.stdin.readline().strip()
    report = theme(service=service, client=Client(address), address=address, upstream=wire)
    print(json.dumps(report), flush=True)
    server.stop(grace=None)


if __name__ == "__main__":
    main(THEMES)
