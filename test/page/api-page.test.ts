/** The browsable API description, in a real browser. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  CHROMIUM,
  closePages,
  keepPicture,
  launchBrowser,
  openPage,
  seriousFindings,
  tellWhatIsSkipped,
  type WatchedPage,
} from "./browser.ts";
import { prepareServed, type Served } from "../support/served.ts";

tellWhatIsSkipped("test/page/api-page.test.ts");

/** swagger-ui puts its copy button and its link into the button of each operation. */
const NOT_OURS = ["nested-interactive"];

describe.skipIf(CHROMIUM === undefined)("the API page", () => {
  let served: Served;
  let browser: Browser;
  const opened: WatchedPage[] = [];
  const open = async (options = {}): Promise<Page> => {
    const watched = await openPage(browser, served.url, "/api/docs", options);
    opened.push(watched);
    await watched.page.locator(".opblock").first().waitFor();
    return watched.page;
  };

  beforeAll(async () => {
    served = await prepareServed();
    [browser] = await Promise.all([launchBrowser(), served.start()]);
  });
  afterAll(async () => {
    await browser?.close();
    await served?.close();
  });
  afterEach(async () => {
    await closePages(opened.splice(0));
  });

  it.each(["light", "dark"] as const)(
    "lists every operation with a summary, in %s",
    async (colorScheme) => {
      const page = await open({ colorScheme });
      type Document = { paths: Record<string, Record<string, { summary?: string }>> };
      const document = (await (await fetch(`${served.url}/openapi.json`)).json()) as Document;
      const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
      expect(operations.length).toBeGreaterThan(40);
      expect(await page.locator(".opblock").count()).toBe(operations.length);
      expect(operations.filter(({ summary }) => summary === undefined)).toEqual([]);
      expect(await page.title()).toBe("Holdfast API");
      expect(await seriousFindings(page, NOT_OURS)).toEqual([]);
      await keepPicture(page, `api-${colorScheme}`);
    },
  );

  it("finds operations by words, and leads back", async () => {
    const page = await open({ viewport: { width: 390, height: 844 } });
    await page.locator(".operation-filter-input").fill("cancel");
    await page.waitForFunction(() => document.querySelectorAll(".opblock").length === 3);
    expect(await page.locator(".opblock-summary-path").allTextContents()).toEqual([
      expect.stringContaining("cancel"),
      expect.stringContaining("cancel"),
      expect.stringContaining("cancel"),
    ]);
    await keepPicture(page, "api-search");
    await page.getByRole("link", { name: "Holdfast", exact: true }).click();
    await page
      .locator("#live")
      .filter({ hasText: /^live$/ })
      .waitFor();
  });

  it("tries an operation out, with a key where keys are needed", async () => {
    const made = await served.run(["keys", "create", "--name", "docs", "--role", "admin"]);
    const [key = ""] = /^hf_\S+$/m.exec(made.output) ?? [];
    expect(key).not.toBe("");
    const page = await open();
    const me = page.locator(".opblock", { hasText: "/api/v1/me" });
    const tryIt = async (): Promise<string | null> => {
      await me.locator(".execute").click();
      return await me
        .locator(".live-responses-table tbody .response-col_status")
        .first()
        .textContent();
    };
    await me.locator(".opblock-summary-control").click();
    await me.locator(".try-out__btn").click();
    await expect.poll(tryIt, { timeout: 15_000, interval: 1_000 }).toContain("401");
    await page.locator(".btn.authorize").first().click();
    await page.locator(".auth-container input").fill(key);
    await page.locator(".auth-btn-wrapper .authorize").click();
    await keepPicture(page, "api-authorize");
    await page.locator(".auth-btn-wrapper .btn-done").click();
    await expect.poll(tryIt, { timeout: 15_000, interval: 1_000 }).toContain("200");
    for (const { problems } of opened) {
      expect(problems.every((problem) => problem.includes("401"))).toBe(true);
      problems.splice(0);
    }
  });
});
