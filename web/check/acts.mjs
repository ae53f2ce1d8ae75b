// What a person does: zoom, type a range, filter, read by keyboard, follow a link, log in, start and stop a task.
//   node acts.mjs BASE-URL HTTPS-BASE LOGIN-LINK ADMIN-LINK EMPTY-BASE-URL
import assert from "node:assert/strict";
import { launch, open, settled } from "./browser.mjs";

const [base, https, viewerLink, adminLink, empty] = process.argv.slice(2);
const browser = await launch();
const params = (page) => new URLSearchParams(page.url().split("?")[1] ?? "");
const LONG = { timeout: 60_000 };

async function act(what, site, options, body, expected) {
  const { context, page, complaints } = await open(browser, site, options, expected);
  page.setDefaultTimeout(60_000);
  try {
    await body(page);
    assert.deepEqual(complaints, [], what);
    console.log(`done: ${what}`);
  } finally {
    await context.close();
  }
}

try {
  await act("brush zooms into the address, a preset leaves it, back returns", base, { viewport: { width: 1280, height: 900 } }, async (page) => {
    await page.goto(`${base}/#/rtp/lon1?range=6h`);
    await settled(page);
    const plot = page.locator(".u-over").first();
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width * 0.3, box.y + 60);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await page.waitForFunction(() => location.hash.includes("since="), null, LONG);
    const span = Number(params(page).get("until")) - Number(params(page).get("since"));
    assert.ok(Math.abs(span - 6 * 3600 * 0.3) < 600, `${span} s`);
    await settled(page);
    await page.getByRole("button", { name: "1h", exact: true }).click();
    assert.equal(params(page).get("since"), null);
    await page.goBack();
    await page.waitForFunction(() => location.hash.includes("since="), null, LONG);
  });

  await act("a link reproduces the view, also after a reload", base, {}, async (page) => {
    await page.goto(`${base}/#/rtp/lon1?range=6h&kind=udp&classes=46&vs=1h&tz=local`);
    await settled(page);
    await page.reload();
    await settled(page);
    assert.equal(await page.locator(".filters select").first().inputValue(), "udp");
    // The class itself, and the same an hour before, which is asked for apart.
    await page.waitForFunction(() => document.querySelector(".legend")?.querySelectorAll("li").length === 2, null, LONG);
    assert.ok((await page.locator(".legend").first().innerText()).includes("before"));
  });

  await act("a range is compared with any other, on every page that has medians, by a link too", base, {}, async (page) => {
    await page.goto(`${base}/#/rtp/lon1?range=1h&classes=46`);
    await settled(page);
    await page.locator(".typed summary", { hasText: "Compare" }).click();
    const from = page.getByLabel("As long, from");
    await from.fill("soon");
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.getByText("Write it as").waitFor();
    const then = new Date(Date.now() - 3 * 3600_000).toISOString().slice(0, 16).replace("T", " ");
    await from.fill(then);
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.waitForFunction(() => /vs=\d{9,}/.test(location.hash), null, LONG);
    assert.equal(Number(params(page).get("vs")), Date.parse(`${then.replace(" ", "T")}Z`) / 1000);
    await page.waitForFunction(() => document.querySelector(".legend")?.textContent.includes("EF, before"), null, LONG);
    for (const other of ["city/lon1", "libraries", "discord"]) {
      await page.goto(`${base}/#/${other}?${new URLSearchParams({ range: "1h", vs: params(page).get("vs") })}`);
      await settled(page);
      await page.getByRole("columnheader", { name: "median before" }).first().waitFor();
      // What the other range had, and not a dash.
      await page.waitForFunction(() => [...document.querySelectorAll("td")].filter((cell) => / ms$/.test(cell.textContent)).length > 8, null, LONG);
    }
  });

  await act("a typed range is taken, a bad one is named", base, {}, async (page) => {
    await page.goto(`${base}/#/now?range=6h`);
    await settled(page);
    await page.locator(".typed summary").first().click();
    const [from, to] = ["From", "To"].map((name) => page.getByLabel(name, { exact: true }));
    await from.fill("yesterday");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("Write both as").waitFor();
    await from.fill("2026-01-31 12:00");
    await to.fill("2026-01-31 13:00");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("No data in this range").waitFor();
    await page.getByRole("button", { name: "Show the newest" }).click();
    await page.locator(".city").first().waitFor();
  });

  await act("arrow keys read the numbers", base, {}, async (page) => {
    await page.goto(`${base}/#/rtp/lon1?range=6h&classes=0`);
    await settled(page);
    await page.locator(".plot").first().focus();
    for (const key of ["End", "ArrowLeft", "ArrowLeft"]) await page.keyboard.press(key);
    await page.waitForFunction(() => /CS0|BE|0/.test(document.querySelector(".chart [aria-live]")?.textContent ?? ""), null, LONG);
    assert.match(await page.locator(".chart [aria-live]").first().innerText(), /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: .+ ms/);
  });

  await act("an empty directory says what to do", empty, {}, async (page) => {
    for (const place of ["now", "discord", "rtp/x", "workers"]) {
      await page.goto(`${empty}/#/${place}`);
      await page.getByText("Nothing was measured yet").waitFor();
    }
  });

  await act("a server that is gone is said, and what was shown stays", base, {}, async (page) => {
    await page.goto(`${base}/#/now?range=6h`);
    await settled(page);
    await page.route("**/api/v1/view/cities*", (route) => route.abort());
    await page.getByRole("button", { name: "24h" }).click();
    await page.getByText("cannot be reached").waitFor();
  }, ["failed:", "console: Failed to load"]);

  await act("without a login HTTPS shows a form; a wrong token is refused; a link lets in to look", https, {}, async (page) => {
    await page.goto(`${https}/`);
    await page.getByText("netlat server login").waitFor();
    await page.getByLabel("Link or token").fill("wrong");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").waitFor();
    await page.goto("about:blank");
    await page.goto(viewerLink);
    await settled(page);
    assert.ok(!page.url().includes("login"), page.url());
    await page.goto(`${https}/#/workers`);
    await settled(page);
    await page.getByText("To start and stop tasks, log in").waitFor();
    assert.equal(await page.getByRole("button", { name: "Start", exact: true }).count(), 0);
    assert.equal(await page.evaluate(() => document.cookie), "");
  }, ["401", "asks elsewhere: about:blank"]);

  await act("an admin starts and stops a task", https, {}, async (page) => {
    await page.goto(adminLink);
    await settled(page);
    await page.goto(`${https}/#/workers`);
    await settled(page);
    await page.getByLabel("name", { exact: true }).fill("by-hand");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    const stop = page.getByRole("button", { name: "Stop by-hand" });
    await stop.click();
    await stop.waitFor({ state: "detached" });
  }, ["401"]);
} finally {
  await browser.close();
}
