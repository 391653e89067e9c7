import type { BookPageView } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { attemptFact, jobFact, observedFact } from "../../../testing/fault-facts.ts";
import type { Observed } from "../observed.ts";
import { SCENARIOS } from "./all-scenarios.ts";
import { areSkewed } from "./times.ts";

const unmet = (name: string, seen: Observed): string[] =>
  (SCENARIOS.find((one) => one.name === name)?.check(seen) ?? [])
    .filter(({ holds }) => !holds)
    .map(({ words }) => words);
const failedAs = (cls: string, instanceName = "http://a") =>
  attemptFact({
    outcome: "failed",
    instanceName,
    error: { class: cls } as never,
    decision: { action: "retry", reason: "memory is freed first", delayMs: null },
  });
const START = Date.parse("2026-11-28T12:00:00Z");
const took = (seconds: number) => lived(0, {}, seconds);
/** One that was submitted at the start, and completed so many seconds later. */
const lived = (index: number, facts: Parameters<typeof jobFact>[1] = {}, seconds = 1) => {
  const endedAt = new Date(START + seconds * 1_000).toISOString() as never;
  return jobFact(index, { ...facts, view: { endedAt, ...facts.view } });
};
const during = (fromSeconds: number, untilSeconds: number): Observed["fault"] => {
  const atMs = (seconds: number): number => START + seconds * 1_000;
  return {
    how: "a fault",
    struck: 1,
    span: { fromMs: atMs(fromSeconds), untilMs: atMs(untilSeconds) },
  };
};

