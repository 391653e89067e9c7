import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  createLogFilter,
  logName,
  openInstallLog,
  removeOldLogs,
  RUNS_KEPT,
} from "./install-log.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-log-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("a run's events are in its file, and only the newest runs are kept", async () => {
  const clock = createFakeClock();
  for (let at = 0; at < RUNS_KEPT + 3; at += 1) {
    await writeFile(join(folder, logName(clock.now() + at, 1)), "");
  }
  await writeFile(join(folder, "mine.txt"), "not a log");
  await clock.advance(100);
  const log = await openInstallLog(folder, clock);
  log.write({ kind: "ended", at: 1, ok: true, durationMs: 2 });
  await log.close();
  expect(await readFile(log.file, "utf8")).toBe(
    '{"kind":"ended","at":1,"ok":true,"durationMs":2}\n',
  );
  const names = (await readdir(folder)).toSorted();
  expect(names).toHaveLength(RUNS_KEPT + 1);
  expect(names).toContain("mine.txt");
  expect(names).not.toContain(logName(createFakeClock().now(), 1));
  await removeOldLogs(folder, 1);
  expect((await readdir(folder)).length).toBe(2);
  expect(await removeOldLogs(join(folder, "none"), 1)).toEqual([]);
});

test("of a step's lines so many are kept, of its progress one a second", () => {
  const admit = createLogFilter();
  const line = (id: string) => admit({ kind: "step.log", at: 0, id, line: "x" });
  let kept = 0;
  for (let count = 0; count < 20_000; count += 1) if (line("a") !== undefined) kept += 1;
  expect(kept).toBe(20_000);
  expect(line("a")).toMatchObject({ line: expect.stringMatching(/left out/) });
  expect(line("a")).toBeUndefined();
  expect(line("b")).toBeDefined();
  const progress = { done: 1, total: null, unit: "items" as const, detail: null };
  const at = (ms: number) => admit({ kind: "step.progress", at: ms, id: "a", progress });
  expect([at(0), at(999), at(1_000)].map((event) => event !== undefined)).toEqual([
    true,
    false,
    true,
  ]);
});
