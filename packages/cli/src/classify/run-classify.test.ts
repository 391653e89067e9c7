import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CommandFailure } from "../command-failure.ts";
import { runClassify, type ClassifyOptions } from "./run-classify.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-classify-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const file = (text: string): string => {
  const path = join(folder, "patterns.json");
  writeFileSync(path, text);
  return path;
};
const run = async (text: string, options: ClassifyOptions = {}): Promise<string> => {
  const lines: string[] = [];
  await runClassify(text, options, {
    env: {},
    terminal: {
      line: (line) => lines.push(line),
      note: () => undefined,
      progress: () => undefined,
      isInteractive: false,
      columns: 100,
      resultColumns: 100,
    },
  });
  return lines.join("\n");
};
const refusal = async (text: string, options: ClassifyOptions): Promise<string> =>
  await run(text, options).then(
    (told) => `not refused: ${told}`,
    (error: unknown) => (error instanceof CommandFailure ? error.message : String(error)),
  );

const BUSY = JSON.stringify([
  {
    error_type: "vendor_busy",
    patterns: ["vendor .* busy"],
    strategy: "RETRY",
    max_retries: 3,
    parameter_adjustments: { tiles: { operation: "reduce", factor: 0.5, min: 1 } },
  },
]);

describe("holdfast classify", () => {
  it("says class, confidence, what decided, and the ladder", async () => {
    const told = await run("CUDA out of memory. Tried to allocate 2.00 GiB");
    expect(told).toMatch(/^class {7}cuda_out_of_memory$/m);
    expect(told).toMatch(/^confidence {2}\d\d %$/m);
    expect(told).toMatch(/^evidence {4}pattern gpu_memory\.\w+ \(channel execution\), saw "/m);
    expect(told).toMatch(/^ {2}1\. free_memory: /m);
    expect(told).toMatch(/reduce_params: .*\[changes content\]/);
  });

  it("knows the patterns of a file as well", async () => {
    const patterns = file(BUSY);
    const told = await run("Vendor X is busy", { patterns });
    expect(told).toMatch(/^class {7}network_error \/ vendor_busy$/m);
    expect(told).toMatch(/^evidence {4}pattern custom\.vendor_busy/m);
    expect(told).toMatch(/^pattern {5}vendor_busy, error type vendor_busy, 3 retries at most$/m);
    expect(told).toMatch(/^adjusts {5}tiles: reduce, factor 0\.5, min 1$/m);
    expect(JSON.parse(await run("Vendor X is busy", { patterns, json: true }))).toMatchObject({
      class: "network_error",
      strategy: "RETRY",
      error_type: "vendor_busy",
    });
    expect(JSON.parse(await run("Vendor X is busy", { json: true }))).not.toHaveProperty(
      "error_type",
    );
  });

  it("refuses a file with its problems, one a line", async () => {
    const bad = BUSY.replace("RETRY", "PRAY").replace('"max_retries":3', '"max_retries":-1');
    const told = (await refusal("x", { patterns: file(bad) })).split("\n");
    expect(told).toHaveLength(2);
    expect(told[0]).toMatch(/patterns\.json: \[0\]\.strategy: expected one of/);
    expect(await refusal("x", { patterns: file("{") })).toMatch(/is not JSON/);
    expect(await refusal("x", { patterns: join(folder, "none") })).toMatch(/cannot be read/);
    expect(await refusal("x", { patterns: file("3") })).toMatch(/expected a list of patterns/);
  });

  it("refuses an empty message and a status that is none", async () => {
    expect(await refusal(" ", {})).toBe("the message is empty");
    expect(await refusal("x", { httpStatus: "abc" })).toMatch(/expected 100 to 599, found abc/);
  });
});
