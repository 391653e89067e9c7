import type { LeverView } from "@holdfast/contract";
import { expect, it } from "vitest";
import { LEVER, NOW } from "../../testing/fleet-facts.ts";
import { leverLines, leverText } from "./levers-text.ts";

it.each<[LeverView["kind"], LeverView["value"], string]>([
  ["threshold", 0.9, "threshold 90%"],
  ["window", 15, "window 15 min"],
  ["minimum", 8, "minimum 8 machines"],
  ["clear", "2026-01-31T12:00:00.000Z", "failures before 2026-01-31T12:00:00.000Z cleared"],
  ["pause", true, "nothing is started or ended"],
  ["force", { pool: "gpu", count: 1, isForced: true }, "1 machine in gpu, forced"],
  ["force", { pool: "gpu", count: 2, isForced: false }, "2 machines in gpu"],
  ["drain" as "pause", { a: 1 }, 'drain {"a":1}'],
])("the lever %s %j reads %s", (kind, value, words) => {
  expect(leverText({ kind, value })).toBe(words);
});

it("levers are told with who and why, and who undid them where somebody did", () => {
  const undone = { ...LEVER, id: "lev_2", undoneBy: "key_bob", undoneAt: LEVER.madeAt };
  expect(leverLines([LEVER], { now: NOW, columns: 100 })[0]).not.toContain("UNDONE");
  expect(leverLines([LEVER, undone], { now: NOW, columns: 100 })).toEqual([
    "LEVER  SETS           BY       SET            UNDONE      WHY",
    "lev_1  threshold 90%  key_ann  5 min 0 s ago              the image is mended",
    "lev_2  threshold 90%  key_ann  5 min 0 s ago  by key_bob  the image is mended",
  ]);
});
