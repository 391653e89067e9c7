import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openJournal, type Journal } from "./journal.ts";
import { openProgress } from "./progress.ts";
import { toLine, type JournalRecord } from "./record.ts";
import { openSetAside } from "./set-aside.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-mlflow-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const record = (n: number, text = "ä"): JournalRecord => ({
  t: "data",
  key: `k${n}`,
  params: [["p", text]],
  tags: [],
  metrics: [["m", n % 3 === 0 ? "NaN" : n, 1, n]],
});
const open = (limits: { segmentBytes?: number; maxBytes?: number; lastDropped?: number } = {}) =>
  openJournal({
    folder,
    lastDropped: 0,
    segmentBytes: 1_000_000,
    maxBytes: 10_000_000,
    onDurable: () => undefined,
    ...limits,
  });
async function readAll(journal: Journal): Promise<(JournalRecord | null)[]> {
  const found: (JournalRecord | null)[] = [];
  for (;;) {
    const lines = await journal.read();
    if (lines.length === 0) return found;
    found.push(...lines.map((line) => line.record));
  }
}

describe("the journal", () => {
  it("gives back what it was given, while it is written and in its next lives", async () => {
    const first = await open();
    expect(await readAll(first)).toEqual([]);
    expect(await first.append([record(0)])).toEqual({ kind: "kept" });
    expect(await readAll(first)).toEqual([record(0)]);
    await Promise.all([first.append([record(1), record(2)]), first.append([record(3)])]);
    expect(await readAll(first)).toEqual([record(1), record(2), record(3)]);
    await first.close();
    const second = await open();
    await second.append([record(4)]);
    expect(await readAll(second)).toEqual([0, 1, 2, 3, 4].map((n) => record(n)));
    expect(second.inherited).toEqual(new Map([[1, 4]]));
    await second.close();
  });

  it("whatever byte a crash cut it at, gives back every whole line and nothing else", async () => {
    const lines = [0, 1].map((n) => toLine(record(n)));
    const bytes = Buffer.from(lines.join(""));
    const file = join(folder, "journal-00000001.ndjson");
    const ends = lines.map((_, i) => Buffer.byteLength(lines.slice(0, i + 1).join("")));
    for (let cut = bytes.length; cut >= 0; cut -= 1) {
      await writeFile(file, bytes.subarray(0, cut));
      const journal = await open();
      await journal.append([record(9)]);
      const whole = ends.filter((end) => end <= cut).length;
      expect(await readAll(journal)).toEqual([...[0, 1].slice(0, whole), 9].map((n) => record(n)));
      await journal.close();
      await rm(join(folder, "journal-00000002.ndjson"));
    }
  });

  it("passes over a line that is damaged, and says that there was one", async () => {
    const text = [toLine(record(0)), "\0\0\0\n", '{"t":"data"}\n', toLine(record(1))].join("");
    await writeFile(join(folder, "journal-00000003.ndjson"), text);
    const journal = await open();
    expect(await readAll(journal)).toEqual([record(0), null, null, record(1)]);
    await journal.close();
  });

  it("goes on in other files, which are removed one by one, and never uses a number again", async () => {
    const journal = await open({ segmentBytes: 1 });
    for (const n of [0, 1, 2]) await journal.append([record(n)]);
    expect(await readAll(journal)).toHaveLength(3);
    // The last one may get more.
    expect(journal.takeFinished()).toEqual([
      { segment: 1, lines: 1 },
      { segment: 2, lines: 1 },
    ]);
    await journal.remove(1);
    await journal.append([record(3)]);
    expect(await readAll(journal)).toEqual([record(3)]);
    await journal.close();
    for (const n of [2, 3, 4]) await journal.remove(n);
    expect(await readdir(folder)).toEqual([]);
    const next = await open({ lastDropped: 4 });
    await next.append([record(5)]);
    expect(await readdir(folder)).toEqual(["journal-00000005.ndjson"]);
    await next.close();
  });

  it("takes no more than its limit, and says so", async () => {
    const journal = await open({ maxBytes: 200 });
    expect(await journal.append([record(0)])).toEqual({ kind: "kept" });
    expect(await journal.append([record(1, "x".repeat(200))])).toEqual({
      kind: "not_kept",
      message: "the journal for MLflow has reached its size limit",
    });
    expect(await readAll(journal)).toEqual([record(0)]);
    await journal.close();
    expect(await journal.append([record(1)])).toMatchObject({ kind: "not_kept" });
  });

  it("says when the disk does not take it, and goes on when it does again", async () => {
    const journal = await open({ segmentBytes: 1 });
    await journal.append([record(0)]);
    await rm(folder, { recursive: true });
    expect(await journal.append([record(1)])).toMatchObject({
      kind: "not_kept",
      message: expect.stringContaining("cannot be written: ENOENT"),
    });
    await mkdir(folder);
    expect(await journal.append([record(2)])).toEqual({ kind: "kept" });
    expect(await readAll(journal)).toEqual([record(2)]);
    await journal.close();
  });
});

