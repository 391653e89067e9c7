import type { CreateBatch, NewPage } from "@holdfast/contract";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyOverrides } from "../jobs/overrides.ts";
import type { PlanningFacts } from "../jobs/submission.ts";
import { planBook } from "./plan-book.ts";
import type { PlannedBook } from "./planned-book.ts";

const GRAPH = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 1,
      steps: 20,
      cfg: 7.5,
      model: ["1", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: ["5", 0],
    },
  },
  "5": { class_type: "EmptyLatentImage", inputs: { width: 512, height: 512, batch_size: 1 } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: "a house", clip: ["1", 1] } },
  "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["1", 1] } },
  "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["1", 2] } },
  "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "book" } },
};
type Inputs = Readonly<Record<string, unknown>>;

/** {@link GRAPH} with other inputs. */
function graphWith(inputs: Readonly<Record<string, Inputs>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(GRAPH).map(([id, node]) => [
      id,
      { ...node, inputs: { ...node.inputs, ...inputs[id] } },
    ]),
  );
}

const TEMPLATE = graphWith({
  "3": { seed: "{{seed}}" },
  "6": { text: "a {{animal}} in {{style}}" },
});

const FACTS: PlanningFacts = { allowedClasses: null, sha256: (text) => text };

function planned(request: CreateBatch, facts = FACTS): PlannedBook {
  const plan = planBook(request, facts);
  if (plan.kind !== "planned") throw new Error(`${plan.code}: ${plan.message}`);
  return plan.book;
}

function sets(request: CreateBatch): unknown {
  return planned(request).pages.map(({ set }) => set);
}

function refusal(request: CreateBatch): string {
  const plan = planBook(request, FACTS);
  if (plan.kind !== "refused") throw new Error("it was planned");
  return `${plan.code}: ${plan.message}`;
}

const csv = (text: string, rest: Partial<CreateBatch> = {}): CreateBatch => ({
  graph: TEMPLATE,
  table: { csv: text },
  ...rest,
});
const rows = (...given: Record<string, unknown>[]): CreateBatch => ({
  graph: TEMPLATE,
  table: { rows: given },
});
const list = (...pages: NewPage[]): CreateBatch => ({ graph: GRAPH, pages });

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

describe("a list of pages", () => {
  test("puts the book's set, the page's own, prompt and seed in their places", () => {
    const request: CreateBatch = {
      ...list(
        { prompt: "sea", seed: 7, name: "one", metadata: { a: 1 } },
        { set: { "3.cfg": 3, "6.text": "x" }, page: 9 },
      ),
      set: { "3.cfg": 2, "3.steps": 9 },
    };
    expect(planned(request).pages).toEqual([
      {
        page: 1,
        name: "one",
        graphNo: 0,
        set: { "3.cfg": 2, "3.steps": 9, "6.text": "sea", "3.seed": 7 },
        variables: new Map(),
        metadata: { a: 1 },
        trouble: null,
      },
      {
        page: 9,
        name: null,
        graphNo: 0,
        set: { "3.cfg": 3, "3.steps": 9, "6.text": "x" },
        variables: new Map(),
        metadata: {},
        trouble: null,
      },
    ]);
  });

  test("prompt and seed are the marks of their names; other variables are given by set", () => {
    const graph = graphWith({
      "3": { seed: "{{ seed }}" },
      "7": { text: "{{prompt}}, {{style}}" },
    });
    const pages = [{ prompt: "sea", seed: 3, set: { style: "oil" } }];
    expect(sets({ graph, pages })).toEqual([{ "3.seed": 3, "7.text": "sea, oil" }]);
    expect(refusal({ graph, pages: [{ prompt: "sea", seed: 3 }] })).toMatch(
      /page 1: no value for \{\{style\}\} of 7\.text; set gives it one/,
    );
  });

  test("an input that is set whole needs no value for its variables", () => {
    expect(
      sets({ graph: TEMPLATE, pages: [{ seed: 1, set: { "6.text": "all {{new}}" } }] }),
    ).toEqual([{ "3.seed": 1, "6.text": "all {{new}}" }]);
  });

  test("a prompt goes before a value for the input in which its mark stands", () => {
    const graph = graphWith({ "7": { text: "no {{prompt}}" } });
    const set = { "7.text": "x", "6.text": "y" };
    expect(sets({ graph, pages: [{ set, prompt: "sea" }, { set }] })).toEqual([
      { "7.text": "no sea", "6.text": "y" },
      set,
    ]);
  });

  test("prompt and seed without a place are warned of, once for all pages", () => {
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "a.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
    };
    const pages = Array.from({ length: 7 }, (_, seed) => ({ prompt: "sea", seed }));
    expect(planned({ graph, pages }).warnings).toEqual([
      expect.stringMatching(
        /^pages 1, 2, 3, 4, 5, … \(7 in all\): prompt: the graph has no \{\{prompt\}\}/,
      ),
      expect.stringMatching(/^pages 1, 2, .*: seed: the graph has no/),
    ]);
  });

  test("keeps each graph once, and the books' pages in order", () => {
    const other = graphWith({ "3": { steps: 5 } });
    const pages = [{ graph: other, page: 3 }, { graph: structuredClone(other), page: 1 }, {}];
    const book = planned(list(...pages.map((page, i) => (i === 2 ? { page: 2 } : page))));
    expect(book.graphs).toEqual([other, GRAPH]);
    expect(book.pages.map(({ page, graphNo }) => [page, graphNo])).toEqual([
      [1, 0],
      [2, 1],
      [3, 0],
    ]);
  });

  test("keeps no graph that none of its pages is made of", () => {
    const other = graphWith({ "3": { steps: 5 } });
    const book = planned(list({ graph: other }, { graph: other }));
    expect(book.graphs).toEqual([other]);
    expect(book.pages.map(({ graphNo }) => graphNo)).toEqual([0, 0]);
  });

  test("a page whose own graph is refused, or that an override does not fit, is trouble of its own", () => {
    const book = planned({
      ...list(
        { graph: { nodes: [], links: [] }, set: { "3.seed": 1 } },
        { set: { "99.seed": 1, "3.steps": 4 } },
        { set: { "3.model": ["77", 0] } },
        { graph: { "1": { class_type: "A", inputs: {} } } },
        {},
      ),
      set: { "3.cfg": 2 },
    });
    expect(book.pages.map(({ trouble }) => trouble?.code ?? null)).toEqual([
      "graph_editor_format",
      "override_unmatched",
      "graph_dangling_link",
      "override_unmatched",
      null,
    ]);
    expect(book.pages[0]?.set).toEqual({ "3.cfg": 2, "3.seed": 1 });
    expect(book.pages[1]?.set).toEqual({ "3.cfg": 2, "3.steps": 4, "99.seed": 1 });
    expect(book.pages[1]?.trouble?.message).toMatch(/set: the graph has no node "99"/);
  });
});

