import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { JobView } from "@holdfast/contract";
import { stopInOrder } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient, type ApiClient } from "../api/api-client.ts";
import { getAttempts, getOutputs, submitJobs } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { waitForJobs } from "../jobs/wait.ts";
import { progressLine } from "../jobs/progress-text.ts";
import { endText } from "../jobs/show-wait.ts";
import { downloadOutputs } from "../submit/download.ts";
import type { Terminal } from "../terminal/terminal.ts";
import type { RunningUp } from "../up/running-up.ts";
import { createCutProxy } from "./cut-proxy.ts";
import { injectCrash, struckCount } from "./simulator-fault.ts";

/** What the demo runs on. */
export interface DemoFacts extends RunningUp {
  readonly settings: { readonly home: string };
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

const EXAMPLES = fileURLToPath(new URL("../../../../examples/", import.meta.url));
/** Jobs a demo runs for each ComfyUI: enough that every one of several gets some. */
const JOBS_PER_COMFYUI = 4;
const LIMIT_MS = 5 * 60_000;
const SEEDS = 1_000_000;

/**
 * Renders in spite of one injected fault, says how it went, and leaves the agent running on the
 * plain addresses. Throws {@link CommandFailure} when the render does not come out whole, or when the
 * fault never struck: then the demo has shown nothing.
 */
export async function runDemo(facts: DemoFacts): Promise<void> {
  const limit = AbortSignal.timeout(LIMIT_MS);
  const signal = AbortSignal.any([facts.signal, limit]);
  try {
    await (facts.simulator === undefined
      ? runOnComfyUI(facts, signal)
      : runOnSimulator(facts, facts.simulator.url(), signal));
  } catch (error) {
    if (!limit.aborted || facts.signal.aborted) throw error;
    throw new CommandFailure(EXIT.failed, `demo: not finished after ${LIMIT_MS / 60_000} min`);
  }
}

async function runOnSimulator(facts: DemoFacts, url: string, signal: AbortSignal): Promise<void> {
  const { terminal } = facts;
  await facts.startAgent(facts.urls);
  terminal.line("demo: one render on a simulated ComfyUI (no GPU; the picture is simulated too)");
  const fault = await injectCrash(url);
  terminal.line("demo: fault injected: the simulated ComfyUI will crash in mid-render");
  const jobs = await render(facts, { example: "sd15-text-to-image.json", count: 1, signal });
  if ((await struckCount(url, fault)) === 0) throw neverStruck();
  const [job] = jobs;
  if (job === undefined) return;
  const recoveries = Math.max(0, job.attemptCount - 1);
  const words = recoveries === 1 ? "1 recovery" : `${recoveries} recoveries`;
  const path = await fetchPicture(facts, job);
  terminal.line(
    `demo: render finished after ${words} (the simulated ComfyUI crashed in mid-render): ${path}`,
  );
}

async function runOnComfyUI(facts: DemoFacts, signal: AbortSignal): Promise<void> {
  const { terminal, urls } = facts;
  terminal.line(`demo: renders on the real ComfyUI ${urls.join(" and ")} (no model needed)`);
  const proxies = urls.map((url) => createCutProxy(url));
  try {
    for (const proxy of proxies) await proxy.start();
    const agent = await facts.startAgent(proxies.map((proxy) => proxy.url()));
    proxies[0]?.cutAtNextPrompt();
    terminal.line(
      "demo: fault injected: Holdfast's own proxy will cut the connection in mid-render",
    );
    const jobs = await render(facts, {
      example: "model-free.json",
      count: urls.length === 1 ? 1 : urls.length * JOBS_PER_COMFYUI,
      signal,
    });
    if (proxies.every((proxy) => proxy.cuts() === 0)) throw neverStruck();
    const [job] = jobs;
    if (job === undefined) return;
    const path = await fetchPicture(facts, job);
    terminal.line(
      `demo: render finished after 1 recovery (the connection to ComfyUI was cut in mid-render): ${path}`,
    );
    await tellPlaces(
      facts,
      jobs,
      proxies.map((proxy) => proxy.url()),
    );
    await agent.drain(LIMIT_MS);
    await agent.stop();
  } finally {
    if (!facts.signal.aborted) await stopInOrder(proxies);
    else void stopInOrder(proxies).catch(() => undefined);
  }
  await facts.startAgent(urls);
}

function neverStruck(): CommandFailure {
  return new CommandFailure(EXIT.failed, "demo: the injected fault never struck");
}

/** Submits one of the examples and waits until all its jobs are completed. */
async function render(
  facts: DemoFacts,
  wanted: { readonly example: string; readonly count: number; readonly signal: AbortSignal },
): Promise<readonly JobView[]> {
  const { terminal, signal } = { ...facts, ...wanted };
  const api = demoClient(facts);
  const graph: unknown = JSON.parse(await readFile(join(EXAMPLES, wanted.example), "utf8"));
  const bodies = Array.from({ length: wanted.count }, () => ({
    graph,
    name: "demo",
    tags: ["demo"],
    ...variation(wanted.example),
  }));
  const submitted = await submitJobs(api, bodies, { idempotencyKey: undefined, isStrict: false });
  const seen = new Map<string, JobView>();
  const jobs = await waitForJobs(api, submitted.jobs, {
    clock: systemClock,
    signal,
    listener: {
      changed(now) {
        for (const job of now) {
          const line = progressLine(seen.get(job.id), job);
          if (line !== undefined) terminal.note(`demo: ${line}`);
          seen.set(job.id, job);
        }
      },
      connection: () => undefined,
    },
  });
  const failed = jobs.find((job) => job.status !== "completed");
  if (failed !== undefined) throw new CommandFailure(EXIT.failed, `demo: ${endText(failed)}`);
  return jobs;
}

/** What makes every demo a render of its own, instead of one that ComfyUI has in its cache. */
function variation(example: string): { readonly set: Readonly<Record<string, number>> } {
  const number = Math.floor(systemRandom.next() * SEEDS);
  return { set: example === "model-free.json" ? { "1.color": number } : { "3.seed": number } };
}

function demoClient(facts: DemoFacts): ApiClient {
  const apiKey = facts.env["HOLDFAST_API_KEY"];
  return createApiClient({
    baseUrl: facts.controlPlane.url(),
    apiKey: apiKey === "" ? undefined : apiKey,
  });
}

/** Fetches what the job gave; the path of the first file. */
async function fetchPicture(facts: DemoFacts, job: JobView): Promise<string> {
  const api = demoClient(facts);
  const outputs = await getOutputs(api, job.id);
  const folder = join(facts.settings.home, "demo");
  const written = await downloadOutputs(api, outputs, { folder, clock: systemClock });
  const [first] = written;
  if (first?.kind === "written") return first.path;
  const reason = first === undefined ? "the job gave nothing" : first.reason;
  throw new CommandFailure(EXIT.failed, `demo: the picture could not be fetched: ${reason}`);
}

/** With several ComfyUIs: which of them rendered how many. */
async function tellPlaces(
  facts: DemoFacts,
  jobs: readonly JobView[],
  proxied: readonly string[],
): Promise<void> {
  if (proxied.length < 2) return;
  const api = demoClient(facts);
  const counts = new Map<string, number>();
  for (const job of jobs) {
    const last = (await getAttempts(api, job.id)).at(-1);
    const place = proxied.indexOf(last?.instanceName ?? "");
    const url = facts.urls[place] ?? last?.instanceName ?? "unknown";
    counts.set(url, (counts.get(url) ?? 0) + 1);
  }
  for (const [url, count] of counts) facts.terminal.line(`demo: ${url} rendered ${count}`);
}
