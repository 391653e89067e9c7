import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isLoopbackName, isLoopbackRequest } from "@holdfast/runtime/host";
import { createFakeClock } from "@holdfast/runtime/testing";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { decideAccess, type AccessFacts } from "./access-rules.ts";
import { createTokenJudge, readTokenFile } from "./bearer-token.ts";

const facts = (over: Partial<AccessFacts>): AccessFacts => ({
  isLoopbackBind: true,
  isLoopbackRequest: true,
  isOpenRoute: false,
  token: "none",
  ...over,
});

describe("who is answered", () => {
  test.each([
    ["this machine, on loopback", {}, "full"],
    ["a rebound name, on loopback", { isLoopbackRequest: false }, "forbidden"],
    [
      "a rebound name, on an open route",
      { isLoopbackRequest: false, isOpenRoute: true },
      "forbidden",
    ],
    ["a tunnel with the token", { isLoopbackRequest: false, token: "valid" }, "full"],
    ["this machine with a wrong token", { token: "wrong" }, "unauthorized"],
    ["anybody on a public address", { isLoopbackBind: false }, "unauthorized"],
    ["the open route there", { isLoopbackBind: false, isOpenRoute: true }, "brief"],
    ["a wrong token there", { isLoopbackBind: false, token: "wrong" }, "unauthorized"],
    ["the token there", { isLoopbackBind: false, token: "valid" }, "full"],
  ] as const)("%s", (_name, over, expected) => {
    const access = decideAccess(facts(over));
    expect(access.kind === "refused" ? access.code : access.kind).toBe(expected);
  });

  test("on a public address nothing is told in full without the token", () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom("none", "wrong"),
        (isLoopbackRequest, isOpenRoute, token) => {
          const access = decideAccess({
            isLoopbackBind: false,
            isLoopbackRequest,
            isOpenRoute,
            token,
          });
          expect(access.kind).not.toBe("full");
        },
      ),
    );
  });
});

test("requests are told by host and origin", () => {
  expect(isLoopbackRequest({ host: "127.0.0.1:9090" })).toBe(true);
  expect(isLoopbackRequest({ host: "LOCALHOST", origin: "http://[::1]:9090" })).toBe(true);
  expect(isLoopbackRequest({ host: "evil.example:9090" })).toBe(false);
  expect(isLoopbackRequest({ host: "127.0.0.1.evil.example" })).toBe(false);
  expect(isLoopbackRequest({ host: "127.0.0.1", origin: "https://evil.example" })).toBe(false);
  expect(isLoopbackRequest({ host: "127.0.0.1", origin: "null" })).toBe(false);
  expect(isLoopbackRequest({})).toBe(false);
  expect(isLoopbackName("0.0.0.0")).toBe(false);
  expect(isLoopbackName("127.9.9.9")).toBe(true);
});

describe("the token file", () => {
  let folder = "";
  let file = "";
  const errors: string[] = [];
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (_fields: unknown, message: string) => void errors.push(message),
  };
  const TOKEN = "0123456789abcdef0123";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "hf-token-"));
    file = join(folder, "token");
    errors.length = 0;
  });
  afterEach(() => rm(folder, { recursive: true }));

  test("holds one token, blanks around it not counted", async () => {
    await writeFile(file, `\n ${TOKEN}\n`, { mode: 0o600 });
    expect(await readTokenFile(file)).toEqual({
      kind: "token",
      token: TOKEN,
      isReadableByOthers: false,
    });
    await rm(file);
    await writeFile(file, TOKEN, { mode: 0o644 });
    expect(await readTokenFile(file)).toMatchObject({ isReadableByOthers: true });
  });

  test.each([
    ["", /is empty/],
    ["short", /holds only 5 characters/],
    [`${TOKEN} ${TOKEN}`, /more than one word/],
    ["x".repeat(5_000), /is too long/],
  ])("is unusable when it is not one: %#", async (text, reason) => {
    await writeFile(file, text);
    expect(await readTokenFile(file)).toMatchObject({
      kind: "unusable",
      reason: expect.stringMatching(reason) as string,
    });
  });

  test("is read when it is used: a new token holds, the old one no longer", async () => {
    const clock = createFakeClock();
    await writeFile(file, TOKEN);
    const tokens = createTokenJudge(file, { clock, log });
    expect(await tokens.judge(`Bearer ${TOKEN}`)).toBe("valid");
    expect(await tokens.judge(`bearer   ${TOKEN} `)).toBe("valid");
    expect(await tokens.judge(undefined)).toBe("none");
    for (const wrong of [TOKEN, "Bearer", `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, "Bearer a b"]) {
      expect(await tokens.judge(wrong)).toBe("wrong");
    }
    await writeFile(file, `${TOKEN}-new`);
    await clock.advance(1_000);
    expect(await tokens.judge(`Bearer ${TOKEN}`)).toBe("wrong");
    expect(await tokens.judge(`Bearer ${TOKEN}-new`)).toBe("valid");
  });

  test("lets nobody in while it is gone, and says so once", async () => {
    const clock = createFakeClock();
    const tokens = createTokenJudge(file, { clock, log });
    expect(await tokens.judge(`Bearer ${TOKEN}`)).toBe("wrong");
    await clock.advance(5_000);
    expect(await tokens.judge("Bearer undefined")).toBe("wrong");
    expect(errors).toHaveLength(1);
  });

  test("without one no token is looked at", async () => {
    const tokens = createTokenJudge(undefined, { clock: createFakeClock(), log });
    expect(await tokens.judge("Bearer anything")).toBe("none");
  });
});
