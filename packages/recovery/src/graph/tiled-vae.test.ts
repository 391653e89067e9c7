import { readFileSync } from "node:fs";
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { expect, it } from "vitest";
import { tileVae } from "./tiled-vae.ts";

const graph = JSON.parse(
  readFileSync(new URL("../../../../examples/two-stage-upscale.json", import.meta.url), "utf8"),
) as Graph;

it("only the node that failed works in tiles, with its links and the class's own defaults", () => {
  const tiled = tileVae(graph, "13");
  if (tiled.kind === "nothing") throw new Error(tiled.reason);
  const after = applyPatch(graph, tiled.patch);
  expect(after["13"]).toEqual({
    ...graph["13"],
    class_type: "VAEDecodeTiled",
    inputs: {
      samples: ["11", 0],
      vae: ["16", 2],
      tile_size: 256,
      overlap: 64,
      temporal_size: 64,
      temporal_overlap: 8,
    },
  });
  expect({ ...after, "13": null }).toEqual({ ...graph, "13": null });
});

it.each([
  ["a node that is no VAE", "11"],
  ["a node that is not there", "constructor"],
])("%s is left alone, with the reason", (_, nodeId) => {
  expect(tileVae(graph, nodeId)).toEqual({
    kind: "nothing",
    reason: expect.stringContaining("no VAE"),
  });
});
