/**
 * Whole fleets on a fake clock with seeded faults; see README.md. `npm run test:sim -- --seed N` runs
 * one seed, `--seeds N` the first N.
 */
import { createWriteStream, type WriteStream } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { createSimTemplate, type SimTemplate } from "./world/database.ts";
import { FAULT_KINDS } from "./world/faults.ts";
import { simulate, type SimulationResult } from "./world/simulate.ts";
import { explain } from "./world/explain.ts";

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);
/**
 * Seeds in `npm test`. In 197 an agent comes back just after its leases ran out and takes them up again:
 * one seed in some hundred has that. When a change moves it, `--seeds 200` finds another.
 */
const SUITE_SEEDS = [...upTo(24), 197];

const single = process.env["HOLDFAST_SIM_SEED"];
const count = process.env["HOLDFAST_SIM_SEEDS"];
const some = count === undefined ? SUITE_SEEDS : upTo(Number(count));
const seeds = single === undefined ? some : [Number(single)];
const isWholeSuite = SUITE_SEEDS.every((seed) => seeds.includes(seed));

let template: SimTemplate;
beforeAll(async () => {
  template = await createSimTemplate(inject("holdfastPostgresUrl"));
});
afterAll(() => template.drop());

const results: SimulationResult[] = [];
const run = async (seed: number, onLine?: (line: string) => void): Promise<SimulationResult> => {
  const serverUrl = inject("holdfastPostgresUrl");
  const result = await simulate({ seed, serverUrl, template, ...(onLine && { onLine }) });
  results.push(result);
  return result;
};

describe.concurrent("no fault breaks a promise", () => {
  it.each(seeds)("seed %i", async (seed) => {
    const trace = single === undefined ? undefined : openTrace(seed);
    const result = await run(seed, (line) => trace?.write(`${line}\n`));
    trace?.end();
    expect(result.violations, explain(result)).toEqual([]);
  });
});

describe("the simulation", () => {
  it.skipIf(!isWholeSuite)(
    "meets every kind of fault, and every end of a job and an attempt",
    () => {
      const faults = results.flatMap((result) => result.faults);
      for (const kind of FAULT_KINDS) {
        expect(
          faults.some((fault) => fault.startsWith(`${kind}: `)),
          kind,
        ).toBe(true);
      }
      const ends = new Set(results.flatMap((result) => Object.keys(result.ends)));
      expect([...ends].sort()).toEqual(["cancelled", "completed", "failed", "poison", "timeout"]);
      const outcomes = new Set(results.flatMap((result) => Object.keys(result.outcomes)));
      expect([...outcomes].sort()).toEqual([
        "failed",
        "instance_died",
        "interrupted",
        "lease_lost",
        "released",
        "stalled",
        "succeeded",
        "taken up again",
      ]);
    },
  );

  it("gives the same trace for the same seed", async () => {
    const seed = seeds[0] ?? 1;
    const lines: string[][] = [[], []];
    for (const own of lines) await run(seed, (line) => own.push(line));
    expect(lines[0]?.length).toBeGreaterThan(500);
    expect(lines[1]).toEqual(lines[0]);
  });
});

function openTrace(seed: number): WriteStream {
  const path = join(tmpdir(), `holdfast-simulation-${seed}.log`);
  process.stdout.write(`the trace of seed ${seed} is in ${path}\n`);
  return createWriteStream(path);
}
