import { describe, expect, it } from "vitest";
import { parseModelMetadata, parseModelSizes } from "./model-metadata.ts";

const HASH = "d7a9105a900fd52748f20725fe52fe52b507fd36bee4fc107b1550a26e6ee1d7";

describe("the metadata of a model file", () => {
  it("is read as the model spec and kohya write it", () => {
    expect(
      parseModelMetadata({
        "modelspec.architecture": "stable-diffusion-xl-v1-base",
        "modelspec.hash_sha256": `0x${HASH.toUpperCase()}`,
        format: "pt",
      }),
    ).toEqual({
      architecture: "stable-diffusion-xl-v1-base",
      baseModel: null,
      tensorHash: HASH,
    });
    expect(parseModelMetadata({ ss_base_model_version: " sd_v1 ", sshs_model_hash: HASH })).toEqual(
      { architecture: null, baseModel: "sd_v1", tensorHash: HASH },
    );
    expect(parseModelMetadata({ ss_v2: "True" })?.baseModel).toBe("sd_v2");
    expect(parseModelMetadata({ ss_v2: "False" })?.baseModel).toBeNull();
  });

  it("says nothing where it is no text, too long, or no hash of anything", () => {
    const nothing = { architecture: null, baseModel: null, tensorHash: null };
    for (const metadata of [
      {},
      { "modelspec.architecture": 3, ss_base_model_version: "", sshs_model_hash: "ab12" },
      { "modelspec.architecture": "x".repeat(129), "modelspec.hash_sha256": "None" },
      {
        sshs_model_hash: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      },
    ]) {
      expect(parseModelMetadata(metadata)).toEqual(nothing);
    }
    for (const value of [null, [], "x", 1]) expect(parseModelMetadata(value)).toBeUndefined();
  });
});

describe("the list of a folder's files", () => {
  it("gives sizes by name, the first of several", () => {
    const sizes = parseModelSizes([
      { name: "a.safetensors", pathIndex: 0, size: 12 },
      { name: "a.safetensors", pathIndex: 1, size: 13 },
      { name: "old.safetensors" },
      { name: "b.safetensors", size: -1 },
      null,
    ]);
    expect([...(sizes ?? [])]).toEqual([["a.safetensors", 12]]);
    expect(parseModelSizes({})).toBeUndefined();
  });
});
