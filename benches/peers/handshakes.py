#!/usr/bin/env python3
"""TLS handshakes: Transom beside nginx and Envoy, CPU per connection, on one core each, in one run.

    benches/peers/handshakes.py [--rounds 7] [--seconds 2] [--save]

Every connection is new: TCP, handshake, one small request, its 404, close. The same ECDSA P-256
certificate, cipher and key exchange for all. Rounds go from gateway to gateway in turn; what is printed,
and saved in docs/handshakes.md, is the median of the rounds, the spread and the ratios. A resumption that the
gateway didn't take up is an error here, not a slow handshake.
"""

import argparse
import statistics
import subprocess
import sys

from peers import WORK, certificate, set_up, start, target, transom, wait_for
from run import ROOT, cores, cpu_seconds, machine

PORTS = {"transom": 19443, "nginx": 19444, "envoy": 19445}
# Title; kind, version and key exchange; who has it.
CASES = {
    "full, TLS 1.3, X25519": ("full", "1.3", "X25519", PORTS),
    "resumed, TLS 1.3, X25519": ("resumed", "1.3", "X25519", PORTS),
    "full, TLS 1.2, X25519": ("full", "1.2", "X25519", PORTS),
    "resumed, TLS 1.2, X25519": ("resumed", "1.2", "X25519", PORTS),
    "full, TLS 1.3, X25519MLKEM768": ("full", "1.3", "X25519MLKEM768", ("transom", "envoy")),
    "resumed, TLS 1.3, X25519MLKEM768": ("resumed", "1.3", "X25519MLKEM768", ("transom", "envoy")),
}
CONFIGS = {
    "transom": """
limits: { connections_per_ip: 4096 }
workers: 1
listeners:
  - address: "127.0.0.1:@PORT@"
    tls: { certificates: [{ cert: "@WORK@/localhost.pem", key: "@WORK@/localhost.key" }] }
upstreams: { none: { endpoints: ["127.0.0.1:1"] } }
routes: [{ prefix: /something/, upstream: none }]
""",
    "nginx": """
daemon off;
pid @WORK@/handshakes-nginx.pid;
error_log @WORK@/handshakes-nginx.error.log;
worker_processes 1;
events { worker_connections 4096; }
http {
  access_log /dev/null;
  client_body_temp_path @WORK@/nginx-temp;
  proxy_temp_path @WORK@/nginx-temp;
  fastcgi_temp_path @WORK@/nginx-temp;
  uwsgi_temp_path @WORK@/nginx-temp;
  scgi_temp_path @WORK@/nginx-temp;
  server {
    listen 127.0.0.1:@PORT@ ssl http2;
    ssl_certificate @WORK@/localhost.pem;
    ssl_certificate_key @WORK@/localhost.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:all:10m;
    return 404;
  }
}
""",
    "envoy": """
static_resources:
  listeners:
    - address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                alpn_protocols: [h2, http/1.1]
                tls_params: { tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3, ecdh_curves: [X25519MLKEM768, X25519, P-256] }
                tls_certificates:
                  - certificate_chain: { filename: "@WORK@/localhost.pem" }
                    private_key: { filename: "@WORK@/localhost.key" }
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: ingress
                codec_type: AUTO
                delayed_close_timeout: 0s # it would wait a second for who waits for its close
                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: /dev/null
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{ match: { prefix: "/" }, direct_response: { status: 404 } }]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
""",
}


def run(name, cpu):
    port = PORTS[name]
    config = WORK / f"{port}-{name}.{'conf' if name == 'nginx' else 'yaml'}"
    config.write_text(CONFIGS[name].replace("@PORT@", str(port)).replace("@WORK@", str(WORK)))
    command = {
        "transom": [transom(), "run", "-c", config],
        "nginx": ["nginx", "-c", config],
        "envoy": [WORK / "envoy", "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
    }[name]
    process = start(command, [cpu], f"{port}.log")
    wait_for(port, process, name)
    return process


def shake(name, case, count, cpus):
    """Connections made, and how many a second."""
    kind, version, group, _ = CASES[case]
    command = ["taskset", "-c", ",".join(map(str, cpus)), target("examples/peers_handshakes"),
               f"127.0.0.1:{PORTS[name]}", WORK / "localhost.pem", kind, version, group, count, 16]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{case}, {name}: {done.stderr}")
    made, seconds, resumed = map(float, done.stdout.split())
    wanted = made if kind == "resumed" else 0
    if resumed != wanted:
        sys.exit(f"{case}, {name}: {resumed:.0f} of {made:.0f} connections resumed, wanted {wanted:.0f}")
    return int(made), made / seconds


def measure(running, rounds, seconds, cpus):
    samples = {(n, c): [] for c in CASES for n in running if n in CASES[c][3]}
    counts = {}
    for number in range(rounds + 1):
        for name, case in samples:
            before = cpu_seconds(running[name].pid)
            made, rate = shake(name, case, counts.get((name, case), 400), cpus)
            used = cpu_seconds(running[name].pid) - before
            if number:
                samples[name, case].append((used / made * 1e6, rate))
            else:  # warms up, and tells how many fill the time
                counts[name, case] = max(int(rate * seconds), 100)
        print(f"round {number} of {rounds}" if number else "warmed up", flush=True)
    return samples


def table(samples):
    lines = ["| handshake | " + " | ".join(f"{n} µs (min–max), a second" for n in PORTS) + " | Transom / nginx | / Envoy |",
             "|" + " --- |" * (len(PORTS) + 3)]
    for case in CASES:
        costs = {n: [c for c, _ in samples[n, case]] for n in PORTS if (n, case) in samples}
        rates = {n: statistics.median(r for _, r in samples[n, case]) for n in costs}
        middle = {n: statistics.median(c) for n, c in costs.items()}
        cells = [f"{middle[n]:.0f} ({min(costs[n]):.0f}–{max(costs[n]):.0f}), {rates[n]:,.0f}" if n in costs else ""
                 for n in PORTS]
        ratios = [f"{middle['transom'] / middle[n]:.2f}" if n in middle else "" for n in ("nginx", "envoy")]
        lines.append("| " + " | ".join([case, *cells, *ratios]) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write docs/handshakes.md")
    options = parser.parse_args()
    set_up(["nginx", "envoy"])
    certificate()
    gateway, spare, rest = cores()
    running = {}
    try:
        for name in PORTS:
            running[name] = run(name, gateway)
        text = table(measure(running, options.rounds, options.seconds, sorted({spare, *rest})))
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    print(text)
    if options.save:
        m = machine()
        page = (ROOT / "benches" / "peers" / "handshakes.md.in").read_text()
        for key, value in {"TABLE": text, "ROUNDS": options.rounds, "SECONDS": options.seconds,
                           "MACHINE": f'{m["cpu"]}, {m["cores"]} cores'}.items():
            page = page.replace(f"@{key}@", str(value))
        (ROOT / "docs" / "handshakes.md").write_text(page)


if __name__ == "__main__":
    main()
