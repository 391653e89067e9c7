import { expect, it } from "vitest";
import { leaseTimes } from "./lease-times.ts";

it("leaves the defaults as they are", () => {
  expect(leaseTimes(30_000, 20_000)).toEqual({
    leaseTtlMs: 30_000,
    renewEveryMs: 10_000,
    pollWaitMs: 20_000,
  });
});

it("ends a poll well before a lease that it brings would have run out", () => {
  expect(leaseTimes(10_000, 20_000).pollWaitMs).toBe(6_666);
  expect(leaseTimes(1_000, 20_000).pollWaitMs).toBe(666);
});

it("keeps a shorter poll", () => {
  expect(leaseTimes(30_000, 100).pollWaitMs).toBe(100);
});
