// The live page. It asks /overview again and again; rates are what has been added between two answers.
// Whatever is shown goes in as text, never as markup.
"use strict";

const EVERY_MS = 2000;
const WINDOW = 5; // answers that rates are taken over: ten seconds
const POINTS = 150;

const $ = (id) => document.getElementById(id);

/** An element with a class, and texts or elements in it. */
function el(name, classes, ...inside) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...inside.filter((one) => one !== null && one !== undefined && one !== ""));
  return made;
}

/** Changes a text only when it is another, so that selections live. */
function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function mark(element, kind) {
  for (const one of ["good", "warn", "bad"]) element.classList.toggle(one, one === kind);
}

// Numbers.

const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en");

function rate(value) {
  return value > 0 && value < 0.05 ? "< 0.1" : value >= 100 ? whole.format(Math.round(value)) : few.format(Math.round(value * 10) / 10);
}

function share(part, all) {
  if (!(all > 0)) return "–";
  const percent = (100 * part) / all;
  return percent > 0 && percent < 0.1 ? "< 0.1 %" : `${few.format(Math.round(percent * 10) / 10)} %`;
}

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "> 10 s";
  if (seconds <= 0.005) return "< 5 ms";
  return seconds < 1 ? `${few.format(Math.round(seconds * 1000))} ms` : `${few.format(seconds)} s`;
}

/** The time that a share of requests took at most, from counts by bucket (each with the smaller ones). */
function quantile(share, buckets, count, ends) {
  if (!count) return null;
  const wanted = share * count;
  for (let i = 0; i < ends.length; i += 1) {
    if (buckets[i] >= wanted) {
      const below = i ? buckets[i - 1] : 0;
      const start = i ? ends[i - 1] : 0;
      const inside = buckets[i] - below;
      return inside ? start + ((ends[i] - start) * (wanted - below)) / inside : ends[i];
    }
  }
  return Infinity;
}

