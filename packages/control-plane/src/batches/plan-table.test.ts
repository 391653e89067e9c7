import type { CreateBatch } from "@holdfast/contract";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyOverrides } from "../jobs/overrides.ts";
import {
  csv,
  GRAPH,
  graphWith,
  planned,
  refusal,
  rows,
  sets,
  TEMPLATE,
  type Inputs,
} from "../../testing/planning-kit.ts";

describe("a table", () => {
  test("fills variables: alone with their type, within a text as text", () => {
    expect(sets(csv('animal,style,seed\ncat,oil,7\ndog,"ink, wet",8\n'))).toEqual([
      { "3.seed": 7, "6.text": "a cat in oil" },
      { "3.seed": 8, "6.text": "a dog in ink, wet" },
    ]);
    expect(sets(rows({ animal: "cat", style: 7, seed: "7" }))).toEqual([
      { "3.seed": "7", "6.text": "a cat in 7" },
    ]);
  });

  test("sets inputs by node.input and by bind, in the type that stands there", () => {
    const request: CreateBatch = {
      graph: graphWith({ "3": { flag: false } }),
      table: { csv: "page,3.steps,words,3.cfg,3.flag,6.clip\n4,007,1984,7,TRUE,x\n2,,,,," },
      bind: { words: ["6.text", "7.text"] },
    };
    const book = planned(request);
    expect(book.pages.map(({ page, set }) => [page, set])).toEqual([
      [2, {}],
      [
        4,
        {
          "3.steps": 7,
          "6.text": "1984",
          "7.text": "1984",
          "3.cfg": 7,
          "3.flag": true,
          "6.clip": "x",
        },
      ],
    ]);
    expect(book.warnings).toEqual([]);
    expect(book.graphs).toEqual([request.graph]);
  });

  test("a seed beyond every exact number stays text", () => {
    const [set] = sets(csv("animal,style,seed\na,b,18446744073709551615")) as Inputs[];
    expect(set?.["3.seed"]).toBe("18446744073709551615");
  });

  test("a column is numbers only where all its values are", () => {
    const seeds = (text: string): unknown =>
      (sets(csv(`animal,style,seed\n${text}`)) as Inputs[]).map((set) => set["3.seed"]);
    expect(seeds("a,b,1\na,b,2.5")).toEqual([1, 2.5]);
    expect(seeds("a,b,1\na,b,x")).toEqual(["1", "x"]);
    expect(seeds("a,b,007\na,b,8")).toEqual(["007", "8"]);
    expect(seeds("a,b,true\na,b,false")).toEqual([true, false]);
  });

  test("a variable that is a text's all stays text though it looks like a number", () => {
    const graph = graphWith({ "6": { text: "{{year}}" } });
    expect(sets({ graph, table: { csv: "year\n1984\n2001" } })).toEqual([
      { "6.text": "1984" },
      { "6.text": "2001" },
    ]);
  });

  test("a variable that is all of a text and of another input is a text in the one alone", () => {
    const graph = graphWith({ "3": { steps: "{{n}}" }, "6": { text: "{{n}}" } });
    expect(sets({ graph, table: { csv: "n\n7" } })).toEqual([{ "3.steps": 7, "6.text": "7" }]);
  });

  test("what fits no type is put in as it is, with a warning once a column", () => {
    const book = planned({ graph: GRAPH, table: { csv: "3.steps\nmany\n20\nfew" } });
    expect(book.pages.map(({ set }) => set["3.steps"])).toEqual(["many", 20, "few"]);
    expect(book.warnings).toEqual([
      'pages 1, 3: column "3.steps": expected a number for 3.steps, found "many"; it is put in as it is',
    ]);
  });

  test("a cell with nothing in it leaves the graph's own value, one with quotes is an empty text", () => {
    expect(sets({ graph: GRAPH, table: { csv: '6.text,3.steps\n"",5\n,6' } })).toEqual([
      { "6.text": "", "3.steps": 5 },
      { "3.steps": 6 },
    ]);
  });

  test("is read as spreadsheets save it: byte order mark, semicolons, quotes over lines, empty lines", () => {
    const text = '\uFEFFanimal;style;seed\r\n"a ""big""\ncat";oil, ink;7\r\n\r\n';
    expect(sets(csv(text))).toEqual([{ "3.seed": 7, "6.text": 'a a "big"\ncat in oil, ink' }]);
  });

  test("what is put in is not looked at again", () => {
    expect(sets(rows({ animal: "{{style}}", style: "$& {{seed}}", seed: 1 }))).toEqual([
      { "3.seed": 1, "6.text": "a {{style}} in $& {{seed}}" },
    ]);
  });

  test("the book's set counts for all rows, a column goes before it", () => {
    const set = { "3.cfg": 5, "3.steps": 9, style: "oil" };
    expect(sets(csv("animal,seed,3.cfg\ncat,1,\ndog,2,6", { set }))).toEqual([
      { "3.seed": 1, "6.text": "a cat in oil", "3.cfg": 5, "3.steps": 9 },
      { "3.seed": 2, "6.text": "a dog in oil", "3.cfg": 6, "3.steps": 9 },
    ]);
  });

  test("names that objects have by themselves are names like others", () => {
    const graph = graphWith({ "6": { text: "{{constructor}} {{__proto__}}" } });
    const text = "constructor,__proto__\na,b";
    expect(sets({ graph, table: { csv: text } })).toEqual([{ "6.text": "a b" }]);
    expect(refusal({ graph, table: { csv: "toString\na" } })).toContain('column "toString"');
  });
});

