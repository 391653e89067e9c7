import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideEnrolment,
  keySecret,
  parseToken,
  REPEAT_MS,
  stateOf,
  tokenText,
  type Enrolment,
} from "./enrolment.ts";

const SECRET = "s".repeat(43);
const ID = `enr_${"0".repeat(26)}`;
const NOW = 1_000_000_000;
const open: Enrolment & { readonly nonceHash: string | null } = {
  id: ID,
  name: "gpu boxes",
  machineName: null,
  createdAt: NOW - 10,
  expiresAt: NOW + 10,
  revokedAt: null,
  usedAt: null,
  usedByName: null,
  keyId: null,
  nonceHash: null,
};
const used = { ...open, usedAt: NOW - 5, usedByName: "box", keyId: "key_1", nonceHash: "n" };
const use = { machineName: "box", nonceHash: "n", now: NOW };

describe("a token's text", () => {
  test("is read back, whatever its secret", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const secret = Buffer.from(bytes).toString("base64url");
        expect(parseToken(tokenText(ID, secret))).toEqual({ id: ID, secret });
      }),
    );
  });

  test.each(["", "hf_x_y", `hfe_${"0".repeat(26)}_short`, `key_${"0".repeat(26)}_${SECRET}`])(
    "is nothing else: %s",
    (text) => expect(parseToken(text)).toBeUndefined(),
  );
});

test("a key follows from token, nonce and id, and from each of them", () => {
  const same = keySecret(SECRET, "nonce", "key_1");
  expect(keySecret(SECRET, "nonce", "key_1")).toEqual(same);
  expect(same).toHaveLength(32);
  expect(keySecret(`${SECRET}x`, "nonce", "key_1")).not.toEqual(same);
  expect(keySecret(SECRET, "other", "key_1")).not.toEqual(same);
  expect(keySecret(SECRET, "nonce", "key_2")).not.toEqual(same);
});

describe("a token", () => {
  test.each([
    ["is used once", open, use, { kind: "enrol" }],
    ["is answered again to its user", used, use, { kind: "repeat", keyId: "key_1" }],
    [
      "also after it expired",
      { ...used, expiresAt: NOW - 1 },
      use,
      { kind: "repeat", keyId: "key_1" },
    ],
    ["to nobody else", used, { ...use, nonceHash: "x" }, { kind: "used" }],
    ["under no other name", used, { ...use, machineName: "x" }, { kind: "used" }],
    ["and not for ever", used, { ...use, now: NOW - 5 + REPEAT_MS }, { kind: "used" }],
    ["ends", { ...open, expiresAt: NOW }, use, { kind: "over", why: "expired" }],
    ["is revoked", { ...open, revokedAt: NOW }, use, { kind: "over", why: "revoked" }],
    [
      "is revoked for its user too",
      { ...used, revokedAt: NOW },
      use,
      { kind: "over", why: "revoked" },
    ],
    ["takes its own name", { ...open, machineName: "box" }, use, { kind: "enrol" }],
    ["takes no other", { ...open, machineName: "a" }, use, { kind: "other_name", expected: "a" }],
  ] as const)("%s", (_what, token, by, decision) => {
    expect(decideEnrolment(token, by)).toEqual(decision);
  });

  test.each([
    [open, "open"],
    [used, "used"],
    [{ ...open, revokedAt: 1 }, "revoked"],
    [{ ...open, expiresAt: NOW }, "expired"],
  ] as const)("shows how it stands", (token, state) => expect(stateOf(token, NOW)).toBe(state));
});