function ago(at, now) {
  const seconds = Math.max(0, now - at);
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

const clock = (at) => new Date(at * 1000).toLocaleString("en-GB");
const day = (at) => new Date(at * 1000).toISOString().slice(0, 10);

// Rows that stay the same element while their key does.

function keyed(parent, items, key, make) {
  const known = parent.keyed ?? (parent.keyed = new Map());
  const seen = new Set();
  let after = null;
  for (const item of items) {
    const name = key(item);
    seen.add(name);
    let row = known.get(name);
    if (!row) {
      row = make(item);
      known.set(name, row);
    }
    row.update(item);
    const place = after ? after.nextSibling : parent.firstChild;
    if (place !== row.element) parent.insertBefore(row.element, place);
    after = row.element;
  }
  for (const [name, row] of known) {
    if (!seen.has(name)) {
      row.element.remove();
      known.delete(name);
    }
  }
}

// What came, and what that was since.

const answers = [];
const points = [];

const nothing = { count: 0, buckets: [], faults: { client: 0, gateway: 0, upstream: 0 } };

function since(now, before, seconds) {
  // Counters that have shrunk are of another process.
  const old = before && before.count <= now.count ? before : nothing;
  const count = now.count - old.count;
  const faults = {};
  for (const who of ["client", "gateway", "upstream"]) faults[who] = now.faults[who] - old.faults[who];
  return {
    count,
    seconds,
    buckets: now.buckets.map((n, i) => n - (old.buckets[i] ?? 0)),
    failing: faults.gateway + faults.upstream,
    refused: faults.client,
  };
}

function total(all) {
  const sum = { count: 0, failing: 0, refused: 0, buckets: [], seconds: all[0]?.seconds ?? 0 };
  for (const one of all) {
    sum.count += one.count;
    sum.failing += one.failing;
    sum.refused += one.refused;
    one.buckets.forEach((n, i) => { sum.buckets[i] = (sum.buckets[i] ?? 0) + n; });
  }
  return sum;
}

const routeKey = (route) => `${route.method} ${route.route}`;

function compare(last, first) {
  const seconds = first ? last.at - first.at : 0;
  const before = new Map((first?.routes ?? []).map((route) => [routeKey(route), route]));
  return last.routes.map((route) => {
    const part = first ? since(route, before.get(routeKey(route)) ?? nothing, seconds) : since(route, route, 0);
    return { ...part, route };
  });
}

const perSecond = (count, seconds) => (seconds > 0 ? count / seconds : 0);

// Sections. Rows outlive the answer that they were made of: what they show is read from here.

let last = null;
let parts = [];

function showHead() {
  const { version, stage, since: start, generation } = last.status;
  text($("version"), version);
  text($("stage"), stage);
  mark($("stage"), stage === "serving" ? "good" : "warn");
  text($("generation"), `generation ${generation}${start ? `, from ${ago(start, last.at)}` : ""}`);
  document.title = `Transom: ${stage}`;
}

function showTraffic(all) {
  const { seconds } = all;
  const ends = last.bucket_ends;
  text($("rate"), seconds ? `${rate(perSecond(all.count, seconds))} /s` : "–");
  text($("failing"), seconds ? share(all.failing, all.count) : "–");
  mark($("failing"), all.failing > 0 ? (all.failing > all.count / 100 ? "bad" : "warn") : "");
  text($("refused"), seconds ? share(all.refused, all.count) : "–");
  text($("p50"), duration(quantile(0.5, all.buckets, all.count, ends)));
  text($("p99"), duration(quantile(0.99, all.buckets, all.count, ends)));
  text($("active"), whole.format(last.active + last.streams));
  text($("connections"), whole.format(last.connections));
  drawChart(parts);
}

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawChart() {
  const chart = $("chart");
  const top = Math.max(1, ...points.map((p) => p.all));
  const wide = 600 / POINTS;
  const left = 600 - points.length * wide;
  const height = (value) => (112 * value) / top;
  const area = (pick) => {
    const corners = points.map((p, i) => {
      const x = left + i * wide;
      const y = 120 - height(pick(p));
      return `${x},${y} ${x + wide},${y}`;
    });
    return `${left},120 ${corners.join(" ")} 600,120`;
  };
  const lines = [0.5, 1].map((part) => shape("line", { class: "grid", x1: 0, x2: 600, y1: 120 - 112 * part, y2: 120 - 112 * part }));
  const areas = points.length
    ? [shape("polygon", { class: "area", points: area((p) => p.all) }), shape("polygon", { class: "failed", points: area((p) => p.failing) })]
    : [];
  chart.replaceChildren(...lines, ...areas);
  text($("scale"), points.length ? ` · the upper line is ${rate(top)} /s, the whole width ${Math.round((POINTS * EVERY_MS) / 60000)} minutes` : "");
}

let sort = { by: "rate", up: false };

function showRoutes() {
  const ends = last.bucket_ends;
  const wanted = $("filter").value.trim().toLowerCase();
  const rows = parts
    .map((part) => {
      const { route } = part;
      return {
        ...part,
        name: route.route ? routeKey(route) : "no route",
        upstream: route.upstream ?? "",
        rate: perSecond(part.count, part.seconds),
        p50: quantile(0.5, part.buckets, part.count, ends),
        p95: quantile(0.95, part.buckets, part.count, ends),
        total: route.count,
      };
    })
    .filter((row) => !wanted || `${row.name} ${row.route.rpc ?? ""} ${row.upstream}`.toLowerCase().includes(wanted));
  const pick = (row) => (sort.by === "count" ? row.total : row[sort.by] ?? -1);
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  rows.sort((a, b) => (sort.up ? 1 : -1) * order(pick(a), pick(b)) || b.total - a.total || order(a.name, b.name));
  for (const button of document.querySelectorAll("[data-sort]")) {
    const head = button.parentElement;
    if (button.dataset.sort === sort.by) head.setAttribute("aria-sort", sort.up ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  text($("routes-count"), `${parts.length} with traffic, of ${last.configured_routes}`);
  $("routes-empty").hidden = rows.length > 0;
  text($("routes-empty"), parts.length ? "None fits the filter." : "No requests yet.");
  keyed($("routes-table").tBodies[0], rows, (row) => row.name, (row) => {
    const { route } = row;
    const name = route.route
      ? el("td", "name", el("code", "", el("span", "verb", route.method), ` ${route.route}`))
      : el("td", "name", "no route");
    if (route.rpc) name.append(el("div", "sub", route.rpc));
    if (!route.configured) name.append(el("div", "sub", "not in this generation"));
    const upstream = el("td", "", row.upstream);
    const cells = ["Requests/s", "Server errors", "Client errors", "p50", "p95", "Total"].map((label) => {
      const cell = el("td", "n");
      cell.dataset.label = label;
      return cell;
    });
    return {
      element: el("tr", "", name, upstream, ...cells),
      update(now) {
        const values = [
          rate(now.rate), share(now.failing, now.count), share(now.refused, now.count),
          duration(now.p50), duration(now.p95), whole.format(now.total),
        ];
        values.forEach((value, i) => text(cells[i], value));
        mark(cells[1], now.failing > 0 ? "bad" : "");
        mark(cells[2], now.refused > 0 ? "warn" : "");
      },
    };
  });
}

function stateOf(endpoint) {
  if (endpoint.ejected) return ["left out", "bad"];
  if (!endpoint.healthy) return ["unhealthy", "bad"];
  return endpoint.trouble ? ["in trouble", "warn"] : ["healthy", "good"];
}

function showUpstreams() {
  $("upstreams-empty").hidden = last.upstreams.length > 0;
  keyed($("upstream-cards"), last.upstreams, (upstream) => upstream.name, (upstream) => {
    const pill = el("span", "pill");
    const [first, second] = [el("p"), el("p")];
    const list = el("ul");
    const sought = el("div");
    const title = el("h3", "", el("span", "", upstream.name), pill);
    return {
      element: el("article", "card", title, first, second, sought, list),
      update(now) {
        const ends = last.bucket_ends;
        const sum = total(parts.filter((part) => part.route.upstream === now.name));
        const good = now.endpoints.filter((e) => stateOf(e)[1] === "good").length;
        text(pill, now.endpoints.length ? `${good} of ${now.endpoints.length} up` : "no instance");
        mark(pill, !good ? "bad" : good < now.endpoints.length ? "warn" : "good");
        text(first, `${rate(perSecond(sum.count, sum.seconds))} /s · errors ${share(sum.failing, sum.count)} · p50 ${duration(quantile(0.5, sum.buckets, sum.count, ends))} · p95 ${duration(quantile(0.95, sum.buckets, sum.count, ends))}`);
        mark(first, sum.failing > 0 ? "bad" : "");
        const n = last.load[now.name];
        if (n) text(second, `${whole.format(n.connections)} connections · ${whole.format(n.in_flight)} in flight · ${whole.format(n.retries)} retries · ${whole.format(n.refused)} refused for load`);
        const lost = now.sought.filter((one) => one.error).map((one) => el("p", "bad", `${one.endpoint}: ${one.error}`));
        sought.replaceChildren(...lost);
        keyed(list, now.endpoints, (e) => `${e.name} ${e.address}`, (endpoint) => {
          const state = el("span", "pill");
          const trouble = el("span", "sub");
          const address = endpoint.name === endpoint.address ? endpoint.address : `${endpoint.name} (${endpoint.address})`;
          return {
            element: el("li", "", el("code", "", address), state, trouble),
            update(e) {
              const [word, kind] = stateOf(e);
              text(state, e.ejections ? `${word}, ${e.ejections}× so far` : word);
              mark(state, kind);
              const why = e.trouble ?? (e.healthy ? "" : e.last_check_failed ?? "");
              text(trouble, why);
              trouble.hidden = !why;
            },
          };
        });
      },
    };
  });
}

function showCertificates() {
  $("certificates-empty").hidden = last.certificates.length > 0;
  $("certificates-table").parentElement.hidden = last.certificates.length === 0;
  const rows = [...last.certificates].sort((a, b) => (a.not_after ?? 0) - (b.not_after ?? 0));
  keyed($("certificates-table").tBodies[0], rows, (c) => `${c.source} ${c.names.join(" ")}`, (one) => {
    const [from, left, ends, next] = [el("td"), el("td", "n"), el("td", "nowrap"), el("td", "what")];
    [[from, "From"], [left, "Days left"], [ends, "Ends"], [next, "Next"]].forEach(([cell, label]) => { cell.dataset.label = label; });
    return {
      element: el("tr", "", el("td", "mono", one.names.join(", ")), from, left, ends, next),
      update(now) {
        text(from, `${now.source.replace("_", "-")}${now.authority ? ` (${now.authority})` : ""}`);
        const days = now.not_after ? (now.not_after - last.at) / 86400 : null;
        text(left, days === null ? "none yet" : days < 0 ? "over" : few.format(Math.floor(days)));
        mark(left, days === null || days < 7 ? "bad" : days < 21 ? "warn" : "good");
        text(ends, now.not_after ? day(now.not_after) : "–");
        const told = [];
        if (now.renewal) told.push(`renewed ${day(now.renewal)}`);
        if (now.failures) told.push(`${now.failures} failed ${now.failures === 1 ? "order" : "orders"}`);
        if (now.next_attempt && now.failures) told.push(`next try ${clock(now.next_attempt)}`);
        if (now.error) told.push(now.error);
        text(next, told.join("; ") || "–");
        mark(next, now.error ? "bad" : "");
      },
    };
  });
}

// How a kind of change begins its line, and how it looks.
const CHANGES = {
  breaking: ["! breaks callers: ", "bad"], risky: ["! may break callers: ", "warn"],
  added: ["+ ", "good"], removed: ["− ", "bad"], moved: ["→ ", "warn"], altered: ["~ ", "warn"], listener: ["", ""],
};

function diff(past) {
  const lines = past.changes.map(([kind, line]) => {
    const [sign, look] = CHANGES[kind];
    return el("li", look, `${sign}${line}`);
  });
  if (past.more) lines.push(el("li", "", `and ${past.more} more`));
  return lines.length ? el("ul", "diff", ...lines) : el("p", "when", "the same rules");
}

function showReloads() {
  const { succeeded, failed } = last.status.reloads;
  text($("reloads-count"), `${succeeded} done, ${failed} failed`);
  $("reloads-empty").hidden = last.history.length > 0;
  keyed($("reload-list"), last.history, (past) => `${past.at}`, (past) => {
    const when = el("span", "when");
    const verdict = past.error ? el("span", "pill bad", "failed") : el("span", "pill good", `generation ${past.generation}`);
    const what = past.error ? el("pre", "", past.error.trimEnd()) : diff(past);
    return {
      element: el("li", "", verdict, " ", when, what),
      update: (now) => text(when, `${clock(now.at)}, ${ago(now.at, last.at)}`),
    };
  });
}

/** Failures that differ in their request alone, as one: the newest, and how many there are. */
function alike(errors) {
  const groups = new Map();
  for (const e of errors) {
    const key = [e.blame, e.status, e.code, e.rule, e.message, e.endpoint].join(" ");
    const group = groups.get(key);
    if (group) group.times += 1;
    else groups.set(key, { ...e, key, times: 1 });
  }
  return [...groups.values()];
}

function showErrors() {
  const wanted = new Set([...document.querySelectorAll("[data-blame]")].filter((box) => box.checked).map((box) => box.dataset.blame));
  const rows = alike(last.errors.filter((one) => wanted.has(one.blame)));
  $("errors-empty").hidden = rows.length > 0;
  $("errors-table").parentElement.hidden = rows.length === 0;
  keyed($("errors-table").tBodies[0], rows, (e) => e.key, (first) => {
    let newest = first;
    const [when, times] = [el("span"), el("div", "sub")];
    const [target, about, where] = [el("code"), el("div", "sub"), el("div", "sub")];
    const button = el("button", "", "Explain");
    button.type = "button";
    button.addEventListener("click", () => explainAgain(newest));
    const kind = first.blame === "client" ? "warn" : "bad";
    const cells = [
      el("td", "nowrap", when, times),
      el("td", "nowrap", `${first.status}`, el("div", "sub", first.code)),
      el("td", "", el("span", `pill ${kind}`, first.blame)),
      el("td", "request name", target, about),
      el("td", "what", first.message || "–", where),
      el("td", "", button),
    ];
    return {
      element: el("tr", "", ...cells),
      update(e) {
        newest = e;
        const request = e.path ? `${e.method} ${e.path}` : e.rule || "–";
        text(when, ago(e.at, last.at));
        when.title = clock(e.at);
        text(times, e.times > 1 ? `the last of ${e.times}` : "");
        text(target, request);
        text(about, [e.path && e.rule !== request ? e.rule : "", e.host, e.request_id].filter(Boolean).join(" · "));
        text(where, [e.upstream, e.endpoint, `${whole.format(e.milliseconds)} ms`].filter(Boolean).join(" · "));
        button.hidden = !e.path;
        button.setAttribute("aria-label", `Explain ${request}`);
      },
    };
  });
}

function show() {
  if (!answers.length) return;
  last = answers.at(-1);
  parts = compare(last, answers.length > 1 ? answers[0] : null);
  showHead();
  showTraffic(total(parts));
  showRoutes();
  showUpstreams();
  showCertificates();
  showReloads();
  showErrors();
}

// Asking.

async function ask(path, options = {}) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.authorization = `Bearer ${token}`;
  const reply = await fetch(path, { ...options, headers, cache: "no-store" });
  if (reply.status === 401) {
    sessionStorage.removeItem("token");
    await askForToken();
    return ask(path, options);
  }
  return reply;
}

let asking = null;

function askForToken() {
  asking ??= new Promise((done) => {
    const dialog = $("token");
    const form = dialog.querySelector("form");
    form.reset();
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", form.elements.token.value);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function notice(message, good = false) {
  const place = $("notice");
  place.hidden = !message;
  place.classList.toggle("good", good);
  text(place, message);
}

let paused = false;
let lost = false;

async function look() {
  try {
    const reply = await ask("/overview");
    if (!reply.ok) throw new Error(`it answers ${reply.status}`);
    const now = await reply.json();
    if (lost) notice("");
    lost = false;
    const before = answers.at(-1);
    answers.push(now);
    if (answers.length > WINDOW + 1) answers.shift();
    if (before && now.at > before.at) {
      const sum = total(compare(now, before));
      points.push({ all: perSecond(sum.count, sum.seconds), failing: perSecond(sum.failing, sum.seconds) });
      if (points.length > POINTS) points.shift();
    }
    show();
  } catch (error) {
    lost = true;
    notice(`The gateway doesn't answer: ${error.message}. What is shown is as it was.`);
  }
}

async function keepLooking() {
  for (;;) {
    if (!paused && !document.hidden) await look();
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
}

// Controls.

$("reload").addEventListener("click", async () => {
  const button = $("reload");
  button.disabled = true;
  try {
    const reply = await ask("/reload", { method: "POST" });
    const words = { 200: "Reloaded.", 202: "Still reloading.", 422: "Not reloaded: see below, the old generation serves on." };
    notice(words[reply.status] ?? (await reply.text()).trim(), reply.ok);
  } catch (error) {
    notice(`no answer: ${error.message}`);
  }
  button.disabled = false;
  look();
});

function pause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  text($("pause"), paused ? "Paused" : "Pause");
}

$("pause").addEventListener("click", pause);
$("filter").addEventListener("input", show);
for (const box of document.querySelectorAll("[data-blame]")) box.addEventListener("change", show);
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const by = button.dataset.sort;
    sort = { by, up: sort.by === by ? !sort.up : by === "name" || by === "upstream" };
    show();
  });
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    "/": () => $("filter").focus(),
    e: () => $("question").elements.url.focus(),
    p: pause,
  };
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

keepLooking();
