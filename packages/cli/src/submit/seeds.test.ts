import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { seedValues } from "./seeds.ts";

const graph = (seed: unknown) => ({
  "3": { class_type: "KSampler", inputs: { seed, steps: 20 } },
  "10": { class_type: "KSamplerAdvanced", inputs: { noise_seed: 100 } },
});

describe("seeds of --count", () => {
  it("grow by the place of the job, every one of them", () => {
    expect(seedValues(graph(5), {}, 2)).toEqual({ "3.seed": 7, "10.noise_seed": 102 });
  });

  it("count from --set where it names one", () => {
    expect(seedValues(graph(5), { "3.seed": 50 }, 1)).toEqual({
      "3.seed": 51,
      "10.noise_seed": 101,
    });
  });

  it("leave linked seeds alone", () => {
    expect(seedValues(graph(["7", 0]), {}, 1)).toEqual({ "10.noise_seed": 101 });
  });

  it("are none where the graph has none", () => {
    expect(seedValues({ "1": { class_type: "EmptyImage", inputs: {} } }, {}, 1)).toBeUndefined();
    expect(seedValues("no graph", {}, 1)).toBeUndefined();
  });

  it("start again after the largest", () => {
    expect(seedValues(graph("18446744073709551615"), {}, 1)).toMatchObject({ "3.seed": 0 });
  });

  it("differ from job to job, and are exact", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(1000), (seed, index) => {
        const values = seedValues(graph(String(seed)), {}, index);
        expect(BigInt(values?.["3.seed"] as string)).toBe((seed + BigInt(index)) % 2n ** 64n);
      }),
    );
  });
});
