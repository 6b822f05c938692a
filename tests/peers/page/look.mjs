// Looks at the live page in headless Chromium while requests go through the gateway; prints what it saw as
// one line of JSON.
//   node look.mjs BROWSER_PEER ADMIN_URL GATEWAY_URL SCREENSHOT_FOLDER
import { createRequire } from "node:module";
import { join } from "node:path";

const [peer, admin, gateway, folder] = process.argv.slice(2);
const { chromium } = createRequire(join(peer, "package.json"))("playwright-core");

// Traffic, until the browser has seen enough.
let going = true;
const paths = ["/v1/games/1", "/v1/games?tags=water", "/v1/games/1", "/v1/games/404", "/down/orders", "/v1/games/2"];
async function drive() {
  for (let i = 0; going; i += 1) {
    const reply = await fetch(gateway + paths[i % paths.length]);
    await reply.arrayBuffer();
    await new Promise((done) => setTimeout(done, 20));
  }
}
const driven = drive();

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
page.setDefaultTimeout(120_000);
const said = [], asked = new Set(), seen = {};
page.on("console", (message) => ["error", "warning"].includes(message.type()) && said.push(message.text()));
page.on("pageerror", (error) => said.push(String(error)));
page.on("request", (request) => asked.add(new URL(request.url()).origin));
async function shot(name) {
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.screenshot({ path: join(folder, `live-${name}.png`), fullPage: true });
}
// The page's policy lets nothing be evaluated in it, which Playwright's own way of waiting does.
async function until(is) {
  const last = Date.now() + 120_000;
  while (!(await page.evaluate(is))) {
    if (Date.now() > last) throw new Error(`never: ${is}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
const text = (selector) => page.locator(selector).innerText();

await page.goto(admin);
const row = page.locator("#routes-table tbody tr", { hasText: "/v1/games/{game_id}" }).first();
await row.waitFor();
// Rates need two answers, the failing instance some calls.
await until(() => document.getElementById("rate").textContent.endsWith("/s"));
await until(() => document.getElementById("failing").classList.contains("bad"));
await page.locator("#errors-table tbody tr").first().waitFor();
await until(() => document.querySelectorAll("#chart polygon").length === 2);
// Rows that are there already go on with the time.
await until(() => /[1-9][\d.]* \/s · errors 100 %/.test(document.querySelector("#upstream-cards .card").textContent));
await until(() => /the last of \d/.test(document.querySelector("#errors-table tbody tr").textContent));
await shot("desktop");
seen.stage = await text("#stage");
seen.route = (await row.innerText()).replace(/\s+/g, " ");
seen.upstreams = await page.locator("#upstream-cards h3 > span:first-child").allInnerTexts();
seen.down = await text("#upstream-cards .card:has-text('down')");
seen.certificate = (await text("#certificates-table tbody")).replace(/\s+/g, " ");
seen.ending = await page.locator("#certificates-table tbody td.n").getAttribute("class");
seen.error = await page.locator("#errors-table tbody tr").first().innerText();

// By keyboard alone.
await page.keyboard.press("Tab");
seen.skip = await page.evaluate(() => document.activeElement.className);
await page.keyboard.press("/");
await page.keyboard.type("down");
await until(() => document.querySelectorAll("#routes-table tbody tr").length === 1);
seen.filtered = await text("#routes-table tbody tr .name code");
await page.fill("#filter", "");
await page.locator("h1").click();
await page.keyboard.press("p");
seen.paused = await page.locator("#pause").getAttribute("aria-pressed");
await page.keyboard.press("p");
await page.keyboard.press("e");
await page.keyboard.type("/v1/games/7");
await page.keyboard.press("Enter");
await page.locator("#answer h3").first().waitFor();
seen.explained = (await text("#answer")).replace(/\s+/g, " ");
await shot("explained");

// A failed request is explained from its row.
await page.locator("#errors-table tbody tr button").first().click();
await until(() => document.querySelector("#answer h3").textContent.includes("/down/orders"));

// A reload that changes nothing is told of.
await page.click("#reload");
await until(() => document.querySelectorAll("#reload-list > li").length > 0);
seen.notice = await text("#notice");
seen.reload = (await page.locator("#reload-list > li").first().innerText()).replace(/\s+/g, " ");

// What each control is called, for those who hear the page.
seen.unnamed = await page.evaluate(() =>
  [...document.querySelectorAll("button, input, select, textarea, a[href]")]
    .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
    .map((one) => one.outerHTML));

const contrast = () => page.evaluate(() => {
  const numbers = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = numbers(color).map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = new Set();
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !one.checkVisibility() || one.closest("svg, .hidden, .skip")) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faint.add(`${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 40)}`);
  }
  return [...faint];
});
seen.faint = await contrast();
await page.emulateMedia({ colorScheme: "dark" });
seen.faintInTheDark = await contrast();
await shot("desktop-dark");
await page.setViewportSize({ width: 390, height: 844 });
seen.wide = await page.evaluate(() => document.documentElement.scrollWidth);
await shot("phone-dark");
await page.emulateMedia({ colorScheme: "light" });
await shot("phone");

// Nothing but the page's own is run.
seen.injected = await page.evaluate(() => {
  const script = document.createElement("script");
  script.textContent = "window.injected = true";
  document.body.append(script);
  return window.injected === true;
});
const complaints = said.filter((line) => !/Content Security Policy/.test(line));
await browser.close();
going = false;
await driven;
console.log(JSON.stringify({ ...seen, said: complaints, asked: [...asked].filter((origin) => origin !== "null") }));
