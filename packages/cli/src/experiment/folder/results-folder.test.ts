import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { recordLine, type ResultRecord, type StartRecord } from "@holdfast/experiments";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openResultsFolder, type ResultsFolder } from "./results-folder.ts";

let path: string;
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "holdfast-results-"));
});
afterEach(async () => {
  await rm(path, { recursive: true, force: true });
});

const AT = "2026-01-02T03:04:05.678Z";
const start = (index: number, attempt = 1): StartRecord => ({
  index,
  attempt,
  promptId: `p${index}-${attempt}`,
  startedAt: AT,
});
const result = (
  index: number,
  how: "completed" | "failed" | "down",
  attempt = 1,
): ResultRecord => ({
  index,
  name: `exp_${index}`,
  title: "Käse_🧀",
  attempt,
  promptId: `p${index}-${attempt}`,
  seed: 1,
  values: {},
  status: how === "completed" ? "completed" : "failed",
  startedAt: AT,
  endedAt: AT,
  durationMs: 1,
  error:
    how === "completed" ? null : { class: "x", message: "y", isInfrastructure: how === "down" },
  recovery: [],
  outputs: [],
  metrics: {},
});
const opened = async (): Promise<ResultsFolder> => {
  const one = await openResultsFolder(path, systemClock);
  if (one.kind !== "open") throw new Error("locked");
  return one.folder;
};

describe("a folder of results", () => {
  it("knows how each run stands, in this process and the next", async () => {
    const folder = await opened();
    for (const index of [0, 1, 2, 3]) await folder.noteStart(start(index));
    await folder.noteResult(result(0, "completed"));
    await folder.noteResult(result(1, "failed"));
    await folder.noteResult(result(2, "down"));
    const look = (one: ResultsFolder) => ({
      completed: one.runs.runsThatAre("completed"),
      failed: one.runs.runsThatAre("failed"),
      down: one.runs.runsThatAre("down"),
      third: one.runs.standing(3).hasEnded,
    });
    const expected = { completed: [0], failed: [1], down: [2], third: false };
    expect(look(folder)).toEqual(expected);
    await folder.noteStart(start(2, 2));
    await folder.noteResult(result(2, "completed", 2));
    await folder.close();
    const next = await opened();
    expect(look(next)).toEqual({ ...expected, completed: [0, 2], down: [] });
    expect(next.runs.standing(2)).toMatchObject({ starts: 2, hasEnded: true });
    expect(next.history.interrupted.map(({ index }) => index)).toEqual([3]);
    await next.close();
  });

  it("cuts off what a kill left of a line, wherever it came, and goes on behind it", async () => {
    const whole = recordLine(result(0, "completed"));
    const next = recordLine(result(1, "completed"));
    const bytes = Buffer.from(next);
    // Within a character of several bytes too.
    for (let length = 0; length <= bytes.length; length += 7) {
      await writeFile(join(path, "results.ndjson"), whole);
      await appendFile(join(path, "results.ndjson"), bytes.subarray(0, length));
      const folder = await opened();
      await folder.noteResult(result(2, "completed"));
      await folder.close();
      const text = await readFile(join(path, "results.ndjson"), "utf8");
      const isWhole = length >= bytes.length - 1;
      expect(text).toBe(`${whole}${isWhole ? next : ""}${recordLine(result(2, "completed"))}`);
    }
  });

  it("is one process's at a time", async () => {
    const folder = await opened();
    expect(await openResultsFolder(path, systemClock)).toEqual({
      kind: "locked",
      pid: process.pid,
    });
    await folder.close();
    await (await opened()).close();
  });

  it("tells of lines that somebody damaged, and of no more than a person reads", async () => {
    const bad = "{}\n".repeat(9);
    await writeFile(join(path, "results.ndjson"), `${recordLine(result(0, "completed"))}${bad}`);
    const folder = await opened();
    expect(folder.damaged[0]).toMatch(/^results\.ndjson:2: /);
    expect(folder.damaged.at(-1)).toBe("results.ndjson: … and 4 more");
    expect(folder.runs.runsThatAre("completed")).toEqual([0]);
    await folder.close();
  });
});
