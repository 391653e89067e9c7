import type { ModelFileFacts } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { toInventoryIndex, type PlacedInstance } from "./model.ts";
import { createFilesMerger } from "./model-files.ts";
import { createServers, type KnownInstance } from "./servers.ts";

const needs = {
  nodeClasses: ["KSampler"],
  models: [{ folder: "checkpoints", name: "wanted.safetensors" }],
};
type Told = Readonly<Record<string, Partial<ModelFileFacts> | null>>;

/** An instance that has these checkpoints; null is one of which it tells nothing. */
function instance(id: string, told: Told, over: Partial<PlacedInstance> = {}): KnownInstance {
  const modelFacts = Object.entries(told).flatMap(([name, facts]) =>
    facts === null
      ? []
      : [
          {
            folder: "checkpoints",
            name,
            architecture: null,
            baseModel: null,
            tensorHash: null,
            sizeBytes: 7,
            ...facts,
          },
        ],
  );
  return {
    instance: {
      id,
      machineId: `m-${id}`,
      key: id,
      name: id,
      state: "healthy",
      reason: null,
      cordoned: false,
      inventoryDigest: id,
      vramFreeBytes: null,
      lastRequirementId: null,
      stateSince: 0,
      quarantine: null,
      canRestart: false,
      machineState: "online",
      ...over,
    },
    inventory: toInventoryIndex({
      digest: id,
      nodeClasses: ["KSampler"],
      models: { checkpoints: Object.keys(told) },
      vramTotalBytes: null,
      deviceName: null,
      simulated: false,
      ...(modelFacts.length > 0 && { modelFacts }),
    }),
  };
}
const filesOf = (...known: readonly KnownInstance[]) => {
  const models = createServers(
    known.map(({ instance: one }) => one),
    known,
  ).models(needs);
  return (name: string) => models?.files?.get(`checkpoints/${name}`);
};
const aa = { tensorHash: "aa" };

describe("what files say of themselves", () => {
  it("is known of a missing one too, from an instance that is away", () => {
    const fileOf = filesOf(
      instance("here", { "sub\\other.safetensors": aa }),
      instance("away", { "wanted.safetensors": aa }, { machineState: "lost" }),
    );
    const said = { family: null, tensorHash: "aa", sizeBytes: 7 };
    expect(fileOf("wanted.safetensors")).toEqual(said);
    expect(fileOf("sub/other.safetensors")).toEqual(said);
    expect(fileOf("none.safetensors")).toBeUndefined();
  });

  it("is the family that they declare", () => {
    const fileOf = filesOf(
      instance("here", { "a.safetensors": { architecture: "flux-1-dev" } }),
      instance("there", { "b.safetensors": { baseModel: "sd_v1" } }),
    );
    expect(fileOf("a.safetensors")?.family).toBe("flux");
    expect(fileOf("b.safetensors")?.family).toBe("sd1");
  });

  it("is not known where two instances have different files under one name", () => {
    const one = { tensorHash: "aa", architecture: "flux-1-dev", sizeBytes: 7 };
    const two = { tensorHash: "bb", architecture: "stable-diffusion-v1", sizeBytes: 8 };
    const fileOf = filesOf(
      instance("one", { "a.safetensors": one }),
      instance("two", { "a.safetensors": two }),
      instance("three", { "a.safetensors": one }),
    );
    expect(fileOf("a.safetensors")).toEqual({ family: null, tensorHash: null, sizeBytes: null });
  });

  it("proves nothing where an instance that could run it does not tell the hash", () => {
    const said = instance("one", { "a.safetensors": aa, "b.safetensors": aa });
    const silent = { "a.safetensors": null };
    expect(filesOf(said, instance("two", silent))("a.safetensors")?.tensorHash).toBeNull();
    const away = instance("two", silent, { state: "unhealthy" });
    expect(filesOf(said, away)("a.safetensors")?.tensorHash).toBe("aa");
  });
});

it("what a fleet tells is brought together once, until it tells something else", () => {
  const merge = createFilesMerger();
  const [one, two] = [instance("one", { "a.safetensors": aa }), instance("two", {})];
  const first = merge([one.inventory]);
  expect(merge([one.inventory])).toBe(first);
  expect(merge([one.inventory, two.inventory])).not.toBe(first);
  expect(merge([]).files.size).toBe(0);
});
