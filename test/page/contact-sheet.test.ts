/** The contact sheet of a book as a person keeps it: a file with its pictures beside it, in a real browser. */
import { join } from "node:path";
import type { BatchView } from "@holdfast/contract";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { quickGraph } from "../support/api.ts";
import { until } from "../support/processes.ts";
import { prepareServed, type Served } from "../support/served.ts";
import {
  CHROMIUM,
  closePages,
  keepPicture,
  launchBrowser,
  openFile,
  PHONE,
  seriousFindings,
  tellWhatIsSkipped,
} from "./browser.ts";

tellWhatIsSkipped("test/page/contact-sheet.test.ts");

describe.skipIf(CHROMIUM === undefined)("a saved contact sheet", () => {
  let served: Served;
  let browser: Browser;

  beforeAll(async () => {
    served = await prepareServed({ COMFY_MAX_RETRIES: "0" });
    [browser] = await Promise.all([launchBrowser(), served.start()]);
    const pages = [1, 2, 3, 4, 9].map((color) => ({
      set: { [color === 9 ? "77.color" : "1.color"]: color },
    }));
    const client = served.client();
    const { batch } = await client.call<{ batch: BatchView }>("POST", "/api/v1/batches", {
      name: 'A "book" & more',
      graph: quickGraph(0),
      pages,
    });
    await until("the book has ended", async () => {
      const { endedAt } = await client.call<BatchView>("GET", `/api/v1/batches/${batch.id}`);
      return endedAt === null ? undefined : true;
    });
    const file = join(served.folder, "a book.html");
    const { code, output } = await served.run([
      "batch",
      "contact-sheet",
      batch.id,
      "--output",
      file,
    ]);
    if (code !== 0) throw new Error(`batch contact-sheet exited ${code}: ${output}`);
    // It is looked at where there is no server any more.
    await served.process().stop("SIGINT", 20_000);
  });
  afterAll(async () => {
    await browser?.close();
    await served?.close();
  });

  const look = async (
    name: string,
    options: BrowserContextOptions,
    work: (page: Page) => Promise<void>,
  ): Promise<void> => {
    const watched = await openFile(browser, served.folder, "a%20book.html", options);
    const { page } = watched;
    await page.evaluate(async () => {
      for (const picture of document.images) {
        picture.loading = "eager";
        await picture.decode();
      }
    });
    await work(page);
    await keepPicture(page, name);
    await closePages([watched]);
  };

  it.each([
    ["contact-sheet", {}],
    ["contact-sheet-phone", PHONE],
    ["contact-sheet-dark", { ...PHONE, colorScheme: "dark" }],
  ] as const)("shows its pictures from a disk (%s)", async (name, options) => {
    await look(name, options, async (page) => {
      expect(await page.locator("h1").innerText()).toMatch(/^Book \d+: A "book" & more$/);
      const widths = await page.evaluate(() =>
        [...document.images].map(({ naturalWidth }) => naturalWidth),
      );
      expect(widths).toHaveLength(4);
      expect(Math.min(...widths)).toBeGreaterThan(0);
      expect(await page.locator(".badge").allInnerTexts()).toEqual([
        ...Array<string>(4).fill("Done"),
        "Needs attention",
      ]);
      const isWider = await page.evaluate(
        () => document.documentElement.scrollWidth > window.innerWidth,
      );
      expect(isWider).toBe(false);
      expect(await seriousFindings(page)).toEqual([]);
    });
  });

  it("leads from a picture to the picture", async () => {
    await look("contact-sheet-picture", {}, async (page) => {
      await page.locator("article a").first().click();
      expect(page.url()).toMatch(/a%20book_files\/out_\w+\.png$/);
    });
  });
});
