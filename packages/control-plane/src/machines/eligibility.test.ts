import { describe, expect, it } from "vitest";
import { canServe, explainWaiting, missingNeeds } from "./eligibility.ts";
import { toInventoryIndex, type PlacedInstance } from "./model.ts";

const inventory = toInventoryIndex({
  digest: "d",
  nodeClasses: ["KSampler", "SaveImage"],
  models: { checkpoints: ["sd15.safetensors", "sub\\xl.safetensors"] },
  vramTotalBytes: null,
  deviceName: null,
  simulated: false,
});
const inventories = new Map([["d", inventory]]);
const instance = (over: Partial<PlacedInstance> = {}): PlacedInstance => ({
  id: "i",
  machineId: "m",
  key: "http://127.0.0.1:8188",
  name: "gpu0",
  state: "healthy",
  reason: null,
  cordoned: false,
  inventoryDigest: "d",
  vramFreeBytes: null,
  lastRequirementId: null,
  stateSince: 0,
  quarantine: null,
  canRestart: false,
  machineState: "online",
  ...over,
});
const needs = (models: readonly string[], nodeClasses: readonly string[] = ["KSampler"]) => ({
  nodeClasses,
  models: models.map((name) => ({ folder: "checkpoints", name })),
});

describe("eligibility", () => {
  it("matches models in subfolders whichever way their separators lean", () => {
    expect(canServe(inventory, needs(["sub/xl.safetensors"]))).toBe(true);
    expect(canServe(inventory, needs(["sub\\xl.safetensors"]))).toBe(true);
  });

  it("names what is missing", () => {
    expect(missingNeeds(inventory, needs(["flux.safetensors"], ["Upscale"]))).toEqual({
      nodeClasses: ["Upscale"],
      models: ["checkpoints/flux.safetensors"],
    });
  });

  it("does not look for a model in another folder", () => {
    const wrongFolder = {
      nodeClasses: [],
      models: [{ folder: "loras", name: "sd15.safetensors" }],
    };
    expect(canServe(inventory, wrongFolder)).toBe(false);
  });
});

describe("explainWaiting", () => {
  it("is silent when a healthy instance can serve", () => {
    expect(explainWaiting(needs(["sd15.safetensors"]), [instance()], inventories)).toBeNull();
  });

  it.each([
    ["no machine is connected", []],
    ["no instance has told what it has yet", [instance({ inventoryDigest: null })]],
    [
      "every instance that could serve it is unhealthy, cordoned or in quarantine",
      [instance({ cordoned: true })],
    ],
    [
      "every instance that could serve it is unhealthy, cordoned or in quarantine",
      [instance({ machineState: "lost" as const })],
    ],
  ])("says: %s", (words, instances) => {
    expect(explainWaiting(needs(["sd15.safetensors"]), instances, inventories)).toBe(words);
  });

  it("names the missing model and node, a few of them", () => {
    const many = needs(["a", "b", "c", "d", "e"], ["X"]);
    expect(explainWaiting(many, [instance()], inventories)).toBe(
      "no machine has model checkpoints/a, checkpoints/b, checkpoints/c and 2 more; no machine has node X",
    );
  });
});
