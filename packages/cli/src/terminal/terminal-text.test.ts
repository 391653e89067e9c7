import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytesText, durationText, parseDuration } from "./durations.ts";
import { foldText, plainText, shorten, textTable } from "./text-table.ts";

interface Row {
  readonly n: number;
  readonly name: string;
}

describe("text for a screen", () => {
  const columns = [
    { head: "N", cell: (row: Row) => String(row.n), isRight: true },
    { head: "NAME", cell: (row: Row) => row.name },
  ];

  it("lines a table up, and cuts nothing where nobody watches", () => {
    const rows = [
      { n: 1, name: "short" },
      { n: 100, name: "long ".repeat(50).trim() },
    ];
    expect(textTable(rows, columns, Number.POSITIVE_INFINITY)).toEqual([
      "  N  NAME",
      "  1  short",
      `100  ${rows[1]?.name}`,
    ]);
  });

  it("goes on with its last column in further lines where that has room", () => {
    const words = "its process ended with exit code 3, and nobody had asked for it";
    expect(textTable([{ n: 100, name: words }], columns, 40)).toEqual([
      "  N  NAME",
      "100  its process ended with exit code 3,",
      "     and nobody had asked for it",
    ]);
  });

  it("puts its last column beneath, and shortens and folds others, where there is no room", () => {
    const rows = [
      {
        id: "lev_01k0000000000000000000000a",
        by: "key_01k0000000000000000000wxyz",
        why: "one bad host",
      },
      { id: "lev_01k0000000000000000000000b", by: "ann", why: "" },
    ];
    const shape = [
      { head: "LEVER", cell: (row: (typeof rows)[0]) => row.id },
      { head: "SETS", cell: () => "failures before noon cleared" },
      { head: "BY", cell: (row: (typeof rows)[0]) => row.by, isId: true },
      { head: "WHY", cell: (row: (typeof rows)[0]) => row.why },
    ];
    expect(textTable(rows, shape, 60)).toEqual([
      "LEVER                           SETS            BY",
      "    WHY",
      "lev_01k0000000000000000000000a  failures        key_01k…wxyz",
      "                                before noon",
      "                                cleared",
      "    one bad host",
      "lev_01k0000000000000000000000b  failures        ann",
      "                                before noon",
      "                                cleared",
    ]);
  });

  it("loses no word on any screen", () => {
    const word = fc.stringMatching(/^[a-z]{1,30}$/);
    const text = fc.array(word, { maxLength: 20 }).map((words) => words.join(" "));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(text, text, text)),
        fc.integer({ min: 40, max: 120 }),
        (rows, width) => {
          const shape = [0, 1, 2].map((i) => ({
            head: `H${i}`,
            cell: (row: (typeof rows)[0]) => row[i] ?? "",
          }));
          const letters = (all: string): string =>
            all
              .replaceAll(/[^a-z]/g, "")
              .split("")
              .toSorted()
              .join("");
          expect(letters(textTable(rows, shape, width).join(""))).toBe(
            letters(rows.flat().join("")),
          );
        },
      ),
    );
  });

  it("folds a text at spaces, and a word that has no room anywhere", () => {
    expect(foldText("one two three", 7)).toEqual(["one two", "three"]);
    expect(foldText("abcdefgh ij", 5)).toEqual(["abcde", "fgh", "ij"]);
    expect(foldText("", 5)).toEqual([""]);
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
