import { expect, it } from "vitest";
import { allChangesText, changesText } from "./changes-text.ts";

it("tells a result that is not what was asked for, and how it came to that", () => {
  const steps = ["Reduced: 4.width 1024 → 816.", "Another model: a → b."];
  const words = "not as submitted (content): Reduced: 4.width 1024 → 816. Another model: a → b.";
  expect(changesText({ loss: "content", steps })).toBe(words);
  expect(allChangesText({ loss: "content", steps })).toBe(words);
});

it("tells of ways that change no result only whoever looks at the job", () => {
  const changes = { loss: "none" as const, steps: ["Decoded in parts."] };
  expect(changesText(changes)).toBe("");
  expect(allChangesText(changes)).toBe("the result is as submitted: Decoded in parts.");
  expect([changesText(null), allChangesText(null)]).toEqual(["", ""]);
});
