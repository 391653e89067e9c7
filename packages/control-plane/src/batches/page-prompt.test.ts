import { expect, test } from "vitest";
import { findPrompt } from "./page-prompt.ts";

const GRAPH = {
  "2": { class_type: "CLIPTextEncode", inputs: { text: "watermark", clip: ["1", 1] } },
  "3": { class_type: "CLIPTextEncode", inputs: { text: " a castle, {{style}} ", clip: ["1", 1] } },
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a" } },
  "4": { class_type: "EmptyLatentImage", inputs: { width: 8, height: 8, batch_size: 1 } },
  "5": {
    class_type: "KSampler",
    inputs: { model: ["1", 0], positive: ["3", 0], negative: ["2", 0], latent_image: ["4", 0] },
  },
};

test("a page's prompt is its own text, or its graph's; never the negative one", () => {
  const promptOf = findPrompt(GRAPH);
  expect(promptOf({ "2.text": "blurry", "3.text": "a knight" })).toBe("a knight");
  expect(promptOf({ "2.text": "blurry" })).toBe("a castle, {{style}}");
  expect(promptOf({ "3.text": " " })).toBeNull();
});

test("a graph without a sampler, and what is no graph, have none", () => {
  expect(findPrompt({ "1": GRAPH["1"] })({})).toBeNull();
  expect(findPrompt("x")({ "3.text": "a knight" })).toBeNull();
});
