/** The comparison page of an experiment as a person meets it: a file on a disk, in a real browser. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { comparisonPage } from "@holdfast/experiments";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  CHROMIUM,
  closePages,
  isWiderThanScreen,
  keepPicture,
  launchBrowser,
  openFile,
  PHONE,
  seriousFindings,
  tellWhatIsSkipped,
  type WatchedPage,
} from "./browser.ts";
import { castleFacts, drawPictures } from "./castle-experiment.ts";

tellWhatIsSkipped("test/page/comparison-page.test.ts");

const cell = (page: Page, row: number, column: number) =>
  page.locator(`[role=gridcell][data-row="${row}"][data-column="${column}"]`);
const heads = (page: Page): Promise<string[]> => page.locator(".column-head").allTextContents();
const rowHeads = (page: Page): Promise<string[]> => page.locator(".row-head").allTextContents();
const title = (page: Page): Promise<string> => page.locator("#details-title").innerText();
const shown = (page: Page): Promise<string> => page.locator("#shown").innerText();
const shows = (page: Page, text: string | RegExp): Promise<void> =>
  page.locator("#shown").filter({ hasText: text }).waitFor();
/** Pictures that are in the page and were not found. */
const brokenPictures = (page: Page): Promise<number> =>
  page.evaluate(
    () => [...document.images].filter((one) => one.complete && one.naturalWidth === 0).length,
  );

