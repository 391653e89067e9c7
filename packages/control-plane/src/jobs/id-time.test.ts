import { createIdSource, seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { idStartAt, timeOfId } from "./id-time.ts";

test("the time that an id was minted with is read back, and bounds the ids around it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 48 - 2 }), fc.nat(), (now, seed) => {
      const id = createIdSource({ now: () => now }, seededRandom(seed)).next("job");
      expect(timeOfId(id)).toBe(now);
      expect(idStartAt(now) <= id && id < idStartAt(now + 1)).toBe(true);
      expect(idStartAt(now - 1) < idStartAt(now)).toBe(true);
    }),
  );
});

test("before the first instant there is no id", () => {
  expect(idStartAt(-5)).toBe(idStartAt(0));
});
