import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { diffusionBytes, familyOf } from "./families.ts";
import { createVram, VRAM_PRESETS, type VramOutcome } from "./vram.ts";
import { decodeBytes, samplingBytes, tiledDecodeBytes, type LatentSize } from "./work.ts";

const GB = 1e9;

function latent(pixels: number, batch: number): LatentSize {
  return { columns: pixels / 8, rows: pixels / 8, frames: 1, batch };
}

function granted(outcome: VramOutcome): Extract<VramOutcome, { kind: "granted" }> {
  if (outcome.kind !== "granted") throw new Error(outcome.message);
  return outcome;
}

function refusal(outcome: VramOutcome): string {
  if (outcome.kind !== "out_of_memory") throw new Error("expected out of memory");
  return outcome.message;
}

describe("the card's memory", () => {
  it("loads a model once", () => {
    const vram = createVram(24 * GB);
    const demand = { models: [{ key: "a", bytes: 6 * GB }], workBytes: GB };
    expect(vram.demand(demand)).toMatchObject({ kind: "granted", loadedBytes: 6 * GB });
    expect(vram.demand(demand)).toMatchObject({ kind: "granted", loadedBytes: 0 });
  });

  it("the least recently used model makes room", () => {
    const vram = createVram(12 * GB);
    for (const key of ["a", "b", "a"])
      vram.demand({ models: [{ key, bytes: 4 * GB }], workBytes: 0 });
    vram.demand({ models: [{ key: "c", bytes: 4 * GB }], workBytes: 0 });
    expect(vram.stats().loaded).toEqual(["a", "c"]);
  });

  it("a model larger than the card is partly left in host memory", () => {
    const vram = createVram(8 * GB);
    const outcome = vram.demand({ models: [{ key: "flux", bytes: 24 * GB }], workBytes: GB });
    expect(granted(outcome).offloadedBytes).toBeGreaterThan(16 * GB);
  });

  it("work that does not fit is out of memory in torch's words, and more room makes it fit", () => {
    const size = latent(1024, 40);
    const workBytes = samplingBytes(familyOf("sd_xl_base_1.0.safetensors"), size);
    const demand = { models: [{ key: "xl", bytes: diffusionBytes("sd_xl") }], workBytes };
    const small = createVram(VRAM_PRESETS["8gb"].totalBytes).demand(demand);
    expect(refusal(small)).toMatch(/^CUDA out of memory\. Tried to allocate \d+\.\d\d GiB\. GPU 0/);
    const large = createVram(VRAM_PRESETS["24gb"].totalBytes).demand(demand);
    expect(large).toMatchObject({ kind: "granted" });
  });

  it("what leaks and what others hold is missing until it is given back", () => {
    const vram = createVram(8 * GB);
    const demand = { models: [], workBytes: 5 * GB };
    vram.holdByOthers(4 * GB);
    expect(refusal(vram.demand(demand))).toContain("Process 4242 has");
    vram.holdByOthers(0);
    expect(vram.demand(demand)).toMatchObject({ kind: "granted" });
    vram.leak(2 * GB);
    vram.leak(2 * GB);
    expect(vram.demand(demand)).toMatchObject({ kind: "out_of_memory" });
    expect(vram.stats()).toMatchObject({ leakedBytes: 4 * GB, refused: 2 });
  });

  it("weights never pass what the card has", () => {
    const model = fc.record({
      key: fc.constantFrom("a", "b", "c", "d"),
      bytes: fc.integer({ min: 0, max: 9 * GB }),
    });
    const demands = fc.array(
      fc.record({
        models: fc.array(model, { maxLength: 3 }),
        workBytes: fc.integer({ min: 0, max: 9 * GB }),
      }),
    );
    fc.assert(
      fc.property(demands, (all) => {
        const vram = createVram(10 * GB);
        for (const demand of all) {
          const unique = new Map(demand.models.map((each) => [each.key, each]));
          const outcome = vram.demand({ ...demand, models: [...unique.values()] });
          const { torchTotalBytes, freeBytes } = vram.stats();
          expect(torchTotalBytes + freeBytes).toBeLessThanOrEqual(10 * GB);
          const left = outcome.kind === "granted" ? demand.workBytes : 0;
          expect(freeBytes).toBeGreaterThanOrEqual(left - 1);
        }
      }),
    );
  });
});

it("decoding in tiles needs no more for a larger picture", () => {
  expect(decodeBytes(latent(2048, 1))).toBeGreaterThan(4 * decodeBytes(latent(512, 1)));
  expect(tiledDecodeBytes(latent(2048, 1))).toBe(tiledDecodeBytes(latent(4096, 1)));
});
