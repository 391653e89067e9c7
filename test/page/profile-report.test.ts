/** The report of a profiling as a person meets it: a file on a disk, in a real browser. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createLoadCollector,
  profileReportHtml,
  profileWorkflow,
  type ProfiledRun,
} from "@holdfast/load";
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

tellWhatIsSkipped("test/page/profile-report.test.ts");

const run = (index: number, more: Partial<ProfiledRun> = {}): ProfiledRun => ({
  index,
  seed: 176_505_622_822_912 + index,
  kind: index === 0 ? "cold" : "warm",
  outcome: "completed",
  errorClass: null,
  message: "",
  executeMs: index === 0 ? 5_100 : 3_490,
  firstStepMs: index === 0 ? 1_730 : 141,
  longestSilenceMs: index === 0 ? 1_320 : 190,
  loaderMs: index === 0 ? 1_320 : 0,
  nodes: [
    { nodeId: "3", ms: 3_380 },
    { nodeId: "8", ms: 74 },
    { nodeId: "10", ms: 0.06 },
    ...(index === 0 ? [{ nodeId: "4", ms: 1_320 }] : []),
  ],
  ...more,
});
const LOST: Partial<ProfiledRun> = {
  kind: "unknown",
  outcome: "failed",
  errorClass: "network_error",
  message: "no socket to http://gpu-7.render.example:8188 within 5 s",
  executeMs: null,
  firstStepMs: null,
  longestSilenceMs: null,
  loaderMs: null,
  nodes: null,
};
const NODES = [
  ["3", "KSampler", null],
  ["4", "CheckpointLoaderSimple", "Load Checkpoint"],
  ["8", "VAEDecode", "VAE Decode"],
  ["10", "UltimateSDUpscaleNoUpscaleCustomSample", "The second and last of all upscalers"],
] as const;

/** Two workflows and a server that was lost in the second. */
function report(): string {
  const collector = createLoadCollector();
  for (let atMs = 0; atMs < 30_000; atMs += 500) {
    for (const gpu of [0, 1]) {
      const source = "nvidia-smi";
      const memoryUsedMb = 1_200 + ((atMs * (gpu + 3)) % 9_000);
      collector.addGpu({ atMs, gpu, utilisationPercent: (atMs / 50) % 100, memoryUsedMb, source });
    }
  }
  const cards = [
    {
      gpu: 0,
      source: "nvidia-smi" as const,
      beforeMb: 1_200,
      peakMb: 7_344,
      aboveMb: 6_144,
      utilisationMeanPercent: 50,
      utilisationMaxPercent: 99,
    },
  ];
  const nodes = NODES.map(([nodeId, classType, title]) => ({
    nodeId,
    classType,
    title,
    isLoader: nodeId === "4",
  }));
  const facts = { hash: "abc", asked: 3, nodes, cards };
  const all = [
    profileWorkflow({ ...facts, name: "book_small", runs: [run(0), run(1), run(2)] }),
    profileWorkflow({ ...facts, name: "book_large", runs: [run(0), run(1, LOST), run(2, LOST)] }),
  ];
  return profileReportHtml({
    summary: {
      version: 1,
      target: { kind: "comfyui", url: "http://gpu-7.render.example:8188", version: "0.3.64" },
      startedAt: "2026-11-28T08:13:55.711Z",
      durationSeconds: 30.3,
      runsAsked: 3,
      stoppedBecause: "target_lost",
      gpuName: "NVIDIA GeForce RTX 4090",
      notes: ["nvidia-smi.csv is not whole, it could not be written: ENOSPC."],
      workflows: all.map(({ summary }) => summary),
    },
    profiles: all.map(({ profile }) => profile),
    timeline: collector.timeline(),
    gpu: collector.measured().gpu,
  });
}

describe.skipIf(CHROMIUM === undefined)("the report of a profiling", () => {
  let browser: Browser;
  let folder: string;
  const opened: WatchedPage[] = [];
  const open = async (options: BrowserContextOptions = {}): Promise<Page> => {
    const watched = await openFile(browser, folder, "report.html", options);
    opened.push(watched);
    return watched.page;
  };

  beforeAll(async () => {
    browser = await launchBrowser();
    folder = await mkdtemp(join(tmpdir(), "holdfast-profile-"));
    await writeFile(join(folder, "report.html"), report());
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
    const page = await open(options);
    await keepPicture(page, `profile-report-${name}`);
    expect(await isWiderThanScreen(page)).toBe(false);
    expect(await seriousFindings(page)).toEqual([]);
    const heights = page
      .getByRole("region", { name: "Workflows" })
      .locator("tbody tr")
      .evaluateAll((rows) => rows.map((row) => row.getBoundingClientRect().height));
    // Two lines at most: it scrolls where it is too wide.
    expect(Math.max(...(await heights))).toBeLessThan(60);
  });

  it("says first that it is not whole, and draws bars as long as their times", async () => {
    const page = await open();
    expect(await page.locator(".notice").first().textContent()).toContain(
      "did not answer any more",
    );
    const plot = page.locator("figure", { hasText: "Warm time, and loading models on top" });
    const parts = plot.locator(".bar").first().locator("rect");
    const [warm, load] = [await parts.nth(0).boundingBox(), await parts.nth(1).boundingBox()];
    expect((warm?.width ?? 0) / (load?.width ?? 1)).toBeCloseTo(3_490 / 1_610, 1);
    expect(await plot.locator(".bar").nth(1).locator("b").textContent()).toBe("–");
    // Of the second workflow no run was a warm one.
    expect(await page.getByRole("heading", { name: "Time a node, warm" }).count()).toBe(1);
    expect(await page.getByRole("heading", { name: "Time a node, all runs" }).count()).toBe(1);
  });
});
