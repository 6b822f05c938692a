"""A grpcio server that is restarted while it is called: `rolling.py PORT LEDGER WHO`.

Each call is written down before it is answered, as `WHO kind id`. SIGTERM ends it as a deployment would:
calls under way are finished, then it exits with 0.
"""

import concurrent.futures
import os
import signal
import sys
import threading
import time

import grpc

from server import compile_protos, handlers, message

# So that there are calls under way whenever it is told to stop.
TAKES = 0.004
GRACE = 10


def main():
    port, ledger, who = sys.argv[1:]
    compile_protos()
    book = os.open(ledger, os.O_WRONLY | os.O_APPEND)

    def write(kind, what):
        # One write each, so that lines of several servers don't mix.
        os.write(book, f"{who} {kind} {what}\n".encode())

    def list_scores(request, context):
        write("scores", request.game_id)
        time.sleep(TAKES)
        return message("gamehub.v1.ListScoresResponse")()

    def report(request, context):
        write("report", request.comment)
        time.sleep(TAKES)
        return message("gamehub.v1.ReportResponse")(report_id=1)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=32))
    services = {"gamehub.v1.Scores": {"ListScores": list_scores}, "gamehub.v1.Moderation": {"Report": report}}
    server.add_generic_rpc_handlers([handlers(name, methods) for name, methods in services.items()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Nobody is left to stop it when whoever started it is gone.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    server.start()
    stop.wait()
    server.stop(GRACE).wait()


if __name__ == "__main__":
    main()
