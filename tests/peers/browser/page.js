// Every kind of client that a browser has, against one gateway. Each entry of `clients` returns what
// it saw; the test judges.
import { createFileRegistry, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import grpcWeb from "grpc-web";

let registry;
const service = (name) => registry.getService(`gamehub.v1.${name}`);
const message = (name) => registry.getMessage(name);
const json = (schema, value) => toJson(schema, value, { registry });

async function seen(stream, take = Infinity) {
  const sequences = [];
  try {
    for await (const score of stream) {
      sequences.push(score.sequence);
      if (sequences.length >= take) break;
    }
    return { sequences };
  } catch (error) {
    return { sequences, ...told(error) };
  }
}

function told(error) {
  const { code, rawMessage, details } = ConnectError.from(error);
  const typed = ConnectError.from(error).findDetails(message("google.rpc.ErrorInfo"));
  return { code: Code[code], message: rawMessage, details: details.length, reason: typed[0]?.reason };
}

// One set of calls for each of the two transports, in both formats.
async function connectCalls(transport) {
  const catalogue = createClient(service("Catalogue"), transport);
  const scores = createClient(service("Scores"), transport);
  const headers = {};
  const game = await catalogue.getGame({ gameId: 1n }, {
    onHeader: (h) => { headers.requestId = h.get("x-request-id"); },
  });
  const list = await catalogue.listGames({ tags: ["water"] });
  const missing = await catalogue.getGame({ gameId: 404n }).then(() => "answered", told);
  const watched = await seen(scores.watchScores({ gameId: 1n, count: 3, interval: {} }));
  const broken = await seen(scores.watchScores({ gameId: 1n, failAfter: 2, interval: {} }));
  const left = await seen(scores.watchScores({ gameId: 1n, interval: {} }), 5);
  const late = await seen(scores.watchScores({ gameId: 1n, interval: { seconds: 60n } }, { timeoutMs: 300 }));
  return {
    title: game.title, id: String(game.id), requestId: typeof headers.requestId,
    games: list.games.length, missing, watched, broken, left: left.sequences, late: late.code,
  };
}

// Calls of the grpc-web package, without generated code: descriptors make the two functions.
function method(serviceName, name, kind) {
  const { input, output } = service(serviceName).methods.find((m) => m.name === name);
  const descriptor = new grpcWeb.MethodDescriptor(
    `/gamehub.v1.${serviceName}/${name}`, kind, Object, Object,
    (request) => toBinary(input, fromJson(input, request, { registry })),
    (bytes) => json(output, fromBinary(output, bytes)),
  );
  return descriptor;
}

async function grpcWebCalls(base, format) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const get = method("Catalogue", "GetGame", grpcWeb.MethodType.UNARY);
  const unary = (request) => new Promise((done) => {
    const path = `${base}/gamehub.v1.Catalogue/GetGame`;
    client.rpcCall(path, request, {}, get, (error, reply) => done(error
      ? { code: error.code, message: error.message, details: Boolean(error.metadata?.["grpc-status-details-bin"]) }
      : { title: reply.title }));
  });
  const watch = method("Scores", "WatchScores", grpcWeb.MethodType.SERVER_STREAMING);
  const stream = (request) => new Promise((done) => {
    const sequences = [];
    let status;
    const call = client.serverStreaming(`${base}/gamehub.v1.Scores/WatchScores`, request, {}, watch);
    call.on("data", (score) => sequences.push(score.sequence));
    call.on("status", (s) => { status = s.code; });
    call.on("error", (error) => done({ sequences, code: error.code }));
    call.on("end", () => done({ sequences, status }));
  });
  const found = await unary({ gameId: "1" });
  const missing = await unary({ gameId: "404" });
  if (format === "binary") return { found, missing }; // The package streams in text alone.
  return {
    found, missing,
    watched: await stream({ gameId: "1", count: 3, interval: "0s" }),
    broken: await stream({ gameId: "1", failAfter: 2, interval: "0s" }),
  };
}

