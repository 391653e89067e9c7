import { describe, expect, it } from "vitest";
import { bytesText, durationText, parseDuration } from "./durations.ts";
import { plainText, shorten, textTable } from "./text-table.ts";

describe("text for a screen", () => {
  it("lines a table up and cuts its last column", () => {
    const rows = [
      { n: 1, name: "short" },
      { n: 100, name: "x".repeat(50) },
    ];
    const columns = [
      { head: "N", cell: (row: (typeof rows)[0]) => String(row.n), isRight: true },
      { head: "NAME", cell: (row: (typeof rows)[0]) => row.name },
    ];
    expect(textTable(rows, columns, 20)).toEqual([
      "  N  NAME",
      "  1  short",
      `100  ${"x".repeat(14)}…`,
    ]);
  });

  it("lets nothing from outside steer the screen", () => {
    expect(plainText("a\u001B[2Jb\nc")).toBe("a [2Jb c");
  });

  it("shows what was cut", () => {
    expect(shorten("abcdef", 4)).toBe("abc…");
    expect(shorten("abc", 3)).toBe("abc");
  });

  it.each([
    ["90s", 90_000],
    ["10min", 600_000],
    ["10m", 600_000],
    ["2h", 7_200_000],
    ["500ms", 500],
    ["1d", 86_400_000],
    ["1.5h", 5_400_000],
    ["30", 30_000],
    ["x", undefined],
    ["-1s", undefined],
    ["", undefined],
  ])("reads the duration %s", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it("writes durations and sizes", () => {
    expect([820, 4200, 185_000, 7_800_000, 273_600_000].map(durationText)).toEqual([
      "820 ms",
      "4.2 s",
      "3 min 5 s",
      "2 h 10 min",
      "3 d 4 h",
    ]);
    expect([5, 6299, 2.5e9].map(bytesText)).toEqual(["5 B", "6.3 kB", "2.5 GB"]);
  });
});
