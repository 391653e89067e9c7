import type { JobObservation, ProfileSummary, TraceEvent } from "@holdfast/load";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import { startJobTime } from "../load/job-time.ts";
import { UNREACHABLE_CLASS, type LoadTarget } from "../load/load-target.ts";
import type { LoadWorkflow } from "../load/read-workflow.ts";
import { measureAll, type MeasureAllOptions } from "./measure-all.ts";

/** What becomes of one run: so many ms of loader and sampler, or no end at all, or no server. */
type Fate =
  | { readonly kind: "runs"; readonly loadMs: number; readonly ms: number }
  /** Of a Holdfast: nothing but whether models had to be loaded. */
  | { readonly kind: "tells"; readonly isCold: boolean | undefined; readonly ms: number }
  | { readonly kind: "hangs" }
  | { readonly kind: "finds_nobody" };

const cold: Fate = { kind: "runs", loadMs: 4_000, ms: 1_000 };
const warm: Fate = { kind: "runs", loadMs: 0, ms: 1_000 };
const hangs: Fate = { kind: "hangs" };
const nobody: Fate = { kind: "finds_nobody" };

const workflow = (name: string): LoadWorkflow => ({
  name,
  file: `${name}.json`,
  weight: 1,
  hash: name,
  isVaried: true,
  graph: {
    "3": { class_type: "KSampler", inputs: { seed: 1, model: ["4", 0] } },
    "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "m.safetensors" } },
  },
});

/** A ComfyUI whose runs come to what is given, in this order; it tells of nodes as its socket does. */
function comfyui(clock: FakeClock, fates: readonly Fate[], isLost: () => boolean) {
  let [hear, calls] = [null as ((event: TraceEvent) => void) | null, 0];
  const tell = (event: TraceEvent): void => hear?.(event);
  const target: LoadTarget = {
    kind: "comfyui",
    url: "http://127.0.0.1:8188",
    version: null,
    async render({ timeoutMs }, signal) {
      const fate = fates[calls] ?? nobody;
      calls += 1;
      const begunAt = clock.elapsed();
      const time = startJobTime(timeoutMs, signal, clock);
      const ended = (outcome: JobObservation["outcome"], errorClass: string | null) => {
        time.release();
        return {
          seen: {
            begunAt,
            acceptedAt: begunAt,
            startedAt: begunAt,
            loadedAt: null,
            executedAt: clock.elapsed(),
            endedAt: clock.elapsed(),
            outcome,
            errorClass,
            retries: 0,
            changed: false,
            outputs: 0,
            bytes: 0,
          },
          message: errorClass ?? "",
        };
      };
      if (fate.kind === "finds_nobody") return ended("failed", UNREACHABLE_CLASS);
      if (fate.kind === "tells") {
        await clock.sleep(fate.ms, time.signal);
        const rendered = ended("completed", null);
        return fate.isCold === undefined ? rendered : { ...rendered, isCold: fate.isCold };
      }
      tell({ kind: "execution_start" });
      try {
        if (fate.kind === "hangs") await clock.sleep(Infinity, time.signal);
        else {
          if (fate.loadMs > 0) tell({ kind: "executing", nodeId: "4" });
          await clock.sleep(fate.loadMs, time.signal);
          tell({ kind: "executing", nodeId: "3" });
          await clock.sleep(fate.ms, time.signal);
          tell({ kind: "executing", nodeId: undefined });
        }
      } catch {
        const over = time.over() ?? "cancelled";
        return ended(over, over === "timed_out" ? "timeout" : "cancelled");
      }
      return ended("completed", null);
    },
    close: () => Promise.resolve(),
  };
  return {
    target,
    calls: () => calls,
    listen: (to: typeof hear) => {
      hear = to;
    },
    server: {
      gpuName: () => Promise.resolve("cpu"),
      free: () => Promise.resolve(true),
      isThere: () => Promise.resolve(!isLost()),
      close: () => Promise.resolve(),
    },
  };
}

async function measure(
  fates: readonly Fate[],
  {
    names = ["fox"],
    runs = 3,
    isLost = (): boolean => false,
    failures = new Map<string, string>(),
    stopAtMs = Infinity,
  } = {},
): Promise<{
  summary: ProfileSummary;
  kinds: string[][];
  calls: number;
  lines: string[];
  notes: string[];
}> {
  const clock = createFakeClock();
  const { target, server, calls, listen } = comfyui(clock, fates, isLost);
  const stop = new AbortController();
  const [lines, notes]: [string[], string[]] = [[], []];
  const card = { gpu: 0, utilisationPercent: 50, memoryUsedMb: 1_000 };
  const options: MeasureAllOptions = {
    request: {
      workflows: names.map(workflow),
      runs,
      seed: 1,
      everyMs: 500,
      timeoutMs: 60_000,
      keepModels: false,
    },
    target,
    server,
    looks: {
      hasSmi: true,
      notes: [],
      look: () => Promise.resolve({ lines: ["l"], cards: [{ ...card, source: "nvidia-smi" }] }),
    },
    folder: {
      append(_name, text) {
        lines.push(text);
        return Promise.resolve();
      },
      failures: () => failures,
    },
    clock,
    signal: stop.signal,
    listen,
    note: (text) => notes.push(text),
  };
  let isDone = false;
  const measuring = measureAll(options).finally(() => {
    isDone = true;
  });
  while (!isDone && (await clock.advanceToNext())) {
    if (clock.elapsed() >= stopAtMs) stop.abort(new Error("Ctrl-C"));
  }
  const { summary, profiles } = await measuring;
  const kinds = profiles.map((one) => one.runs.map(({ kind }) => kind));
  expect(clock.sleeperCount()).toBe(0);
  return { summary, kinds, calls: calls(), lines, notes };
}

