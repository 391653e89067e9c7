/** The plain live page as a person meets it, in a real browser. */
import { existsSync } from "node:fs";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { quickGraph, sleepingGraph } from "../support/api.ts";
import {
  CHROMIUM,
  closePages,
  keepPicture,
  launchBrowser,
  openPage,
  PHONE,
  seriousFindings,
  tellWhatIsSkipped,
  type WatchedPage,
} from "./browser.ts";
import { prepareServed, type Served } from "../support/served.ts";

const FILE = "test/page/live-page.test.ts";
tellWhatIsSkipped(FILE);

const LIMIT_MS = 20_000;

const row = (page: Page, text: string): Locator => page.locator("#jobs tr", { hasText: text });
const statusIs = (page: Page, wanted: string | RegExp): Promise<void> =>
  page.locator("#live").filter({ hasText: wanted }).waitFor({ timeout: LIMIT_MS });
const isLive = (page: Page): Promise<void> => statusIs(page, /^live$/);
/** A mark that a reload would remove. */
const mark = (page: Page): Promise<void> =>
  page.evaluate(() => void ((globalThis as { mark?: true }).mark = true));
const isMarked = (page: Page): Promise<boolean> =>
  page.evaluate(() => (globalThis as { mark?: true }).mark === true);
/** The arguments of the `holdfast` command that the page shows at a place. */
const shownCommand = async (page: Page, place: string): Promise<string[]> => {
  const text = (await page.locator(`${place} code`).textContent()) ?? "";
  const [, args] = /^npx --no-install holdfast (.+)$/.exec(text.trim()) ?? [];
  if (args === undefined) throw new Error(`no command of holdfast: ${text}`);
  return args.split(" ");
};
const isWiderThanScreen = (page: Page): Promise<boolean> =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

