/**
 * Whatever is lost on the way and however often the log is closed and opened: in the end MLflow has each run
 * once, with just what was logged.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sha256Of, type Fault } from "../testing/fake-mlflow.ts";
import { logKit, SOON, type LogKit } from "../testing/log-kit.ts";
import type { RunLog } from "./run-log.ts";

const RUNS = 4;
const FAULTS: readonly Fault[] = ["cut", "lose_answer", "late", "hang", 500, 503, 429, 403, "page"];

const action = fc.oneof(
  fc.record({ do: fc.constant("data" as const), run: fc.nat(RUNS - 1) }),
  fc.record({ do: fc.constant("artifact" as const), run: fc.nat(RUNS - 1) }),
  fc.record({ do: fc.constant("end" as const), run: fc.nat(RUNS - 1) }),
  fc.record({ do: fc.constant("begin again" as const), run: fc.nat(RUNS - 1) }),
  fc.record({ do: fc.constant("reopen" as const), run: fc.constant(0) }),
  fc.record({ do: fc.constant("pause" as const), run: fc.constant(0) }),
);
/** For each request in turn whether, and how, it goes wrong; used up, all is well. */
const faults = fc.array(fc.option(fc.constantFrom(...FAULTS), { freq: 1, nil: "none" as const }), {
  maxLength: 60,
});

let kit: LogKit;
let log: RunLog;
beforeEach(async () => {
  kit = await logKit();
});
afterEach(() => kit.close());

interface Expected {
  readonly metrics: Set<string>;
  readonly params: Map<string, string>;
  readonly artifacts: Map<string, string>;
  isEnded: boolean;
}

describe("the log under faults", () => {
  it("brings everything, once and right", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 25 }), faults, async (actions, given) => {
        await kit.close();
        kit = await logKit();
        await play(actions, given);
        await log.close();
      }),
      { numRuns: 40, interruptAfterTimeLimit: 15_000, markInterruptAsFailure: false },
    );
  });

  it("makes one run of a request that MLflow carries out after it was given up", async () => {
    kit.fake.fault = ({ call }) => {
      const isFirst = kit.fake.requests.filter((one) => one.call === "runs/create").length === 1;
      return call === "runs/create" && isFirst ? "late" : "none";
    };
    log = await kit.open();
    // All of it at once: the second request is answered, and the run over, before the first is carried out.
    await Promise.all([
      log.startRun({ key: "a", name: "a", tags: { t: "1" } }),
      log.endRun("a", "FINISHED"),
    ]);
    expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", setAside: 0 });
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(kit.run("a")).toMatchObject({ status: "FINISHED" });
    expect(kit.run("a").tags.get("t")).toBe("1");
  });
});

async function play(
  actions: readonly { readonly do: string; readonly run: number }[],
  given: readonly Fault[],
): Promise<void> {
  let asked = 0;
  kit.fake.fault = () => {
    asked += 1;
    return given[asked - 1] ?? "none";
  };
  await mkdir(join(kit.home, "images"));
  log = await kit.open({ callTimeoutMs: 20_000, segmentBytes: 500, bufferBytes: 1_000 });
  const expected = new Map<string, Expected>();
  const begin = async (key: string): Promise<Expected> => {
    const fresh = { metrics: new Set(""), params: new Map(), artifacts: new Map(), isEnded: false };
    const known = expected.get(key) ?? fresh;
    known.params.set("key", key);
    known.isEnded = false;
    expected.set(key, known);
    await log.startRun({ key, name: key, params: { key } });
    return known;
  };
  for (const [step, { do: what, run }] of actions.entries()) {
    const key = `run ${run}`;
    const one = expected.get(key) ?? (await begin(key));
    switch (what) {
      case "data":
        await log.metrics(key, { m: step }, { step, at: step });
        one.metrics.add(JSON.stringify(["m", step, step, step]));
        await log.params(key, { [`p${step}`]: key });
        one.params.set(`p${step}`, key);
        break;
      case "artifact": {
        const file = join(kit.home, "images", `${step}.png`);
        await writeFile(file, `image ${step}`);
        await log.artifact(key, `${step}.png`, file);
        one.artifacts.set(`${step}.png`, sha256Of(`image ${step}`));
        break;
      }
      case "end":
        await log.endRun(key, "FINISHED");
        one.isEnded = true;
        break;
      case "begin again":
        await begin(key);
        break;
      case "reopen":
        await log.close();
        log = await kit.open({ callTimeoutMs: 20_000, segmentBytes: 500, bufferBytes: 1_000 });
        break;
      default:
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  for (const [key, one] of expected) {
    if (!one.isEnded) await log.endRun(key, "KILLED");
  }
  // All faults that were given have happened, or would not have.
  for (let tries = 0; tries < 5 && asked < given.length; tries += 1)
    await log.flush({ timeoutMs: 20_000 });
  kit.fake.fault = () => "none";
  // Whatever comes late has come.
  await new Promise((resolve) => setTimeout(resolve, 40));
  expect(await log.flush(SOON)).toMatchObject({ kind: "delivered", pending: 0, setAside: 0 });
  expect([...kit.fake.runsByName().keys()].toSorted()).toEqual([...expected.keys()].toSorted());
  for (const [key, one] of expected) {
    const run = kit.run(key);
    expect(run.status).toBe(one.isEnded ? "FINISHED" : "KILLED");
    expect(run.metrics).toEqual(one.metrics);
    expect(run.params).toEqual(one.params);
    expect(run.artifacts).toEqual(one.artifacts);
  }
}
