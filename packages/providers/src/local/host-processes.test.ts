import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseTableEntry } from "./host-processes.ts";

const line = (
  pid: number,
  name: string,
  state: string,
  parent: number,
  group: number,
  start: number,
) =>
  `${pid} (${name}) ${state} ${parent} ${group} ${group} 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 ${start} 100 200`;

test("a process's name may be anything, also what looks like fields", () => {
  fc.assert(
    fc.property(
      fc.string(),
      fc.nat(4_194_304),
      fc.nat(4_194_304),
      fc.nat(4_194_304),
      fc.nat(),
      (name, pid, parentPid, groupPid, startTicks) => {
        expect(parseTableEntry(line(pid, name, "S", parentPid, groupPid, startTicks))).toEqual({
          pid,
          parentPid,
          groupPid,
          startTicks,
        });
      },
    ),
  );
});

test("one that has ended and was not waited for is none, and neither is another text", () => {
  for (const text of [
    line(1, "sh", "Z", 1, 1, 1),
    line(1, "sh", "X", 1, 1, 1),
    "",
    "1 (sh",
    "1 (sh) S 2",
  ]) {
    expect(parseTableEntry(text)).toBeUndefined();
  }
});