describe("what scenarios expect", () => {
  it("names each scenario once, the five of every release among them", () => {
    const names = SCENARIOS.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.slice(0, 5)).toEqual([
      "prompt-validation-failure",
      "gpu-oom",
      "network-blip",
      "comfyui-crash",
      "artificial-latency",
    ]);
    expect(SCENARIOS.filter(({ isQuick }) => isQuick === true).map(({ name }) => name)).toEqual([
      names[0],
      names[2],
    ]);
  });

  it("is not met by a world in which nothing came of the fault", () => {
    const calm = observedFact();
    for (const name of [
      "prompt-validation-failure",
      "gpu-oom",
      "comfyui-crash",
      "artificial-latency",
      "zombie",
      "corrupt-model",
      "disk-full",
    ]) {
      expect({ name, unmet: unmet(name, calm).length > 0 }).toEqual({ name, unmet: true });
    }
  });

  it("out of memory: the timeline has to say that memory was freed", () => {
    const job = jobFact(0, { attempts: [failedAs("cuda_out_of_memory"), attemptFact()] });
    expect(unmet("gpu-oom", observedFact({ jobs: [job] }))).toEqual([]);
    const silent = { ...failedAs("cuda_out_of_memory"), decision: null };
    const other = jobFact(0, { attempts: [silent, attemptFact()] });
    expect(unmet("gpu-oom", observedFact({ jobs: [other] }))).toHaveLength(1);
  });

  it("out of memory: a picture that was made smaller is not the same picture", () => {
    const attempts = [failedAs("cuda_out_of_memory"), attemptFact()];
    const smaller = { loss: "size", steps: ["smaller"] } as never;
    const job = jobFact(0, { attempts, view: { changes: smaller } });
    expect(unmet("gpu-oom", observedFact({ jobs: [job] }))).toEqual([
      "0 of 1 jobs rendered with nothing changed",
    ]);
  });

  it.each(["stalled", "instance_died"])(
    "a zombie: %s, and then rendered on the other",
    (outcome) => {
      const first = attemptFact({ outcome });
      const moved = jobFact(0, { attempts: [first, attemptFact({ instanceName: "http://b" })] });
      expect(unmet("zombie", observedFact({ jobs: [moved] }))).toEqual([]);
      const stayed = jobFact(0, { attempts: [first, attemptFact()] });
      expect(unmet("zombie", observedFact({ jobs: [stayed] }))).toEqual([
        "no job that failed was rendered on the other ComfyUI",
      ]);
      const failed = attemptFact({ outcome: "failed" });
      const other = attemptFact({ instanceName: "http://b" });
      const unseen = jobFact(0, { attempts: [failed, other] });
      expect(unmet("zombie", observedFact({ jobs: [unseen] }))).toEqual([
        "expected an attempt that ended stalled or instance_died, found failed",
      ]);
    },
  );

  it("a crash: the job again, and an alert", () => {
    const jobs = [
      jobFact(0, { attempts: [attemptFact({ outcome: "instance_died" }), attemptFact()] }),
    ];
    expect(unmet("comfyui-crash", observedFact({ jobs }))).toEqual([
      "the receiver was not told of instance_crashed; told: nothing",
    ]);
    const told = [{ rule: "instance_crashed", status: "firing", summary: "ComfyUI crashed" }];
    expect(unmet("comfyui-crash", observedFact({ jobs, told }))).toEqual([]);
  });

  it("a damaged model: elsewhere, and not thrice", () => {
    const there = attemptFact({ instanceName: "http://b" });
    const once = jobFact(0, { attempts: [failedAs("corrupt_model"), there] });
    expect(unmet("corrupt-model", observedFact({ jobs: [once] }))).toEqual([]);
    const twice = jobFact(0, {
      attempts: [failedAs("corrupt_model"), failedAs("corrupt_model"), there],
    });
    expect(unmet("corrupt-model", observedFact({ jobs: [twice] }))).toHaveLength(1);
    const same = jobFact(0, { attempts: [failedAs("corrupt_model"), attemptFact()] });
    expect(unmet("corrupt-model", observedFact({ jobs: [same] }))).toEqual([
      "no job that failed was rendered on the other machine",
    ]);
  });

  describe("what the network loses costs no second render:", () => {
    const calm = observedFact({ jobs: [lived(0), lived(1)], fault: during(0.5, 2) });
    const again = lived(0, { attempts: [failedAs("network_error"), attemptFact()] });
    const blamed = lived(0, { view: { failureCount: 2 } });

    it.each(["network-blip", "socket-lost", "server-errors", "store-down", "clock-skew"])(
      "%s is red where ComfyUI rendered more than there are jobs, though each has one attempt",
      (name) => {
        expect(unmet(name, { ...calm, renders: 2 })).toEqual([]);
        expect(unmet(name, { ...calm, renders: 3 })).toEqual(["3 renders for 2 jobs"]);
      },
    );

    it.each(["network-blip", "socket-lost", "store-down", "slow-model-load", "clock-skew"])(
      "%s is red where a job took a second attempt",
      (name) => {
        expect(unmet(name, { ...calm, jobs: [again, lived(1)] })).toEqual([
          "expected one attempt each, found job 1: network_error, succeeded",
        ]);
      },
    );

    it.each(["network-blip", "store-down", "postgres-restart", "replica-killed"])(
      "%s is red where a job is blamed for it",
      (name) => {
        expect(unmet(name, { ...calm, jobs: [blamed, lived(1)] })).toEqual([
          "1 jobs were blamed for what was not their fault",
        ]);
      },
    );

    it("server errors may cost a job one failure of its own, and not two", () => {
      const once = jobFact(0, { view: { failureCount: 1 } });
      expect(unmet("server-errors", observedFact({ jobs: [once] }))).toEqual([]);
      expect(unmet("server-errors", observedFact({ jobs: [blamed] }))).toEqual([
        "0 of 1 jobs have at most one failure of their own",
      ]);
    });
  });

  it.each([
    ["socket-lost", "expected jobs that completed while there was no socket, found none"],
    ["replica-killed", "expected jobs that completed while one replica was down, found none"],
  ])("%s: work has to go on meanwhile, not only afterwards", (name, words) => {
    const seen = observedFact({ jobs: [took(1), took(9)] });
    expect(unmet(name, { ...seen, fault: during(0, 2) })).toEqual([]);
    expect(unmet(name, { ...seen, fault: during(2, 8) })).toEqual([words]);
    expect(unmet(name, seen)).toEqual([words]);
  });

  it.each([
    ["postgres-restart", "0 of 1 jobs were accepted before Postgres died and completed after"],
    ["store-down", "0 of 1 jobs were accepted before the store went away and completed after"],
  ])("%s: some job has to live through it", (name, words) => {
    const seen = observedFact({ jobs: [took(5)] });
    expect(unmet(name, { ...seen, fault: during(2, 4) })).toEqual([]);
    expect(unmet(name, { ...seen, fault: during(6, 8) })).toEqual([words]);
    expect(unmet(name, { ...seen, fault: during(-2, -1) })).toEqual([words]);
    expect(unmet(name, seen)).toEqual([words]);
  });

  it("clocks: red for a lost lease, and for times in the wrong order", () => {
    const lost = jobFact(0, { attempts: [attemptFact({ outcome: "lease_lost" }), attemptFact()] });
    expect(unmet("clock-skew", observedFact({ jobs: [lost] }))).toEqual([
      "expected one attempt each, found job 1: lease_lost, succeeded",
      "1 leases lost",
    ]);
    expect(unmet("clock-skew", observedFact({ jobs: [took(-3_600)] }))).toEqual([
      "times in order: 0 of 1 jobs",
    ]);
    const early = attemptFact({ endedAt: "2026-11-28T11:00:00.000Z" as never });
    expect(
      unmet("clock-skew", observedFact({ jobs: [jobFact(0, { attempts: [early] })] })),
    ).toEqual(["times in order: 0 of 1 jobs"]);
  });

  it("clocks: the fault struck only where both are seen to be off, each its way", () => {
    const hour = 3_600_000;
    expect(areSkewed(hour - 200, -hour - 200)).toBe(true);
    for (const [agent, replica] of [
      [0, -hour],
      [hour, 0],
      [-hour, hour],
      [null, -hour],
      [hour, null],
    ] as const) {
      expect(areSkewed(agent, replica)).toBe(false);
    }
  });

  it("latency: p95 has to rise over the target, and the verdict with it", () => {
    const slow = observedFact({ baseline: [took(1)], jobs: [took(10)] });
    expect(unmet("artificial-latency", slow)).toEqual([]);
    expect(unmet("artificial-latency", { ...slow, jobs: [took(2)] })).toHaveLength(1);
    expect(unmet("artificial-latency", { ...slow, jobs: [took(0.5)] })).toHaveLength(2);
    expect(unmet("artificial-latency", { ...slow, baseline: [] })).toEqual([
      "no latency was measured",
    ]);
  });

  it("pages: exactly the bad ones flagged, after two tries", () => {
    const page = (number: number, facts: Partial<BookPageView>) =>
      ({
        page: number,
        status: "done",
        needs_regeneration: false,
        retry_count: 0,
        image_error: [],
        ...facts,
      }) as BookPageView;
    const bad = { status: "attention", needs_regeneration: true, retry_count: 1 } as const;
    const pages = [page(1, {}), page(2, bad), page(3, {}), page(4, bad)];
    const name = "prompt-validation-failure";
    expect(unmet(name, observedFact({ pages }))).toEqual([]);
    const often = [page(1, {}), page(2, bad), page(3, {}), page(4, { ...bad, retry_count: 3 })];
    expect(unmet(name, observedFact({ pages: often }))).toHaveLength(1);
    const undone = [page(1, { status: "rendering" as never }), ...pages.slice(1)];
    expect(unmet(name, observedFact({ pages: undone }))).toEqual([
      "1 of the 2 other pages are done",
    ]);
    const lost = [page(1, bad), page(2, bad), page(3, {}), page(4, bad)];
    expect(unmet(name, observedFact({ pages: lost })).length).toBeGreaterThan(0);
  });
});
