/**
 * ComfyUI's `extra_model_paths.yaml` for the model root and the further folders of a manifest, as
 * `utils/extra_config.py` and `folder_paths.py` of ComfyUI 0.3.64 read it.
 */
import { stringify } from "yaml";
import type { Manifest } from "../../manifest/model.ts";
import { saveTextAtomically } from "./atomic-file.ts";

/**
 * Folders of models that ComfyUI knows, and what is searched for each below its models folder. With
 * `is_default` each is put before the others, so the last named is the first: that of downloads.
 */
const KNOWN_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  audio_encoders: ["audio_encoders"],
  checkpoints: ["checkpoints"],
  classifiers: ["classifiers"],
  clip_vision: ["clip_vision"],
  configs: ["configs"],
  controlnet: ["t2i_adapter", "controlnet"],
  diffusers: ["diffusers"],
  diffusion_models: ["unet", "diffusion_models"],
  embeddings: ["embeddings"],
  gligen: ["gligen"],
  hypernetworks: ["hypernetworks"],
  loras: ["loras"],
  model_patches: ["model_patches"],
  photomaker: ["photomaker"],
  style_models: ["style_models"],
  text_encoders: ["clip", "text_encoders"],
  upscale_models: ["upscale_models"],
  vae: ["vae"],
  vae_approx: ["vae_approx"],
};
/** Names that a folder is known by beside its own (`map_legacy`, and what is searched with another). */
const SEARCHED_WITH: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(KNOWN_FOLDERS).flatMap(([name, folders]) =>
    folders.map((folder) => [folder, name]),
  ),
);
const OWN_SECTION = "holdfast";

/** What the file is made of. */
export interface ExtraPathsInput {
  readonly root: string;
  readonly models: Manifest["models"];
  readonly extraPaths: Manifest["modelFolders"]["extraPaths"];
}

/** The file's text, or why there can be none, in words. */
export type ExtraPathsText =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "problem"; readonly message: string; readonly advice: string };

/** Makes the text of the file. The root comes before ComfyUI's own folders, the further ones after. */
export function extraModelPathsText(input: ExtraPathsInput): ExtraPathsText {
  const sections: [string, Readonly<Record<string, string | boolean>>][] = [
    [OWN_SECTION, section(input.root, rootFolders(input.models), true)],
  ];
  const paths = [input.root, ...input.extraPaths.map(({ basePath }) => basePath)];
  for (const { name, basePath, folders } of input.extraPaths) {
    const entries = Object.entries(folders).map(([key, path]): [string, readonly string[]] => [
      key,
      [path],
    ]);
    paths.push(...Object.values(folders));
    sections.push([freeName(name, sections), section(basePath, entries, false)]);
  }
  const broken = paths.find((path) => /[\r\n]/.test(path));
  if (broken !== undefined) {
    return {
      kind: "problem",
      message: `the path ${JSON.stringify(broken)} has a line break, at which ComfyUI would part it in two`,
      advice: "Rename that folder, and name it so under modelFolders in machine.yaml.",
    };
  }
  const text = stringify(Object.fromEntries(sections), {
    // PyYAML reads YAML 1.1, in which a plain `no` or `on` is no text.
    version: "1.1",
    defaultStringType: "QUOTE_DOUBLE",
    defaultKeyType: "PLAIN",
    lineWidth: 0,
  });
  return {
    kind: "text",
    text: `# Written by Holdfast from machine.yaml; changes here are lost.\n${text}`,
  };
}

/** Every folder that ComfyUI knows, and those of the manifest's models beside them. */
function rootFolders(
  models: Manifest["models"],
): readonly (readonly [string, readonly string[]])[] {
  const own = models
    .map(({ folder }) => folder.split("/")[0] ?? folder)
    .filter((folder) => !Object.hasOwn(SEARCHED_WITH, folder) && folder !== "custom_nodes");
  const further = [...new Set(own)].sort().map((folder) => [folder, [folder]] as const);
  return [...Object.entries(KNOWN_FOLDERS), ...further];
}

function section(
  basePath: string,
  folders: readonly (readonly [string, readonly string[]])[],
  isDefault: boolean,
): Readonly<Record<string, string | boolean>> {
  // ComfyUI puts variables of its environment into `base_path`, and into nothing else.
  const isPlain = !basePath.includes("$");
  const at = (path: string): string => (isPlain ? path : `${basePath.replace(/\/+$/, "")}/${path}`);
  return {
    ...(isPlain ? { base_path: basePath } : {}),
    ...(isDefault ? { is_default: true } : {}),
    ...Object.fromEntries(folders.map(([name, paths]) => [name, paths.map(at).join("\n")])),
  };
}

function freeName(name: string, taken: readonly (readonly [string, unknown])[]): string {
  let free = name;
  for (let n = 2; taken.some(([other]) => other === free); n += 1) free = `${name}-${n}`;
  return free;
}

/** Writes the file, whole or not at all. The folder has to be there. */
export async function writeExtraModelPaths(path: string, text: string): Promise<void> {
  await saveTextAtomically(path, text);
}
