import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeWhole } from "../install-files.ts";
import { StepFailure, type StepContext } from "../model.ts";
import { minimalConflict } from "./minimal-conflict.ts";
import { packageSources, type PackageSettings } from "./package-sources.ts";
import { callUv, classifyUvText, uvStepFailure, type UvCaller } from "./uv-pip.ts";

const COMPILE_TIMEOUT_MS = 1_800_000;

const COMPILE = [
  "pip",
  "compile",
  "--no-header",
  "--no-annotate",
  "--no-python-downloads",
] as const;

/** Requirement files that stand or fall together. */
export interface RequirementGroup {
  /** In words: `ComfyUI`, `the pack "x"`. */
  readonly title: string;
  readonly files: readonly string[];
}

/** What a set of requirements is resolved for. */
export interface Resolver {
  readonly uv: UvCaller;
  readonly settings: PackageSettings;
  /** Interpreter of the environment. */
  readonly python: string;
  /** Folder for files of the resolver's own. */
  readonly buildFolder: string;
}

/** What a resolution came to: pins as a requirements file, or uv's own words. */
export type Resolution =
  | { readonly kind: "resolved"; readonly pins: string }
  | { readonly kind: "conflict"; readonly explanation: string };

/**
 * Resolves groups of requirement files as one, under the constraints. Throws a {@link StepFailure}
 * for whatever is not a conflict.
 */
export async function resolveTogether(
  resolver: Resolver,
  groups: readonly RequirementGroup[],
  constraints: string,
  context: StepContext,
  purpose: "torch" | "all" = "all",
): Promise<Resolution> {
  const files = groups.flatMap((group) => group.files);
  if (files.length === 0) return { kind: "resolved", pins: "" };
  const constraintsFile = join(resolver.buildFolder, "constraints.txt");
  await mkdir(resolver.buildFolder, { recursive: true });
  await writeWhole(constraintsFile, constraints);
  const { args, env } = packageSources(resolver.settings, purpose);
  const result = await callUv(
    resolver.uv,
    {
      args: [
        ...COMPILE,
        "--python",
        resolver.python,
        "--constraints",
        constraintsFile,
        ...args,
        "--",
        ...files,
      ],
      env,
      timeoutMs: COMPILE_TIMEOUT_MS,
      isQuiet: true,
    },
    context,
  );
  if (result.kind === "succeeded") {
    return { kind: "resolved", pins: result.stdout };
  }
  if (result.kind === "failed" && classifyUvText(result.stderrTail) === "conflict") {
    return { kind: "conflict", explanation: result.stderrTail };
  }
  const names = groups.map(({ title }) => title).join(", ");
  throw uvStepFailure(`The packages for ${names} cannot be looked up`, result);
}

/**
 * Explains why groups cannot be had together: finds a smallest set of them that conflicts, and gives
 * uv's explanation for just that set.
 */
export async function explainConflict(
  resolver: Resolver,
  groups: readonly RequirementGroup[],
  constraints: string,
  context: StepContext,
): Promise<StepFailure> {
  const guilty = await minimalConflict(groups, async (set) => {
    const resolution = await resolveTogether(resolver, set, constraints, context);
    return resolution.kind === "resolved";
  });
  const resolution = await resolveTogether(resolver, guilty, constraints, context);
  const why = resolution.kind === "conflict" ? resolution.explanation : "";
  return new StepFailure(conflictMessage(guilty, why), conflictAdvice(guilty));
}

function conflictMessage(guilty: readonly RequirementGroup[], why: string): string {
  const names = guilty.map(({ title }) => title);
  const last = names.pop() ?? "the requirements";
  return names.length === 0
    ? `The packages that ${last} asks for cannot be had:\n${why}`
    : `The packages of ${names.join(", ")} and ${last} cannot be installed together:\n${why}`;
}

function conflictAdvice(guilty: readonly RequirementGroup[]): string {
  return guilty.length > 1
    ? "Choose refs of them that fit together, leave one out, or mark a pack `optional: true`: it is left out then when it does not fit."
    : "Check its requirements against python.constraints and torch.packages of the manifest, and that the indexes have them.";
}

/** Text of all files of the groups: what a resolution depends on. */
export async function readGroups(groups: readonly RequirementGroup[]): Promise<string> {
  const parts: string[] = [];
  for (const { title, files } of groups) {
    for (const file of files) parts.push(title, file, await readFile(file, "utf8"));
  }
  return parts.join("\0");
}
