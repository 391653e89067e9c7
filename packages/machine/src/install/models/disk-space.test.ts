import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { diskShortage, judgeDisks, lookAtDisk, sizeText } from "./disk-space.ts";

test("what is needed and what has to stay free fits, to the byte", () => {
  const judge = (bytes: number, freeBytes: number) =>
    judgeDisks([{ device: "a", bytes }], [{ device: "a", freeBytes }], 10)[0]?.fits;
  expect(judge(90, 100)).toBe(true);
  expect(judge(91, 100)).toBe(false);
  // A disk that is too full already is no reason to refuse what needs nothing.
  expect(judge(0, 5)).toBe(true);
});

test("each disk is judged by its own files; one that nobody looked at is full", () => {
  const needs = [
    { device: "a", bytes: 60 },
    { device: "b", bytes: 60 },
    { device: "a", bytes: 60 },
    { device: "c", bytes: 1 },
  ];
  const disks = [
    { device: "a", freeBytes: 100 },
    { device: "b", freeBytes: 100 },
  ];
  expect(judgeDisks(needs, disks, 0).map(({ device, fits }) => [device, fits])).toEqual([
    ["a", false],
    ["b", true],
    ["c", false],
  ]);
});

test("a shortage says how much is missing", () => {
  const verdict = {
    device: "a",
    neededBytes: 5e9,
    freeBytes: 4e9,
    keepFreeBytes: 2e9,
    fits: false,
  };
  const failure = diskShortage(verdict, "/models");
  expect(failure.message).toBe(
    "5.0 GB are to be fetched to /models and 2.0 GB have to stay free, but 4.0 GB are free",
  );
  expect(failure.advice).toContain("Free 3.0 GB");
});

test.each([
  [0, "0 bytes"],
  [999, "999 bytes"],
  [1_000, "1.0 kB"],
  [12_345_678_901, "12.3 GB"],
  [5e15, "5000.0 TB"],
])("%d is %s", (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});

test("the machine's disks tell what is free", async () => {
  const space = await lookAtDisk(tmpdir());
  expect(space.freeBytes).toBeGreaterThan(0);
  expect(space.device).toMatch(/^\d+$/);
});
