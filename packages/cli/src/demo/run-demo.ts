import type { JobView } from "@holdfast/contract";
import { createKey, hasAnyKey, revokeKey, type ControlPlane } from "@holdfast/control-plane";
import { createIdSource, stopInOrder } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient, type ApiClient } from "../api/api-client.ts";
import { getAttempts } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { askComfy } from "../up/local-comfyui.ts";
import { createCutProxy, type CutProxy } from "./cut-proxy.ts";
import { fetchPicture, render, type DemoFacts } from "./render.ts";
import { injectCrash, struckCount } from "./simulator-fault.ts";

/** Jobs a demo runs for each ComfyUI: enough that every one of several gets some. */
const JOBS_PER_COMFYUI = 4;
/** Times that several ComfyUIs get jobs until each has rendered one. */
const MAX_ROUNDS = 5;
const LIMIT_MS = 5 * 60_000;
/** For renders of others, before the agent takes the plain addresses. */
const DRAIN_MS = 30_000;
/** A real ComfyUI takes 25 to 45 s to start. */
const COMFYUI_LIMIT_MS = 120_000;
const ASK_AGAIN_MS = 1_000;
/** A node class of the model-free example that no health check uses. */
const DEMO_CLASS = "ImageInvert";

/**
 * Renders in spite of one injected fault, says how it went, and leaves the agent running on the
 * plain addresses. Throws {@link CommandFailure} when the render does not come out whole, or when the
 * fault never struck: then the demo has shown nothing.
 */
export async function runDemo(given: Omit<DemoFacts, "api">): Promise<void> {
  await withApi(given.controlPlane, (api) => runLimited({ ...given, api }));
}

async function runLimited(facts: DemoFacts): Promise<void> {
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
  terminal.line("demo: its alert instance_crashed fires for ten minutes on purpose (alerts list)");
}

async function runOnComfyUI(facts: DemoFacts, signal: AbortSignal): Promise<void> {
  const { terminal, urls } = facts;
  const kinds = await untilAnswering(facts, signal);
  const what = kinds.includes("simulated") ? "simulated ComfyUI" : "real ComfyUI";
  terminal.line(`demo: renders on the ${what} ${urls.join(" and ")} (no model needed)`);
  const proxies = urls.map((url) => createCutProxy(url, systemClock));
  try {
    for (const proxy of proxies) await proxy.start();
    const agent = await facts.startTrial(proxies.map((proxy) => proxy.url()));
    proxies[0]?.cutAtPromptWith(DEMO_CLASS);
    terminal.line(
      "demo: fault injected: Holdfast's own proxy will cut the connection in mid-render",
    );
    const places = proxies.map((proxy) => proxy.url());
    const struck = await renderEverywhere(facts, { places, signal, proxies });
    const path = await fetchPicture(facts, struck);
    const how =
      struck.attemptCount === 1 ? "found again, not rendered twice" : "rendered once more";
    terminal.line(
      `demo: render finished after 1 recovery (connection to the ${what} cut in mid-render; ${how}): ${path}`,
    );
    await agent.drain(DRAIN_MS);
    await agent.stop();
  } finally {
    await stopInOrder(proxies);
  }
  await facts.startAgent(urls);
}

/** Waits until every address answers: a ComfyUI takes half a minute to start. */
async function untilAnswering(facts: DemoFacts, signal: AbortSignal): Promise<readonly string[]> {
  const limitAt = systemClock.elapsed() + COMFYUI_LIMIT_MS;
  let isTold = false;
  for (;;) {
    const kinds = await Promise.all(facts.urls.map(askComfy));
    const silent = facts.urls.filter((_, i) => kinds[i] === "nothing");
    if (silent.length === 0) return kinds;
    if (systemClock.elapsed() > limitAt) {
      const message = `demo: no ComfyUI answers at ${silent.join(", ")}; start it, or correct COMFYUI_URL`;
      throw new CommandFailure(EXIT.failed, message);
    }
    if (!isTold) facts.terminal.note(`demo: waiting for ComfyUI at ${silent.join(", ")}`);
    isTold = true;
    await systemClock.sleep(ASK_AGAIN_MS, signal);
  }
}

/**
 * Renders until the fault has struck and every address has rendered something; the job that was
 * struck. One address needs one job; several get some more each round.
 */
async function renderEverywhere(
  facts: DemoFacts,
  wanted: {
    readonly places: readonly string[];
    readonly proxies: readonly CutProxy[];
    readonly signal: AbortSignal;
  },
): Promise<JobView> {
  const { places, proxies, signal } = wanted;
  const { api } = facts;
  const counts = new Map<string, number>();
  let struck: JobView | undefined;
  for (let round = 1; round <= MAX_ROUNDS; round += 1) {
    const count = places.length === 1 ? 1 : places.length * JOBS_PER_COMFYUI;
    for (const job of await render(facts, { example: "model-free.json", count, signal })) {
      const attempts = await getAttempts(api, job.id);
      const place = attempts.at(-1)?.instanceName ?? "";
      counts.set(place, (counts.get(place) ?? 0) + 1);
      const ids = attempts.map((attempt) => attempt.promptId);
      if (proxies.some((proxy) => ids.includes(proxy.cutPromptId() ?? ""))) struck = job;
    }
    if (struck === undefined || places.some((place) => !counts.has(place))) continue;
    if (places.length > 1) {
      for (const [i, place] of places.entries()) {
        facts.terminal.line(`demo: ${facts.urls[i] ?? place} rendered ${counts.get(place) ?? 0}`);
      }
    }
    return struck;
  }
  if (struck === undefined) throw neverStruck();
  const idle = facts.urls.filter((_, i) => !counts.has(places[i] ?? ""));
  throw new CommandFailure(EXIT.failed, `demo: ${idle.join(", ")} rendered nothing`);
}

function neverStruck(): CommandFailure {
  return new CommandFailure(EXIT.failed, "demo: the injected fault never struck");
}

/** Gives the demo access to the API, with a key of its own for the while where keys are needed. */
async function withApi(
  controlPlane: ControlPlane,
  use: (api: ApiClient) => Promise<void>,
): Promise<void> {
  const baseUrl = controlPlane.url();
  const db = controlPlane.db();
  if (!(await hasAnyKey(db))) return await use(createApiClient({ baseUrl, apiKey: undefined }));
  const expiresAt = systemClock.now() + 2 * LIMIT_MS;
  const ids = createIdSource(systemClock, systemRandom);
  const made = await createKey(db, ids, { name: "demo", role: "operator", expiresAt });
  try {
    await use(createApiClient({ baseUrl, apiKey: made.text }));
  } finally {
    await revokeKey(db, made.key.id);
  }
}
