import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideHealth,
  DEFAULT_HEALTH_POLICY,
  healthRecord,
  resultText,
  type ServiceAnswer,
  type ServiceResult,
} from "./health.ts";

const of = (service: string, answer: ServiceAnswer): ServiceResult => ({ service, answer });
const down = of("ComfyUI", { kind: "unreachable" });
const up = of("MinIO", { kind: "ok" });
const answers: fc.Arbitrary<ServiceAnswer> = fc.oneof(
  fc.constant<ServiceAnswer>({ kind: "ok" }),
  fc.constant<ServiceAnswer>({ kind: "unreachable" }),
  fc.constant<ServiceAnswer>({ kind: "timed_out", afterMs: 5_000 }),
  fc.constant<ServiceAnswer>({ kind: "http_status", status: 503 }),
);

describe("a health check", () => {
  test("names what each service answered", () => {
    expect(resultText(up)).toBe("MinIO is healthy");
    expect(resultText(down)).toBe("Cannot connect to ComfyUI server");
    expect(resultText(of("MinIO", { kind: "timed_out", afterMs: 5_000 }))).toBe(
      "MinIO health check timed out after 5s",
    );
    expect(resultText(of("MinIO", { kind: "timed_out", afterMs: 500 }))).toContain("after 0.5s");
    expect(resultText(of("ComfyUI", { kind: "http_status", status: 503 }))).toBe(
      "ComfyUI returned HTTP 503",
    );
  });

  test("has failed at once where a service refuses us: waiting makes no key", () => {
    const advice = "set HOLDFAST_API_KEY, or use --api-key";
    const refused = of("Holdfast", { kind: "refused", status: 401, advice });
    for (const onUnhealthy of ["abort", "wait"] as const) {
      expect(decideHealth([refused], 1, { ...DEFAULT_HEALTH_POLICY, onUnhealthy })).toEqual({
        kind: "failed",
        unhealthy: [{ service: "Holdfast", message: `Holdfast returned HTTP 401: ${advice}` }],
      });
    }
  });

  test("is tried three times, half a minute apart, and then failed", () => {
    const decide = (attempt: number) => decideHealth([down, up], attempt, DEFAULT_HEALTH_POLICY);
    expect(decide(1)).toEqual({ kind: "retry", delayMs: 30_000, attempt: 2 });
    expect(decide(2)).toEqual({ kind: "retry", delayMs: 30_000, attempt: 3 });
    expect(decide(3)).toEqual({
      kind: "failed",
      unhealthy: [{ service: "ComfyUI", message: "Cannot connect to ComfyUI server" }],
    });
    expect(decideHealth([down], 3, { ...DEFAULT_HEALTH_POLICY, onUnhealthy: "wait" })).toEqual({
      kind: "wait",
      delayMs: 30_000,
      attempt: 4,
    });
    expect(decideHealth([], 1, DEFAULT_HEALTH_POLICY)).toEqual({ kind: "passed" });
  });

  test("passes if and only if the last attempt found everybody healthy, and ends in any case", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(answers, { minLength: 1, maxLength: 3 }), { minLength: 5, maxLength: 5 }),
        fc.integer({ min: 1, max: 5 }),
        (attempts, most) => {
          const policy = { ...DEFAULT_HEALTH_POLICY, attempts: most };
          let attempt = 1;
          for (;;) {
            const given = attempts[attempt - 1] ?? [];
            const results = given.map((answer, at) => of(`s${at}`, answer));
            const decision = decideHealth(results, attempt, policy);
            const isUp = given.every(({ kind }) => kind === "ok");
            expect(decision.kind === "passed").toBe(isUp);
            if (decision.kind !== "retry") {
              expect(isUp || attempt === most).toBe(true);
              return;
            }
            ({ attempt } = decision);
          }
        },
      ),
    );
  });

  test("is kept with every service's status and message", () => {
    const decision = decideHealth([down, up], 3, DEFAULT_HEALTH_POLICY);
    const at = "2026-01-02T03:04:05.678Z";
    expect(
      healthRecord({ kind: "periodic", experiment: 120 }, 3, [down, up], decision, at),
    ).toEqual({
      at,
      check: "periodic",
      experiment: 120,
      attempt: 3,
      decision: "failed",
      services: [
        {
          service: "ComfyUI",
          isHealthy: false,
          status: "unreachable",
          message: "Cannot connect to ComfyUI server",
        },
        { service: "MinIO", isHealthy: true, status: "ok", message: "MinIO is healthy" },
      ],
    });
    expect(healthRecord({ kind: "pre_flight" }, 1, [], { kind: "passed" }, at).experiment).toBe(0);
  });
});
