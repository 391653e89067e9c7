import type { LeverView } from "@holdfast/contract";
import { expect, it } from "vitest";
import { LEVER, NOW } from "../../testing/fleet-facts.ts";
import { leverLines, leverText } from "./levers-text.ts";

it.each<[LeverView["kind"], LeverView["value"], string]>([
  ["threshold", 0.9, "threshold 90%"],
  ["window", 15, "window 15 min"],
  ["window", 1 / 60, "window 1 s"],
  ["window", 1.5, "window 90 s"],
  ["minimum", 8, "minimum 8 machines"],
  ["clear", "2026-01-31T12:00:00.000Z", "failures before 2026-01-31T12:00:00.000Z cleared"],
  ["pause", true, "nothing is started or ended"],
  ["force", { pool: "gpu", count: 1, isForced: true }, "1 machine in gpu, forced"],
  ["force", { pool: "gpu", count: 2, isForced: false }, "2 machines in gpu"],
  ["drain" as "pause", { a: 1 }, 'drain {"a":1}'],
])("the lever %s %j reads %s", (kind, value, words) => {
  expect(leverText({ kind, value })).toBe(words);
});

it("levers are told with who and why, and on demand with what became of them", () => {
  const undone = {
    ...LEVER,
    id: "lev_2",
    undoneBy: "key_bob",
    undoneAt: LEVER.madeAt,
    undoneReason: "it holds",
  };
  const look = { now: NOW, columns: 120 };
  expect(leverLines([LEVER], look)).toEqual([
    "LEVER  SETS           BY       SET            WHY",
    "lev_1  threshold 90%  key_ann  5 min 0 s ago  the image is mended",
  ]);
  const force = { ...LEVER, id: "lev_4", kind: "force", value: { pool: "gpu" } } as const;
  const all = [LEVER, undone, { ...LEVER, id: "lev_3" }, force];
  expect(leverLines(all, look, new Set(["lev_1"]))).toEqual([
    "LEVER  SETS              BY       SET            STATE                            WHY",
    "lev_1  threshold 90%     key_ann  5 min 0 s ago  in force                         the image is mended",
    "lev_2  threshold 90%     key_ann  5 min 0 s ago  undone 5 min 0 s ago by key_bob  the image is mended; undone: it holds",
    "lev_3  threshold 90%     key_ann  5 min 0 s ago  replaced                         the image is mended",
    "lev_4  1 machine in gpu  key_ann  5 min 0 s ago  done                             the image is mended",
  ]);
});

it("with long ids levers have room on a screen of 80 columns, with the whole reason", () => {
  const long = {
    ...LEVER,
    id: "lev_01k0000000000000000000000a",
    madeBy: "key_01k0000000000000000000wxyz",
    kind: "clear",
    value: "2026-01-31T12:00:00.000Z",
    reason: "one bad host, the others are well",
  } as const;
  const lines = leverLines([long], { now: NOW, columns: 80 });
  expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(80);
  expect(lines.at(-1)).toBe("    one bad host, the others are well");
  expect(lines.join("\n")).toContain("key_01k…wxyz");
});
