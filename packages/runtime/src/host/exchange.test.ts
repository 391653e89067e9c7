import { describe, expect, it } from "vitest";
import { createFakeClock } from "../testing/index.ts";
import { exchangeUntil, readText } from "./exchange.ts";

const clock = createFakeClock();
const never = (abort: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    abort.addEventListener("abort", () => reject(new Error("cut")), { once: true });
  });
const limits = (signal = new AbortController().signal) => ({ clock, timeoutMs: 50, signal });
const fail = (error: unknown) => exchangeUntil(limits(), () => Promise.reject(error as Error));

describe("an exchange", () => {
  it("gives what it brought, and leaves no timer behind", async () => {
    expect(await exchangeUntil(limits(), () => Promise.resolve(7))).toBe(7);
    expect(clock.sleeperCount()).toBe(0);
  });

  it("is cut at its deadline, and when its caller wants no more", async () => {
    const late = exchangeUntil(limits(), never);
    await clock.advance(50);
    expect(await late).toEqual({ kind: "timeout", afterMs: 50 });
    const caller = new AbortController();
    const asked = exchangeUntil(limits(caller.signal), never);
    caller.abort(new Error("enough"));
    await expect(asked).rejects.toThrow("enough");
    await expect(exchangeUntil(limits(caller.signal), never)).rejects.toThrow("enough");
  });

  it("says whether the request may have arrived, whatever the error is wrapped in", async () => {
    const refused = Object.assign(new Error("no"), { code: "ECONNREFUSED" });
    const found = { kind: "unreachable", code: "ECONNREFUSED", isSent: false };
    expect(await fail(refused)).toMatchObject(found);
    expect(await fail(new TypeError("fetch failed", { cause: refused }))).toMatchObject(found);
    expect(await fail(new AggregateError([refused]))).toMatchObject(found);
    const reset = Object.assign(new Error(""), { code: "ECONNRESET" });
    expect(await fail(reset)).toEqual({
      kind: "unreachable",
      code: "ECONNRESET",
      message: "ECONNRESET",
      isSent: true,
    });
    expect(await fail("odd")).toMatchObject({ code: "UNKNOWN", isSent: true });
  });
});

describe("a body", () => {
  it("is read whole up to its limit, and left beyond it", async () => {
    let isLeft = false;
    async function* body() {
      try {
        yield Buffer.from("ab");
        // The two bytes of one letter.
        yield Buffer.from([0xc3]);
        yield Buffer.from([0xa4]);
      } finally {
        isLeft = true;
      }
    }
    expect(await readText(body(), 4)).toBe("abä");
    isLeft = false;
    expect(await readText(body(), 2)).toBeUndefined();
    expect(isLeft).toBe(true);
  });
});
