/** An installed Chromium, and a page that is watched for everything a page must not do. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { findProgram } from "../support/find-program.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The browser's program: `HOLDFAST_TEST_CHROMIUM`, or the first of the usual names on the path. */
export const CHROMIUM = process.env["HOLDFAST_TEST_CHROMIUM"] ?? findProgram(NAMES);

/** Folder for a picture of each state the tests look at; none are kept when it is not given. */
const SCREENSHOTS = process.env["HOLDFAST_TEST_SCREENSHOTS"];

/** Says once, where nobody overlooks it, that the pages were not looked at. */
export function tellWhatIsSkipped(file: string): void {
  if (CHROMIUM === undefined) {
    console.warn(
      `${file}: SKIPPED, there is no Chromium (apt-get install chromium, or HOLDFAST_TEST_CHROMIUM)`,
    );
  }
}

/** Starts the browser. It asks nothing of any other host by itself. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    ...(CHROMIUM === undefined ? {} : { executablePath: CHROMIUM }),
    args: [
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** How a phone shows a page. */
export const PHONE = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
} as const;

/** Whether a page has to be scrolled sideways. */
export function isWiderThanScreen(page: Page): Promise<boolean> {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth;
  });
}

/** A page, and what went wrong on it. */
export interface WatchedPage {
  readonly page: Page;
  /**
   * Console errors and warnings (a broken content security policy is one), thrown errors, requests to
   * other hosts. A test that provokes some takes them out.
   */
  readonly problems: string[];
}

/** Opens a page of `base` in a profile of its own. */
export async function openPage(
  browser: Browser,
  base: string,
  path: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const isOwn = (url: URL): boolean => url.origin === base;
  const watched = await watchPage(browser, isOwn, options);
  await watched.page.goto(`${base}${path}`);
  return watched;
}

/** Opens a file of a folder in a profile of its own. Anything outside the folder is not its own. */
export async function openFile(
  browser: Browser,
  folder: string,
  path: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const base = pathToFileURL(`${folder}/`).href;
  const watched = await watchPage(browser, (url) => url.href.startsWith(base), options);
  await watched.page.goto(`${base}${path}`);
  return watched;
}

async function watchPage(
  browser: Browser,
  isOwn: (url: URL) => boolean,
  options: BrowserContextOptions,
): Promise<WatchedPage> {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    colorScheme: "light",
    locale: "en-GB",
    ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const problems: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning", "assert"].includes(message.type())) {
      problems.push(`console ${message.type()}: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => problems.push(`thrown: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!isOwn(url) && url.protocol !== "data:" && url.protocol !== "blob:") {
      problems.push(`request to ${request.url()}`);
    }
  });
  return { page, problems };
}

/** Closes pages; throws when something went wrong on them that no test took out. */
export async function closePages(pages: readonly WatchedPage[]): Promise<void> {
  await Promise.all(pages.map(({ page }) => page.context().close()));
  const problems = pages.flatMap(({ problems }) => problems);
  if (problems.length > 0) throw new Error(`went wrong on the page:\n${problems.join("\n")}`);
}

/** What axe finds serious or critical, as `rule: how many, the first of them`. */
export async function seriousFindings(
  page: Page,
  ignoredRules: readonly string[] = [],
): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).disableRules([...ignoredRules]).analyze();
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.length}, first ${nodes[0]?.html ?? ""}`);
}

/** Keeps a picture for a person to look at, when a folder for them is given. */
export async function keepPicture(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
}
