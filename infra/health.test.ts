/** What the health checks of the images make of an answer. */
import { describe, expect, it } from "vitest";
import { probeOf } from "./docker/health.mjs";

const machine = (state: string, flags: readonly string[] = []): boolean =>
  probeOf("machine", flags, {}).judge(200, { state, reason: "…" }).isWell;

describe("the health check of an image", () => {
  it.each([
    ["not_configured", false],
    ["starting", false],
    ["unhealthy", false],
    ["degraded", true],
    ["healthy", true],
  ])("a machine that is %s: %s, and alive in any case", (state, isWell) => {
    expect(machine(state)).toBe(isWell);
    expect(machine(state, ["--alive"])).toBe(true);
  });

  it("a refused token is told, and no life", () => {
    const { judge } = probeOf("machine", ["--alive"], {});
    const verdict = judge(401, { error: { message: "the token is not the one" } });
    expect(verdict).toEqual({ isWell: false, text: "401 : the token is not the one" });
  });

  it("a control plane goes by the status, and tells what it does without", () => {
    const { judge, url } = probeOf("control-plane", [], { HOLDFAST_PORT: "9000" });
    expect(url).toBe("http://127.0.0.1:9000/readyz?exclude=store,instance,hold");
    const checks = [
      { name: "database", ok: true, reason: null },
      { name: "instance", ok: false, reason: "no instance is connected" },
    ];
    expect(judge(200, { checks })).toEqual({
      isWell: true,
      text: "200 instance: no instance is connected",
    });
    expect(judge(503, { checks }).isWell).toBe(false);
  });

  it("asks where the settings say, with the token's file, and takes an empty one for none", () => {
    const file = "/run/secrets/health-token";
    const env = { HOLDFAST_HEALTH_PORT: "9191", HOLDFAST_HEALTH_TOKEN_FILE: file };
    expect(probeOf("machine", [], env)).toMatchObject({
      url: "http://127.0.0.1:9191/health",
      tokenFile: file,
    });
    expect(probeOf("machine", [], { HOLDFAST_HEALTH_TOKEN_FILE: "" }).tokenFile).toBeUndefined();
    expect(() => probeOf("else", [], {})).toThrow(/control-plane or machine/);
  });
});
