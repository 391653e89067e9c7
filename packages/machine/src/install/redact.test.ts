import { expect, test } from "vitest";
import { createRedact, LINE_MAX, withoutUserinfo } from "./redact.ts";

test("users and passwords of URLs, token parameters and given secrets never come through", () => {
  const redact = createRedact(["hf_abcdefgh", "hf_abcdefgh_longer", "ab"]);
  expect(redact("clone https://me:secret@host/x and git+ssh://git@host/y")).toBe(
    "clone https://***@host/x and git+ssh://***@host/y",
  );
  expect(redact("GET https://h/m?a=1&token=t0p&b=2 Bearer hf_abcdefgh_longer")).toBe(
    "GET https://h/m?a=1&token=***&b=2 Bearer ***",
  );
  expect(redact("ab stays: it is too short to be a secret")).toContain("ab stays");
  expect(redact("x".repeat(LINE_MAX + 5))).toHaveLength(LINE_MAX);
  expect(withoutUserinfo("https://me:secret@host/x")).toBe("https://host/x");
  expect(withoutUserinfo("git@host:x")).toBe("git@host:x");
});
