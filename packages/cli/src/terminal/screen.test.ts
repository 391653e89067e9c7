import { describe, expect, it } from "vitest";
import { screenText } from "./screen.ts";

describe("a screen that is drawn anew", () => {
  it("starts at the top and leaves nothing of what stood there", () => {
    expect(screenText(["a", "b"], 80, 24)).toBe("\u001B[Ha\u001B[K\nb\u001B[K\n\u001B[J");
  });

  it("folds what is too wide instead of cutting it, and does not scroll", () => {
    expect(screenText(["  advice: undo it"], 12, 24)).toBe(
      "\u001B[H  advice:\u001B[K\n    undo it\u001B[K\n\u001B[J",
    );
    const text = screenText(["abcdef", "2", "3", "4", "5"], 6, 4);
    expect(text.split("\n")).toHaveLength(4);
    expect(screenText(["1", "2", "3", "4", "5"], 80, 4)).toContain("… and 3 more lines");
  });
});
