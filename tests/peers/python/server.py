"""A grpcio server of gamehub.v1 (part of it) and of a service in edition 2023, with reflection.

Nothing is generated beforehand: grpcio-tools compiles ../../../proto when the server starts. It prints
the port that it listens on, listens on the addresses that it is given too (`unix:/run/games.sock`), and
ends when its standard input does, so that it never outlives a test.
"""

import concurrent.futures
import pathlib
import sys
import tempfile
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf import any_pb2, duration_pb2, empty_pb2, field_mask_pb2  # noqa: F401 (fill the pool)
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2  # noqa: F401
from grpc_reflection.v1alpha import reflection
from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[2] / "proto"
POOL = descriptor_pool.Default()

GAMES = [
    {
        "id": "1",
        "name": "studios/heron/games/puzzle/origami",
        "title": "Origami",
        "localizedTitles": {"ja": "折り紙"},
        "genre": "GENRE_PUZZLE",
        "tags": ["paper", "singleplayer"],
        "rating": 4.25,
        "ratings": 80,
        "releasedAt": "2024-03-01T09:30:00Z",
        "typicalSession": "600s",
        "playCount": "18446744073709551615",
        "playsByCountry": {"DE": "9007199254740993"},
        "minimumAge": 0,
        "tagline": "",
        "browser": {"url": "https://play.example/1", "width": 800, "height": 600},
        "metadata": {"engine": "canvas", "levels": [1, 2.5, None, True]},
        "awards": [{"@type": "type.googleapis.com/gamehub.v1.Award", "title": "Folded best", "year": 2025}],
        "state": "PUBLISHED",
    },
    {
        "id": "2",
        "name": "studios/heron/games/racing/reed-boats",
        "title": "Reed Boats",
        "genre": "GENRE_RACING",
        "tags": ["water"],
        "rating": 3.5,
        "playersMax": 4,
        "download": {"url": "https://dl.example/2", "sizeBytes": "4294967296", "sha256": "AAH+/w=="},
        "state": "PUBLISHED",
    },
]


def compile_protos():
    """Adds the protos, and what they import, to the default pool."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "set.binpb"
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTO}",
                f"-I{HERE / 'protos'}",
                # The package brings google/protobuf/*.proto along.
                f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}",
                "--include_imports",
                f"--descriptor_set_out={out}",
                "gamehub/v1/catalogue.proto",
                "gamehub/v1/moderation.proto",
                "gamehub/v1/scores.proto",
                "google/rpc/status.proto",
                "google/rpc/error_details.proto",
                "gamehub/lobby/v1/lobby.proto",
            ]
        )
        if status != 0:
            sys.exit("the protos don't compile")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    for file in files.file:
        if not file.name.startswith("google/protobuf/"):
            POOL.AddSerializedFile(file.SerializeToString())


def message(name):
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


def handlers(service_name, methods):
    """Generic handlers for the methods of a service that `methods` has functions for."""
    service = POOL.FindServiceByName(service_name)
    table = {}
    for name, function in methods.items():
        method = service.methods_by_name[name]
        kind = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        table[name] = kind(
            function,
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=lambda reply: reply.SerializeToString(),
        )
    return grpc.method_handlers_generic_handler(service_name, table)


def refuse(context, code, text, detail):
    """Ends the call with a status that carries one typed detail."""
    status = message("google.rpc.Status")(code=code.value[0], message=text)
    status.details.add().Pack(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, text)


def game_of(raw):
    return json_format.ParseDict(raw, message("gamehub.v1.Game")(), descriptor_pool=POOL)


def get_game(request, context):
    for raw in GAMES:
        if raw["id"] == str(request.game_id):
            return game_of(raw)
    info = message("google.rpc.ErrorInfo")(reason="GAME_NOT_FOUND", domain="peer.example")
    return refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no game {request.game_id}", info)


def list_games(request, context):
    reply = message("gamehub.v1.ListGamesResponse")()
    for game in map(game_of, GAMES):
        fits = request.genre in (0, game.genre) and set(request.tags) <= set(game.tags)
        if fits and game.rating >= request.min_rating:
            reply.games.append(game)
    reply.total_size = len(reply.games)
    return reply


def watch_scores(request, context):
    score = message("gamehub.v1.Score")
    sequence = 0
    while context.is_active() and (request.count == 0 or sequence < request.count):
        if request.fail_after and sequence == request.fail_after:
            retry = message("google.rpc.RetryInfo")()
            retry.retry_delay.seconds = 2
            refuse(context, grpc.StatusCode.UNAVAILABLE, "the feed is gone", retry)
        if sequence and request.HasField("interval"):
            time.sleep(request.interval.ToTimedelta().total_seconds())
        sequence += 1
        yield score(game_id=request.game_id, sequence=sequence, player="ada", points=sequence * 10)


def enter(request, context):
    reply = message("gamehub.lobby.v1.EnterReply")(asked=request, seat=0)
    reply.level_given = request.HasField("level")
    return reply


def main():
    compile_protos()
    services = {
        "gamehub.v1.Catalogue": {"GetGame": get_game, "ListGames": list_games},
        "gamehub.v1.Scores": {"WatchScores": watch_scores},
        "gamehub.lobby.v1.Lobby": {"Enter": enter},
    }
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([handlers(name, methods) for name, methods in services.items()])
    reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server, pool=POOL)
    port = server.add_insecure_port("127.0.0.1:0")
    for address in sys.argv[1:]:
        server.add_insecure_port(address)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None)


if __name__ == "__main__":
    main()
