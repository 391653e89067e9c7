import { describe, expect, it } from "vitest";
import { parseInput } from "./inputs.ts";

describe("--input", () => {
  it("names a bare path by its last part", () => {
    expect(parseInput("a/b/cat.png")).toEqual({ name: "cat.png", path: "a/b/cat.png" });
  });

  it("takes name and path apart at the first equal sign", () => {
    expect(parseInput("pets/cat.png=/x/y=z.png")).toEqual({
      name: "pets/cat.png",
      path: "/x/y=z.png",
    });
  });
});
