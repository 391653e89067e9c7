import fc, { jsonValue } from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { canonicalJson, manifestDigest } from "./manifest-digest.ts";
import { manifestReference } from "./manifest-reference.ts";
import { manifestSchema, type Manifest } from "./model.ts";
import { readManifest } from "./read-manifest.ts";
import { manifestTemplate } from "./template.ts";

describe("the reference", () => {
  test("has every key, each with a type and a meaning that is a sentence", () => {
    const keys = manifestReference();
    const paths = keys.map(({ path }) => path);
    for (const path of [
      "version",
      "comfyui.adopt.python",
      "nodes[].installScript",
      "models[].licence.accepted",
      "modelFolders.extraPaths[].folders",
      "instances.overrides.<name>.flags",
      "services[].process.command",
      "health.tokenFile",
    ]) {
      expect(paths).toContain(path);
    }
    expect(new Set(paths).size).toBe(paths.length);
    expect(keys.filter(({ meaning, type }) => !/[.…]$/.test(meaning) || type === "")).toEqual([]);
    const byPath = new Map(keys.map((key) => [key.path, key]));
    expect(byPath.get("nodes[].ref")?.default).toBe("required");
    expect(byPath.get("comfyui.ref")?.default).toBe("–");
    expect(byPath.get("instances.basePort")?.default).toBe("8188");
    expect(byPath.get("instances.gpus")?.default).toBe("all");
    expect(byPath.get("instances")?.default).toBe("–");
    expect(byPath.get("torch.packages")?.default).toBe('["torch","torchvision","torchaudio"]');
  });
});

describe("the digest", () => {
  const read = (input: object): Manifest => manifestSchema.parse({ version: 1, ...input });
  const model = { folder: "f", name: "n", url: "https://x/y", sha256: "a".repeat(64) };
  const pack = { name: "a", repo: "/a", ref: "1" };
  const base = {
    comfyui: { repo: "/c", ref: "v1" },
    models: [model, { ...model, name: "m" }],
    nodes: [pack, { ...pack, name: "b" }],
    repositories: [
      { name: "r", repo: "/r", ref: "1" },
      { name: "s", repo: "/s", ref: "1" },
    ],
  };
  const digest = (input: object): string => manifestDigest(read({ ...base, ...input }));

  test("does not see how it is written, in which order files are listed, or what needs no installation", () => {
    const same = digest({});
    expect(
      digest({
        models: [...base.models].reverse(),
        repositories: [...base.repositories].reverse(),
      }),
    ).toBe(same);
    expect(
      digest({
        instances: { threads: 4 },
        health: { port: 1 },
        services: [{ name: "x" }],
        downloads: { parallel: 9 },
      }),
    ).toBe(same);
    expect(
      digest({ models: [{ ...model, sizeBytes: 5, sha256: "A".repeat(64) }, base.models[1]] }),
    ).toBe(same);
    expect(
      digest({ models: [{ ...model, licence: { name: "L", accepted: true } }, base.models[1]] }),
    ).toBe(same);
    expect(digest({ torch: { backend: "auto" }, python: {} })).toBe(same);
    const written = readManifest(`# said otherwise\n${stringify({ ...base, version: 1 })}`);
    expect(written.kind === "ok" && written.digest).toBe(same);
  });

  test.each([
    ["ComfyUI's ref", { comfyui: { repo: "/c", ref: "v2" } }],
    ["an adopted folder", { comfyui: { adopt: { folder: "/c" } } }],
    ["the Python", { python: { version: "3.12" } }],
    ["the backend", { torch: { backend: "cpu" } }],
    ["a pack's ref", { nodes: [{ ...pack, ref: "2" }, base.nodes[1]] }],
    ["the order of packs", { nodes: [...base.nodes].reverse() }],
    ["a model's hash", { models: [{ ...model, sha256: "b".repeat(64) }, base.models[1]] }],
    [
      "a licence",
      { models: [{ ...model, licence: { name: "L", accepted: false } }, base.models[1]] },
    ],
    ["the model folder", { modelFolders: { root: "/m" } }],
    ["a repository", { repositories: [base.repositories[0]] }],
  ])("sees %s", (_, change) => expect(digest(change)).not.toBe(digest({})));

  test("canonical JSON does not depend on the order of keys, and reads as the same value", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), jsonValue()), (value) => {
        const turned = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(turned)).toBe(canonicalJson(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(canonicalJson({ a: undefined, b: [undefined] })).toBe('{"b":[null]}');
  });
});

describe("the template", () => {
  test.each([
    ["a machine with GPUs", { hasGpu: true, adoptFolder: null, adoptPython: null }],
    ["a machine without", { hasGpu: false, adoptFolder: null, adoptPython: null }],
    [
      "an adopted ComfyUI",
      { hasGpu: true, adoptFolder: '/opt/Comfy: UI # "1"', adoptPython: null },
    ],
    [
      "an adopted one with its Python",
      { hasGpu: false, adoptFolder: "/opt/c", adoptPython: "/opt/p" },
    ],
  ])("for %s reads without a warning", (_, facts) => {
    const reading = readManifest(manifestTemplate(facts));
    expect(reading).toMatchObject({ kind: "ok", warnings: [] });
    if (reading.kind !== "ok") return;
    const { comfyui, instances, torch } = reading.manifest;
    expect(instances).toMatchObject(
      facts.hasGpu ? { gpus: "all", cpu: "auto" } : { gpus: "none", cpu: 1 },
    );
    if (facts.adoptFolder === null) {
      expect(comfyui).toMatchObject({ ref: expect.stringMatching(/^v/) });
      expect(torch.backend).toBe(facts.hasGpu ? "auto" : "cpu");
    } else {
      const python = facts.adoptPython === null ? {} : { python: facts.adoptPython };
      expect(comfyui).toEqual({ adopt: { folder: facts.adoptFolder, ...python } });
    }
  });

  test("its examples are right as well, once they are no comments", () => {
    const text = manifestTemplate({ hasGpu: true, adoptFolder: null, adoptPython: null });
    // Comments in the body of a section are examples; those in the first column are explanations.
    const used = text.replace(/^( +)# /gm, "$1");
    const reading = readManifest(used);
    const told = reading.kind === "ok" ? [] : reading.problems.map(({ message }) => message);
    // An example names no licence as accepted: that is a person's to write.
    expect(told).toEqual([expect.stringContaining("which is not accepted")]);
  });
});
