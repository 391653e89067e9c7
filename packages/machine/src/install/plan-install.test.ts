import { describe, expect, test } from "vitest";
import { bytesText, estimateNote, releaseBytes } from "./disk-estimate.ts";
import type { Step } from "./model.ts";
import { decideDisk, planSteps } from "./plan-install.ts";

const GB = 1024 ** 3;

describe("the disk", () => {
  test("has to hold a new release and what must stay free", () => {
    expect(decideDisk("/m", 0, 0, 5 * GB)).toBeUndefined();
    expect(decideDisk("/m", 2 * GB, 4 * GB, 2 * GB)).toBeUndefined();
    expect(decideDisk("/m", 2 * GB, 4 * GB - 1, 2 * GB)?.message).toBe(
      "a new release needs about 2.0 GB, 2.0 GB have to stay free, and /m has 4.0 GB",
    );
  });

  test("takes more for a card than for none", () => {
    const [none = 0, cpu = 0, cuda = 0, rocm = 0] = ["none", "cpu", "cu128", "rocm6.4"].map(
      (backend) => releaseBytes(backend, 1),
    );
    expect(none).toBeLessThan(cpu);
    expect(cpu).toBeLessThan(cuda);
    expect(cuda).toBeLessThan(rocm);
    expect(releaseBytes("auto", 0)).toBe(releaseBytes("cu128", 0));
    expect(bytesText(300 * 1024 ** 2)).toBe("300 MB");
  });

  test("says that it is without PyTorch where that is left to an index", () => {
    expect(estimateNote("none", true)).toMatch(/without PyTorch.* about 7.0 GB$/);
    expect(estimateNote("none", false)).toBeNull();
    expect(estimateNote("cpu", true)).toBeNull();
  });
});

test("a look that fails is told and does not fail the plan; an abort does", async () => {
  const step = (id: string, check: Step["check"]): Step => ({
    id,
    title: id,
    isOptional: false,
    after: [],
    lane: "release",
    check,
    apply: () => Promise.resolve(),
    verify: () => Promise.resolve(),
  });
  const steps = [
    step("a", () => Promise.resolve({ kind: "done", detail: "there" })),
    step("b", () => Promise.reject(new Error("not readable"))),
  ];
  expect(await planSteps(steps, new AbortController().signal)).toEqual([
    { id: "a", title: "a", isOptional: false, state: "done", detail: "there" },
    { id: "b", title: "b", isOptional: false, state: "unknown", detail: "not readable" },
  ]);
  await expect(planSteps(steps, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});
