import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hashSecret, matchesHash, mintKey, parseKey } from "./api-key.ts";
import { decideBind, decideHost, decideKey, decideOrigin, readCredential } from "./logic.ts";
import { LOCAL_CALLER, maySee, ownerScope, type Caller } from "./model.ts";

describe("binding", () => {
  test.each([["127.0.0.1"], ["localhost"], ["::1"], ["127.8.8.8"]])("%s needs no key", (host) => {
    expect(decideBind(host, false)).toEqual({ kind: "allowed" });
  });

  test.each([["0.0.0.0"], ["::"], ["192.168.1.5"], ["holdfast.example"], [""]])(
    "%s is refused without a key and allowed with one",
    (host) => {
      expect(decideBind(host, false)).toMatchObject({
        kind: "refused",
        message: expect.stringContaining("holdfast keys create"),
      });
      expect(decideBind(host, true)).toEqual({ kind: "allowed" });
    },
  );
});

describe("keys", () => {
  test("what is minted is read back, and only its own secret matches", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const minted = mintKey("key_01hzzzzzzzzzzzzzzzzzzzzzzz", bytes);
        const parsed = parseKey(minted.text);
        expect(parsed?.id).toBe("key_01hzzzzzzzzzzzzzzzzzzzzzzz");
        expect(matchesHash(parsed?.secret ?? "", minted.secretHash)).toBe(true);
        expect(matchesHash(`${parsed?.secret}x`, minted.secretHash)).toBe(false);
      }),
    );
  });

  test("secrets of two keys differ", () => {
    expect(mintKey("key_a").secretHash).not.toBe(mintKey("key_a").secretHash);
  });

  test.each([[""], ["hf_"], ["sk-123"], [`hf_${"a".repeat(26)}_short`], ["hf_a_b_c"]])(
    "%j is no key",
    (text) => {
      expect(parseKey(text)).toBeUndefined();
    },
  );

  test("a broken hash matches nothing", () => {
    expect(matchesHash("secret", hashSecret("secret").slice(2))).toBe(false);
  });

  test("a revoked or ended key is not valid", () => {
    expect(decideKey({ expiresAt: null, revokedAt: null }, 5)).toBe("valid");
    expect(decideKey({ expiresAt: 6, revokedAt: null }, 5)).toBe("valid");
    expect(decideKey({ expiresAt: 5, revokedAt: null }, 5)).toBe("expired");
    expect(decideKey({ expiresAt: 9, revokedAt: 1 }, 5)).toBe("revoked");
  });
});

describe("credentials", () => {
  test("are read from either header", () => {
    expect(readCredential({})).toEqual({ kind: "none" });
    expect(readCredential({ authorization: "Bearer hf_x" })).toEqual({ kind: "key", text: "hf_x" });
    expect(readCredential({ authorization: "bearer  hf_x " }).kind).toBe("key");
    expect(readCredential({ "x-api-key": "hf_x" })).toEqual({ kind: "key", text: "hf_x" });
    expect(readCredential({ authorization: "Bearer a", "x-api-key": "a" }).kind).toBe("key");
  });

  test("that cannot be read or contradict each other are refused", () => {
    expect(readCredential({ authorization: "Basic YTpi" }).kind).toBe("malformed");
    expect(readCredential({ authorization: "Bearer a", "x-api-key": "b" }).kind).toBe("malformed");
    expect(readCredential({ "x-api-key": ["a", "b"] }).kind).toBe("malformed");
  });
});

describe("browsers", () => {
  const post = (headers: Record<string, string>) => ({ method: "POST", headers });

  test("a page of another site may change nothing", () => {
    const host = "127.0.0.1:8328";
    for (const headers of [
      { host, origin: "https://evil.example" },
      { host, origin: "http://127.0.0.1:9999" },
      { host, origin: "null" },
      { host, "sec-fetch-site": "cross-site" },
    ]) {
      expect(decideOrigin(post(headers)).kind).toBe("refused");
      expect(decideOrigin({ method: "GET", headers }).kind).toBe("allowed");
    }
  });

  test("our own page and programs may", () => {
    const host = "127.0.0.1:8328";
    expect(decideOrigin(post({ host, origin: "http://127.0.0.1:8328" })).kind).toBe("allowed");
    expect(decideOrigin(post({ host, "sec-fetch-site": "same-origin" })).kind).toBe("allowed");
    expect(decideOrigin(post({ host })).kind).toBe("allowed");
  });

  test("a foreign name that leads here is not answered", () => {
    const get = (host: string) => decideHost({ method: "GET", headers: { host } }, ["studio.lan"]);
    expect(get("evil.example:8328").kind).toBe("refused");
    expect(get("127.0.0.1.evil.example").kind).toBe("refused");
    expect(get("localhost:8328").kind).toBe("allowed");
    expect(get("[::1]:8328").kind).toBe("allowed");
    expect(get("studio.lan:80").kind).toBe("allowed");
    expect(decideHost({ method: "GET", headers: {} }, []).kind).toBe("refused");
  });
});

test("a user is limited to its own, operators and administrators see all", () => {
  const user: Caller = { id: "key_u", role: "user", allowedClasses: null };
  expect(ownerScope(user)).toBe("key_u");
  expect(maySee(user, "key_v")).toBe(false);
  expect(maySee(user, "key_u")).toBe(true);
  expect(ownerScope({ ...user, role: "operator" })).toBeNull();
  expect(maySee(LOCAL_CALLER, "key_v")).toBe(true);
  expect(ownerScope({ ...user, role: "agent" })).toBe("key_u");
});
