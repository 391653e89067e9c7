import type { InstallPlan } from "@holdfast/machine";
import { expect, test } from "vitest";
import { planLines } from "./plan-text.ts";

/** `diskNote` and whatever else a plan may say are not told when there is nothing to say. */
const plan = (over: Partial<InstallPlan> = {}): InstallPlan =>
  ({
    releaseId: "c0ffee00-1",
    isNewRelease: true,
    torchBackend: "cu126",
    refs: [
      { subject: "comfyui", repo: "/repo", ref: "v1", commit: "c".repeat(40) },
      { subject: "nodes.pack", repo: "/pack", ref: "main", commit: null },
    ],
    steps: [
      { id: "a", title: "ComfyUI", isOptional: false, state: "needed", detail: "to be cloned" },
      { id: "b", title: "Pack", isOptional: true, state: "unknown", detail: "needs ComfyUI" },
      { id: "c", title: "PM2", isOptional: false, state: "done", detail: "7.0.4" },
    ],
    needBytes: 2_000_000_000,
    freeBytes: 9_000_000_000,
    diskNote: null,
    warnings: ["the driver is old"],
    problems: [],
    ...over,
  }) as InstallPlan;

test("a plan says what would be done, and what is there", () => {
  const lines = planLines(plan());
  expect(lines).toContain("comfyui: v1 is cccccccccccc");
  expect(lines).toContain("nodes.pack: main is not resolved");
  expect(lines).toContain("release c0ffee00-1: to be made; PyTorch: cu126");
  expect(lines).toContain("to do  ComfyUI: to be cloned");
  expect(lines).toContain("?      Pack (optional): needs ComfyUI");
  expect(lines).toContain("ok     PM2: 7.0.4");
  expect(lines).toContain("warning: the driver is old");
  expect(lines.join("\n")).toMatch(/disk: needs about .*, .* are free/);
});

test("each problem comes with what to do about it, and last", () => {
  const problems = [{ subject: "comfyui", message: "there is no ref v9", advice: "Name another." }];
  const lines = planLines(plan({ problems, isNewRelease: false }));
  expect(lines.slice(-2)).toEqual(["PROBLEM comfyui: there is no ref v9", "        Name another."]);
  expect(lines).toContain("release c0ffee00-1: is there; PyTorch: cu126");
});

test("a machine without ComfyUI has no release in its plan", () => {
  expect(planLines(plan({ releaseId: null })).join("\n")).not.toContain("release");
});
