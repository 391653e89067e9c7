import { seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decideTry, RETRY_DELAYS_MS, targetHost } from "./logic.ts";

const random = seededRandom(1);
const failed = { kind: "failed", reason: "the connection was cut" } as const;

describe("after a try", () => {
  test.each([[200], [201], [204], [299]])("%i is delivered", (status) => {
    expect(decideTry({ kind: "answered", status }, 1, random)).toEqual({ kind: "delivered" });
  });

  test.each([[301], [400], [404], [429], [500], [503]])("%i is tried again", (status) => {
    expect(decideTry({ kind: "answered", status }, 1, random)).toMatchObject({
      kind: "retry",
      error: `the target answered ${status}`,
    });
  });

  test("410 ends the subscription, at any try", () => {
    expect(decideTry({ kind: "answered", status: 410 }, 1, random).kind).toBe("unsubscribed");
    expect(decideTry({ kind: "answered", status: 410 }, 99, random).kind).toBe("unsubscribed");
  });

  test("the delays grow from seconds to hours, and the last try is the last", () => {
    let total = 0;
    for (let attempt = 1; attempt <= RETRY_DELAYS_MS.length; attempt += 1) {
      const decision = decideTry(failed, attempt, random);
      if (decision.kind !== "retry") throw new Error(decision.kind);
      total += decision.delayMs;
    }
    expect(total).toBeGreaterThan(24 * 3_600_000);
    expect(decideTry(failed, RETRY_DELAYS_MS.length + 1, random)).toEqual({
      kind: "dead",
      error: "the connection was cut",
    });
  });

  test("a delay is never shorter than its nominal one, nor a fifth longer", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: RETRY_DELAYS_MS.length }), (seed, n) => {
        const decision = decideTry(failed, n, seededRandom(seed));
        const nominal = RETRY_DELAYS_MS[n - 1] ?? 0;
        expect(decision).toMatchObject({ kind: "retry" });
        const delayMs = decision.kind === "retry" ? decision.delayMs : 0;
        expect(delayMs).toBeGreaterThanOrEqual(nominal);
        expect(delayMs).toBeLessThanOrEqual(nominal * 1.2);
      }),
    );
  });
});

test("the host of a target counts with its port and without its path", () => {
  expect(targetHost("https://A.example:8443/x?y#z")).toBe("a.example:8443");
  expect(targetHost("http://a.example")).toBe("a.example");
  expect(targetHost("nonsense")).toBe("");
});
