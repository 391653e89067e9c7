import { describe, expect, it } from "vitest";
import { screenText } from "./screen.ts";

describe("a screen that is drawn anew", () => {
  it("starts at the top and leaves nothing of what stood there", () => {
    expect(screenText(["a", "b"], 80, 24)).toBe("\u001B[Ha\u001B[K\nb\u001B[K\n\u001B[J");
  });

  it("neither wraps nor scrolls, and says what it left out", () => {
    const text = screenText(["abcdef", "2", "3", "4", "5"], 4, 4);
    expect(text).toContain("abc…");
    expect(text.split("\n")).toHaveLength(4);
    expect(screenText(["1", "2", "3", "4", "5"], 80, 4)).toContain("… and 3 more lines");
  });
});