describe("a table is refused", () => {
  test.each([
    ["", /table\.csv is empty/],
    ["animal,style,seed\n", /has no row/],
    ["animal,style,seed\na,b", /line 2 has 2 values.*3 columns/],
    ["animal,style,seed\na,b,1\na,b,1,2\n", /line 3 has 4 values.*3 columns/],
    ['animal,style,seed\na,b c,"1', /never closed/],
    ['animal,style,seed\na,b"c,1', /line 2: a double quote stands within/],
    ["animal,,seed\na,b,1", /no name for column 2/],
    ["animal,style,seed,style\na,b,1,c", /column "style" twice/],
    ["animal,stile,seed\na,b,1", /column "stile" is neither.*did you mean "style"\?/],
    [
      "animal,seed\na,1",
      /no column "style" for \{\{style\}\} of 6\.text; its columns are animal, seed/,
    ],
    ["animal,style,seed,9.x\na,b,1,2", /column "9\.x" is neither/],
    ["animal,style,seed,3.stps\na,b,1,2", /did you mean "3\.steps"\?/],
    [
      "animal,style,seed,prompt\na,b,1,2",
      /bind says which inputs it sets, such as \{"prompt": "6\.text"\}/,
    ],
    ["animal,style,seed\na,b,1\na,,1", /line 3: no value for \{\{style\}\} of 6\.text/],
    ["animal,style,seed,page\na,b,1,0", /line 2: expected a whole number.*under page, found "0"/],
    [
      "animal,style,seed,page\na,b,1,3\na,b,1,3\na,b,1,",
      /stand twice: 3 \(line 2 and line 3\), 3 \(line 2 and line 4\)/,
    ],
    ["animal,style,seed\na\0,b,1", /line 2: a value holds a NUL/],
  ])("%j", (text, message) => {
    expect(refusal(csv(text))).toMatch(message);
    expect(refusal(csv(text))).toMatch(/^invalid_request: (table|page numbers)/);
  });

  test("that is too wide or too long", () => {
    const wide = `animal,style,seed${",x".repeat(300)}\n`;
    expect(refusal(csv(wide))).toMatch(/303 columns; at most 256/);
    const long = `animal,style,seed\n${"a,b,1\n".repeat(10_001)}`;
    expect(refusal(csv(long))).toMatch(/more than 10000 rows/);
  });

  test("for a bind that goes nowhere", () => {
    const bound = (bind: CreateBatch["bind"]): string =>
      refusal(csv("animal,style,seed\na,b,1", { bind }));
    expect(bound({ animl: "6.text" })).toMatch(/no column "animl".*did you mean "animal"\?/);
    expect(bound({ animal: "4.text" })).toMatch(/bind of "animal": the graph has no node "4"/);
    expect(bound({ animal: ["6.txt"] })).toMatch(/node 6 .* has no input "txt".*text, clip/);
    expect(bound({ animal: [] })).toMatch(/names no input/);
    expect(bound({ animal: "7.text", style: "7.text" })).toMatch(
      /sets 7\.text, and so does "animal"/,
    );
  });

  test("for a row of JSON that gives a variable a list, or nothing", () => {
    expect(refusal(rows({ animal: ["1", 0], style: "b", seed: 1 }))).toMatch(
      /row 1: expected a text/,
    );
    expect(refusal(rows({ animal: "a", style: "b", seed: 1 }, { animal: "a", seed: 1 }))).toMatch(
      /row 2: no value for \{\{style\}\}/,
    );
  });
});

test("whatever a table holds, each page's values are those of its row and fit its graph", () => {
  const cell = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom("{{style}}", "$1", '"', ";", "\n"),
  );
  const table = fc.array(fc.record({ animal: cell, style: cell, seed: fc.nat() }), {
    minLength: 1,
    maxLength: 20,
  });
  const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
  fc.assert(
    fc.property(table, (given) => {
      fc.pre(given.every(({ animal, style }) => !`${animal}${style}`.includes("\0")));
      const lines = given.map(
        ({ animal, style, seed }) => `${quoted(animal)},${quoted(style)},${seed}`,
      );
      const book = planned(csv(["animal,style,seed", ...lines].join("\n")));
      expect(book.pages.map(({ page, set }) => [page, set])).toEqual(
        given.map(({ animal, style, seed }, index) => [
          index + 1,
          { "3.seed": seed, "6.text": `a ${animal} in ${style}` },
        ]),
      );
      for (const { set } of book.pages) {
        expect(applyOverrides(TEMPLATE as never, set).kind).toBe("applied");
      }
      const fromRows = planned(rows(...given)).pages;
      // That a number was a text in CSV is remembered.
      const anyVariables = { variables: expect.any(Map) };
      expect(fromRows).toEqual(book.pages.map((page) => ({ ...page, ...anyVariables })));
    }),
  );
});
