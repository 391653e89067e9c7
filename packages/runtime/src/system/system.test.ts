import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { NO_FAILPOINTS } from "../failpoints.ts";
import { failpointsFromText, systemClock, systemRandom } from "./index.ts";

describe("the system's clock", () => {
  it("ends a sleep at once with the reason of its signal, and leaves no listener behind", async () => {
    const stop = new AbortController();
    const sleeping = systemClock.sleep(60_000, stop.signal);
    stop.abort(new Error("stopped"));
    await expect(sleeping).rejects.toThrow("stopped");
    await expect(systemClock.sleep(60_000, stop.signal)).rejects.toThrow("stopped");
    await systemClock.sleep(0, new AbortController().signal);
    await systemClock.sleep(0);
  });

  it("counts on", () => {
    const before = systemClock.elapsed();
    expect(systemClock.elapsed()).toBeGreaterThanOrEqual(before);
    expect(systemClock.now()).toBeGreaterThan(1_700_000_000_000);
  });

  it("has chance in [0, 1)", () => {
    const values = Array.from({ length: 100 }, () => systemRandom.next());
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    expect(new Set(values).size).toBeGreaterThan(90);
  });
});

describe("failpoints", () => {
  it("are never armed without a text", () => {
    expect(failpointsFromText(undefined)).toBe(NO_FAILPOINTS);
    expect(failpointsFromText("")).toBe(NO_FAILPOINTS);
    expect(NO_FAILPOINTS.hit("anything")).toBeUndefined();
  });

  it("say what they expected of a wrong text", () => {
    expect(() => failpointsFromText("agent.after-post:1:explode")).toThrow("name:nth:kill");
  });

  it("hold the nth hit until the file is there", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hf-"));
    const gate = join(folder, "gate");
    const points = failpointsFromText(`here:2:pause:${gate}`);
    expect(points.hit("elsewhere")).toBeUndefined();
    expect(points.hit("here")).toBeUndefined();
    const held = points.hit("here");
    expect(held).toBeInstanceOf(Promise);
    writeFileSync(gate, "");
    await held;
    expect(points.hit("here")).toBeUndefined();
    rmSync(folder, { recursive: true });
  });
});
