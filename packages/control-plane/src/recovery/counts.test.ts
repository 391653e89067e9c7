import fc from "fast-check";
import { expect, test } from "vitest";
import { recoveryRate, toStatistics } from "./counts.ts";

test.each([
  [38, 9, 80.9],
  [0, 0, 0],
  [0, 5, 0],
  [5, 0, 100],
  [1, 2, 33.3],
  [2, 1, 66.7],
])("%i successful and %i failed is a rate of %d", (recovered, failed, rate) => {
  expect(recoveryRate(recovered, failed)).toBe(rate);
});

test("a rate has one decimal and lies between 0 and 100", () => {
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.nat(1_000_000), (recovered, failed) => {
      const rate = recoveryRate(recovered, failed);
      expect(rate).toBeGreaterThanOrEqual(0);
      expect(rate).toBeLessThanOrEqual(100);
      expect(Number(rate.toFixed(1))).toBe(rate);
    }),
  );
});

test("the numbers are those of the documents, the most frequent class first", () => {
  const count = (key: string, errors: number, recovered: number, failed: number) => ({
    dimension: "class" as const,
    key,
    errors,
    recovered,
    failed,
    cancelled: 0,
  });
  const told = toStatistics([
    count("timeout", 12, 10, 2),
    count("cuda_out_of_memory", 25, 20, 5),
    count("network_error", 8, 8, 0),
    count("model_missing", 2, 0, 2),
  ]);
  expect(told).toEqual({
    total_errors: 47,
    successful_recoveries: 38,
    failed_recoveries: 9,
    recovery_rate: 80.9,
    error_distribution: {
      cuda_out_of_memory: 25,
      timeout: 12,
      network_error: 8,
      model_missing: 2,
    },
  });
  expect(Object.keys(told.error_distribution)[0]).toBe("cuda_out_of_memory");
});
