import * as fc from "fast-check";
import { expect, test } from "vitest";
import { offersOf, SPOT_ORDERS } from "./offers.ts";

const words = (offers: ReturnType<typeof offersOf>): string[] =>
  offers.map(({ gpuType, zone, isSpot }) => `${gpuType}@${zone}${isSpot ? " spot" : ""}`);

test("the GPU type counts most, then the zone, then whether it is spot", () => {
  const wishes = { gpuTypes: ["A", "B"], zones: ["x", "y"] };
  expect(words(offersOf({ ...wishes, spot: "first" }))).toEqual([
    "A@x spot",
    "A@x",
    "A@y spot",
    "A@y",
    "B@x spot",
    "B@x",
    "B@y spot",
    "B@y",
  ]);
  expect(words(offersOf({ ...wishes, spot: "last" })).slice(0, 2)).toEqual(["A@x", "A@x spot"]);
  expect(words(offersOf({ ...wishes, spot: "never" }))).toEqual(["A@x", "A@y", "B@x", "B@y"]);
});

test("nothing listed is one offer for anything, anywhere", () => {
  expect(offersOf({ gpuTypes: [], zones: [], spot: "never" })).toEqual([
    { gpuType: null, zone: null, isSpot: false },
  ]);
});

test("every combination is tried exactly once, and none that was not wished", () => {
  const names = fc.array(fc.constantFrom<string>("a", "b", "c", "d"), { maxLength: 6 });
  fc.assert(
    fc.property(names, names, fc.constantFrom(...SPOT_ORDERS), (gpuTypes, zones, spot) => {
      const offers = offersOf({ gpuTypes, zones, spot });
      const count = (list: readonly string[]): number => Math.max(1, new Set(list).size);
      const prices = spot === "first" || spot === "last" ? 2 : 1;
      expect(new Set(words(offers)).size).toBe(offers.length);
      expect(offers.length).toBe(count(gpuTypes) * count(zones) * prices);
      for (const { gpuType, zone } of offers) {
        expect(gpuTypes.length === 0 ? gpuType === null : gpuTypes.includes(gpuType ?? "")).toBe(
          true,
        );
        expect(zones.length === 0 ? zone === null : zones.includes(zone ?? "")).toBe(true);
      }
      // The order of the lists is kept: a type never comes back after another one.
      const types = offers.map(({ gpuType }) => gpuType);
      expect(types).toEqual([...new Set(types)].flatMap((one) => types.filter((it) => it === one)));
    }),
  );
});
