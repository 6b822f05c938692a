"""What is measured: requests that every gateway in front of the canned service can answer."""

from dataclasses import dataclass

TRANSCODERS = ("hop", "transom", "envoy", "structured-proxy")
GRPC = ("transom", "envoy")
ALONE = ("transom",)
PROXIES = ("transom", "nginx", "envoy")


@dataclass(frozen=True)
class Case:
    title: str
    path: str
    body: str | None = None  # a file in the work folder; such a request is a POST
    headers: tuple = ()
    connections: int = 32
    http2: bool = False
    tls: bool = False  # 1.3
    routes: int = 5
    peers: tuple = TRANSCODERS

    def sent(self):
        """The headers of its requests."""
        return self.headers or (("content-type: application/json",) if self.body else ())


ITEM = "/v1/items/item-00007"
CALL = "/shop.v1.Shop/GetItem"
ZIPPED = "/v1/zipped?page_size=100"
CASES = {
    "get": Case("small GET", ITEM),
    "post": Case("small POST", "/v1/items", "post.json"),
    "list": Case("answer of 100 objects", "/v1/items?page_size=100"),
    "batch": Case("batch of 100 objects", "/v1/items:batch", "batch.json"),
    "stream": Case("stream of 100 messages", "/v1/items:watch?page_size=100"),
    "get-h2": Case("small GET, HTTP/2", ITEM, http2=True),
    "get-tls": Case("small GET, TLS 1.3", ITEM, tls=True, peers=GRPC),
    "get-tls-h2": Case("small GET, TLS 1.3 and HTTP/2", ITEM, http2=True, tls=True, peers=GRPC),
    "get-1": Case("small GET, 1 connection", ITEM, connections=1),
    "get-512": Case("small GET, 512 connections", ITEM, connections=512),
    "get-10k": Case("small GET, 10,000 routes", ITEM, routes=10_000, peers=GRPC),
    "up-1m": Case("1 MiB JSON in", "/v1/items", "large.json", connections=8),
    "down-1m": Case("1 MiB JSON out", "/v1/manuals/item-00007", connections=8),
    "web": Case("gRPC-Web unary", CALL, "get.frame", ("content-type: application/grpc-web+proto",), peers=GRPC),
    "grpc": Case("gRPC passed through", CALL, "get.frame", ("content-type: application/grpc", "te: trailers"),
                 http2=True, peers=GRPC),
    "connect": Case("Connect unary, JSON", CALL, "get.json", ("content-type: application/json", "connect-protocol-version: 1"),
                    peers=ALONE),
    "list-gzip": Case("answer of 100 objects, gzip", ZIPPED, headers=("accept-encoding: gzip",), peers=ALONE),
    "list-zstd": Case("answer of 100 objects, zstd", ZIPPED, headers=("accept-encoding: zstd",), peers=ALONE),
    "list-br": Case("answer of 100 objects, br", ZIPPED, headers=("accept-encoding: br",), peers=ALONE),
    "plain": Case("plain proxy, 1 KiB", "/plain/1k", peers=PROXIES),
    "plain-1m": Case("plain proxy, 1 MiB out", "/plain/1m", connections=8, peers=PROXIES),
}
