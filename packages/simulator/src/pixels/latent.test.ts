import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flatPicture } from "./picture.ts";
import {
  decodeLatent,
  emptyLatent,
  encodePictures,
  pickFromLatent,
  sampleLatent,
  type Latent,
  type SamplerRun,
} from "./latent.ts";
import { decodeLatentFile, encodeLatentFile } from "./latent-file.ts";

const RUN: SamplerRun = {
  conditions: "model, prompts, guidance",
  sampler: "euler",
  noiseSeed: "7",
  steps: 20,
  fromStep: 0,
  toStep: 20,
  keepsNoise: false,
  denoise: 1,
};

function pixels(latent: Latent, tiles: string | null = null): readonly Uint8Array[] {
  return decodeLatent(latent, "vae", tiles).map((picture) => picture.paint());
}

function largestDifference(one: readonly Uint8Array[], two: readonly Uint8Array[]): number {
  let largest = 0;
  for (const [index, image] of one.entries()) {
    const other = two[index];
    if (other?.length !== image.length) return 255;
    for (let i = 0; i < image.length; i += 1) {
      largest = Math.max(largest, Math.abs((image[i] ?? 0) - (other[i] ?? 0)));
    }
  }
  return largest;
}

function moved(latent: Latent): Latent {
  const loaded = decodeLatentFile(encodeLatentFile(latent, { prompt: "{}" }));
  if (loaded === null) throw new Error("the latent file was not read");
  return loaded;
}

function inSegments(sampler: string, cut: number): Latent {
  const latent = emptyLatent(64, 64, 1);
  const first = sampleLatent(latent, { ...RUN, sampler, toStep: cut, keepsNoise: true });
  return sampleLatent(first, { ...RUN, sampler, noiseSeed: null, fromStep: cut });
}

describe("a sampled latent", () => {
  it("is the same wherever it is sampled, and changes with everything that determines it", () => {
    const base = pixels(sampleLatent(emptyLatent(64, 64, 1), RUN));
    expect(pixels(sampleLatent(emptyLatent(64, 64, 1), RUN))).toEqual(base);
    const changes: readonly Partial<SamplerRun>[] = [
      { conditions: "other" },
      { sampler: "heun" },
      { noiseSeed: "8" },
      { steps: 21, toStep: 21 },
    ];
    for (const change of changes) {
      const other = pixels(sampleLatent(emptyLatent(64, 64, 1), { ...RUN, ...change }));
      expect(largestDifference(base, other)).toBeGreaterThan(20);
    }
  });

  it("F19: saved, moved and loaded, it decodes to the same pixels", () => {
    const sampled = sampleLatent(emptyLatent(64, 96, 3), RUN);
    expect(pixels(moved(sampled))).toEqual(pixels(sampled));
  });

  it("F19: a half-done latent goes on elsewhere to the same pixels", () => {
    const picture = flatPicture(64, 64, 0x306090);
    const start = encodePictures([picture], "vae");
    const first = sampleLatent(start, { ...RUN, denoise: 0.5, toStep: 9, keepsNoise: true });
    const rest: SamplerRun = { ...RUN, denoise: 0.5, noiseSeed: null, fromStep: 9 };
    expect(pixels(sampleLatent(moved(first), rest))).toEqual(pixels(sampleLatent(first, rest)));
  });

  it("a truncated latent file is not read", () => {
    const bytes = encodeLatentFile(emptyLatent(64, 64, 1), {});
    fc.assert(
      fc.property(fc.integer({ min: 0, max: bytes.length - 1 }), (length) => {
        expect(decodeLatentFile(bytes.subarray(0, length))).toBeNull();
      }),
      { numRuns: 50 },
    );
  });
});

function split(width: number, height: number, batch: number, at: number): number {
  const latent = emptyLatent(width, height, batch);
  const whole = pixels(sampleLatent(latent, RUN));
  const part = pixels(sampleLatent(pickFromLatent(latent, [at]), RUN));
  return largestDifference([whole[at] ?? new Uint8Array()], part);
}

describe("F20: a batch taken apart", () => {
  it("gives the same images when width and height are multiples of 16", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 3 }),
        (width, height, at) => {
          expect(split(width * 16, height * 16, 4, at)).toBe(0);
        },
      ),
    );
  });

  it("gives other images at 72 × 88", () => {
    expect(split(72, 88, 4, 2)).toBeGreaterThan(20);
  });

  it("a single image is the same either way, whatever its size", () => {
    expect(split(72, 88, 1, 0)).toBe(0);
  });
});

describe("F21: one sampling in two segments", () => {
  it.each(["euler", "ddim", "heun"])("%s is within one step of 255, not identical", (sampler) => {
    const whole = pixels(sampleLatent(emptyLatent(64, 64, 1), { ...RUN, sampler }));
    expect(largestDifference(whole, pixels(inSegments(sampler, 9)))).toBe(1);
    // However often it is run.
    expect(pixels(inSegments(sampler, 9))).toEqual(pixels(inSegments(sampler, 9)));
  });

  it.each(["dpmpp_2m", "lms", "euler_ancestral", "dpmpp_2m_sde"])(
    "%s gives another picture",
    (sampler) => {
      const whole = pixels(sampleLatent(emptyLatent(64, 64, 1), { ...RUN, sampler }));
      expect(largestDifference(whole, pixels(inSegments(sampler, 9)))).toBeGreaterThan(20);
    },
  );

  it("a second segment under other conditions is another picture", () => {
    const first = sampleLatent(emptyLatent(64, 64, 1), { ...RUN, toStep: 9, keepsNoise: true });
    const rest = { ...RUN, noiseSeed: null, fromStep: 9 };
    const same = pixels(sampleLatent(first, rest));
    const other = pixels(sampleLatent(first, { ...rest, conditions: "refiner" }));
    expect(largestDifference(same, other)).toBeGreaterThan(20);
  });
});

it("F22: a tiled decode is close to a whole one, and not the same", () => {
  const sampled = sampleLatent(emptyLatent(128, 128, 1), RUN);
  const difference = largestDifference(pixels(sampled), pixels(sampled, "512:64"));
  expect(difference).toBeGreaterThan(0);
  expect(difference).toBeLessThanOrEqual(2);
});

it("an image flows through encoding: low denoise stays close, full denoise does not", () => {
  const start = encodePictures([flatPicture(64, 64, 0xc04020)], "vae");
  const untouched = pixels(start);
  const light = pixels(sampleLatent(start, { ...RUN, denoise: 0.1 }));
  const full = pixels(sampleLatent(start, RUN));
  expect(largestDifference(untouched, light)).toBeLessThan(40);
  expect(largestDifference(untouched, full)).toBeGreaterThan(60);
  const other = encodePictures([flatPicture(64, 64, 0xc04021)], "vae");
  expect(pixels(sampleLatent(other, { ...RUN, denoise: 0.1 }))).not.toEqual(light);
});
