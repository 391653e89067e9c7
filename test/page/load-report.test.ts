/** The report of a load run as a person meets it: a file on a disk, in a real browser. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadReportHtml } from "@holdfast/load";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { steppedComparison, steppedRun } from "../../packages/load/testing/report-facts.ts";
import { summaryOf } from "../../packages/load/testing/sample-summary.ts";
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

tellWhatIsSkipped("test/page/load-report.test.ts");

describe.skipIf(CHROMIUM === undefined)("the report of a load run", () => {
  let browser: Browser;
  let folder: string;
  const opened: WatchedPage[] = [];
  const open = async (file: string, options: BrowserContextOptions = {}): Promise<Page> => {
    const watched = await openFile(browser, folder, file, options);
    opened.push(watched);
    return watched.page;
  };

  beforeAll(async () => {
    browser = await launchBrowser();
    folder = await mkdtemp(join(tmpdir(), "holdfast-report-"));
    const { summary, timeline, sla } = steppedRun(1.2);
    const comparison = steppedComparison(1.2);
    const report = loadReportHtml({ summary, timeline, sla, comparison });
    await writeFile(join(folder, "report.html"), report);
    await writeFile(join(folder, "empty.html"), loadReportHtml(summaryOf([])));
  });
  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });
  afterEach(() => closePages(opened.splice(0)));

  it.each([
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["phone", PHONE],
  ] as const)("can be read: %s", async (name, options) => {
    const page = await open("report.html", options);
    await keepPicture(page, `load-report-${name}`);
    expect(await isWiderThanScreen(page)).toBe(false);
    expect(await seriousFindings(page)).toEqual([]);
  });

  it("shades the side of a table that goes on beyond a phone's screen, until its end", async () => {
    const page = await open("report.html", PHONE);
    const wide = page.locator(".scrolls").filter({ visible: true });
    const at = await wide.evaluateAll((boxes) =>
      boxes.findIndex((box) => box.scrollWidth > box.clientWidth + 100),
    );
    expect(at).toBeGreaterThanOrEqual(0);
    const box = wide.nth(at);
    await box.scrollIntoViewIfNeeded();
    /** Whether its right edge looks otherwise than it would without shades. */
    const isShaded = async (): Promise<boolean> => {
      const { x, y, width, height } = (await box.boundingBox()) ?? PHONE_BOX;
      const clip = { x: x + width - 3, y, width: 3, height };
      const [shown, plain] = [await page.screenshot({ clip }), await withoutShades(page, clip)];
      return !shown.equals(plain);
    };
    expect(await isShaded()).toBe(true);
    await box.evaluate((element) => element.scrollTo({ left: element.scrollWidth }));
    expect(await isShaded()).toBe(false);
  });

  it("draws what its tables say", async () => {
    const page = await open("report.html");
    const plot = page.locator("figure", { hasText: "Throughput by level" });
    await plot.locator("summary").click();
    expect(await plot.locator("tbody tr").count()).toBe(5);
    expect(await plot.locator("path.dots").first().isVisible()).toBe(true);
    const mark = plot.locator("path.mark");
    const [markBox, plotBox] = [
      await mark.boundingBox(),
      await plot.getByRole("img").boundingBox(),
    ];
    // The knee of the run is at 8, of levels from 1 to 16.
    const share = ((markBox?.x ?? 0) - (plotBox?.x ?? 0)) / (plotBox?.width ?? 1);
    expect(share).toBeCloseTo(7 / 15, 1);
  });

  it("says what is missing of a run that did nothing", async () => {
    const page = await open("empty.html");
    await keepPicture(page, "load-report-empty");
    expect(await seriousFindings(page)).toEqual([]);
    expect(await page.getByText("Nothing told of any card.").isVisible()).toBe(true);
  });
});

const PHONE_BOX = { x: 0, y: 0, width: 0, height: 0 };

async function withoutShades(page: Page, clip: typeof PHONE_BOX): Promise<Buffer> {
  const set = (value: string): Promise<void> =>
    page.evaluate((background) => {
      for (const box of document.querySelectorAll<HTMLElement>(".scrolls")) {
        box.style.background = background;
      }
    }, value);
  await set("none");
  try {
    return await page.screenshot({ clip });
  } finally {
    await set("");
  }
}
