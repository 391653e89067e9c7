import { describe, expect, test } from "vitest";
import { gpuPlan, plan } from "../../testing/instance-facts.ts";
import type { GpuDiscovery, GpuFault } from "@holdfast/gpu";
import { keptPlans, type KeptPlansFacts } from "./kept-plans.ts";

const card = (index: number): GpuDiscovery["gpus"][number] => ({
  index,
  uuid: `GPU-0000000${index}`,
  name: "A card",
  computeCapability: null,
  devices: [],
});
const fault = (index: number, kind: GpuFault["kind"] = "lost"): GpuFault => ({
  index,
  uuid: null,
  kind,
  isUsable: false,
  reason: "lost",
  advice: "Reboot.",
});
const HUNG = { kind: "timeout", isNoGpu: false, reason: "no answer", advice: "Reboot." } as const;
const found = (changes: Partial<GpuDiscovery> = {}): GpuDiscovery => ({
  gpus: [],
  faults: [],
  failure: HUNG,
  driverVersion: null,
  cudaVersion: null,
  ...changes,
});
const decide = (changes: Partial<Omit<KeptPlansFacts, "planned">>, ...instances: unknown[]) => {
  const all = instances as KeptPlansFacts["before"];
  const planned = {
    instances: all.filter(({ cardFault }) => cardFault === undefined),
    ill: all.filter(({ cardFault }) => cardFault !== undefined),
  };
  return keptPlans({ before: [], gpus: "all", found: found(), ...changes, planned });
};
const names = (of: ReturnType<typeof decide>): readonly string[] => of.plans.map((one) => one.name);

describe("cards that could not be asked for", () => {
  test("end nothing that was planned", () => {
    const kept = decide({ before: [gpuPlan(0), gpuPlan(1)] });
    expect(names(kept)).toEqual(["comfyui-gpu0", "comfyui-gpu1"]);
    expect(kept).toMatchObject({
      isComplete: false,
      problem: expect.stringMatching(/no answer.*left as it is.*Reboot/s),
    });
  });

  test("keep the plan of before whole when only some of them are told of", () => {
    const before = [gpuPlan(0, { port: 1 }), gpuPlan(1)];
    const kept = decide({ before, found: found({ gpus: [card(0)] }) }, gpuPlan(0, { port: 2 }));
    expect(kept.plans).toEqual(before);
  });

  test("let a new plan be when it loses nothing", () => {
    const next = gpuPlan(0, { port: 2 });
    const kept = decide({ before: [gpuPlan(0)], found: found({ gpus: [card(0)] }) }, next);
    expect(kept).toMatchObject({ plans: [next], isComplete: false });
  });

  test("keep also one whose own card is told to be ill: the supervisor ends it, and tells why", () => {
    const before = [gpuPlan(0), gpuPlan(1)];
    const told = found({ faults: [fault(0), fault(1, "missing")] });
    expect(names(decide({ before, found: told }))).toEqual(["comfyui-gpu0", "comfyui-gpu1"]);
  });

  test("at the first plan: nothing is complete, and no port is guessed", () => {
    expect(decide({}, plan())).toMatchObject({ plans: [], isComplete: false });
    expect(names(decide({ gpus: [0] }, plan()))).toEqual(["comfyui-cpu0"]);
    const some = found({ gpus: [card(0)] });
    expect(names(decide({ found: some }, gpuPlan(0), plan()))).toHaveLength(2);
    expect(names(decide({ before: [plan()] }, plan()))).toEqual(["comfyui-cpu0"]);
  });
});

describe("an instance whose card is lost", () => {
  const lost = found({ failure: null, gpus: [card(1)], faults: [fault(0)] });
  const before = [gpuPlan(0), gpuPlan(1)];

  test("stays planned, so that what is missing is told", () => {
    const kept = decide({ before, found: lost }, gpuPlan(1));
    expect(kept).toMatchObject({ isComplete: true, problem: null });
    expect(names(kept)).toEqual(["comfyui-gpu0", "comfyui-gpu1"]);
  });

  test("goes when its card is not asked for, or its port is another's", () => {
    expect(names(decide({ before, found: lost, gpus: [1] }, gpuPlan(1)))).toEqual(["comfyui-gpu1"]);
    const named = decide({ before, found: lost, gpus: ["gpu-00000000"] });
    expect(names(named)).toEqual(["comfyui-gpu0"]);
    const other = gpuPlan(1, { port: 8_188 });
    expect(names(decide({ before, found: lost }, other))).toEqual(["comfyui-gpu1"]);
  });
});

describe("an instance whose card is ill at the first plan", () => {
  const lost = found({ failure: null, gpus: [card(1)], faults: [fault(0)] });
  const ill = gpuPlan(0, { cardFault: "lost. Reboot." });

  test("is planned beside the others, also when not all cards could be asked for", () => {
    for (const told of [lost, found({ gpus: [card(1)], faults: [fault(0)] })]) {
      const kept = decide({ found: told }, gpuPlan(1), ill);
      expect(kept.plans).toEqual([ill, gpuPlan(1)]);
    }
  });

  test("is as it was planned before its card fell ill, slices and all", () => {
    const slices = [
      gpuPlan(0, { name: "comfyui-gpu0-mig0" }),
      gpuPlan(0, { name: "comfyui-gpu0-mig1", port: 8_190 }),
    ];
    for (const before of [[gpuPlan(0)], slices]) {
      expect(decide({ before, found: lost }, gpuPlan(1), ill).plans).toEqual(
        [...before, gpuPlan(1)].toSorted((one, other) => one.port - other.port),
      );
    }
  });

  test("has the newest reason, and goes with its wish", () => {
    const before = [gpuPlan(0, { cardFault: "to be reset" }), gpuPlan(1)];
    expect(decide({ before, found: lost }, gpuPlan(1), ill).plans).toEqual([ill, gpuPlan(1)]);
    expect(names(decide({ before, found: lost, gpus: [1] }, gpuPlan(1)))).toEqual(["comfyui-gpu1"]);
  });

  test("is kept when its card is told of no more, for that may be the driver's trouble", () => {
    const missing = found({ failure: null, gpus: [card(1)], faults: [fault(0, "missing")] });
    const before = [gpuPlan(0), gpuPlan(1)];
    expect(decide({ before, found: missing }, gpuPlan(1), ill).plans).toEqual(before);
  });
});

describe("a plan is complete", () => {
  test.each([
    ["when all were told of", { found: found({ failure: null }) }],
    ["when there is no GPU", { found: found({ failure: { ...HUNG, isNoGpu: true } }) }],
    ["when none is wanted", { gpus: "none" as const }],
  ])("%s", (_when, changes) => {
    expect(decide({ before: [gpuPlan(3)], ...changes }, plan())).toEqual({
      plans: [plan()],
      isComplete: true,
      problem: null,
    });
  });
});
