import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OutputView } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ApiAnswer, ApiClient } from "../api/api-client.ts";
import { downloadOutputs } from "./download.ts";

const clock: Clock = { now: () => 0, elapsed: () => 0, sleep: async () => undefined };
const bytes = (text: string): ApiAnswer => ({ kind: "answered", response: new Response(text) });
const refused = (status: number): ApiAnswer => ({
  kind: "refused",
  status,
  code: undefined,
  message: `answered ${status}`,
  details: undefined,
  requestId: undefined,
  retryAfterSeconds: undefined,
});

/** Gives these answers, one after the other; the last one for ever. */
function apiOf(...answers: readonly (() => ApiAnswer)[]): ApiClient & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    baseUrl: "http://x",
    asked,
    request: async (path) => {
      asked.push(path);
      const answer = answers[Math.min(asked.length, answers.length) - 1];
      return answer?.() ?? refused(500);
    },
    json: () => Promise.reject(new Error("not asked for here")),
  };
}

function output(text: string, name: string, id = "out_1"): OutputView {
  return {
    id,
    jobId: "job_1",
    nodeId: "9",
    ordinal: 0,
    kind: "image",
    name,
    mediaType: "image/png",
    sizeBytes: text.length,
    sha256: createHash("sha256").update(text).digest("hex"),
    temporary: false,
    url: "/elsewhere",
    text: null,
  };
}

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-download-"));
});
afterEach(() => rm(folder, { recursive: true }));

describe("fetching outputs", () => {
  it("writes what has the promised hash, inside the folder", async () => {
    const api = apiOf(() => bytes("picture"));
    const [written] = await downloadOutputs(api, [output("picture", "../../a.png")], {
      folder,
      clock,
    });
    expect(written).toMatchObject({ kind: "written", path: join(folder, "a.png") });
    expect(await readFile(join(folder, "a.png"), "utf8")).toBe("picture");
    expect(await readdir(folder)).toEqual(["a.png"]);
  });

  it("tries again what came damaged, and keeps nothing of it in the end", async () => {
    const mended = apiOf(
      () => bytes("pict"),
      () => bytes("picture"),
    );
    const options = { folder, clock };
    const [first] = await downloadOutputs(mended, [output("picture", "a.png")], options);
    expect(first).toMatchObject({ kind: "written" });
    const damaged = apiOf(() => bytes("pict"));
    const [second] = await downloadOutputs(damaged, [output("picture", "b.png")], options);
    expect(second).toMatchObject({ kind: "failed", reason: expect.stringContaining("SHA-256") });
    expect(damaged.asked.length).toBeGreaterThan(1);
    expect(await readdir(folder)).toEqual(["a.png"]);
  });

  it("does not ask again for what is gone", async () => {
    const api = apiOf(() => refused(410));
    const [written] = await downloadOutputs(api, [output("x", "a.png")], { folder, clock });
    expect(written).toMatchObject({ kind: "failed", reason: "answered 410" });
    expect(api.asked).toHaveLength(1);
  });

  it("never overwrites a file, and takes one with the same bytes for this one", async () => {
    await writeFile(join(folder, "a.png"), "mine");
    const options = { folder, clock };
    const fetchOne = () =>
      downloadOutputs(
        apiOf(() => bytes("picture")),
        [output("picture", "a.png")],
        options,
      );
    expect(await fetchOne()).toMatchObject([{ path: join(folder, "a-2.png") }]);
    expect(await fetchOne()).toMatchObject([{ path: join(folder, "a-2.png") }]);
    expect(await readFile(join(folder, "a.png"), "utf8")).toBe("mine");
    expect((await readdir(folder)).sort()).toEqual(["a-2.png", "a.png"]);
  });

  it("keeps outputs of one name and the same bytes apart", async () => {
    const api = apiOf(() => bytes("same"));
    const two = [output("same", "a.png", "out_1"), output("same", "a.png", "out_2")];
    const written = await downloadOutputs(api, two, { folder, clock });
    expect(written.every((each) => each.kind === "written")).toBe(true);
    expect((await readdir(folder)).sort()).toEqual(["a-2.png", "a.png"]);
  });
});