describe.skipIf(CHROMIUM === undefined)("the live page", () => {
  let served: Served;
  let browser: Browser;
  const opened: WatchedPage[] = [];
  const open = async (path = "/", options = {}): Promise<Page> => {
    const watched = await openPage(browser, served.url, path, options);
    opened.push(watched);
    return watched.page;
  };
  /** Takes out what the test provoked; throws when it was not there. */
  const forgive = (pattern: RegExp): void => {
    for (const { problems } of opened) {
      const others = problems.filter((problem) => !pattern.test(problem));
      expect(others.length, `${String(pattern)} was provoked`).toBeLessThan(problems.length);
      problems.splice(0, problems.length, ...others);
    }
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

  it("shows an empty system to a new user, and a command that fills it, without a reload", async () => {
    const page = await open();
    await isLive(page);
    await mark(page);
    expect(await page.locator("#simulated").isVisible()).toBe(true);
    expect(await page.locator("#instances tr").count()).toBe(1);
    const instance = await page.locator("#instances tr").textContent();
    expect(instance).toMatch(/127\.0\.0\.1.*simulated.*healthy/);
    expect(await page.locator("#no-instances").isVisible()).toBe(false);
    await keepPicture(page, "empty");
    const command = await shownCommand(page, "#no-jobs");
    const out = `${served.home}/pictures`;
    const { code, output } = await served.run([...command.slice(0, -1), out]);
    expect(code, output).toBe(0);
    expect(existsSync(out)).toBe(true);
    await row(page, "completed").waitFor();
    expect(await page.locator("#no-jobs").isVisible()).toBe(false);
    expect(await page.locator("#stats").textContent()).toContain("Completed1");
    expect(await isMarked(page)).toBe(true);
  });

  it("shows a job's way: waiting, its progress, done; and why others wait or failed", async () => {
    const page = await open();
    await isLive(page);
    const client = served.client();
    const forNobody = { "1": { class_type: "NobodyHasThis", inputs: {} }, ...saving("1") };
    const wrong = {
      "1": {
        class_type: "EmptyImage",
        inputs: { width: -5, height: 64, batch_size: 1, color: 0 },
      },
      ...saving("1"),
    };
    const waiting = await client.submit(forNobody, { name: "for nobody" });
    await client.submit(sleepingGraph(1, 6), { name: "slow" });
    await client.submit(wrong, { name: "wrong" });
    await row(page, "slow").filter({ hasText: "processing" }).filter({ hasText: /\d %/ }).waitFor();
    await row(page, "slow").filter({ hasText: "completed" }).waitFor();
    await row(page, "for nobody")
      .filter({ hasText: "no machine has node NobodyHasThis" })
      .waitFor();
    await row(page, "wrong")
      .filter({ hasText: /failed/ })
      .filter({ hasText: /-5 is less/ })
      .waitFor();
    await keepPicture(page, "jobs");
    await client.call("POST", `/api/v1/jobs/${waiting.id}/cancel`);
    await row(page, "for nobody").filter({ hasText: "cancelled" }).waitFor();
  });

  it("shows a cordoned instance", async () => {
    const page = await open();
    await isLive(page);
    const client = served.client();
    type Machines = { machines: { instances: { id: string }[] }[] };
    const { machines } = await client.call<Machines>("GET", "/api/v1/machines");
    const id = machines[0]?.instances[0]?.id ?? "";
    await client.call("POST", `/api/v1/instances/${id}/cordon`);
    await page.locator("#instances", { hasText: "healthy, cordoned" }).waitFor();
    await client.call("POST", `/api/v1/instances/${id}/uncordon`);
    await page.locator("#instances", { hasNotText: "cordoned" }).waitFor();
  });

  it("opens a job by keyboard, with its picture, and gives the focus back", async () => {
    const job = await served.client().submit(quickGraph(7), { name: "by keyboard" });
    const page = await open();
    await row(page, "by keyboard").filter({ hasText: "completed" }).waitFor();
    const hash = `#${job.id}`;
    // From the page's start: every stop of Tab is a thing one can use, and the job is among them.
    const stops: string[] = [];
    for (let presses = 0; presses < 20 && stops.at(-1) !== hash; presses += 1) {
      await page.keyboard.press("Tab");
      stops.push(
        await page.evaluate(() => document.activeElement?.getAttribute("href") ?? "nothing"),
      );
    }
    expect(stops.slice(0, 3)).toEqual(["/api/docs", "/metrics", hash]);
    await page.keyboard.press("Enter");
    const dialog = page.locator("#job");
    await dialog.waitFor();
    expect(await dialog.locator("#job-title").textContent()).toContain("by keyboard");
    await page.waitForFunction(
      () => (document.querySelector<HTMLImageElement>("#job-outputs img")?.naturalWidth ?? 0) > 0,
    );
    expect(await dialog.locator("#job-attempts li").textContent()).toMatch(/^succeeded on /);
    expect(await seriousFindings(page)).toEqual([]);
    await keepPicture(page, "job");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    const focused = (): Promise<string | null | undefined> =>
      page.evaluate(() => document.activeElement?.getAttribute("href"));
    expect(await focused()).toBe(hash);
    // Refreshes change the table in place: what is focused stays focused.
    await served.client().submit(quickGraph(8), { name: "another" });
    await row(page, "another").filter({ hasText: "completed" }).waitFor();
    expect(await focused()).toBe(hash);
  });

  it("opens a job by its address, and says when there is none", async () => {
    const job = await served.client().submit(quickGraph(9), { name: "by address" });
    const page = await open(`/#${job.id}`);
    const title = page.locator("#job-title");
    await title.filter({ hasText: "by address" }).waitFor();
    await page.locator("#job-close").click();
    await page.waitForFunction(() => location.hash === "");
    const missing = `job_${"0".repeat(26)}`;
    await page.evaluate((hash) => void (location.hash = hash), missing);
    await page.locator("#job-problem", { hasText: missing }).waitFor();
    await page.goBack();
    await page.locator("#job").waitFor({ state: "hidden" });
    forgive(/404/);
  });

  it("fits a phone", async () => {
    await served.client().submit(quickGraph(10), { name: "a name ".repeat(12) });
    const longWord = { "1": { class_type: `Class${"X".repeat(80)}`, inputs: {} }, ...saving("1") };
    const waiting = await served.client().submit(longWord);
    const page = await open("/", { ...PHONE, colorScheme: "dark" });
    await row(page, waiting.id).filter({ hasText: "no machine" }).waitFor();
    expect(await isWiderThanScreen(page)).toBe(false);
    const status = await row(page, waiting.id).locator(".state").boundingBox();
    expect((status?.x ?? 0) + (status?.width ?? 1000)).toBeLessThan(PHONE.viewport.width);
    expect(await seriousFindings(page)).toEqual([]);
    await keepPicture(page, "phone");
    await row(page, "a name").locator("a").tap();
    await page.locator("#job-outputs img").waitFor();
    expect(await isWiderThanScreen(page)).toBe(false);
    await keepPicture(page, "phone-job");
    await served.client().call("POST", `/api/v1/jobs/${waiting.id}/cancel`);
  });

  it.each(["light", "dark"] as const)("can be read in %s", async (colorScheme) => {
    const page = await open("/", { colorScheme });
    await row(page, "completed").first().waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red = 0] = (/\d+/.exec(paper) ?? []).map(Number);
    expect(red > 128).toBe(colorScheme === "light");
    await keepPicture(page, colorScheme);
  });

  it("says why it is not live when the server refuses, and goes on when it does not", async () => {
    const page = await open();
    await isLive(page);
    const refuse = { code: "database_unavailable", message: "the database does not answer" };
    await page.route("**/api/v1/stats", (route) =>
      route.fulfill({ status: 503, json: { error: { ...refuse, requestId: "req_1" } } }),
    );
    await statusIs(page, /^not live since .*: the database does not answer; reconnecting$/);
    await page.unroute("**/api/v1/stats");
    await isLive(page);
    forgive(/503/);
  });

  it("says that it is not live when the server hangs, and goes on", async () => {
    const page = await open();
    await isLive(page);
    const { pid } = served.process();
    process.kill(pid, "SIGSTOP");
    try {
      await statusIs(page, /^not live since .*: the server does not answer; reconnecting$/);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await isLive(page);
  });

  it("says that it is not live when the server dies, and finds its next start by itself", async () => {
    const page = await open();
    await isLive(page);
    await mark(page);
    await served.process().kill();
    await statusIs(page, /^not live since .*; reconnecting$/);
    expect(await seriousFindings(page)).toEqual([]);
    await keepPicture(page, "not-live");
    await served.start();
    await served.client().submit(quickGraph(11), { name: "after the start" });
    await isLive(page);
    await row(page, "after the start").filter({ hasText: "completed" }).waitFor();
    expect(await isMarked(page)).toBe(true);
    forgive(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET/);
  });

  it("asks for a key as soon as one is needed, says how to get one, and works with it", async () => {
    const done = await served.client().submit(quickGraph(12), { name: "with a key" });
    const page = await open();
    await row(page, "with a key").filter({ hasText: "completed" }).waitFor();
    const command = await shownCommand(page, "#key");
    const made = await served.run(command);
    expect(made.code, made.output).toBe(0);
    const [key = ""] = /^hf_\S+$/m.exec(made.output) ?? [];
    await statusIs(page, "an API key is needed");
    expect(await page.locator("#content").isVisible()).toBe(false);
    expect(await seriousFindings(page)).toEqual([]);
    await keepPicture(page, "key");
    // The field has the focus: typing and Enter are enough.
    await page.keyboard.type("hf_wrong");
    await page.keyboard.press("Enter");
    await page.locator("#key-problem", { hasText: "API key" }).waitFor();
    await keepPicture(page, "key-wrong");
    await page.locator("#key-text").fill(key);
    await page.keyboard.press("Enter");
    await isLive(page);
    await row(page, "with a key").locator("a").click();
    // The picture needs the key too.
    await page.waitForFunction(
      () => (document.querySelector<HTMLImageElement>("#job-outputs img")?.naturalWidth ?? 0) > 0,
    );
    expect(new URL(page.url()).hash).toBe(`#${done.id}`);
    await page.keyboard.press("Escape");
    // Only when the address has forgotten the job does a reload not open it again.
    await page.waitForFunction(() => location.hash === "");
    await page.reload();
    await isLive(page); // The tab remembers.
    await page.locator("#forget-key").click();
    await statusIs(page, "an API key is needed");
    forgive(/401/);
  });
});

describe.skipIf(CHROMIUM === undefined)("the live page of a control plane without an agent", () => {
  it("says that no ComfyUI is connected and what to do", async () => {
    const served = await prepareServed();
    const browser = await launchBrowser();
    try {
      await served.start(["server"]);
      const { page, problems } = await openPage(browser, served.url, "/");
      await isLive(page);
      const text = await page.locator("#no-instances").textContent();
      expect(text).toMatch(/No ComfyUI is connected.*COMFYUI_URL=/s);
      expect(await page.locator("#simulated").isVisible()).toBe(false);
      await keepPicture(page, "no-instances");
      expect(problems).toEqual([]);
    } finally {
      await browser.close();
      await served.close();
    }
  });
});

function saving(from: string): Record<string, unknown> {
  return {
    "9": { class_type: "SaveImage", inputs: { images: [from, 0], filename_prefix: "picture" } },
  };
}
