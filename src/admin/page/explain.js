// The form at the end of the live page: what would become of a request. Uses what page.js has made.
"use strict";

const question = $("question");

function explainAgain(e) {
  const { method, url, host } = question.elements;
  if (![...method.options].some((option) => option.value === e.method)) method.append(new Option(e.method));
  method.value = e.method;
  url.value = e.path;
  host.value = e.host.replace(/:\d+$/, "");
  question.requestSubmit();
  $("explain").scrollIntoView();
  url.focus({ preventScroll: true });
}

function table(heads, rows) {
  const head = el("thead", "", el("tr", "", ...heads.map((name) => {
    const cell = el("th", "", name);
    cell.scope = "col";
    return cell;
  })));
  const body = el("tbody", "", ...rows.map((row) => el("tr", "", ...row.map((cell) => el("td", "mono", cell)))));
  const frame = el("div", "wide", el("table", "", head, body));
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", heads.join(", "));
  return frame;
}

function answerOf(a) {
  const made = [];
  made.push(el("h3", "", el("code", "", a.request)));
  if (a.route) {
    const { rule, target, stream, upstream, place } = a.route;
    made.push(el("p", "", "matches ", el("code", "", rule), ` (${place})`));
    made.push(el("p", "", "goes to ", el("code", "", target), stream ? ` (${stream})` : "", upstream ? ` on upstream ${upstream}` : ""));
  }
  for (const [key, what] of a.policy) made.push(el("p", "", `${key}: ${what}`));
  if (a.status) made.push(el("p", "bad", `refused with ${a.status}: ${a.message}`));
  if (a.bindings.length) {
    made.push(el("h3", "", "Bindings"));
    made.push(table(["from", "name", "value", "goes to"], a.bindings.map((b) => [
      b.from, b.name, b.value, b.field ? `${b.field}${b.note ? ` (${b.note})` : ""}` : `✗ ${b.note ?? ""}`,
    ])));
  }
  if (a.violations.length > 1) {
    made.push(el("h3", "", "Faults"));
    for (const [field, what] of a.violations) made.push(el("p", "", el("code", "", field), `: ${what}`));
  }
  if (a.sent) {
    made.push(el("h3", "", `Message ${a.sent.message} for ${a.sent.path}`));
    made.push(el("pre", "", a.sent.json));
  }
  if (a.others.length) {
    made.push(el("h3", "", "Why others lost"));
    made.push(table(["rule", "why", "written at"], a.others.slice(0, 12).map((o) => [o.rule, o.why, o.place])));
  }
  return made;
}

question.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { method, url, host, headers, body } = question.elements;
  const asked = new URLSearchParams({ method: method.value, url: url.value.trim(), host: host.value.trim(), body: body.value });
  for (const line of headers.value.split("\n")) if (line.trim()) asked.append("header", line);
  const place = $("answer");
  try {
    const reply = await ask(`/explain?${asked}`);
    if (reply.ok) place.replaceChildren(...answerOf(await reply.json()));
    else place.replaceChildren(el("p", "bad", (await reply.text()).trim()));
  } catch (error) {
    place.replaceChildren(el("p", "bad", `no answer: ${error.message}`));
  }
});
