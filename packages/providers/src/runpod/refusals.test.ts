import * as fc from "fast-check";
import { expect, test } from "vitest";
import { REFUSAL_SAMPLES, troubleOf, type AnswerContext } from "./refusals.ts";
import { readRetryAfter } from "./retry-after.ts";

const context: AnswerContext = {
  what: "a pod could not be made",
  isCreate: true,
  secrets: ["rpa_secret", "x"],
  nowMs: Date.UTC(2026, 10, 27, 12),
};

const by = (status: number, detail: string, over: Partial<AnswerContext> = {}) =>
  troubleOf(
    {
      kind: "answer",
      status,
      body: JSON.stringify({ title: "t", status, detail }),
      retryAfter: null,
    },
    { ...context, ...over },
  ).trouble;

test("every refusal in RunPod's own words is what its row says, by any status that carries words", () => {
  for (const { kind, sample } of REFUSAL_SAMPLES) {
    for (const status of [400, 404, 500, 503]) expect(by(status, sample).kind).toBe(kind);
    // Version 1 put them behind `error`, with what it was about before it.
    const body = JSON.stringify({ error: `create pod: ${sample}`, status: 500 });
    const answer = { kind: "answer" as const, status: 500, body, retryAfter: null };
    expect(troubleOf(answer, context).trouble.kind).toBe(kind);
  }
});

test("other words for no room are known too", () => {
  for (const words of [
    "There are no instances currently available",
    "There are no longer any instances available with enough disk space.",
    "no available GPU",
    "No free GPUs",
  ]) {
    expect(by(400, words).kind).toBe("capacity");
  }
});

test("a status means what the API's description says", () => {
  expect([400, 404, 405, 413, 422].map((status) => by(status, "wrong").kind)).toEqual(
    Array<string>(5).fill("invalid"),
  );
  expect([401, 402, 403].map((status) => by(status, "no").kind)).toEqual(
    Array<string>(3).fill("unauthorized"),
  );
  expect(by(429, "slower").kind).toBe("rate_limited");
  expect([408, 409, 500, 502, 503, 504].map((status) => by(status, "?").kind)).toEqual(
    Array<string>(6).fill("unavailable"),
  );
  expect(by(402, "Insufficient balance.").message).toContain("add to it");
});

test("only what may have been carried out may have happened, and only where something is made", () => {
  for (const status of [400, 401, 403, 404, 422, 429]) {
    expect(by(status, "no").mayHaveHappened).toBe(false);
  }
  for (const status of [408, 500, 504]) {
    expect(by(status, "?").mayHaveHappened).toBe(true);
    expect(by(status, "?", { isCreate: false }).mayHaveHappened).toBe(false);
  }
});

test("violations that are listed are told, secrets are not, and a page is cut", () => {
  const body = JSON.stringify({
    detail: "Request validation failed.",
    errors: ["$: additional properties 'x' not allowed", "key rpa_secret"],
  });
  const told = troubleOf({ kind: "answer", status: 422, body, retryAfter: null }, context).trouble;
  expect(told.message).toBe(
    "a pod could not be made: status 422, Request validation failed.; $: additional properties 'x' not allowed; key …",
  );
  const page = `<html><body>${"rpa_secret ".repeat(200)}</body></html>`;
  const cut = troubleOf(
    { kind: "answer", status: 502, body: page, retryAfter: null },
    context,
  ).trouble;
  expect(cut.message).not.toContain("rpa_secret");
  expect(cut.message.length).toBeLessThan(400);
});

test("no text that RunPod sends brings a secret into a message", () => {
  const secret = "rpa_secret";
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constant(secret), fc.string()), { maxLength: 30 }),
      fc.constantFrom(200, 307, 400, 401, 422, 429, 500),
      (parts, status) => {
        for (const body of [parts.join(""), JSON.stringify({ detail: parts.join(" ") })]) {
          const answer = { kind: "answer" as const, status, body, retryAfter: null };
          expect(troubleOf(answer, context).trouble.message).not.toContain(secret);
        }
      },
    ),
  );
});

test("Retry-After is seconds or a date, at most a day, and nothing else", () => {
  const now = context.nowMs;
  expect(readRetryAfter("12", now)).toBe(12_000);
  expect(readRetryAfter(" 0 ", now)).toBe(0);
  expect(readRetryAfter("Fri, 27 Nov 2026 12:00:30 GMT", now)).toBe(30_000);
  expect(readRetryAfter("Fri, 27 Nov 2026 11:00:00 GMT", now)).toBe(0);
  expect(readRetryAfter("99999999", now)).toBe(86_400_000);
  for (const text of [null, "", "soon", "-1", "1.5", "2026-11-27", "Fri, what"]) {
    expect(readRetryAfter(text, now)).toBeNull();
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      const ms = readRetryAfter(text, now) ?? 0;
      expect(ms >= 0 && ms <= 86_400_000).toBe(true);
    }),
  );
});