describe.skipIf(CHROMIUM === undefined)("the comparison page", () => {
  let browser: Browser;
  let folder: string;
  const opened: WatchedPage[] = [];
  const open = async (file: string, options: BrowserContextOptions = {}): Promise<Page> => {
    const watched = await openFile(browser, folder, file, options);
    opened.push(watched);
    await watched.page.locator("[role=gridcell]").first().waitFor();
    return watched.page;
  };

  beforeAll(async () => {
    browser = await launchBrowser();
    folder = await mkdtemp(join(tmpdir(), "holdfast-comparison-"));
    await drawPictures(folder);
    await writeFile(join(folder, "comparison.html"), comparisonPage(castleFacts(250)));
    await writeFile(join(folder, "many.html"), comparisonPage(castleFacts(10_000)));
  });
  afterAll(async () => {
    await browser?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    await closePages(opened.splice(0));
  });

  it("shows all runs as a grid of pictures, and nothing serious is found in it", async () => {
    const page = await open("comparison.html");
    expect(await heads(page)).toEqual(["euler", "dpmpp_2m", "ddim"]);
    expect(await rowHeads(page)).toEqual(["20", "40", "80"]);
    expect(await shown(page)).toBe("250 of 250 runs");
    expect(await cell(page, 0, 0).innerText()).toMatch(/× \d+/);
    await page.waitForFunction(() => document.images.length > 0 && document.images[0]?.complete);
    expect(await brokenPictures(page)).toBe(0);
    expect(await page.locator("#outages").innerText()).toMatch(
      /Cannot connect to ComfyUI server from .* 4 runs failed of it, all repeated since: exp_0116/,
    );
    expect(await seriousFindings(page)).toEqual([]);
    await keepPicture(page, "comparison-light");
  });

  it("changes its axes; one that is taken trades places", async () => {
    const page = await open("comparison.html");
    await page.getByLabel("Columns").selectOption({ label: "steps" });
    expect(await heads(page)).toEqual(["20", "40", "80"]);
    expect(await rowHeads(page)).toEqual(["euler", "dpmpp_2m", "ddim"]);
    await page.getByLabel("Rows").selectOption({ label: "subject" });
    await page.getByLabel("Tabs").selectOption({ label: "setting" });
    expect(await shown(page)).toBe("250 of 250 runs, 88 in this tab");
    await page.getByRole("button", { name: "desert" }).click();
    expect(await shown(page)).toBe("250 of 250 runs, 81 in this tab");
    await keepPicture(page, "comparison-tabs");
    await page.getByLabel("View").selectOption({ label: "All runs" });
    expect(await page.locator(".column-head:visible").count()).toBe(0);
    await page.getByLabel("Sort by").selectOption({ label: "duration" });
    await page.getByLabel("Order").selectOption({ label: "falling" });
    expect(await cell(page, 0, 0).innerText()).toMatch(/^exp_0062\s+10\.2 s$/);
    await keepPicture(page, "comparison-wall");
  });

  it("filters by value, status, measure and words", async () => {
    const page = await open("comparison.html");
    await page.locator("#filters summary").click();
    const fields = page.locator("#filter-fields");
    await fields.getByLabel("failed", { exact: true }).check();
    await shows(page, /^11 of 250/);
    expect(await page.locator(".cell .words").first().innerText()).toMatch(/Failed\s*oom: CUDA/);
    await keepPicture(page, "comparison-filters");
    expect(await seriousFindings(page)).toEqual([]);
    await page.locator("#clear").click();
    await fields.getByLabel("dpmpp_2m").check();
    await fields.getByLabel("Measure", { exact: true }).selectOption("rating");
    await fields.getByLabel("At least").fill("4.5");
    await shows(page, /^13 of 250/);
    await page.locator("#clear").click();
    await page.getByLabel("Search").fill("harbour EXP_003");
    await shows(page, /^10 of 250/);
    await page.getByLabel("Search").fill("<b>nothing</b>");
    await page.locator("#nothing").waitFor();
  });

  it("is walked, opened and compared by keyboard alone", async () => {
    const page = await open("comparison.html");
    await cell(page, 0, 0).focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Enter");
    expect(await title(page)).toMatch(/^exp_0001 /);
    expect(await page.locator("#facts-of-run").innerText()).toContain("dpmpp_2m");
    expect(await seriousFindings(page)).toEqual([]);
    await keepPicture(page, "comparison-details");
    await page.keyboard.press("p");
    // The neighbour along the columns has all other values in common.
    await page.keyboard.press("ArrowRight");
    expect(await title(page)).toMatch(/^exp_0002 /);
    await page.keyboard.press("ArrowDown");
    expect(await title(page)).toMatch(/^exp_0005 /);
    await page.keyboard.press("p");
    await page.keyboard.press("Escape");
    // The focus is where the last run that was looked at is.
    await page.locator(':focus[data-row="1"][data-column="2"]').waitFor();
    await page.locator("#compare").press("Enter");
    expect(await page.locator("#pair-pictures figure").count()).toBe(2);
    expect(await page.locator("#pair-rows").innerText()).toMatch(/sampler\s+dpmpp_2m\s+ddim/);
    await keepPicture(page, "comparison-pair");
    expect(await seriousFindings(page)).toEqual([]);
  });

  it("pins what a cell shows, not a failed run below it", async () => {
    const page = await open("comparison.html");
    // exp_0004 is the first of its cell, and failed.
    const shownName = await cell(page, 1, 1).locator(".caption b").innerText();
    expect(shownName).not.toBe("exp_0004");
    await cell(page, 1, 1).focus();
    await page.keyboard.press("p");
    expect(await page.locator(".pin").innerText()).toContain(shownName);
  });

  it("opens runs from the strip by keyboard: one stop, then arrows", async () => {
    const page = await open("comparison.html");
    const bar = page.locator("#strip [tabindex='0']");
    expect(await bar.count()).toBe(1);
    await bar.focus();
    for (let at = 0; at < 4; at += 1) await page.keyboard.press("ArrowRight");
    expect(await page.locator("#strip :focus").getAttribute("aria-label")).toBe("exp_0004: failed");
    await keepPicture(page, "comparison-strip");
    await page.keyboard.press("Enter");
    expect(await title(page)).toMatch(/^exp_0004 /);
    await page.keyboard.press("Escape");
    await bar.focus();
    await page.keyboard.press("End");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Space");
    expect(await title(page)).toMatch(/^exp_0249 /);
  });

  it("measures everything once, though the records measure starts and loss as well", async () => {
    const page = await open("comparison.html");
    const names = await page.locator("#sort option").allTextContents();
    expect(names).toEqual([...new Set(names)]);
    expect(names).toEqual(expect.arrayContaining(["starts", "attempts", "loss"]));
  });

  it("says why a run failed, gives what was set to the clipboard, and is found by its address", async () => {
    const page = await open("comparison.html#exp_0004", {
      permissions: ["clipboard-read", "clipboard-write"],
    });
    expect(await title(page)).toMatch(/^exp_0004 /);
    expect(await page.locator("#facts-of-run .error").innerText()).toMatch(
      /^oom: CUDA out of memory/,
    );
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
      String.raw`--set '3.sampler_name=dpmpp_2m' --set '3.steps=40' --set '6.text=knight, it'\''s in the castle at dawn'`,
    );
  });

  it("is as useful in the dark and on a phone", async () => {
    const dark = await open("comparison.html", { colorScheme: "dark" });
    expect(await seriousFindings(dark)).toEqual([]);
    await keepPicture(dark, "comparison-dark");
    await cell(dark, 1, 1).click();
    expect(await seriousFindings(dark)).toEqual([]);
    await keepPicture(dark, "comparison-dark-details");
    const phone = await open("comparison.html", PHONE);
    expect(await isWiderThanScreen(phone)).toBe(false);
    expect(await phone.locator("#facts").innerText()).toContain("9f2c61d0".repeat(8));
    expect(await seriousFindings(phone)).toEqual([]);
    await keepPicture(phone, "comparison-phone");
    await cell(phone, 0, 1).tap();
    expect(await title(phone)).toMatch(/^exp_0001 /);
    expect(await isWiderThanScreen(phone)).toBe(false);
    await keepPicture(phone, "comparison-phone-details");
  });

  it("draws of ten thousand runs only what is seen", async () => {
    const page = await open("many.html");
    await page.getByLabel("View").selectOption({ label: "All runs" });
    expect(await page.locator(".cell").count()).toBeLessThan(200);
    await cell(page, 0, 0).focus();
    await page.keyboard.press("Control+End");
    await page.locator(".cell", { hasText: "exp_9999" }).waitFor();
    expect(await page.locator(".cell").count()).toBeLessThan(200);
    await page.locator("#grid").evaluate((grid) => grid.scrollTo(0, grid.scrollHeight / 2));
    await page.locator(".cell", { hasText: "exp_5000" }).waitFor();
    expect(await brokenPictures(page)).toBe(0);
  });

  it("shows hostile texts as texts", async () => {
    const hostile = `</script><img src="https://elsewhere.example/" onerror="alert(1)"><b>x</b>`;
    const facts = castleFacts(3);
    await writeFile(
      join(folder, "hostile.html"),
      comparisonPage({
        ...facts,
        name: hostile,
        dimensions: [{ name: hostile, values: [hostile, "tame"] }],
        runs: facts.runs.map((run, at) => ({
          ...run,
          title: hostile,
          values: { [hostile]: at === 0 ? hostile : "tame" },
          metrics: { [hostile]: 1, ["__proto__"]: 1 },
          error: { class: hostile, message: hostile },
        })),
        best: [{ index: 0, why: hostile }],
      }),
    );
    const page = await open("hostile.html");
    await cell(page, 0, 0).click();
    expect(await title(page)).toBe(`exp_0000 ${hostile}`);
    expect(await page.locator("h1").innerText()).toBe(hostile);
    expect(await page.locator("[onerror], section b > b, .cell b > b").count()).toBe(0);
  });

  it("says where its pictures are missing", async () => {
    await writeFile(
      join(folder, "moved.html"),
      comparisonPage({
        ...castleFacts(1),
        runs: castleFacts(1).runs.map((run) => ({ ...run, images: [{ path: "images/lost.png" }] })),
      }),
    );
    const page = await open("moved.html");
    await page.getByText("Keep this page beside its images folder.").waitFor();
    // The browser tells of the missing file itself.
    const problems = opened.at(-1)?.problems ?? [];
    expect(problems.splice(0)).toEqual([expect.stringContaining("ERR_FILE_NOT_FOUND")]);
  });
});
