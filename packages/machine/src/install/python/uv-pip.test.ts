import { expect, test } from "vitest";
import { classifyUvText, uvStepFailure } from "./uv-pip.ts";

/** Samples of uv 0.13.9. */
test.each([
  [
    "conflict",
    "error: No solution found when resolving dependencies\n  cause: Because you require",
  ],
  [
    "unreachable",
    "error: Request failed after 3 retries in 8.8s\n  cause: Failed to fetch: http://127.0.0.1:9/simple/six/",
  ],
  ["no_space", "error: No space left on device (os error 28)"],
  ["other", "error: Failed to read `--find-links` directory: /tmp/none"],
])("%s: %s", (kind, text) => {
  expect(classifyUvText(text)).toBe(kind);
});

test("a failure comes in uv's words with advice", () => {
  const printed = { stdout: "", isStdoutCut: false, stderrTail: "error: Failed to fetch: x" };
  const failure = uvStepFailure("No packages", { kind: "failed", code: 1, ...printed });
  expect(failure.message).toBe("No packages: exit code 1:\nerror: Failed to fetch: x");
  expect(failure.advice).toMatch(/Check the network/);
  expect(uvStepFailure("x", { kind: "not_started", reason: "gone" }).advice).toMatch(
    /uv's message/,
  );
});
