import * as fc from "fast-check";
import { expect, test } from "vitest";
import { dependencyGroups } from "./dependency-order.ts";

const names = (groups: readonly { name: string }[][]) =>
  groups.map((group) => group.map(({ name }) => name));

test("what is needed comes in an earlier group; unknown names are passed over", () => {
  const groups = dependencyGroups([
    { name: "web", dependsOn: ["cache", "db"] },
    { name: "cache", dependsOn: ["db", "comfyui"] },
    { name: "db", dependsOn: [] },
    { name: "other", dependsOn: [] },
  ]);
  expect(names(groups)).toEqual([["db", "other"], ["cache"], ["web"]]);
  expect(dependencyGroups([])).toEqual([]);
});

test("a circle comes last, in one group, itself included", () => {
  const groups = dependencyGroups([
    { name: "a", dependsOn: ["b"] },
    { name: "b", dependsOn: ["a"] },
    { name: "c", dependsOn: [] },
    { name: "d", dependsOn: ["d"] },
  ]);
  expect(names(groups)).toEqual([["c"], ["a", "b", "d"]]);
});

test("every service is in one group, after all that it needs", () => {
  const anyServices = fc
    .array(fc.array(fc.nat({ max: 30 }), { maxLength: 4 }), { maxLength: 20 })
    .map((all) =>
      // Only names before its own: no circle.
      all.map((needs, n) => ({
        name: `s${n}`,
        dependsOn: needs.filter((m) => m < n).map((m) => `s${m}`),
      })),
    );
  fc.assert(
    fc.property(anyServices, (services) => {
      const groups = dependencyGroups(services);
      const place = new Map(groups.flatMap((group, at) => group.map((one) => [one.name, at])));
      expect(place.size).toBe(services.length);
      expect(groups.flat()).toHaveLength(services.length);
      for (const { name, dependsOn } of services) {
        for (const need of dependsOn) {
          expect(place.get(need)).toBeLessThan(place.get(name) ?? -1);
        }
      }
    }),
  );
});
