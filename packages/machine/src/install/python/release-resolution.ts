import { createHash } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { packRequirements, type BuildablePack } from "../custom-nodes.ts";
import { isThere, readIfThere, writeWhole } from "../install-files.ts";
import { StepFailure, type StepContext } from "../model.ts";
import type { ReleaseBuild } from "../release/release-build.ts";
import { hasTorchSource } from "./package-sources.ts";
import { normalName, parsePins, pinLines } from "./pins.ts";
import {
  readGroups,
  resolveTogether,
  type RequirementGroup,
  type Resolver,
} from "./resolve-packages.ts";

const resolutionSchema = z.object({
  /** Of everything that went into it. */
  digest: z.string(),
  /** Optional packs that are part of it, by name, with the digest of their requirements. */
  accepted: z.record(z.string(), z.string()),
  constraints: z.string(),
  requirements: z.string(),
});
type SavedResolution = z.infer<typeof resolutionSchema>;

/** What the packages of a release were resolved to, and from. */
export interface OpenResolution {
  readonly resolver: Resolver;
  saved(): Promise<SavedResolution | undefined>;
  save(resolution: SavedResolution): Promise<void>;
  /** Groups of everything that is required. */
  required(): Promise<RequirementGroup[]>;
  groupOf(pack: BuildablePack): Promise<RequirementGroup>;
  digest(groups: readonly RequirementGroup[]): Promise<string>;
}

/** Opens the resolution of a release: kept in its build folder, so that a kill costs little. */
export function openResolution(
  build: ReleaseBuild,
  packs: readonly BuildablePack[],
): OpenResolution {
  const { places, settings } = build;
  const file = join(places.build, "resolution.json");
  const groupOf = async (pack: BuildablePack): Promise<RequirementGroup> => ({
    title: `the pack "${pack.pack.name}"`,
    files: await packRequirements(build, pack),
  });
  return {
    resolver: { uv: build.uv, settings, python: places.python, buildFolder: places.build },
    async saved() {
      const text = await readIfThere(file);
      if (text === undefined) return undefined;
      const parsed = resolutionSchema.safeParse(JSON.parse(text));
      return parsed.success ? parsed.data : undefined;
    },
    save: (resolution) => writeWhole(file, JSON.stringify(resolution)),
    groupOf,
    async required() {
      const groups: RequirementGroup[] = [];
      const comfyui = join(places.comfyui, "requirements.txt");
      if (await isThere(comfyui)) groups.push({ title: "ComfyUI", files: [comfyui] });
      groups.push(await ownPackages(build));
      if (hasTorchSource(settings)) groups.push(await torchPackages(build));
      for (const pack of packs) if (!pack.pack.optional) groups.push(await groupOf(pack));
      return groups.filter(({ files }) => files.length > 0);
    },
    digest: async (groups) =>
      createHash("sha256")
        .update(JSON.stringify([settings, await readGroups(groups)]))
        .digest("hex"),
  };
}

async function ownPackages(build: ReleaseBuild): Promise<RequirementGroup> {
  const { python } = build.settings;
  if (python.packages.length === 0) return { title: "the manifest", files: [] };
  const file = join(build.places.build, "packages.in");
  await writeWhole(file, `${python.packages.join("\n")}\n`);
  return { title: "python.packages of the manifest", files: [file] };
}

async function torchPackages(build: ReleaseBuild): Promise<RequirementGroup> {
  const file = join(build.places.build, "torch.in");
  await writeWhole(file, `${build.settings.torch.packages.join("\n")}\n`);
  return { title: "torch.packages of the manifest", files: [file] };
}

/** The constraints of everything: the manifest's, and torch's packages pinned to their exact builds. */
export async function makeConstraints(
  build: ReleaseBuild,
  resolver: Resolver,
  context: StepContext,
): Promise<string> {
  const { python, torch } = build.settings;
  const own = python.constraints.map((line) => `${line}\n`).join("");
  if (!hasTorchSource(build.settings)) return own;
  const group = await torchPackages(build);
  const resolved = await resolveTogether(resolver, [group], own, context, "torch");
  if (resolved.kind === "conflict") {
    throw new StepFailure(
      `torch for the backend ${build.settings.torchBackend} cannot be had:\n${resolved.explanation}`,
      "Check torch.backend, torch.indexUrl and torch.packages, and python.constraints against them.",
    );
  }
  const names = new Set(
    torch.packages.map((spec) => normalName(/^[A-Za-z0-9._-]+/.exec(spec)?.[0] ?? spec)),
  );
  const pins = [...parsePins(resolved.pins)].filter(([name]) => names.has(name));
  context.log(`torch: ${pins.map(([name, version]) => `${name} ${version}`).join(", ")}`);
  return own + pinLines(new Map(pins));
}

/** Groups of the optional packs that fit so far. */
export async function acceptedGroups(
  build: ReleaseBuild,
  saved: SavedResolution,
  resolution: OpenResolution,
): Promise<RequirementGroup[]> {
  const groups: RequirementGroup[] = [];
  for (const { pack, commit, missing } of build.inputs.nodes) {
    if (commit === null || saved.accepted[pack.name] === undefined) continue;
    groups.push(await resolution.groupOf({ pack, commit, missing }));
  }
  return groups;
}
