import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keepFiles } from "./keep-files.ts";
import type { RenderedFile } from "./renderer.ts";
import { imageStoreOf } from "./s3-copy.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-keep-"));
  await mkdir(join(folder, "images"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const SHA = "a".repeat(64);
const staged = async (name: string, text: string): Promise<RenderedFile> => {
  const path = join(folder, `staged-${text}`);
  await writeFile(path, text);
  const sizeBytes = text.length;
  return { nodeId: "9", name, mediaType: "image/png", sha256: SHA, sizeBytes, path };
};

describe("outputs of a run", () => {
  it("are called after it, whatever ComfyUI called them, and a second start has its own", async () => {
    const files = [
      await staged("deep/../../evil.PNG", "one"),
      await staged("no extension", "two"),
      await staged("bad.ex/t", "three"),
    ];
    const run = { name: "exp_0042", attempt: 1 };
    const kept = await keepFiles(run, files, { folder, store: undefined });
    expect(kept.kind === "kept" && kept.files.map(({ stored }) => stored)).toEqual([
      "images/exp_0042-1.png",
      "images/exp_0042-2",
      "images/exp_0042-3",
    ]);
    expect(await readFile(join(folder, "images/exp_0042-1.png"), "utf8")).toBe("one");
    const again = await keepFiles({ ...run, attempt: 2 }, files, { folder, store: undefined });
    expect(again.kind === "kept" && again.files[0]?.stored).toBe("images/exp_0042-try2-1.png");
  });

  it("take the place of what a kill left under their names", async () => {
    await writeFile(join(folder, "images/exp_0001-1.png"), "half");
    const file = await staged("x.png", "whole");
    await keepFiles({ name: "exp_0001", attempt: 1 }, [file], { folder, store: undefined });
    expect(await readFile(join(folder, "images/exp_0001-1.png"), "utf8")).toBe("whole");
  });
});

describe("a second copy in a bucket", () => {
  it("is tried again while the bucket is away, and then told by its URL", async () => {
    const clock = createFakeClock();
    let tries = 0;
    const store = imageStoreOf(
      {
        put: async ({ body }) => {
          for await (const piece of body) expect(piece.length).toBeGreaterThan(0);
          tries += 1;
          return tries < 3 ? { kind: "unavailable", reason: "HTTP 503" } : { kind: "stored" };
        },
        close: async () => undefined,
      },
      "s3://bucket/some/prefix/",
      clock,
    );
    const file = await staged("x.png", "one");
    const keeping = keepFiles({ name: "exp_0001", attempt: 1 }, [file], { folder, store });
    await expect.poll(async () => ((await clock.advanceToNext()) ? tries : tries)).toBe(3);
    const kept = await keeping;
    expect(kept.kind === "kept" && kept.files[0]?.url).toBe(`s3://bucket/some/prefix/aa/aa/${SHA}`);
  });

  it("that cannot be made is no success", async () => {
    const clock = createFakeClock();
    const store = imageStoreOf(
      {
        put: async () => ({ kind: "unavailable", reason: "HTTP 403" }),
        close: async () => undefined,
      },
      "s3://bucket",
      clock,
    );
    const file = await staged("x.png", "one");
    let kept: unknown;
    void keepFiles({ name: "exp_0001", attempt: 1 }, [file], { folder, store }).then((end) => {
      kept = end;
    });
    await expect
      .poll(async () => {
        await clock.advanceToNext();
        return kept;
      })
      .toEqual({ kind: "unavailable", reason: "HTTP 403" });
  });
});
