import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, test } from "vitest";
import { StepFailure, type InstallEvent, type Step } from "./model.ts";
import { createRedact } from "./redact.ts";
import { runSteps } from "./run-steps.ts";

const clock = createFakeClock();

function step(id: string, more: Partial<Step> = {}): Step {
  return {
    id,
    title: id,
    isOptional: false,
    after: [],
    lane: "release",
    check: () => Promise.resolve({ kind: "needed", detail: "not there" }),
    apply: () => Promise.resolve(),
    verify: () => Promise.resolve(),
    ...more,
  };
}

async function run(steps: readonly Step[], signal = new AbortController().signal) {
  const events: InstallEvent[] = [];
  const outcome = await runSteps(steps, {
    clock,
    signal,
    redact: createRedact(["top-secret"]),
    onEvent: (event) => events.push(event),
  });
  const byId = Object.fromEntries(outcome.results.map(({ id, outcome }) => [id, outcome]));
  return { ...outcome, byId, events };
}

const fail = (message: string) => () => Promise.reject(new StepFailure(message, "Do this."));

describe("running steps", () => {
  test("a step that is done is skipped: neither applied nor verified", async () => {
    const touched: string[] = [];
    const note = (what: string) => async () => void touched.push(what);
    const { byId, ok } = await run([
      step("a", {
        check: () => Promise.resolve({ kind: "done", detail: "there" }),
        apply: note("a.apply"),
        verify: note("a.verify"),
      }),
      step("b", { apply: note("b.apply"), verify: note("b.verify") }),
    ]);
    expect(byId).toEqual({ a: "skipped", b: "done" });
    expect(touched).toEqual(["b.apply", "b.verify"]);
    expect(ok).toBe(true);
  });

  test("a failure keeps only what comes after it from being done", async () => {
    const { byId, ok, results } = await run([
      step("a", { apply: fail("no space; top-secret") }),
      step("b", { after: ["a"] }),
      step("c"),
      step("m", { lane: "models" }),
      step("n", { lane: "models", after: ["b"] }),
    ]);
    expect(byId).toEqual({ a: "failed", b: "not_reached", c: "done", m: "done", n: "not_reached" });
    expect(ok).toBe(false);
    expect(results[0]).toMatchObject({ detail: "no space; ***", advice: "Do this." });
    expect(results[1]?.detail).toBe('waits for "a"');
  });

  test("what verification finds wanting has failed", async () => {
    const { byId } = await run([step("a", { verify: fail("does not hold") })]);
    expect(byId).toEqual({ a: "failed" });
  });

  test("an optional failure is told and does not fail the run, nor a required step after it", async () => {
    const { byId, ok } = await run([
      step("soft", { isOptional: true, apply: fail("gone") }),
      step("softer", { isOptional: true, after: ["soft"] }),
      step("end", { after: ["soft", "softer"] }),
    ]);
    expect(byId).toEqual({ soft: "failed", softer: "not_reached", end: "done" });
    expect(ok).toBe(true);
  });

  test("lanes run beside each other, and wait for each other where told", async () => {
    const order: string[] = [];
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { byId } = await run([
      step("a", {
        apply: async () => {
          await gate;
          order.push("a");
        },
      }),
      step("m", { lane: "models", apply: async () => void order.push("m") }),
      step("o", { lane: "shared", after: ["m"], apply: async () => open() }),
      step("n", { lane: "models", after: ["a"], apply: async () => void order.push("n") }),
    ]);
    expect(order).toEqual(["m", "a", "n"]);
    expect(Object.values(byId)).toEqual(["done", "done", "done", "done"]);
  });

  test("an abort ends the running step without a failure, and reaches no further one", async () => {
    const stop = new AbortController();
    const { byId, isAborted, ok } = await run(
      [
        step("a", {
          apply: ({ signal }) => {
            stop.abort();
            signal.throwIfAborted();
            return Promise.resolve();
          },
        }),
        step("b"),
      ],
      stop.signal,
    );
    expect(byId).toEqual({ a: "not_reached", b: "not_reached" });
    expect({ isAborted, ok }).toEqual({ isAborted: true, ok: false });
  });

  test("events come in order, lines redacted, and durations are taken", async () => {
    const { events } = await run([
      step("a", {
        apply: async ({ log, progress }) => {
          log("with top-secret");
          progress({ done: 1, total: 2, unit: "items", detail: null });
          await Promise.all([clock.sleep(1_500), clock.advance(1_500)]);
        },
      }),
    ]);
    expect(events.map(({ kind }) => kind)).toEqual([
      "started",
      "step.started",
      "step.log",
      "step.log",
      "step.progress",
      "step.ended",
      "ended",
    ]);
    expect(events[3]).toMatchObject({ line: "with ***" });
    expect(events[5]).toMatchObject({ result: { durationMs: 1_500 } });
  });

  test("errors of the disk come with advice, others without", async () => {
    const error = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
    const { results } = await run([
      step("full", { apply: error("ENOSPC") }),
      step("denied", { apply: error("EACCES") }),
      step("odd", { apply: error("EODD") }),
      // oxlint-disable-next-line prefer-promise-reject-errors
      step("text", { apply: () => Promise.reject("just text") }),
    ]);
    expect(results.map(({ advice }) => advice?.slice(0, 10) ?? null)).toEqual([
      "Free space",
      "Give the u",
      null,
      null,
    ]);
    expect(results[3]?.detail).toBe("just text");
  });

  test("an order that cannot be kept is a bug", async () => {
    await expect(run([step("a", { after: ["a"] })])).rejects.toThrow(/wait for each other/);
  });
});
