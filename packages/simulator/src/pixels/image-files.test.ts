import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeForeignImage } from "./foreign-image.ts";
import { encodeJpeg } from "./jpeg.ts";
import { flatPicture, knownPicture } from "./picture.ts";
import { decodePng, encodePng } from "./png.ts";
import { encodeAnimatedWebp, encodeWebp } from "./webp.ts";

const side = fc.integer({ min: 1, max: 40 });

describe("PNG", () => {
  it("gives back the pixels and texts that were written", () => {
    fc.assert(
      fc.property(side, side, fc.string({ unit: "grapheme" }), (width, height, text) => {
        const pixels = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) & 255);
        const prompt = JSON.stringify({ text });
        const decoded = decodePng(encodePng(width, height, pixels, { prompt }));
        expect(decoded?.rgb).toEqual(pixels);
        expect(JSON.parse(decoded?.texts["prompt"] ?? "null")).toEqual({ text });
      }),
      { numRuns: 50 },
    );
  });

  it("keeps an alpha channel apart", () => {
    const pixels = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const decoded = decodePng(encodePng(2, 1, pixels));
    expect([...(decoded?.rgb ?? [])]).toEqual([1, 2, 3, 5, 6, 7]);
    expect([...(decoded?.alpha ?? [])]).toEqual([4, 8]);
  });

  it("refuses bytes with a hole in them", () => {
    const bytes = encodePng(16, 16, flatPicture(16, 16, 5).paint());
    expect(decodePng(bytes.subarray(0, bytes.length / 2))).toBeNull();
  });
});

describe("JPEG and WebP", () => {
  it("say the size of the picture they hold", () => {
    const picture = flatPicture(48, 24, 0x808080);
    expect(describeForeignImage(encodeJpeg(picture))).toMatchObject({ width: 48, height: 24 });
    expect(describeForeignImage(encodeWebp(picture))).toMatchObject({ width: 48, height: 24 });
    const animated = encodeAnimatedWebp([picture, picture], 40);
    expect(describeForeignImage(animated)).toMatchObject({ width: 48, height: 24 });
  });

  it("other pixels are other bytes", () => {
    const dark = knownPicture(16, 16, new Uint8Array(768).fill(10));
    const light = knownPicture(16, 16, new Uint8Array(768).fill(200));
    expect(encodeJpeg(dark).equals(encodeJpeg(light))).toBe(false);
    expect(encodeWebp(dark).equals(encodeWebp(light))).toBe(false);
  });

  it("what is no image is not described", () => {
    expect(describeForeignImage(Buffer.from("hello"))).toBeNull();
  });
});