describe("a book is refused", () => {
  const link = { "3": { model: ["77", 0] } };
  test.each<[string, CreateBatch, RegExp]>([
    ["without pages and table", { graph: GRAPH }, /expected pages .* or a table.*neither/],
    ["with both", { ...csv("a\n1"), pages: [{}] }, /found both/],
    ["without a page", list(), /pages is empty/],
    ["with a table and no graph", { table: { csv: "a\n1" } }, /expected a graph beside the table/],
    [
      "without a graph for pages",
      { pages: [{ graph: GRAPH }, {}, { page: 8 }] },
      /pages 2, 8: no graph/,
    ],
    ["with a bind and no table", { ...list({}), bind: { a: "3.seed" } }, /bind is for the columns/],
    [
      "with numbers twice",
      list({ page: 2 }, {}, { page: 2 }),
      /twice: 2 \(pages\[0\] and pages\[1\]\)/,
    ],
    ["whose graph is none", { graph: {}, pages: [{}] }, /^graph_empty/],
    [
      "whose graph has a loose link",
      { graph: graphWith(link), pages: [{}] },
      /^graph_dangling_link/,
    ],
    [
      "whose set fits nothing",
      { ...list({}), set: { "9.x": 1 } },
      /^override_unmatched: set: node 9/,
    ],
    [
      "whose set misses a variable",
      { graph: TEMPLATE, pages: [{}], set: { stile: 1 } },
      /did you mean style\?/,
    ],
    [
      "with text that cannot be stored",
      list({ set: { "6.text": "\uD800" } }),
      /page 1: set holds a NUL/,
    ],
    ["with such a graph", list({ graph: { a: "\0" } }), /page 1: graph holds a NUL/],
    ["with such a name", list({ name: "\0" }), /page 1: name holds a NUL/],
    ["with such metadata", { ...list({}), metadata: { a: "\0" } }, /metadata holds a NUL/],
    [
      "with large metadata",
      list({ metadata: { a: "x".repeat(20_000) } }),
      /page 1: metadata has 20\d+ bytes/,
    ],
    [
      "with too many pages",
      list(...Array.from({ length: 10_001 }, () => ({}))),
      /at most 10000 pages/,
    ],
  ])("%s", (_, request, message) => {
    expect(refusal(request)).toMatch(message);
  });

  test("whose node classes the caller may not use", () => {
    expect(planBook(list({}), { ...FACTS, allowedClasses: ["SaveImage"] })).toMatchObject({
      kind: "refused",
      code: "node_class_forbidden",
    });
  });

  test("whose values would not fit into the memory of a server", () => {
    const graph = graphWith({ "6": { text: "{{a}} ".repeat(2_000) } });
    expect(refusal({ graph, table: { rows: [{ a: "x".repeat(20_000) }] } })).toMatch(
      /row 1: its values may come to more than 16777216 characters/,
    );
    const bind = { a: ["6.text", "7.text", "9.filename_prefix"] };
    const long = "x".repeat(10_000);
    const many = Array.from({ length: 5_000 }, () => ({ a: long }));
    expect(refusal({ graph: GRAPH, table: { rows: many }, bind })).toMatch(
      /all pages come to more than \d+ characters/,
    );
  });

  test("where the name of a variable's place means another input", () => {
    const graph = {
      ...GRAPH,
      a: { class_type: "A", inputs: { "b.c": "{{x}}" } },
      "a.b": { class_type: "A", inputs: { c: 1 } },
    };
    expect(refusal({ graph, pages: [{ set: { x: 1 } }] })).toMatch(/a\.b\.c has a place/);
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

test("whatever is asked for, a book is planned whole or refused in words, and what is planned fits", () => {
  const name = fc.constantFrom("x", "y", "x", "y", "1.a", "2.b.c", "__proto__", "page", "9.z");
  const value = fc.oneof(
    { weight: 40, arbitrary: fc.constantFrom<unknown>("b", 7, "7", true) },
    fc.constantFrom<unknown>("{{x}}", "a {{y}} b", "{{ __proto__ }}{{x}}", "7", "", null, true, 7),
    fc.constant(["1", 0]),
    fc.constant(["9", 0]),
    fc.constant({ deep: ["{{x}}"] }),
    fc.string({ unit: "binary", maxLength: 5 }),
  );
  const set = fc
    .tuple(fc.dictionary(name, value, { maxKeys: 3 }), fc.boolean())
    .map(([some, hasAll]) => (hasAll ? { x: 1, y: "b", ...some } : some));
  const inputs = fc.dictionary(fc.constantFrom("b", "b.c", "seed", "text"), value);
  const graph = fc.tuple(inputs, inputs).map(([one, two]) => ({
    "1": { class_type: "KSampler", inputs: { a: "{{x}}", ...one } },
    "2": { class_type: "SaveImage", inputs: two },
    "2.b": { class_type: "Note", inputs: { c: 1 } },
  }));
  const page = fc.record<NewPage>(
    { page: fc.integer({ min: 1, max: 60 }), graph, set, prompt: fc.string(), seed: fc.nat() },
    { requiredKeys: [] },
  );
  const cell = fc.constantFrom("", "7", "a b", '"q"', "x;y");
  const csvText = fc
    .tuple(
      fc.array(name, { minLength: 1, maxLength: 3 }),
      fc.array(fc.array(cell, { maxLength: 3 })),
    )
    .map(([head, lines]) => [head, ...lines].map((line) => line.join(",")).join("\n"));
  const table = fc.oneof(
    fc.record({ rows: fc.array(set, { maxLength: 4 }) }),
    fc.record({ csv: fc.oneof(csvText, fc.string()) }),
  );
  const bind = fc.option(fc.dictionary(name, name, { maxKeys: 1 }), { nil: undefined });
  const request: fc.Arbitrary<CreateBatch> = fc.oneof(
    fc.record({ graph, pages: fc.array(page, { minLength: 1, maxLength: 4 }) }),
    fc.record({ graph, set, pages: fc.array(page, { maxLength: 4 }) }),
    fc.record({ graph, table }),
    fc.record({ graph, set, table, bind }).map(({ bind: given, ...rest }) => ({
      ...rest,
      ...(given !== undefined && { bind: given }),
    })),
  );
  let planningCount = 0;
  fc.assert(
    fc.property(request, (given) => {
      const plan = planBook(given, FACTS);
      if (plan.kind === "refused") {
        expect(plan.message).not.toBe("");
        return;
      }
      planningCount += 1;
      const { pages, graphs } = plan.book;
      const numbers = pages.map(({ page: number }) => number);
      expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
      for (const { graphNo, set: values, trouble } of pages) {
        expect(JSON.stringify(values)).not.toContain("\\u0000");
        if (trouble !== null) continue;
        expect(applyOverrides(graphs[graphNo] as never, values).kind).toBe("applied");
      }
    }),
    { numRuns: 2_000 },
  );
  // Not all of them are refused.
  expect(planningCount).toBeGreaterThan(50);
});
