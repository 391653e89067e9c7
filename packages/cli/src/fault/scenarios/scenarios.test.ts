import type { BookPageView } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { attemptFact, jobFact, observedFact } from "../../../testing/fault-facts.ts";
import type { Observed } from "../observed.ts";
import { SCENARIOS } from "./all-scenarios.ts";

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
const took = (seconds: number) =>
  jobFact(0, {
    view: {
      endedAt: new Date(
        Date.parse("2026-11-28T12:00:00Z") + seconds * 1_000,
      ).toISOString() as never,
    },
  });

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

  it("latency: p95 has to rise over the target, and the verdict with it", () => {
    const slow = observedFact({ baseline: [took(1)], jobs: [took(10)] });
    expect(unmet("artificial-latency", slow)).toEqual([]);
    expect(unmet("artificial-latency", { ...slow, jobs: [took(2)] })).toHaveLength(1);
    expect(unmet("artificial-latency", { ...slow, jobs: [took(0.5)] })).toHaveLength(2);
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
    const lost = [page(1, bad), page(2, bad), page(3, {}), page(4, bad)];
    expect(unmet(name, observedFact({ pages: lost })).length).toBeGreaterThan(0);
  });
});
