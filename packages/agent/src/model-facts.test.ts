import type { ComfyClient } from "@holdfast/comfyui";
import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { ModelFactsReader } from "./model-facts.ts";

const HASH = "a".repeat(64);
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const said = { architecture: "flux-1-dev", baseModel: null, tensorHash: HASH };
type Answer = Awaited<ReturnType<ComfyClient["modelMetadata"]>>;
const DOWN: Answer = { kind: "unreachable", code: "ECONNRESET", message: "reset", sent: true };

function setUp(answers: Readonly<Record<string, Answer>> = {}, limits: { max?: number } = {}) {
  const clock = createFakeClock();
  const state = { asked: [] as string[], listed: [] as string[], read: 0, atOnce: 0, most: 0 };
  const held = new Set<() => void>();
  const stopping = new AbortController();
  let isHeld = false;
  const reader = new ModelFactsReader({
    client: {
      modelSizes: (folder) => {
        state.listed.push(folder);
        return Promise.resolve({ kind: "ok", sizes: new Map([["a.safetensors", 7]]) });
      },
      modelMetadata: async (folder, name, signal) => {
        state.asked.push(`${folder}/${name}`);
        state.atOnce += 1;
        state.most = Math.max(state.most, state.atOnce);
        await new Promise<void>((resolve, reject) => {
          if (!isHeld) setImmediate(resolve);
          else held.add(resolve);
          signal?.addEventListener("abort", () => reject(new Error("aborted")), { once: true });
        });
        state.atOnce -= 1;
        return answers[name] ?? { kind: "ok", metadata: said };
      },
    },
    clock,
    limits: {
      modelFactsMax: limits.max ?? 100,
      modelFactsAtOnce: 2,
      modelFactsMs: 1_000,
      inventoryEveryMs: 60_000,
    },
    onRead: () => (state.read += 1),
    signal: stopping.signal,
  });
  const done = async (): Promise<void> => {
    for (let turn = 0; turn < 40; turn += 1) await settled();
  };
  const hold = (value: boolean): void => {
    isHeld = value;
    if (value) return;
    for (const resolve of held) resolve();
    held.clear();
  };
  return { clock, state, reader, done, hold, stopping };
}

describe("what model files say", () => {
  it("is read once for each file, two at a time, the most telling folders first", async () => {
    const { state, reader, done } = setUp();
    const models = {
      loras: ["b.safetensors", "c.safetensors"],
      checkpoints: ["a.safetensors", "old.ckpt"],
      configs: ["x.safetensors"],
    };
    reader.read(models);
    reader.read(models);
    await done();
    reader.read(models);
    await done();
    expect(state.asked).toEqual([
      "checkpoints/a.safetensors",
      "loras/b.safetensors",
      "loras/c.safetensors",
    ]);
    expect(state).toMatchObject({ listed: ["checkpoints", "loras"], read: 1, most: 2 });
    expect(reader.factsOf(models)).toEqual([
      { folder: "checkpoints", name: "a.safetensors", ...said, sizeBytes: 7 },
      { folder: "loras", name: "b.safetensors", ...said, sizeBytes: null },
      { folder: "loras", name: "c.safetensors", ...said, sizeBytes: null },
    ]);
    // A file that is gone is in no inventory any more.
    expect(reader.factsOf({ loras: ["b.safetensors"] })).toHaveLength(1);
    expect(reader.factsOf({ loras: ["other.safetensors"] })).toBeUndefined();
  });

  it("is nothing where a file says nothing, has no metadata or is broken, and is not asked again", async () => {
    const nothing = { architecture: null, baseModel: null, tensorHash: null };
    const { state, reader, done } = setUp({
      "a.safetensors": { kind: "ok", metadata: undefined },
      "b.safetensors": { kind: "ok", metadata: nothing },
      "c.safetensors": { kind: "http", status: 500, body: "" },
      "d.safetensors": { kind: "malformed", message: "larger" },
    });
    const models = {
      vae: ["a.safetensors", "b.safetensors", "c.safetensors", "d.safetensors"],
    };
    reader.read(models);
    await done();
    reader.read(models);
    await done();
    expect(state.asked).toHaveLength(4);
    expect(state.read).toBe(0);
    expect(reader.factsOf(models)).toBeUndefined();
  });

  it.each([
    ["no answer comes", DOWN],
    ["a proxy answers", { kind: "http", status: 502, body: "" } as const],
  ])("is left for later when %s, and what is known by then is told", async (_, trouble) => {
    const { clock, state, reader, done } = setUp({ "b.safetensors": trouble });
    const models = { vae: ["a.safetensors", "b.safetensors"] };
    reader.read(models);
    await done();
    expect(state.read).toBe(1);
    expect(reader.factsOf(models)).toHaveLength(1);
    reader.read(models);
    await done();
    expect(state.asked).toHaveLength(2);
    await clock.advance(60_000);
    reader.read(models);
    await done();
    expect(state.asked.slice(2)).toEqual(["vae/b.safetensors"]);
  });

  it("is given up when it takes too long, and no file more is read than there may be", async () => {
    const { clock, state, reader, done, hold } = setUp({}, { max: 3 });
    const models = { vae: ["a", "b", "c", "d", "e"].map((name) => `${name}.safetensors`) };
    hold(true);
    reader.read(models);
    await done();
    await clock.advance(1_000);
    await done();
    expect(state.asked).toHaveLength(2);
    hold(false);
    reader.read(models);
    await done();
    expect(state.asked).toHaveLength(2);
    await clock.advance(60_000);
    reader.read(models);
    await done();
    reader.read(models);
    await done();
    expect(reader.factsOf(models)).toHaveLength(3);
    expect(state.asked).toHaveLength(5);
  });

  it("of a process that is gone is forgotten, also what is on its way", async () => {
    const { state, reader, done, hold } = setUp();
    const models = { vae: ["a.safetensors", "b.safetensors"] };
    hold(true);
    reader.read(models);
    await done();
    reader.forget();
    hold(false);
    await done();
    expect(reader.factsOf(models)).toBeUndefined();
    expect(state.read).toBe(0);
    reader.read(models);
    await done();
    expect(reader.factsOf(models)).toHaveLength(2);
  });
});