function events(url) {
  return new Promise((done) => {
    const source = new EventSource(url);
    const result = { messages: [], ids: [] };
    const end = (why) => { source.close(); done({ ...result, ...why }); };
    source.onmessage = (event) => {
      result.messages.push(JSON.parse(event.data).sequence);
      result.ids.push(event.lastEventId);
      if (result.messages.length === 3) end({ end: "enough" });
    };
    // The terminal error has data; a lost connection has none.
    source.addEventListener("error", (event) => end({
      end: event.data ? "error" : "lost", error: event.data && JSON.parse(event.data),
    }));
  });
}

function socket(url, { send = [], enough = Infinity, protocols = [] } = {}) {
  return new Promise((done) => {
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    const messages = [];
    socket.onopen = () => send.forEach((m) => socket.send(JSON.stringify(m)));
    socket.onmessage = (event) => {
      messages.push(JSON.parse(event.data));
      if (messages.length === enough) socket.close(1000);
    };
    socket.onclose = (event) => done({ messages, code: event.code, reason: event.reason });
  });
}

async function lines(url, enough) {
  const leave = new AbortController();
  const reply = await fetch(url, { headers: { accept: "application/x-ndjson" }, signal: leave.signal });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const complete = () => text.split("\n").slice(0, -1);
  // The stream never ends by itself: a gateway that waits for its end would hang here.
  while (complete().length < enough) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
  }
  leave.abort();
  return { type: reply.headers.get("content-type"), lines: complete().slice(0, enough).map((l) => JSON.parse(l)) };
}

async function rest(base) {
  const answer = async (path, init) => {
    const reply = await fetch(base + path, init);
    const text = await reply.text();
    return { status: reply.status, id: Boolean(reply.headers.get("x-request-id")), body: text && JSON.parse(text) };
  };
  return {
    game: await answer("/v1/games/1"),
    missing: await answer("/v1/games/404"),
    changed: await answer("/v1/games/4", {
      method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify({ tagline: "From a browser" }),
    }),
    plays: await answer("/v1/games/1/plays", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify([{ levelStarted: { level: 1 } }, { levelFinished: { level: 1, points: "70" } }]),
    }),
  };
}

function clients(base) {
  const sockets = base.replace(/^http/, "ws");
  const transports = (options) => ({
    connect: createConnectTransport({ baseUrl: base, jsonOptions: { registry }, ...options }),
    grpcWeb: createGrpcWebTransport({ baseUrl: base, ...options }),
  });
  return {
    "connect JSON": () => connectCalls(transports({ useBinaryFormat: false }).connect),
    "connect binary": () => connectCalls(transports({ useBinaryFormat: true }).connect),
    "connect GET": () => connectCalls(transports({ useHttpGet: true }).connect),
    "connect gRPC-Web": () => connectCalls(transports({ useBinaryFormat: true }).grpcWeb),
    "grpc-web text": () => grpcWebCalls(base, "text"),
    "grpc-web binary": () => grpcWebCalls(base, "binary"),
    "EventSource": () => events(`${base}/v1/games/1/scores:watch?interval=0s`),
    "EventSource error": () => events(`${base}/v1/games/1/scores:watch?interval=0s&fail_after=2`),
    "WebSocket": () => socket(`${sockets}/v1/games/1/scores:watch?count=3&interval=0s`),
    "WebSocket error": () => socket(`${sockets}/v1/games/1/scores:watch?fail_after=2&interval=0s`),
    "WebSocket chat": () => socket(`${sockets}/v1/rooms/browser-${Math.random().toString(36).slice(2)}/chat`, {
      send: [{ player: "ada", text: "hello" }, { player: "ada", text: "again" }], enough: 2,
    }),
    "fetch stream": () => lines(`${base}/v1/games/1/scores:watch?interval=0.05s`, 2),
    "fetch": () => rest(base),
  };
}

// Runs all of them against `base` and shows what each saw.
window.run = async (base) => {
  const set = await fetch("gamehub.binpb").then((r) => r.arrayBuffer());
  registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, new Uint8Array(set)));
  const results = {};
  for (const [name, client] of Object.entries(clients(base))) {
    try {
      results[name] = await client();
    } catch (error) {
      results[name] = { failed: String(error?.stack ?? error) };
    }
    const row = document.getElementById("results").insertRow();
    row.insertCell().textContent = name;
    row.insertCell().textContent = JSON.stringify(results[name]);
  }
  return results;
};
