import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { ToldRun } from "@holdfast/agent";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { StepResult } from "../install/model.ts";
import { RunTelling } from "./told-run.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-told-"));
});
afterEach(() => rm(folder, { recursive: true }));

const step = (id: string, outcome: StepResult["outcome"]): StepResult => ({
  id,
  title: id,
  isOptional: false,
  outcome,
  startedAt: 1,
  durationMs: 2,
  detail: "d",
  advice: null,
});
const begin = () => {
  const told: ToldRun[] = [];
  return {
    told,
    telling: new RunTelling({ runId: "install-1", kind: "install" }, (run) => told.push(run)),
  };
};
const log = async (content: string): Promise<string> => {
  const file = join(folder, "run.ndjson");
  await writeFile(file, content);
  return file;
};

test("a run that finds everything done is no news", async () => {
  const { told, telling } = begin();
  for (const id of ["a", "b"]) telling.step(step(id, "skipped"));
  await telling.end(await log("x"));
  expect(told).toEqual([]);
});

test("from the first step that did something each is told as it ends, and the log at the end", async () => {
  const { told, telling } = begin();
  telling.step(step("a", "skipped"));
  telling.step(step("b", "done"));
  telling.step(step("c", "failed"));
  telling.step(step("d", "not_reached"));
  await telling.end(await log("two\nlines\n"));
  expect(told.map(({ steps }) => steps.map(({ id }) => id))).toEqual([
    ["a", "b"],
    ["c"],
    ["d"],
    [],
  ]);
  expect(told.map(({ runId, kind }) => `${runId} ${kind}`)).toEqual(
    Array.from({ length: 4 }, () => "install-1 install"),
  );
  const source = told.at(-1)?.log;
  expect(source).toMatchObject({
    sizeBytes: 10,
    sha256: createHash("sha256").update("two\nlines\n").digest("hex"),
  });
  // Whatever is appended later is not part of what was promised.
  await log("two\nlines\nand more");
  if (source === undefined) throw new Error("no log was told");
  expect(await text(source.open())).toBe("two\nlines\n");
});

test.each([
  ["there is none", () => Promise.resolve(null)],
  ["it is gone", () => Promise.resolve(join(folder, "gone"))],
  ["it is empty", () => log("")],
])("a run is told without its log when %s", async (_, file) => {
  const { told, telling } = begin();
  telling.step(step("a", "failed"));
  await telling.end(await file());
  expect(told.at(-1)).toEqual({ runId: "install-1", kind: "install", steps: [] });
});
