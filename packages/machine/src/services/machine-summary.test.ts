import * as fc from "fast-check";
import { expect, test } from "vitest";
import { summarizeMachine, type SummarizedService } from "./machine-summary.ts";
import { SERVICE_STATES } from "./model.ts";

const service = (
  name: string,
  state: SummarizedService["state"],
  kind: SummarizedService["kind"] = "process",
): SummarizedService => ({ name, kind, state, reason: `${name}'s reason` });

test("a machine without an enabled service is not configured, and not ready", () => {
  for (const services of [[], [service("comfyui", "not_configured", "comfyui")]]) {
    expect(summarizeMachine(services)).toMatchObject({ state: "not_configured", isReady: false });
  }
});

test("all enabled ones healthy is healthy and ready, disabled ones do not matter", () => {
  const summary = summarizeMachine([
    service("installer", "healthy", "installer"),
    service("redis", "not_configured"),
    service("comfyui-gpu0", "healthy", "instance"),
  ]);
  expect(summary).toMatchObject({ state: "healthy", isReady: true });
  expect(summary.counts).toEqual({
    not_configured: 1,
    not_installed: 0,
    stopped: 0,
    starting: 0,
    unhealthy: 0,
    healthy: 2,
  });
});

test.each([
  ["one of two instances", ["healthy", "unhealthy"], "degraded"],
  ["no instance", ["stopped", "unhealthy"], "unhealthy"],
] as const)("with %s healthy it is judged by its instances", (_name, states, expected) => {
  const instances = states.map((state, n) => service(`comfyui-gpu${n}`, state, "instance"));
  const summary = summarizeMachine([service("installer", "healthy", "installer"), ...instances]);
  expect(summary.state).toBe(expected);
  expect(summary.isReady).toBe(false);
  expect(summary.reason).toContain("comfyui-gpu1 is unhealthy (comfyui-gpu1's reason)");
});

test("before there are instances it is judged by ComfyUI, without ComfyUI by the rest", () => {
  const installing = [
    service("installer", "starting", "installer"),
    service("redis", "healthy"),
    service("comfyui", "not_installed", "comfyui"),
  ];
  expect(summarizeMachine(installing).state).toBe("starting");
  expect(summarizeMachine([service("a", "healthy"), service("b", "stopped")]).state).toBe(
    "degraded",
  );
  // An installer that is well does no work.
  const idle = [service("installer", "healthy", "installer"), service("b", "stopped")];
  expect(summarizeMachine(idle).state).toBe("unhealthy");
});

test("it is starting while what it works with is, and unhealthy as soon as something is ill", () => {
  const installer = service("installer", "healthy", "installer");
  const first = service("comfyui-gpu0", "starting", "instance");
  const second = service("comfyui-gpu1", "stopped", "instance");
  expect(summarizeMachine([installer, first, second]).state).toBe("starting");
  expect(summarizeMachine([installer, second]).state).toBe("unhealthy");
  const ill = service("comfyui-gpu2", "unhealthy", "instance");
  expect(summarizeMachine([installer, first, ill]).state).toBe("unhealthy");
  const failed = service("installer", "unhealthy", "installer");
  expect(summarizeMachine([failed, service("comfyui", "not_installed", "comfyui")]).state).toBe(
    "unhealthy",
  );
});

test("of many ill services the first are named and the rest counted", () => {
  const many = Array.from({ length: 8 }, (_, n) => service(`s${n}`, "stopped"));
  const { reason } = summarizeMachine(many);
  expect(reason).toContain("8 of 8 enabled services not healthy: s0 is stopped");
  expect(reason).toMatch(/ and 3 more$/);
});

test("ready and healthy are the same, and counts are of all services", () => {
  const anyService = fc.record({
    name: fc.string(),
    kind: fc.constantFrom("installer", "comfyui", "instance", "process", "check"),
    state: fc.constantFrom(...SERVICE_STATES),
    reason: fc.string(),
  } as const);
  fc.assert(
    fc.property(fc.array(anyService, { maxLength: 20 }), (services) => {
      const { state, isReady, counts } = summarizeMachine(services);
      const enabled = services.filter((one) => one.state !== "not_configured");
      expect(isReady).toBe(state === "healthy");
      expect(isReady).toBe(enabled.length > 0 && enabled.every((one) => one.state === "healthy"));
      expect(Object.values(counts).reduce((sum, n) => sum + n, 0)).toBe(services.length);
    }),
  );
});
