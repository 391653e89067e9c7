import { createHash } from "node:crypto";
import { once } from "node:events";
import { buffer } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import * as fc from "fast-check";
import { strFromU8, unzipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { batchView, bookPage, outputOf, pagesOf, storeOf } from "../../testing/book-facts.ts";
import { nameOutputs } from "./archive-names.ts";
import { streamArchive, type ArchiveSource, type OpenBlob } from "./archive.ts";
import type { PageWithOutputs } from "./book-files.ts";

const NOW = Date.parse("2026-11-27T12:00:00Z");

function archiveOf(
  pages: readonly PageWithOutputs[],
  open: OpenBlob,
  over: Partial<ArchiveSource> = {},
) {
  return streamArchive({
    batch: batchView(),
    largestPage: Math.max(...pages.map(({ page }) => page.page)),
    pages: pagesOf(pages),
    open,
    now: NOW,
    ...over,
  });
}

async function unzip(stream: ReturnType<typeof archiveOf>): Promise<Record<string, string>> {
  const files = unzipSync(new Uint8Array(await buffer(stream)));
  return Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, strFromU8(bytes)]));
}

const done = (page: number, ...outputs: PageWithOutputs["outputs"]): PageWithOutputs => ({
  page: bookPage(page),
  outputs,
});

describe("the archive of a book", () => {
  test("has what is done by page, and all pages in pages.json", async () => {
    const pages: PageWithOutputs[] = [
      done(1, outputOf("a", "one")),
      done(
        2,
        outputOf("c", "two b", { ordinal: 1, mediaType: "image/jpeg" }),
        outputOf("b", "two a"),
        outputOf("t", "preview", { temporary: true }),
      ),
      { page: bookPage(3, { status: "attention", badge: "Needs attention" }), outputs: [] },
      done(12_345, outputOf("d", "last", { mediaType: "application/x", name: "x.latent" })),
    ];
    const files = await unzip(archiveOf(pages, storeOf("one", "two a", "two b", "last")));
    expect(Object.keys(files)).toEqual([
      "00001.png",
      "00002.png",
      "00002-2.jpg",
      "12345.latent",
      "pages.json",
    ]);
    expect(files["00002-2.jpg"]).toBe("two b");
    const { batch, pages: told } = JSON.parse(files["pages.json"] ?? "") as {
      batch: unknown;
      pages: { page: number; status: string; files: string[] }[];
    };
    expect(batch).toEqual(batchView());
    expect(told.map(({ page, status, files: names }) => [page, status, names])).toEqual([
      [1, "done", ["00001.png"]],
      [2, "done", ["00002.png", "00002-2.jpg"]],
      [3, "attention", []],
      [12_345, "done", ["12345.latent"]],
    ]);
  });

  test("of a book with nothing done has pages.json alone", async () => {
    expect(Object.keys(await unzip(archiveOf([], storeOf(), { largestPage: 0 })))).toEqual([
      "pages.json",
    ]);
  });

  test("is whole without a file whose bytes are gone, and names it", async () => {
    const pages = [
      done(1, outputOf("a", "one")),
      done(2, outputOf("b", "gone"), outputOf("c", "two", { ordinal: 1 })),
      done(3, outputOf("d", "three", { sizeBytes: 99 })),
    ];
    const files = await unzip(archiveOf(pages, storeOf("one", "two", "three")));
    expect(Object.keys(files)).toEqual(["0001.png", "0002-2.png", "MISSING.txt", "pages.json"]);
    expect(files["MISSING.txt"]).toContain("0002.png  out_b  its bytes are no longer in the store");
    expect(JSON.parse(files["pages.json"] ?? "")).toMatchObject({
      pages: [
        { files: ["0001.png"] },
        { files: ["0002-2.png"], missing: [{ name: "0002.png" }] },
        { files: [], missing: [{ name: "0003.png" }] },
      ],
    });
  });

  test("goes on where the stream of a blob broke", async () => {
    const store = storeOf("0123456789");
    let opens = 0;
    const open: OpenBlob = async (sha256, range) => {
      const opened = await store(sha256, range);
      opens += 1;
      if (opened.kind !== "found" || opens > 3) return opened;
      return { ...opened, body: cutAfter(opened.body as Uint8Array, 2) };
    };
    const files = await unzip(archiveOf([done(1, outputOf("a", "0123456789"))], open));
    expect(files["0001.png"]).toBe("0123456789");
    expect(opens).toBe(4);
  });

  test.each<[string, OpenBlob]>([
    ["is down", async () => ({ kind: "unavailable", reason: "no disk" })],
    [
      "breaks again and again",
      async () => ({ kind: "found", sizeBytes: 3, body: cutAfter(Buffer.from("one"), 0) }),
    ],
    ["gives too little", async () => ({ kind: "found", sizeBytes: 3, body: Buffer.from("") })],
  ])("is cut when the store %s", async (_, open) => {
    await expect(buffer(archiveOf([done(1, outputOf("a", "one"))], open))).rejects.toThrow();
  });

  test("is cut when the book cannot be read on", async () => {
    // oxlint-disable-next-line require-yield
    const pages = async function* (): AsyncGenerator<readonly PageWithOutputs[]> {
      throw new Error("no database");
    };
    await expect(buffer(archiveOf([], storeOf(), { pages, largestPage: 1 }))).rejects.toThrow(
      "no database",
    );
  });

  test("is read as fast as it is taken, a blob at a time, and no further when its reader goes away", async () => {
    const large = "x".repeat(1_000_000);
    const pages = Array.from({ length: 50 }, (_, i) => done(i + 1, outputOf(`${i}`, large)));
    const store = storeOf(large);
    let opens = 0;
    let streams = 0;
    let most = 0;
    const open: OpenBlob = async (sha256) => {
      const opened = await store(sha256);
      opens += 1;
      if (opened.kind !== "found") return opened;
      const bytes = opened.body as Uint8Array;
      const body = async function* (): AsyncGenerator<Uint8Array, void, void> {
        streams += 1;
        most = Math.max(most, streams);
        try {
          for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
        } finally {
          streams -= 1;
        }
      };
      return { ...opened, body: body() };
    };
    const stream = archiveOf(pages, open);
    await once(stream, "readable");
    stream.read(1);
    for (let turn = 0; turn < 200; turn += 1) await setImmediate();
    expect(opens).toBe(1);
    expect(most).toBe(1);
    stream.destroy();
    for (let turn = 0; turn < 200; turn += 1) await setImmediate();
    expect([opens, streams]).toEqual([1, 0]);
  });

  test("of thousands of pages is put together in seconds", async () => {
    const pages = Array.from({ length: 3_000 }, (_, i) => done(i + 1, outputOf(`${i}`, "one")));
    const files = await unzip(archiveOf(pages, storeOf("one")));
    expect(Object.keys(files)).toHaveLength(3_001);
  });
});

