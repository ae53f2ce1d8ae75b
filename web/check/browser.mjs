// Chromium with what every check wants: complaints of the page gathered, nothing asked of other hosts.
import { chromium } from "playwright-core";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // Root has no sandbox of its own; the pages are ours.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
}

// `expected`: complaints that a check provokes, such as a refused login.
export async function open(browser, base, options = {}, expected = []) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const complaints = [];
  const complain = (text) => {
    if (!expected.some((one) => text.includes(one))) complaints.push(text);
  };
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complain(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complain(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("data:")) complain(`asks elsewhere: ${url}`);
  });
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText ?? "";
    if (!why.includes("ERR_ABORTED")) complain(`failed: ${request.url()} ${why}`);
  });
  return { context, page, complaints };
}

// Everything that was asked for is there, or says that it is not.
export async function settled(page) {
  await page.waitForSelector("h1", { timeout: 60_000 });
  await page.waitForFunction(() => document.querySelector(".loading, .map.placeholder") === null, null, { timeout: 60_000 });
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

export async function axe(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"] }),
  );
  return found.violations
    .filter((one) => one.impact === "serious" || one.impact === "critical")
    .map((one) => `axe ${one.impact} ${one.id}: ${one.nodes.length} × ${one.help}; ${one.nodes[0]?.html.slice(0, 160)} ${one.nodes[0]?.failureSummary?.slice(0, 200)}`);
}

export const sidewaysOf = (page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
