/**
 * `holdfast fault` as a person runs it: scenarios in worlds of real processes, and twins that show each
 * verdict turn red where a defence is taken away.
 */
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, it } from "vitest";
import { startHoldfast } from "../support/processes.ts";

interface Row {
  readonly name: string;
  readonly holdfast?: {
    readonly kind: string;
    readonly verdict?: { readonly state: string; readonly reasons: readonly string[] };
  };
  readonly bare?: { readonly kind: string; readonly lost?: number; readonly jobs?: number };
}

const run = async (...args: string[]) => {
  const one = startHoldfast("fault", ["fault", "run", "--jobs", "4", "--json", ...args], {});
  const code = await one.exited;
  const json = one
    .output()
    .split("\n")
    .find((line) => line.startsWith('{"version"'));
  if (json === undefined) throw new Error(one.output());
  return { code, rows: (JSON.parse(json) as { rows: readonly Row[] }).rows };
};
const worlds = (): readonly string[] =>
  readdirSync(tmpdir()).filter((name) => name.startsWith("holdfast-fault-"));

describe("holdfast fault run", () => {
  it("finds the promises kept in the two of every week, and leaves nothing behind", async () => {
    const before = new Set(worlds());
    const { code, rows } = await run("--quick");
    expect(rows.map(({ name, holdfast }) => [name, holdfast?.verdict])).toEqual([
      ["prompt-validation-failure", expect.objectContaining({ state: "passed", reasons: [] })],
      ["network-blip", expect.objectContaining({ state: "passed", reasons: [] })],
    ]);
    expect(code).toBe(0);
    expect(worlds().filter((name) => !before.has(name))).toEqual([]);
  });

  it("finds them kept where ComfyUI is killed, and what a bare client loses there", async () => {
    const { code, rows } = await run("comfyui-crash", "--client", "both");
    expect(rows[0]?.holdfast?.verdict).toMatchObject({ state: "passed", reasons: [] });
    expect(rows[0]?.bare).toMatchObject({ kind: "rendered", jobs: 4 });
    expect(rows[0]?.bare?.lost).toBeGreaterThan(0);
    expect(code).toBe(0);
  });

  it("finds them kept where a replica is killed, the store is away, a socket is lost", async () => {
    const { code, rows } = await run("replica-killed", "store-down", "socket-lost");
    expect(rows.flatMap(({ holdfast }) => holdfast?.verdict?.reasons)).toEqual([]);
    expect(code).toBe(0);
  });
});

describe("a defence taken away turns the verdict red:", () => {
  it.each([
    ["no recovery", "gpu-oom", "ERROR_RECOVERY_ENABLED=false", "is lost"],
    ["no recovery", "corrupt-model", "ERROR_RECOVERY_ENABLED=false", "is lost"],
    [
      "no time for a model's first load",
      "slow-model-load",
      "HOLDFAST_FIRST_LOAD_STALL_MS=10000",
      "expected one attempt each",
    ],
    [
      "no round for a page that was refused",
      "prompt-validation-failure",
      "COMFY_MAX_RETRIES=0",
      "page 2: retry_count 0",
    ],
  ])("%s in %s", async (_, name, setting, words) => {
    const { code, rows } = await run(name, "--setting", setting);
    expect(rows[0]?.holdfast?.verdict?.state).toBe("failed");
    expect(rows[0]?.holdfast?.verdict?.reasons.join("; ")).toContain(words);
    expect(code).toBe(1);
  });
});

describe("wrong usage", () => {
  it("of an unknown scenario lists the names", async () => {
    const one = startHoldfast("fault", ["fault", "run", "earthquake"], {});
    expect(await one.exited).toBe(2);
    expect(one.output()).toContain("network-blip");
  });
});
