// Reads /docs in headless Chromium and tries an operation; prints what it saw as one line of JSON.
//   node docs.js BROWSER_PEER URL SCREENSHOT_FOLDER
import { createRequire } from "node:module";
import { join } from "node:path";

const [peer, url, folder] = process.argv.slice(2);
const { chromium } = createRequire(join(peer, "package.json"))("playwright-core");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
const said = [], asked = new Set();
page.on("console", (message) => message.type() === "error" && said.push(message.text()));
page.on("pageerror", (error) => said.push(String(error)));
page.on("request", (request) => asked.add(new URL(request.url()).origin));

await page.goto(url);
await page.waitForSelector(".opblock");
const operations = await page.locator(".opblock").count();
await page.screenshot({ path: join(folder, "docs-desktop.png") });

const get = "#operations-Catalogue-Catalogue_GetGame";
await page.click(`${get} .opblock-summary-control`);
await page.fill(`${get} tr[data-param-name=game_id] input`, "1");
await page.click(`${get} .execute`);
const reply = page.locator(`${get} .live-responses-table .response`);
await reply.waitFor();
const status = await reply.locator(".response-col_status").innerText();
const body = await reply.locator(".highlight-code").first().innerText();
await page.locator(get).scrollIntoViewIfNeeded();
await page.screenshot({ path: join(folder, "docs-tried.png") });

await page.setViewportSize({ width: 390, height: 844 });
await page.emulateMedia({ colorScheme: "dark" });
await page.reload();
await page.waitForSelector(".opblock");
const wide = await page.evaluate(() => document.documentElement.scrollWidth);
const dark = await page.evaluate(() => document.documentElement.classList.contains("dark-mode"));
await page.screenshot({ path: join(folder, "docs-phone-dark.png") });
await browser.close();
console.log(JSON.stringify({
  operations, status: status.trim(), body, wide, dark, said, asked: [...asked].filter((o) => o !== "null"),
}));
