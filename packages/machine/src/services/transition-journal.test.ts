import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ServiceTransitionEntry } from "./transition-history.ts";
import { openTransitionJournal } from "./transition-journal.ts";

let folder = "";
let file = "";
const warnings: string[] = [];
const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: (_fields: unknown, message: string) => void warnings.push(message),
  error: () => undefined,
};
const entry = (service: string, at: number, reason = "r"): ServiceTransitionEntry => ({
  service,
  at,
  from: null,
  to: "healthy",
  reason,
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-journal-"));
  file = join(folder, "logs", "transitions.ndjson");
  warnings.length = 0;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("what was appended is there for the next one who opens it", async () => {
  const first = await openTransitionJournal({ file, log });
  expect(first.restored).toEqual([]);
  first.append(entry("a", 1));
  first.append(entry("b", 2));
  await first.flush();
  const second = await openTransitionJournal({ file, log });
  expect(second.restored).toEqual([entry("a", 1), entry("b", 2)]);
  expect(warnings).toEqual([]);
});

test("a line torn by a crash is passed over, and not glued to the next one", async () => {
  const first = await openTransitionJournal({ file, log });
  first.append(entry("a", 1));
  await first.flush();
  await appendFile(file, '{"service":"torn","at":2,"fr');
  const second = await openTransitionJournal({ file, log });
  second.append(entry("b", 3));
  await second.flush();
  const third = await openTransitionJournal({ file, log });
  expect(third.restored).toEqual([entry("a", 1), entry("b", 3)]);
});

test("the file stays within its size, and keeps the newest", async () => {
  const maxBytes = 4_000;
  const journal = await openTransitionJournal({ file, log, maxBytes });
  for (let n = 0; n < 300; n += 1) {
    journal.append(entry(`s${n % 3}`, n, "x".repeat(40)));
    await journal.flush();
    expect((await stat(file)).size).toBeLessThanOrEqual(maxBytes);
  }
  const again = await openTransitionJournal({ file, log, maxBytes });
  expect(again.restored.at(-1)?.at).toBe(299);
  expect(again.restored.length).toBeGreaterThan(5);
});

test("a file far too large, or full of something else, is not swallowed", async () => {
  await openTransitionJournal({ file, log });
  const noise = `${"x".repeat(100)}\n`.repeat(1_000);
  await writeFile(file, `${noise}${JSON.stringify(entry("a", 1))}\n{"service":1}\nnull\n`);
  const journal = await openTransitionJournal({ file, log, maxBytes: 4_000 });
  expect(journal.restored).toEqual([entry("a", 1)]);
});

test("a disk that takes nothing is told once, and what waits is written when it does again", async () => {
  const journal = await openTransitionJournal({ file, log });
  await rm(join(folder, "logs"), { recursive: true });
  for (const n of [1, 2, 3]) {
    journal.append(entry("a", n));
    await journal.flush();
  }
  expect(warnings).toEqual(["transition log cannot be written"]);
  await openTransitionJournal({ file, log }); // Makes the folder again.
  journal.append(entry("a", 4));
  await journal.flush();
  const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line !== "");
  expect(lines.map((line) => (JSON.parse(line) as { at: number }).at)).toEqual([1, 2, 3, 4]);
});

test("one that cannot be read begins empty and says so", async () => {
  await writeFile(join(folder, "logs"), "a file where the folder should be");
  const journal = await openTransitionJournal({ file, log });
  expect(journal.restored).toEqual([]);
  expect(warnings).toEqual(["transition log cannot be read, beginning anew"]);
});
