// Opens the page in headless Chromium, runs its clients and prints what they saw as one line of JSON.
//   node drive.js PAGE_URL API_URL SCREENSHOT_FOLDER
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [page_url, api_url, folder] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "browser-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = await context.newPage();
  const said = [];
  page.on("pageerror", (error) => said.push(String(error)));
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.goto(page_url);
  const results = await page.evaluate((base) => window.run(base), api_url);
  await page.screenshot({ path: join(folder, "clients-desktop.png"), fullPage: true });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: join(folder, "clients-phone.png"), fullPage: true });
  console.log(JSON.stringify({ results, said }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
