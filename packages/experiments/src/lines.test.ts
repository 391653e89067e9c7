import { describe, expect, test } from "vitest";
import type { ExperimentRun } from "./expansion/run.ts";
import {
  decideHealth,
  DEFAULT_HEALTH_POLICY,
  type HealthPurpose,
  type ServiceAnswer,
  type ServiceResult,
} from "./health.ts";
import { attemptEndLines, attemptLines, bannerLines, checkLines, runLines } from "./lines.ts";

/** The texts of CONTRACTS C6, as they stand there. */
const STARTED = `======================================================================
MASSIVE EXPERIMENT FRAMEWORK
======================================================================

======================================================================
PRE-FLIGHT HEALTH CHECKS
======================================================================

[INFO] Running health checks (attempt 1/3)...
[OK] ComfyUI is healthy
[OK] MinIO is healthy

[OK] All services are healthy. Proceeding with experiments...`;
const PRE_FLIGHT_FAILED = `======================================================================
[ERROR] PRE-FLIGHT CHECKS FAILED
======================================================================

One or more services are not healthy:
  - ComfyUI: Cannot connect to ComfyUI server
  - MinIO: Cannot connect to MinIO server

Aborting experiment run. Please fix the issues and try again.`;
const RUNNING = `[100/250] exp_0099: castle_wide
  Subject: knight silver_armour
  Setting: cliff_dusk
  Tech: dpmpp_2m s=80 cfg=7.5 sched=karras
  LoRAs: InkWash@0.5+FilmGrain@0.3

[INFO] Periodic health check at experiment 100...

[INFO] Running health checks (attempt 1/3)...
[OK] ComfyUI is healthy
[OK] MinIO is healthy
[OK] Periodic health check passed. Continuing...`;
const PERIODIC_FAILED = `======================================================================
[ERROR] PERIODIC HEALTH CHECK FAILED
======================================================================

Services are not healthy:
  - ComfyUI: Cannot connect to ComfyUI server

Aborting after 120 experiments.
Use --start-from 120 to resume after fixing the issues.`;

const policy = DEFAULT_HEALTH_POLICY;
const ok: ServiceAnswer = { kind: "ok" };
const down: ServiceAnswer = { kind: "unreachable" };
const services = (comfyui: ServiceAnswer, minio: ServiceAnswer): readonly ServiceResult[] => [
  { service: "ComfyUI", answer: comfyui },
  { service: "MinIO", answer: minio },
];
const attempt = (
  purpose: HealthPurpose,
  number: number,
  results: readonly ServiceResult[],
): readonly string[] => [
  ...attemptLines(number, policy),
  ...attemptEndLines(purpose, results, decideHealth(results, number, policy)),
];
const preFlight: HealthPurpose = { kind: "pre_flight" };
const run: ExperimentRun = {
  index: 99,
  name: "exp_0099",
  title: "castle_wide",
  seed: 1,
  round: 0,
  values: {},
  variables: {},
  set: [],
  loras: [],
  lines: [
    "Subject: knight silver_armour",
    "Setting: cliff_dusk",
    "Tech: dpmpp_2m s=80 cfg=7.5 sched=karras",
    "LoRAs: InkWash@0.5+FilmGrain@0.3",
  ],
};

describe("what is printed", () => {
  test("at the beginning, with everything healthy", () => {
    const lines = [
      ...bannerLines(250, true),
      ...checkLines(preFlight),
      ...attempt(preFlight, 1, services(ok, ok)),
    ];
    expect(lines.join("\n")).toBe(STARTED);
  });

  test("at attempts that fail", () => {
    expect(attempt(preFlight, 1, services(down, { kind: "timed_out", afterMs: 5_000 }))).toEqual([
      "[INFO] Running health checks (attempt 1/3)...",
      "[ERROR] Cannot connect to ComfyUI server",
      "[ERROR] MinIO health check timed out after 5s",
      "[WARN] Health checks failed. Retrying in 30s...",
    ]);
    expect(attempt(preFlight, 2, services({ kind: "http_status", status: 503 }, ok))).toEqual([
      "[INFO] Running health checks (attempt 2/3)...",
      "[ERROR] ComfyUI returned HTTP 503",
      "[OK] MinIO is healthy",
      "[WARN] Health checks failed. Retrying in 30s...",
    ]);
  });

  test("after the last attempt", () => {
    expect(attempt(preFlight, 3, services(down, down)).slice(3).join("\n")).toBe(
      `\n${PRE_FLIGHT_FAILED}`,
    );
    const periodic: HealthPurpose = { kind: "periodic", experiment: 120 };
    expect(attempt(periodic, 3, services(down, ok)).slice(3).join("\n")).toBe(
      `\n${PERIODIC_FAILED}`,
    );
  });

  test("of a run, and of a check that passes between two", () => {
    const purpose: HealthPurpose = { kind: "periodic", experiment: 100 };
    const lines = [
      ...runLines(run, 250),
      ...checkLines(purpose),
      ...attempt(purpose, 1, services(ok, ok)),
    ];
    expect(lines.join("\n")).toBe(`\n${RUNNING}`);
  });

  test("without --pre-flight is the banner, and from 50 runs on advice", () => {
    const banner = bannerLines(49, false);
    expect(banner.join("\n")).toBe(STARTED.split("\n").slice(0, 3).join("\n"));
    expect(bannerLines(250, true)).toEqual(banner);
    expect(bannerLines(50, false)).toEqual([
      ...banner,
      "",
      "[WARN] 50 experiments without --pre-flight: add --pre-flight (recommended from 50 on) to check all services before the first one",
    ]);
  });

  test("while somebody waits for services", () => {
    const waiting = { ...policy, onUnhealthy: "wait" } as const;
    const results = services(down, ok);
    const purpose: HealthPurpose = { kind: "periodic", experiment: 10 };
    expect(attemptEndLines(purpose, results, decideHealth(results, 3, waiting)).at(-1)).toBe(
      "[WARN] Services are not healthy. Waiting for them (--on-unhealthy wait): checking again in 30s...",
    );
    expect(attemptLines(4, waiting)).toEqual(["[INFO] Running health checks (attempt 4)..."]);
  });
});