it("measures each workflow, and looks at the cards all the time", async () => {
  const { summary, kinds, lines } = await measure([cold, warm, warm, cold, warm, warm], {
    names: ["fox", "owl"],
  });
  expect(summary).toMatchObject({ stoppedBecause: "done", gpuName: "cpu", notes: [] });
  expect(kinds).toEqual(Array.from({ length: 2 }, () => ["cold", "warm", "warm"]));
  expect(summary.workflows[1]).toMatchObject({ coldMs: 5_000, warmMs: { mean: 1_000 } });
  expect(summary.durationSeconds).toBe(14);
  // Two a second, one before and one after each run.
  expect(lines.length).toBeGreaterThanOrEqual(28);
});

it("a run out of its time is told, and the next one is measured", async () => {
  const { summary, kinds, calls, notes } = await measure([cold, hangs, warm]);
  expect(calls).toBe(3);
  expect(kinds).toEqual([["cold", "unknown", "warm"]]);
  expect(summary).toMatchObject({
    stoppedBecause: "done",
    workflows: [{ runs: { asked: 3, completed: 2, failed: 1 }, coldMs: 5_000, loadMs: 4_000 }],
  });
  expect(notes).toContain("fox run 2 (unknown): timed_out: timeout");
});

it("goes by what a Holdfast tells of loading, and takes what it does not tell for neither", async () => {
  const tells = (isCold: boolean | undefined, ms: number): Fate => ({ kind: "tells", isCold, ms });
  const runs = [tells(true, 5_000), tells(undefined, 3_000), tells(false, 1_000)];
  const { summary, kinds } = await measure(runs);
  expect(kinds).toEqual([["cold", "unknown", "warm"]]);
  expect(summary.workflows[0]).toMatchObject({ coldMs: 5_000, warmMs: { count: 1, mean: 1_000 } });
  const silent = await measure([tells(undefined, 5_000), tells(undefined, 3_000)], { runs: 2 });
  expect(silent.summary.workflows[0]).toMatchObject({ coldMs: null, warmMs: null });
});

it("a first run out of its time leaves the loading to the second, of which nothing is to be said", async () => {
  const { summary, kinds } = await measure([hangs, cold, warm]);
  expect(kinds).toEqual([["unknown", "cold", "warm"]]);
  expect(summary.notes).toEqual([]);
  expect(summary.workflows[0]).toMatchObject({ coldMs: 5_000, warmMs: { count: 1 } });
});

it("models that were loaded again are told", async () => {
  const { summary } = await measure([cold, cold, warm]);
  expect(summary.notes).toEqual([expect.stringContaining("fox: models were loaded again")]);
});

it("a server that is gone is given up after two runs, with what was measured", async () => {
  const { summary, calls } = await measure([cold, warm], {
    names: ["fox", "owl"],
    runs: 9,
    isLost: () => true,
  });
  expect(calls).toBe(4);
  expect(summary).toMatchObject({
    stoppedBecause: "target_lost",
    workflows: [{ name: "fox", runs: { completed: 2, failed: 2 }, coldMs: 5_000 }],
  });
});

it("a server that is gone is found so over workflows of one run each, and at the last of all", async () => {
  const gone = { isLost: () => true, runs: 1 };
  const { summary, calls } = await measure([cold], { ...gone, names: ["a", "b", "c", "d", "e"] });
  expect(calls).toBe(3);
  expect(summary.stoppedBecause).toBe("target_lost");
  expect((await measure([], gone)).summary.stoppedBecause).toBe("target_lost");
});

it("a run that waited all its time for a server that is gone is enough", async () => {
  const { summary, calls } = await measure([cold, hangs], { runs: 9, isLost: () => true });
  expect(calls).toBe(2);
  expect(summary.stoppedBecause).toBe("target_lost");
});

it("a connection that drops, of a server that is there, ends nothing", async () => {
  const { summary, calls } = await measure([cold, nobody, nobody, nobody, warm], { runs: 5 });
  expect(calls).toBe(5);
  expect(summary).toMatchObject({ stoppedBecause: "done", workflows: [{ runs: { failed: 3 } }] });
});

it("Ctrl-C ends it with what was measured", async () => {
  const { summary } = await measure([cold, warm, hangs], { runs: 9, stopAtMs: 8_000 });
  expect(summary).toMatchObject({
    stoppedBecause: "cancelled",
    workflows: [{ runs: { completed: 2, failed: 1 }, warmMs: { count: 1 } }],
  });
});

it("a file that could not be written is among the notes", async () => {
  const failures = new Map([["nvidia-smi.csv", "ENOSPC"]]);
  const { summary } = await measure([cold, warm, warm], { failures });
  expect(summary.notes).toEqual(["nvidia-smi.csv is not whole, it could not be written: ENOSPC."]);
});
