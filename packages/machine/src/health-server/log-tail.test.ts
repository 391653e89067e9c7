import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readTail } from "./log-tail.ts";

let folder = "";
let file = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-tail-"));
  file = join(folder, "out.log");
});
afterAll(() => rm(folder, { recursive: true }));
const tail = async (text: string | Buffer, maxLines: number, maxBytes = 1_000_000) => {
  await writeFile(file, text);
  const read = await readTail(file, { maxLines, maxBytes });
  if (read === undefined) throw new Error("no tail");
  return { ...read, text: read.bytes.toString("utf8") };
};

test("the last lines, whether the file ends in a newline or not", async () => {
  expect(await tail("a\nb\nc\n", 2)).toMatchObject({ text: "b\nc\n", isTruncated: true });
  expect(await tail("a\nb\nc", 2)).toMatchObject({ text: "b\nc", isTruncated: true });
  expect(await tail("a\nb\n", 2)).toMatchObject({ text: "a\nb\n", isTruncated: false });
  expect(await tail("\n\n\n", 2)).toMatchObject({ text: "\n\n" });
  expect(await tail("", 5)).toMatchObject({ text: "", isTruncated: false });
  expect(await tail("a\nb\n", 0)).toMatchObject({ text: "", position: { offset: 4 } });
});

test("what is no file has no tail", async () => {
  expect(await readTail(join(folder, "none"), { maxLines: 5, maxBytes: 100 })).toBeUndefined();
  await mkdir(join(folder, "sub"));
  expect(await readTail(join(folder, "sub"), { maxLines: 5, maxBytes: 100 })).toBeUndefined();
});

test("bytes are bounded: a line cut in two is left out, unless it is the only one", async () => {
  expect(await tail("aaaaaaaaaa\nbbb\nccc\n", 10, 10)).toMatchObject({
    text: "bbb\nccc\n",
    isTruncated: true,
  });
  const one = await tail(`${"x".repeat(500)}ende`, 10, 8);
  expect(one).toMatchObject({ text: "xxxxende", isTruncated: true, sizeBytes: 504 });
  expect((await tail("äöü€€€", 10, 7)).text).toBe("€€");
});

test("a large file is read from its end alone, over many chunks", async () => {
  const lines = Array.from({ length: 60_000 }, (_, n) => `line ${n}`);
  const read = await tail(`${lines.join("\n")}\n`, 20_000);
  expect(read.text).toBe(`${lines.slice(-20_000).join("\n")}\n`);
  expect(read.bytes.length).toBeLessThan(read.sizeBytes / 2);
});

test("as a plain reading of the whole file would have it", async () => {
  const anyText = fc.array(fc.constantFrom("a", "é", "\n", "\n", "€", "😀"), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(anyText, fc.nat({ max: 12 }), async (parts, maxLines) => {
      const text = parts.join("");
      const whole = text.split("\n");
      if (whole.at(-1) === "") whole.pop();
      const wanted = maxLines === 0 ? [] : whole.slice(-maxLines);
      const ending = text.endsWith("\n") && wanted.length > 0 ? "\n" : "";
      const read = await tail(text, maxLines);
      expect(read.text).toBe(wanted.join("\n") + ending);
      expect(read.position.offset).toBe(Buffer.byteLength(text));
      expect(read.isTruncated).toBe(read.bytes.length < Buffer.byteLength(text));
    }),
    { numRuns: 150 },
  );
});

test("however few bytes, never more than asked, and whole characters", async () => {
  const anyText = fc.array(fc.constantFrom("a", "é", "\n", "€", "😀"), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(anyText, fc.integer({ min: 4, max: 30 }), async (parts, maxBytes) => {
      const read = await tail(parts.join(""), 1_000, maxBytes);
      expect(read.bytes.length).toBeLessThanOrEqual(maxBytes);
      expect(read.text).not.toContain("\ufffd");
      expect(parts.join("").endsWith(read.text)).toBe(true);
    }),
    { numRuns: 150 },
  );
});
