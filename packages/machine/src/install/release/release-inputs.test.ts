import { describe, expect, test } from "vitest";
import { manifestSchema } from "../../manifest/model.ts";
import { releaseId, type ReleaseInputs } from "./release-inputs.ts";

const commit = (digit: string): string => digit.repeat(40);
const { python, torch, nodes } = manifestSchema.parse({
  version: 1,
  nodes: [{ name: "p", repo: "https://h/p", ref: "main", classes: ["P"] }],
});
const [pack] = nodes;
if (pack === undefined) throw new Error("no pack");
const base: ReleaseInputs = {
  comfyui: { kind: "clone", repo: "https://h/c", ref: "main", commit: commit("a") },
  nodes: [{ pack, commit: commit("b"), missing: null }],
  python,
  torch,
  torchBackend: "cpu",
};

describe("the id of a release", () => {
  test("is the same for the same, whatever the ref was called and whoever asks", () => {
    const again: ReleaseInputs = {
      ...base,
      comfyui: {
        ...base.comfyui,
        repo: "https://me:pw@h/c",
        ref: "v1",
      } as ReleaseInputs["comfyui"],
    };
    expect(releaseId(again)).toBe(releaseId(base));
    expect(releaseId(base)).toMatch(/^aaaaaaaa-[0-9a-f]{12}$/);
  });

  test("is another for whatever changes what is installed", () => {
    const others: ReleaseInputs[] = [
      { ...base, comfyui: { ...base.comfyui, commit: commit("c") } as ReleaseInputs["comfyui"] },
      { ...base, nodes: [{ pack, commit: commit("d"), missing: null }] },
      { ...base, nodes: [{ pack, commit: null, missing: "away" }] },
      {
        ...base,
        nodes: [{ pack: { ...pack, classes: ["Q"] }, commit: commit("b"), missing: null }],
      },
      { ...base, python: { ...python, constraints: ["x<2"] } },
      { ...base, torchBackend: "cu128" },
      { ...base, torch: { ...torch, packages: ["torch==2.9"] } },
    ];
    const ids = new Set([base, ...others].map(releaseId));
    expect(ids.size).toBe(others.length + 1);
  });

  test("of an adopted folder says so, and knows the folder and its Python", () => {
    const adopt = (folder: string, python: string | null): string =>
      releaseId({ ...base, comfyui: { kind: "adopted", folder, python } });
    expect(adopt("/a", null)).toMatch(/^adopted-/);
    expect(new Set([adopt("/a", null), adopt("/b", null), adopt("/a", "/p")]).size).toBe(3);
  });
});
