import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { manifestSchema } from "../../manifest/model.ts";
import { extraModelPathsText, writeExtraModelPaths } from "./extra-model-paths.ts";

const model = (folder: string) => ({
  folder,
  name: "x",
  url: "https://host/x",
  sha256: "0".repeat(64),
});

function textOf(input: {
  root?: string;
  folders?: readonly string[];
  extraPaths?: { name: string; basePath: string; folders: Record<string, string> }[];
}): string {
  const manifest = manifestSchema.parse({
    version: 1,
    models: (input.folders ?? []).map(model),
    modelFolders: { extraPaths: input.extraPaths ?? [] },
  });
  const made = extraModelPathsText({
    root: input.root ?? "/data/models",
    models: manifest.models,
    extraPaths: manifest.modelFolders.extraPaths,
  });
  if (made.kind !== "text") throw new Error(made.message);
  return made.text;
}

const HARD = {
  root: "/data/my models: all #1",
  folders: ["LLM/qwen", "unet", "no", "custom_nodes"],
  extraPaths: [
    { name: "holdfast", basePath: "/old", folders: { checkpoints: "sd", yes: "on" } },
    { name: "null", basePath: "/price$HOME", folders: { loras: "l" } },
  ],
};

test("the root is the default of every folder that ComfyUI knows, and of the manifest's own", () => {
  const { holdfast } = parse(textOf(HARD)) as Record<string, Record<string, unknown>>;
  expect(holdfast).toMatchObject({
    base_path: "/data/my models: all #1",
    is_default: true,
    checkpoints: "checkpoints",
    diffusion_models: "unet\ndiffusion_models",
    text_encoders: "clip\ntext_encoders",
    LLM: "LLM",
    no: "no",
  });
  expect(holdfast).not.toHaveProperty("unet");
  // The nodes of a release are its own: a shared folder of them would not be pinned.
  expect(holdfast).not.toHaveProperty("custom_nodes");
});

test("further folders come under names of their own, and not as the default", () => {
  const file = parse(textOf(HARD)) as Record<string, Record<string, unknown>>;
  expect(file["holdfast-2"]).toEqual({ base_path: "/old", checkpoints: "sd", yes: "on" });
  // ComfyUI would put the environment into it, were it the base path.
  expect(file["null"]).toEqual({ loras: "/price$HOME/l" });
});

test("a path with a line break is a problem in words", () => {
  const made = extraModelPathsText({ root: "/a\nb", models: [], extraPaths: [] });
  expect(made).toMatchObject({ kind: "problem" });
});

test("the file is written whole", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hf-extra-"));
  await writeExtraModelPaths(join(folder, "extra_model_paths.yaml"), textOf({}));
  expect(await readFile(join(folder, "extra_model_paths.yaml"), "utf8")).toContain("/data/models");
  await rm(folder, { recursive: true });
});

const hasPyYaml = spawnSync("python3", ["-c", "import yaml"]).status === 0;
if (!hasPyYaml)
  console.warn("extra-model-paths: no python3 with PyYAML, ComfyUI's reading is not tested");

/** `load_extra_path_config` of ComfyUI 0.3.64, with the folders that it would add printed. */
const AS_COMFYUI_READS_IT = `
import json, os, sys, yaml
added = []
config = yaml.safe_load(sys.stdin)
for c in config:
    conf = config[c]
    if conf is None:
        continue
    base_path = None
    if "base_path" in conf:
        base_path = conf.pop("base_path")
        base_path = os.path.expandvars(os.path.expanduser(base_path))
    is_default = False
    if "is_default" in conf:
        is_default = conf.pop("is_default")
    for x in conf:
        for y in conf[x].split("\\n"):
            if len(y) == 0:
                continue
            full_path = os.path.join(base_path, y) if base_path else y
            added.append([x, os.path.normpath(full_path), is_default])
print(json.dumps(added))
`;

describe.skipIf(!hasPyYaml)("as ComfyUI reads it", () => {
  test("every folder arrives as it was meant", () => {
    const run = spawnSync("python3", ["-c", AS_COMFYUI_READS_IT], { input: textOf(HARD) });
    expect(String(run.stderr)).toBe("");
    const added = JSON.parse(String(run.stdout)) as unknown[];
    expect(added).toContainEqual(["checkpoints", "/data/my models: all #1/checkpoints", true]);
    expect(added).toContainEqual(["diffusion_models", "/data/my models: all #1/unet", true]);
    expect(added).toContainEqual(["no", "/data/my models: all #1/no", true]);
    expect(added).toContainEqual(["yes", "/old/on", false]);
    expect(added).toContainEqual(["loras", "/price$HOME/l", false]);
  });
});
