import * as fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { expect, test } from "vitest";
import { isSecret, newSecret, signedHeaders } from "./signing.ts";

const now = (): number => Math.floor(Date.now() / 1000);

test("what we sign is verified by the standard's own library", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const secret = newSecret();
      const body = JSON.stringify({ value });
      const headers = signedHeaders(secret, { id: "evt_1", body, timestampSeconds: now() });
      expect(new Webhook(secret).verify(body, headers)).toEqual(JSON.parse(body));
    }),
    { numRuns: 30 },
  );
});

test("another secret, body, id or time is not verified", () => {
  const secret = newSecret();
  const message = { id: "evt_1", body: "{}", timestampSeconds: now() };
  const headers = signedHeaders(secret, message);
  expect(() => new Webhook(newSecret()).verify("{}", headers)).toThrow("No matching signature");
  expect(() => new Webhook(secret).verify("[]", headers)).toThrow("No matching signature");
  expect(() => new Webhook(secret).verify("{}", { ...headers, "webhook-id": "evt_2" })).toThrow(
    "No matching signature",
  );
  const old = signedHeaders(secret, { ...message, timestampSeconds: now() - 3_600 });
  expect(() => new Webhook(secret).verify("{}", old)).toThrow("too old");
});

test("secrets are told from other texts", () => {
  expect(isSecret(newSecret())).toBe(true);
  expect(newSecret()).not.toBe(newSecret());
  for (const wrong of ["", "whsec_", "whsec_short", `whsec_${"*".repeat(44)}`, "secret"]) {
    expect(isSecret(wrong)).toBe(false);
  }
});
