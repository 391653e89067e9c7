/** Rules for what an installation fetches: packs, models, repositories. */
import { joinFindings, type Finding, type Findings, type YamlPath } from "@holdfast/yaml-file";
import type { Manifest, ModelEntry } from "./model.ts";

/** Folders below `shared` that ComfyUI itself writes into. */
const SHARED_FOLDERS: readonly string[] = ["input", "output", "temp", "user"];

/** Names, targets and links that would collide, and licences that nobody accepted. */
export function contentRules(manifest: Manifest): Findings {
  return joinFindings([
    nodeRules(manifest),
    modelTargets(manifest.models),
    sameFiles(manifest.models),
    licences(manifest.models),
    repositoryRules(manifest),
    extraPathRules(manifest),
  ]);
}

function nodeRules({ nodes, comfyui }: Manifest): Findings {
  const problems = duplicateNames("nodes", nodes, "node pack");
  if (comfyui === undefined && nodes.length > 0) {
    const message = "node packs need a ComfyUI: add `comfyui`, with `repo` and `ref` or `adopt`";
    problems.push({ path: ["nodes"], message });
  }
  return { problems, warnings: [] };
}

/** Also names that differ in case alone: on many disks they are one folder. */
export function duplicateNames(
  section: string,
  entries: readonly { readonly name: string }[],
  what: string,
): Finding[] {
  const first = new Map<string, number>();
  return entries.flatMap(({ name }, index) => {
    const key = name.toLowerCase();
    const before = first.get(key);
    if (before === undefined) {
      first.set(key, index);
      return [];
    }
    const other = entries[before]!.name;
    const how =
      other === name
        ? `is named twice, first in ${section}[${before}]`
        : `and ${other} (${section}[${before}]) differ in upper and lower case alone`;
    return [
      { path: [section, index, "name"], message: `${what} ${name} ${how}: give it another name` },
    ];
  });
}

function targetOf(model: ModelEntry): string {
  return `${model.folder}/${model.name}`;
}

/** Two models for one file, and a file where another model needs a folder. */
function modelTargets(models: readonly ModelEntry[]): Findings {
  const problems: Finding[] = [];
  const first = new Map<string, number>();
  for (const [index, model] of models.entries()) {
    const target = targetOf(model);
    const before = first.get(target);
    if (before === undefined) {
      first.set(target, index);
      continue;
    }
    const message =
      models[before]!.sha256 === model.sha256
        ? `${target} is listed twice, first in models[${before}]: remove one`
        : `${target} is asked for with two different SHA-256, the other in models[${before}]: ` +
          "keep the one that is meant, or give one another name";
    problems.push({ path: ["models", index, "name"], message });
  }
  for (const [index, model] of models.entries()) {
    const folder = foldersAbove(targetOf(model)).find((one) => first.has(one));
    if (folder === undefined) continue;
    const message =
      `${targetOf(model)} needs a folder ${folder}, ` +
      `and models[${first.get(folder)}] is a file of that name: rename one`;
    problems.push({ path: ["models", index, "name"], message });
  }
  return { problems, warnings: [] };
}

function foldersAbove(path: string): readonly string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

function sameFiles(models: readonly ModelEntry[]): Findings {
  const first = new Map<string, number>();
  const warnings = models.flatMap((model, index): Finding[] => {
    const before = first.get(model.sha256);
    if (before === undefined) {
      first.set(model.sha256, index);
      return [];
    }
    const other = targetOf(models[before]!);
    // A problem of its own.
    if (other === targetOf(model)) return [];
    const message = `${targetOf(model)} and ${other} (models[${before}]) are the same file by SHA-256`;
    return [{ path: ["models", index, "sha256"], message }];
  });
  return { problems: [], warnings };
}

function licences(models: readonly ModelEntry[]): Findings {
  const problems: Finding[] = [];
  const warnings: Finding[] = [];
  for (const [index, model] of models.entries()) {
    if (model.licence === undefined || model.licence.accepted) continue;
    const { name, url } = model.licence;
    const where = url === undefined ? "" : ` (${url})`;
    const isNeeded = model.fetch === "always" && !model.optional;
    const what = `${targetOf(model)} is under the licence "${name}"${where}, which is not accepted`;
    const path: YamlPath = ["models", index, "licence", "accepted"];
    if (isNeeded) {
      const message = `${what}: read it and write \`accepted: true\`, or make the model optional`;
      problems.push({ path, message });
    } else {
      warnings.push({ path, message: `${what}: it will not be fetched` });
    }
  }
  return { problems, warnings };
}

function repositoryRules({ repositories }: Manifest): Findings {
  const problems = duplicateNames("repositories", repositories, "repository");
  const first = new Map<string, number>();
  for (const [index, { linkTo }] of repositories.entries()) {
    if (linkTo === undefined) continue;
    const path = ["repositories", index, "linkTo"];
    if (SHARED_FOLDERS.includes(linkTo)) {
      const message = `${linkTo} is a folder that ComfyUI writes into: link below it, as ${linkTo}/NAME`;
      problems.push({ path, message });
    }
    const before = first.get(linkTo);
    if (before === undefined) first.set(linkTo, index);
    else {
      const message = `repositories[${before}] is linked to ${linkTo} as well: choose another place`;
      problems.push({ path, message });
    }
  }
  for (const [index, { linkTo }] of repositories.entries()) {
    const above = foldersAbove(linkTo ?? "").find((one) => first.has(one));
    if (above === undefined) continue;
    const message =
      `${linkTo} is inside ${above}, which is repositories[${first.get(above)}] itself: ` +
      "choose a place outside it";
    problems.push({ path: ["repositories", index, "linkTo"], message });
  }
  return { problems, warnings: [] };
}

function extraPathRules({ modelFolders }: Manifest): Findings {
  const problems = duplicateNames("extraPaths", modelFolders.extraPaths, "entry").map((one) => ({
    ...one,
    path: ["modelFolders", ...one.path],
  }));
  return { problems, warnings: [] };
}
