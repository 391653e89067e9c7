import * as fc from "fast-check";
import { expect, test } from "vitest";
import { decideRotation, type LogFacts } from "./log-rotation-plan.ts";

const limits = { fileMaxBytes: 1_000, keep: 3, totalMaxBytes: 5_000 };
const archives = (...sizes: number[]) =>
  sizes.map((sizeBytes, index) => ({ index: index + 1, sizeBytes }));
const facts = (more: Partial<LogFacts>): LogFacts => ({
  sizeBytes: 0,
  archives: [],
  limits,
  blockBytes: 100,
  ...more,
});

test("a file within its size is left alone", () => {
  expect(decideRotation(facts({ sizeBytes: 1_000, archives: archives(9, 9, 9) }))).toEqual({
    kind: "keep",
    remove: [],
  });
});

test("a larger one is archived by whole blocks, and never to its last byte", () => {
  expect(decideRotation(facts({ sizeBytes: 1_250 }))).toEqual({
    kind: "rotate",
    remove: [],
    dropBytes: 0,
    archiveBytes: 1_200,
  });
  expect(decideRotation(facts({ sizeBytes: 1_200 }))).toMatchObject({ archiveBytes: 1_100 });
  expect(decideRotation(facts({ sizeBytes: 1_250, blockBytes: 4_096 })).kind).toBe("keep");
});

test("archives beyond their number and beyond the total go, the oldest first", () => {
  const full = archives(100, 100, 100, 100);
  expect(decideRotation(facts({ archives: full })).remove).toEqual([4]);
  expect(decideRotation(facts({ sizeBytes: 1_250, archives: full })).remove).toEqual([3, 4]);
  expect(decideRotation(facts({ archives: archives(2_000, 2_000, 2_000) })).remove).toEqual([3]);
  expect(decideRotation(facts({ archives: full.toReversed() })).remove).toEqual([4]);
});

test("a file larger than the total loses its beginning; without archives, all that is cut", () => {
  expect(decideRotation(facts({ sizeBytes: 8_050, archives: archives(10) }))).toEqual({
    kind: "rotate",
    remove: [1],
    dropBytes: 3_100,
    archiveBytes: 4_900,
  });
  const none = { ...limits, keep: 0 };
  expect(decideRotation(facts({ sizeBytes: 1_250, limits: none }))).toMatchObject({
    dropBytes: 1_200,
    archiveBytes: 0,
  });
});

test("whatever is there: whole blocks, within the file, within number and total", () => {
  const size = fc.nat({ max: 20_000 });
  const any = fc.record({
    sizeBytes: size,
    archives: fc.array(size, { maxLength: 6 }).map((sizes) => archives(...sizes)),
    limits: fc.record({
      fileMaxBytes: size,
      keep: fc.nat({ max: 4 }),
      totalMaxBytes: fc.nat({ max: 40_000 }),
    }),
    blockBytes: fc.constantFrom(1, 512, 4_096),
  });
  fc.assert(
    fc.property(any, (one) => {
      const decision = decideRotation(one);
      const kept = one.archives.filter((each) => !decision.remove.includes(each.index));
      const made = decision.kind === "rotate" && decision.archiveBytes > 0 ? 1 : 0;
      expect(kept.length + made).toBeLessThanOrEqual(one.limits.keep);
      const dropped = decision.kind === "rotate" ? decision.dropBytes : 0;
      const total = one.sizeBytes - dropped + kept.reduce((sum, each) => sum + each.sizeBytes, 0);
      if (kept.length > 0) expect(total).toBeLessThanOrEqual(one.limits.totalMaxBytes);
      if (decision.kind === "keep") return;
      expect(decision.dropBytes % one.blockBytes).toBe(0);
      expect(decision.archiveBytes % one.blockBytes).toBe(0);
      const cut = decision.dropBytes + decision.archiveBytes;
      expect(cut).toBeLessThan(one.sizeBytes);
      expect(cut).toBeGreaterThan(0);
      if (cut > decision.dropBytes) {
        expect(total).toBeLessThanOrEqual(one.limits.totalMaxBytes);
      }
    }),
  );
});
