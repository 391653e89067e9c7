import { createFakeClock } from "@holdfast/runtime/testing";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createRateLimiter } from "./rate-limit.ts";

test("a burst goes through, then one request for every share of a second", async () => {
  const clock = createFakeClock();
  const limiter = createRateLimiter({ perSecond: 2, burst: 3 }, clock);
  const kinds = () => limiter.take("a").kind;
  expect([kinds(), kinds(), kinds(), kinds()]).toEqual([
    "allowed",
    "allowed",
    "allowed",
    "limited",
  ]);
  expect(limiter.take("b").kind).toBe("allowed");
  await clock.advance(500);
  expect([kinds(), kinds()]).toEqual(["allowed", "limited"]);
});

test("a caller that waits as told is let through", async () => {
  const clock = createFakeClock();
  const limiter = createRateLimiter({ perSecond: 0.25, burst: 1 }, clock);
  limiter.take("a");
  const decision = limiter.take("a");
  expect(decision).toEqual({ kind: "limited", retryAfterSeconds: 4 });
  await clock.advance(4_000);
  expect(limiter.take("a").kind).toBe("allowed");
});

test("never more than the burst and the rate together", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(400), { maxLength: 60 }), async (pauses) => {
      const clock = createFakeClock();
      const limiter = createRateLimiter({ perSecond: 5, burst: 4 }, clock);
      let allowed = 0;
      let elapsed = 0;
      for (const pause of pauses) {
        await clock.advance(pause);
        elapsed += pause;
        if (limiter.take("a").kind === "allowed") allowed += 1;
      }
      expect(allowed).toBeLessThanOrEqual(4 + (elapsed / 1000) * 5 + 1e-6);
    }),
    { numRuns: 30 },
  );
});
