import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  ancestors,
  descendants,
  parseProcessStat,
  readMarkedProcesses,
  type ProcessStat,
} from "./process-table.ts";

const one = (pid: number, parentPid: number): ProcessStat => ({
  pid,
  parentPid,
  groupPid: pid,
  state: "S",
  startTicks: 1,
});

test("a program's name with spaces and brackets does not shift the fields", () => {
  const after = `S 10 20 30 ${Array.from({ length: 30 }, (_, index) => index).join(" ")}`;
  expect(parseProcessStat(`77 (a b) c (d) ${after}`)).toEqual({
    pid: 77,
    state: "S",
    parentPid: 10,
    groupPid: 20,
    startTicks: 15,
  });
  for (const bad of ["", "77", "77 (x", "(x) S 1", "77 (x) S", "x (x) S 1 2 3"]) {
    expect(parseProcessStat(bad)).toBeUndefined();
  }
});

test("above and below a process", () => {
  const stats = [one(1, 0), one(2, 1), one(3, 2), one(4, 2), one(5, 4), one(6, 1)];
  expect(descendants(stats, 2)).toEqual(new Set([3, 4, 5]));
  expect(descendants(stats, 5)).toEqual(new Set());
  expect(ancestors(stats, 5)).toEqual(new Set([5, 4, 2, 1, 0]));
});

test("a table that changed while it was read, rings and all, ends the search", () => {
  const pid = fc.integer({ min: 1, max: 8 });
  const table = fc.array(fc.tuple(pid, pid).map(([a, b]) => one(a, b)));
  fc.assert(
    fc.property(table, pid, (stats, from) => {
      expect(descendants(stats, from).has(from)).toBe(false);
      expect(ancestors(stats, from).has(from)).toBe(true);
    }),
  );
});

test("this program is never among the marked, nor what started it", async () => {
  const pids = (await readMarkedProcesses(null)).map((marked) => marked.pid);
  expect(pids).not.toContain(process.pid);
  expect(pids).not.toContain(process.ppid);
});
