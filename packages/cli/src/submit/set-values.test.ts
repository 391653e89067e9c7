import { describe, expect, it } from "vitest";
import { parseSetValues } from "./set-values.ts";

const graph = {
  "3": { class_type: "KSampler", inputs: { seed: 1, cfg: 8, model: ["4", 0] } },
  "6": { class_type: "CLIPTextEncode", inputs: { text: "a cat" } },
  "12:3": { class_type: "KSampler", inputs: { seed: "18446744073709551615" } },
};
const values = (...texts: string[]) => {
  const parsed = parseSetValues(texts, graph);
  if (parsed.kind === "bad") throw new Error(parsed.message);
  return parsed.values;
};

describe("--set", () => {
  it("takes JSON values as what they are", () => {
    expect(values("3.seed=7", "3.cfg=1.5", '3.model=["5",0]')).toEqual({
      "3.seed": 7,
      "3.cfg": 1.5,
      "3.model": ["5", 0],
    });
  });

  it("keeps a text a text where the graph holds one, whatever it looks like", () => {
    expect(values("6.text=1984", "6.text=true")).toEqual({ "6.text": "true" });
    expect(values("6.text=1984")).toEqual({ "6.text": "1984" });
    expect(values('6.text="quoted"')).toEqual({ "6.text": "quoted" });
  });

  it("takes what is no JSON as text, equal signs included", () => {
    expect(values("3.sampler_name=euler", "6.text=a=b")).toEqual({
      "3.sampler_name": "euler",
      "6.text": "a=b",
    });
  });

  it("loses no digit of a large seed", () => {
    expect(values("3.seed=18446744073709551615")).toEqual({ "3.seed": "18446744073709551615" });
  });

  it("takes node ids of subgraphs", () => {
    expect(values("12:3.seed=5")).toEqual({ "12:3.seed": "5" });
  });

  it.each(["seed=7", "3.seed", "=7", ".seed=7", "3.=7"])("refuses %s", (text) => {
    expect(parseSetValues([text], graph)).toMatchObject({ kind: "bad" });
  });
});