async function* cutAfter(bytes: Uint8Array, count: number): AsyncGenerator<Uint8Array, void, void> {
  if (count > 0) yield bytes.subarray(0, count);
  throw new Error("cut");
}

test("names are different, in the pages' order, and safe in every file system", () => {
  const output = fc.record({
    mediaType: fc.oneof(
      fc.constantFrom("image/png", "image/PNG; q=1", "text/html", ""),
      fc.string(),
    ),
    name: fc.oneof(fc.constantFrom("../../x.sh", "a.tar.gz", "con", "x."), fc.string()),
    ordinal: fc.nat(9),
    temporary: fc.boolean(),
  });
  const outputs = fc.array(output, { minLength: 1, maxLength: 5 });
  const digest = createHash("sha256").digest("hex");
  fc.assert(
    fc.property(outputs, fc.integer({ min: 1, max: 1_000_000 }), (given, largest) => {
      const views = given.map((one, i) => outputOf(`${i}`, "x", { ...one, sha256: digest }));
      const names = [1, largest].flatMap((page) =>
        page === 1 && largest === 1
          ? []
          : nameOutputs(page, views, largest).map(({ name }) => name),
      );
      expect(new Set(names).size).toBe(names.length);
      for (const name of names) expect(name).toMatch(/^\d{4,7}(-\d)?\.[a-z0-9]{1,12}$/);
    }),
  );
});
