// Opens a report in headless Chromium and uses it as a reader would. Arguments: the page, a folder
// for screenshots, the browser. Exit status 0 when everything holds, else 1.
"use strict";
const assert = require("assert/strict");
const fs = require("fs");
const os = require("os");
const path = require("path");
const { pathToFileURL } = require("url");

const { chromium } = require("playwright-core");
const [pageFile, outFolder, executablePath] = process.argv.slice(2);
fs.mkdirSync(outFolder, { recursive: true });

async function withPage(options, body) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "tidemark-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    acceptDownloads: true,
    viewport: { width: 1200, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"],
    ...options,
  });
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    const troubles = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) troubles.push(message.type() + ": " + message.text());
    });
    page.on("pageerror", (error) => troubles.push("exception: " + error.message));
    page.on("dialog", (dialog) => { troubles.push("dialog: " + dialog.message()); dialog.dismiss(); });
    page.on("request", (request) => {
      if (!/^(file|data|blob):/.test(request.url())) troubles.push("request: " + request.url());
    });
    await page.goto(pathToFileURL(path.resolve(pageFile)).href);
    await drawn(page);
    await body(page);
    assert.deepEqual(troubles, [], "the page complains");
  } finally {
    await context.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
}
const drawn = (page) => page.waitForSelector("html[data-drawn=yes]", { state: "attached", timeout: 120000 });

// Marks inside the plotting areas, without axes, legends and titles.
const countMarks = (page, id) => page.evaluate((figure) => {
  const marks = document.querySelectorAll(
    `#${figure} .chart svg g.role-mark > :is(path, text, line, g > path), #${figure} .chart svg g.role-mark.mark-area path`);
  return [...marks].filter((mark) => (mark.getAttribute("d") ?? mark.textContent) !== "").length;
}, id);

async function downloaded(page, action) {
  const waiting = page.waitForEvent("download");
  await action();
  const download = await waiting;
  const file = await download.path();
  return { name: download.suggestedFilename(), bytes: fs.readFileSync(file) };
}

const columnNumbers = (page, id, title) => page.evaluate(([figure, wanted]) => {
  const heads = [...document.querySelectorAll(`#${figure} th`)].map((th) => th.textContent);
  const at = heads.indexOf(wanted);
  return [...document.querySelectorAll(`#${figure} tbody tr`)]
    .map((row) => row.children[at]).filter((cell) => cell.textContent !== "").map((cell) => Number(cell.title));
}, [id, title]);

async function main() {
  let figures;
  await withPage({ colorScheme: "light" }, async (page) => {
    figures = await page.evaluate(() =>
      JSON.parse(document.getElementById("data").textContent).figures.map((figure) => ({
        id: figure.id, drawn: figure.spec !== null, empty: figure.empty, rows: figure.table.rows.length })));
    assert.ok(figures.length > 0);
    await page.screenshot({ path: path.join(outFolder, "page-light.png"), fullPage: true });
    for (const figure of figures) {
      if (!figure.drawn) {
        assert.equal(await page.textContent(`#${figure.id} .empty-reason`), figure.empty);
        assert.notEqual(figure.empty, "", figure.id);
        continue;
      }
      const marks = await countMarks(page, figure.id);
      assert.ok(marks > 0, `${figure.id} has no marks`);
      const svg = await page.innerHTML(`#${figure.id} .chart`);
      const odd = svg.match(/.{0,80}(NaN|undefined|Infinity).{0,40}/);
      assert.ok(!odd, `${figure.id} draws what is not a number: ${odd?.[0]}`);
      await page.locator(`#${figure.id}`).screenshot({ path: path.join(outFolder, figure.id + "-light.png") });
      console.log(`${figure.id}: ${marks} marks`);
    }

    // A table sorts by number, up and down.
    // Its rows are made in answer to the opening, a little after the click.
    await page.click("#ttft details:not(.vega-actions-wrapper) > summary:has-text('Table')");
    await page.waitForSelector("#ttft tbody tr");
    assert.equal(await page.locator("#ttft tbody tr").count(), figures.find((f) => f.id === "ttft").rows);
    const head = page.locator("#ttft th button", { hasText: "TTFT (s)" });
    await head.click();
    const up = await columnNumbers(page, "ttft", "TTFT (s)");
    assert.ok(up.length > 2);
    assert.deepEqual(up, [...up].sort((a, b) => a - b));
    await head.click();
    assert.deepEqual(await columnNumbers(page, "ttft", "TTFT (s)"), [...up].sort((a, b) => b - a));

    // Exact values on hovering a point.
    const point = page.locator("#ttft .chart g.mark-symbol.role-mark path").first();
    await point.scrollIntoViewIfNeeded();
    await point.hover({ force: true });
    await page.waitForSelector("#vg-tooltip-element.visible");
    const tooltip = await page.textContent("#vg-tooltip-element");
    assert.match(tooltip, /Interval of the median/);
    assert.match(tooltip, /TTFT/);
    await page.mouse.move(0, 0);

    // Downloads: records, tables, pictures.
    const json = await downloaded(page, () => page.click("#download-json"));
    const embedded = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).records);
    assert.deepEqual(JSON.parse(json.bytes), embedded);
    const csv = await downloaded(page, () => page.click("#download-csv"));
    const lines = csv.bytes.toString().trim().split("\r\n");
    assert.equal(lines.length, embedded.records.length + 1);
    assert.ok(lines[0].includes("metrics.ttft_s.median"));
    const operators = await downloaded(page, () => page.click("#download-operators"));
    const operatorRows = embedded.records.reduce((sum, record) =>
      sum + (record.prefill?.rows.length ?? 0) + (record.decode?.rows.length ?? 0), 0);
    if (operatorRows > 0) assert.equal(operators.bytes.toString().trim().split("\r\n").length, operatorRows + 1);
    const table = await downloaded(page, () => page.click("#ttft .row button:has-text('CSV')"));
    assert.equal(table.name, "tidemark-ttft.csv");
    assert.equal(table.bytes.toString().trim().split("\r\n").length, up.length === 0 ? 1 : figures.find((f) => f.id === "ttft").rows + 1);
    await page.click("#ttft .vega-embed summary");
    const svg = await downloaded(page, () => page.click("#ttft .vega-actions a:has-text('SVG')"));
    assert.match(svg.bytes.toString(), /^<svg /);
    const png = await downloaded(page, () => page.click("#ttft .vega-actions a:has-text('PNG')"));
    assert.equal(png.bytes.subarray(1, 4).toString(), "PNG");

    // Names from the data stay text.
    assert.equal(await page.locator("main img").count(), 0);

    // To dark and back by the button; the drawing follows.
    const background = () => page.evaluate(() =>
      getComputedStyle(document.querySelector("#ttft .chart svg")).backgroundColor);
    const light = await background();
    await page.click("#theme");
    await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
    await drawn(page);
    assert.notEqual(await background(), light);
    await page.click("#theme");
    await page.waitForFunction(() => document.documentElement.dataset.theme === "light");
    await drawn(page);
    assert.equal(await background(), light);
  });

  await withPage({ colorScheme: "dark" }, async (page) => {
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
    await page.screenshot({ path: path.join(outFolder, "page-dark.png"), fullPage: true });
    for (const figure of figures.filter((f) => f.drawn)) {
      assert.ok((await countMarks(page, figure.id)) > 0, figure.id);
      await page.locator(`#${figure.id}`).screenshot({ path: path.join(outFolder, figure.id + "-dark.png") });
    }
  });
}

main().catch((error) => {
  console.error(error.stack ?? String(error));
  process.exit(1);
});