describe("the progress", () => {
  const run = { id: "r", folder: "1/r/artifacts", elsewhere: "", isDoubtful: true };

  it("is there again in the next life, whatever a crash cut off", async () => {
    const first = await openProgress(folder);
    first.learn("a", run);
    first.markDone(1, [0, 4]);
    await first.save();
    first.learn("b", run);
    first.markDone(1, [5, 5]);
    first.markDone(2, [3, 3]);
    first.forget("a");
    await first.save();
    const file = join(folder, "progress.ndjson");
    const size = (await readFile(file)).length;
    for (let cut = size; cut >= 0; cut -= 7) {
      await truncate(file, cut);
      const next = await openProgress(folder);
      if (cut === size) {
        expect(next.run("a")).toBeUndefined();
        expect(next.run("b")).toEqual(run);
        expect([1, 2, 3].map((n) => next.doneCount(n))).toEqual([6, 1, 0]);
        expect(next.isDone({ segment: 2, line: 3 })).toBe(true);
        expect(next.isDone({ segment: 2, line: 2 })).toBe(false);
      }
      expect(next.doneCount(1)).toBeLessThan(7);
    }
    // What was torn is not glued to what comes after.
    await appendFile(file, '{"t":"do');
    const last = await openProgress(folder);
    last.markDone(7, [1, 2]);
    await last.save({ isSynced: true });
    expect((await openProgress(folder)).doneCount(7)).toBe(2);
  });

  it("stays small over many changes, and knows which files are gone", async () => {
    const progress = await openProgress(folder);
    for (let n = 0; n < 3_000; n += 1) {
      progress.learn(`run ${n}`, run);
      progress.forget(`run ${n}`);
      progress.markDone(1, [n, n]);
      if (n % 100 === 0) await progress.save();
    }
    progress.drop(1);
    await progress.save();
    const next = await openProgress(folder);
    expect(next.lastDropped).toBe(1);
    expect(next.doneCount(1)).toBe(0);
    await next.save();
    expect((await readFile(join(folder, "progress.ndjson"))).length).toBeLessThan(1_000);
  });

  it("is written whole after a write that failed", async () => {
    const progress = await openProgress(folder);
    await progress.save();
    progress.markDone(1, [0, 0]);
    await rm(folder, { recursive: true });
    await expect(progress.save())
      .resolves.toBeUndefined()
      .catch(() => undefined);
    await expect(progress.save({ isSynced: true })).rejects.toThrow();
    const { mkdir } = await import("node:fs/promises");
    await mkdir(folder, { recursive: true });
    progress.markDone(1, [1, 1]);
    await progress.save();
    expect((await openProgress(folder)).doneCount(1)).toBe(2);
  });
});

describe("what was refused", () => {
  it("is kept with its reason and counted once, over lives and torn lines", async () => {
    const entry = { position: { segment: 1, line: 2 }, reason: "no", record: record(0) };
    const first = await openSetAside(folder);
    await first.add([entry, { ...entry, entry: "param a" }], 5);
    await first.add([entry], 6);
    expect(first.count).toBe(2);
    await appendFile(join(folder, "set-aside.ndjson"), '{"id":"9:9');
    const next = await openSetAside(folder);
    expect(next.count).toBe(2);
    await next.add([{ ...entry, position: { segment: 2, line: 0 } }], 7);
    const lines = (await readFile(join(folder, "set-aside.ndjson"), "utf8")).split("\n");
    expect(
      lines.filter((line) => line.endsWith("}")).map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { id: "1:2", at: 5, reason: "no", record: record(0) },
      { id: "1:2:param a", at: 5, reason: "no", entry: "param a", record: record(0) },
      { id: "2:0", at: 7, reason: "no", record: record(0) },
    ]);
  });
});
