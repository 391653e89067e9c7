import { expect, it } from "vitest";
import { limitsOf } from "./stall.ts";
import { createWarmth, modelsOf } from "./warmth.ts";

const loading = (name: string) =>
  modelsOf({ "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: name } } });
const A = loading("a.safetensors");
const B = loading("b.safetensors");

it("a process is warm for the models of the prompt that came through last", () => {
  const warmth = createWarmth();
  expect(warmth.begin(A)).toBe(false);
  warmth.end(A);
  expect(warmth.begin(A)).toBe(true);
  warmth.end(A);
  expect(warmth.begin(B)).toBe(false);
  warmth.end(B);
  expect(warmth.begin(A)).toBe(false);
});

it("a process is not warm for what did not come through, nor after its memory was freed", () => {
  const warmth = createWarmth();
  warmth.begin(A);
  expect(warmth.begin(A)).toBe(false);
  warmth.end(A);
  warmth.forget();
  expect(warmth.begin(A)).toBe(false);
  // The end of one that was heard late says nothing of the one that runs now.
  warmth.end(B);
  expect(warmth.begin(B)).toBe(false);
});

it("the shorter limits hold for a warm process alone, and only where a lease has them", () => {
  const stall = { progressMs: 120_000, firstLoadMs: 300_000 };
  const warm = { progressMs: 30_000, firstLoadMs: 40_000 };
  expect(limitsOf({ ...stall, warm }, true)).toEqual(warm);
  expect(limitsOf({ ...stall, warm }, false)).toMatchObject(stall);
  expect(limitsOf(stall, true)).toEqual(stall);
});

it("models of loaders that nobody knows are models all the same", () => {
  const custom = (model: string, seed: number) =>
    modelsOf({
      "1": { class_type: "DownloadAndLoadSomething", inputs: { repo: model } },
      "2": { class_type: "Detailer", inputs: { detector: `${model}.pt`, x: ["1", 0], seed } },
      "3": { class_type: "LoadImage", inputs: { image: `${seed}.png` } },
      "4": { class_type: "PrimitiveString", inputs: { value: `prompt ${seed}` } },
    });
  expect(custom("some/a", 1)).toBe(custom("some/a", 2));
  expect(custom("some/a", 1)).not.toBe(custom("some/b", 1));
});
