import { mkdtemp, mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../../test/support/processes.ts";
import { rememberingLog } from "../../testing/fake-host.ts";
import { careForLogs } from "./log-care.ts";

const limits = { fileMaxBytes: 64 * 1024, keep: 2, totalMaxBytes: 1024 ** 2 };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-log-care-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

test("files are kept within their size, each time anew, until the end", async () => {
  const clock = createFakeClock();
  const log = rememberingLog();
  const stop = new AbortController();
  const file = join(folder, "error.log");
  await writeFile(file, "x".repeat(200 * 1024));
  const files = (): string[] => [file, file, join(folder, "none.log")];
  const caring = careForLogs({ files, clock, log, limits, everyMs: 1_000 }, stop.signal);
  const sizeIsSmall = async (): Promise<true | undefined> =>
    (await stat(file)).size <= 64 * 1024 && clock.sleeperCount() === 1 ? true : undefined;
  await until("the log was rotated", sizeIsSmall);
  expect(await readdir(folder)).toContain("error.log.1");

  await writeFile(file, "y".repeat(200 * 1024));
  await clock.advance(1_000);
  await until("it was rotated again", sizeIsSmall);
  expect(await readdir(folder)).toContain("error.log.2");
  stop.abort();
  await caring;
  expect(log.lines).toEqual([]);
});

test("a file that cannot be rotated is told once and does not keep the others from it", async () => {
  const clock = createFakeClock();
  const log = rememberingLog();
  const stop = new AbortController();
  const [bad, good] = [join(folder, "bad.log"), join(folder, "good.log")];
  // Its archive cannot be made: a folder has the name.
  await mkdir(`${bad}.rotating`);
  for (const file of [bad, good]) await writeFile(file, "x".repeat(200 * 1024));
  const caring = careForLogs(
    { files: () => [bad, good], clock, log, limits, everyMs: 1_000 },
    stop.signal,
  );
  const asleep = (): Promise<true | undefined> =>
    Promise.resolve(clock.sleeperCount() === 1 ? true : undefined);
  await until("all were looked at", asleep);
  await clock.advance(1_000);
  await until("all were looked at again", asleep);
  stop.abort();
  await caring;
  expect(await readdir(folder)).toContain("good.log.1");
  expect(log.lines).toEqual([expect.stringContaining("bad.log")]);
});
