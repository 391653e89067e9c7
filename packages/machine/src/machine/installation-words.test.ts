import { expect, test } from "vitest";
import type { InstallOutcome } from "../install/installer.ts";
import type { StepResult } from "../install/model.ts";
import { decideServiceState } from "../services/service-state.ts";
import {
  comfyuiInstallation,
  installerFacts,
  outcomeProblem,
  progressWords,
  type InstallationPhase,
} from "./installation-words.ts";

const PHASES: readonly InstallationPhase[] = [
  { kind: "waiting" },
  { kind: "installing", detail: "PyTorch: 40 %" },
  { kind: "installed", warnings: [] },
  { kind: "failed", reason: "no network", retryAt: 5 },
];

test("each phase of the installer has its state", () => {
  const of = { isConfigured: true, serving: "r1", hold: null, damage: null };
  const told = PHASES.map((phase) => decideServiceState(installerFacts(phase, of)));
  expect(told.map(({ state }) => state)).toEqual(["starting", "starting", "healthy", "unhealthy"]);
  expect(told[1]?.reason).toContain("PyTorch: 40 %");
  expect(told[2]?.reason).toContain("release r1 serves");
  expect(told[3]?.reason).toContain("no network");
  const nothing = installerFacts({ kind: "installed", warnings: [] }, { ...of, serving: null });
  expect(nothing.check.detail).toBe("nothing to install");
  const none = installerFacts({ kind: "waiting" }, { ...of, isConfigured: false, serving: null });
  expect(decideServiceState(none).state).toBe("not_configured");
});

test("a release that is held and damaged is somebody's to mend", () => {
  const hold = { version: 1 as const, manifests: [], from: "r2", to: "r1", at: 0, reason: null };
  const of = { isConfigured: true, serving: "r1", hold: { ...hold, by: "operator" as const } };
  const phase = { kind: "installed" as const, warnings: [] };
  expect(decideServiceState(installerFacts(phase, { ...of, damage: null })).state).toBe("healthy");
  const damage = "release r1 serves and is damaged: main.py is gone";
  const told = decideServiceState(installerFacts(phase, { ...of, damage }));
  expect(told).toMatchObject({
    state: "unhealthy",
    reason: expect.stringMatching(/main\.py is gone; machine\.yaml is held back/),
  });
});

test("a release that serves is installed, whatever becomes of a newer one", () => {
  for (const phase of PHASES) {
    expect(comfyuiInstallation(phase, "r1")).toMatchObject({ state: "installed", version: "r1" });
  }
  expect(PHASES.map((phase) => comfyuiInstallation(phase, null).state)).toEqual([
    "missing",
    "installing",
    "missing",
    "broken",
  ]);
});

test("progress is a share where the whole is known", () => {
  const progress = { unit: "bytes", detail: null } as const;
  expect(progressWords({ ...progress, done: 2, total: 5 })).toBe("40 %");
  expect(progressWords({ ...progress, done: 310_400_000, total: null })).toBe("310 MB");
  expect(progressWords({ ...progress, done: 7, total: 0 })).toBe("0 MB");
  expect(progressWords({ done: 12, total: null, unit: "items", detail: null })).toBe("12");
});

test("a failure names the required steps that failed and what to do; a stop names itself", () => {
  const step = (title: string, over: Partial<StepResult> = {}): StepResult => ({
    id: title,
    title,
    isOptional: false,
    outcome: "failed",
    startedAt: 0,
    durationMs: 0,
    detail: "no space",
    advice: "Make room.",
    ...over,
  });
  const failed = { kind: "failed", serving: null, logFile: "l" } as const;
  const results = [
    step("Model", { advice: null }),
    step("ComfyUI"),
    step("Pack", { isOptional: true }),
  ];
  expect(outcomeProblem({ ...failed, results })).toBe(
    "Model: no space; ComfyUI: no space Make room.",
  );
  const aborted = { ...failed, kind: "aborted", results: [step("A", { outcome: "not_reached" })] };
  expect(outcomeProblem(aborted as Extract<InstallOutcome, { kind: "aborted" }>)).toBe(
    "stopped before its end",
  );
  const plan = { problems: [{ subject: "comfyui", message: "no such ref.", advice: "Name one." }] };
  const refused = { kind: "refused", plan } as unknown as Extract<
    InstallOutcome,
    { kind: "refused" }
  >;
  expect(outcomeProblem(refused)).toBe("comfyui: no such ref. Name one.");
});
