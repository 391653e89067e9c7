import { describe, expect, it } from "vitest";
import { EXIT } from "../exit-codes.ts";
import { toBookRequest } from "./book-request.ts";
import type { CreateOptions } from "./options.ts";
import { parsePageNumbers } from "./page-numbers.ts";
import { parseBatchSet } from "./set-options.ts";

const WORKFLOW = { "6": { class_type: "CLIPTextEncode", inputs: { text: "{{subject}}" } } };
const FILES: Readonly<Record<string, string>> = {
  "g.json": JSON.stringify(WORKFLOW),
  "t.csv": "subject\ncat\n",
  "t.json": '[{"subject": 18446744073709551615}]',
  "rows.json": '{"rows": [{"subject": "cat"}]}',
  "p.json": '\uFEFF{"pages": [{"prompt": "cat"}]}',
  "list.txt": ' [{"subject": "cat"}]',
  "book.json": JSON.stringify({ graph: WORKFLOW, pages: [{}], set: { a: 1, b: 1 }, name: "x" }),
  "bad.json": "{",
  "text.json": '"x"',
};

function request(file: string | undefined, options: CreateOptions): Promise<unknown> {
  return toBookRequest(file, options, async (name) => FILES[name] ?? "");
}

describe("a book", () => {
  it("is put together from a workflow and a table", async () => {
    expect(await request(undefined, { workflow: "g.json", table: "t.csv" })).toEqual({
      graph: WORKFLOW,
      table: { csv: "subject\ncat\n" },
    });
    const table = async (file: string): Promise<unknown> => {
      const body = await request(undefined, { workflow: "g.json", table: file });
      return (body as { table: unknown }).table;
    };
    expect(await table("t.json")).toEqual({ rows: [{ subject: "18446744073709551615" }] });
    expect(await table("rows.json")).toEqual({ rows: [{ subject: "cat" }] });
    expect(await table("list.txt")).toEqual({ rows: [{ subject: "cat" }] });
  });

  it("is put together from a list of pages, with or without a workflow", async () => {
    expect(await request(undefined, { pages: "p.json" })).toEqual({ pages: [{ prompt: "cat" }] });
  });

  it("is a file of its own, which flags go before", async () => {
    expect(
      await request("book.json", {
        set: ["b=2", "6.text=1984"],
        bind: ["subject=6.text,7.text", "subject=8.text"],
        name: "y",
        inOrder: true,
        window: 4,
        priority: -5,
        timeout: 90_000,
        maxRetries: 0,
        paused: true,
        tag: ["t"],
      }),
    ).toEqual({
      graph: WORKFLOW,
      pages: [{}],
      set: { a: 1, b: 2, "6.text": "1984" },
      bind: { subject: ["6.text", "7.text", "8.text"] },
      name: "y",
      parallel: false,
      window: 4,
      priority: -5,
      timeoutMs: 90_000,
      maxRetries: 0,
      paused: true,
      tags: ["t"],
    });
    expect(await request("book.json", { parallel: true })).toMatchObject({ parallel: true });
  });

  it.each<[string, string | undefined, CreateOptions, RegExp]>([
    ["nothing", undefined, {}, /expected a file with a book, or --workflow/],
    ["a workflow alone", undefined, { workflow: "g.json" }, /expected one of --table FILE/],
    [
      "a table and pages",
      undefined,
      { workflow: "g.json", table: "t.csv", pages: "p.json" },
      /one of/,
    ],
    ["a table alone", undefined, { table: "t.csv" }, /expected a file with a book/],
    [
      "a book and a table",
      "book.json",
      { table: "t.csv" },
      /--table: expected no book\.json beside/,
    ],
    [
      "a workflow for a book",
      "g.json",
      {},
      /is a workflow: expected a book\. .*--workflow g\.json/,
    ],
    ["no JSON", "bad.json", {}, /bad\.json is not JSON/],
    ["another JSON", "text.json", {}, /text\.json: expected an object with graph/],
    ["pages that are none", undefined, { pages: "text.json" }, /expected a list of pages/],
    ["rows that are none", undefined, { workflow: "g.json", table: "text.json" }, /list of rows/],
    ["both orders", "book.json", { parallel: true, inOrder: true }, /expected one of them/],
    [
      "a bind without an input",
      "book.json",
      { bind: ["subject"] },
      /--bind subject: expected column=/,
    ],
    [
      "a set without a value",
      "book.json",
      { set: ["6.text"] },
      /--set 6\.text: expected node.input=value/,
    ],
  ])("is refused for %s", async (_, file, options, message) => {
    await expect(request(file, options)).rejects.toMatchObject({
      exitCode: EXIT.refused,
      message: expect.stringMatching(message),
    });
  });
});

it("reads values of variables: numbers and truth where they read as such", () => {
  const read = parseBatchSet(
    ["a=7", "b=-1.5", "c=true", "d=007", "e=", "f=x=y", "g=18446744073709551615", "__proto__=1"],
    undefined,
  );
  expect(read.kind === "ok" && Object.entries(read.values)).toEqual([
    ["a", 7],
    ["b", -1.5],
    ["c", true],
    ["d", "007"],
    ["e", ""],
    ["f", "x=y"],
    ["g", "18446744073709551615"],
    ["__proto__", 1],
  ]);
});

it.each([
  ["3", [3]],
  ["7,3,3", [3, 7]],
  ["3-5, 9", [3, 4, 5, 9]],
  ["0", undefined],
  ["5-3", undefined],
  ["1-20000", undefined],
  ["a", undefined],
  ["", undefined],
  ["3,", undefined],
])("reads the pages of %j", (text, pages) => {
  expect(parsePageNumbers(text)).toEqual(pages);
});

it("adds pages to those that were named before", () => {
  expect(parsePageNumbers("2", [9, 1])).toEqual([1, 2, 9]);
});
