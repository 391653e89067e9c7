import { join } from "node:path";
import { z } from "zod";
import { readIfThere, writeWhole } from "../install-files.ts";
import { StepFailure, type MachineLock, type Step, type StepContext } from "../model.ts";
import type { PythonFacts } from "../python/python-facts.ts";
import { withoutUserinfo } from "../redact.ts";
import type { NodeClasses } from "../validation/object-info.ts";
import { headCommit, recordFacts } from "./release-condition.ts";
import type { ReleaseBuild } from "./release-build.ts";
import type { ResolvedRepository } from "./release-inputs.ts";
import type { Releases } from "./releases.ts";

const CLASSES_FILE = "classes.json";
const classesSchema = z.object({
  all: z.array(z.string()),
  byPack: z.record(z.string(), z.array(z.string())),
});

/** Keeps what validation saw until the lock is written. */
export async function saveClasses(build: ReleaseBuild, classes: NodeClasses): Promise<void> {
  const text = JSON.stringify({ all: classes.all, byPack: Object.fromEntries(classes.byPack) });
  await writeWhole(join(build.places.release, CLASSES_FILE), text);
}

async function readClasses(build: ReleaseBuild): Promise<z.infer<typeof classesSchema>> {
  const text = await readIfThere(join(build.places.release, CLASSES_FILE));
  if (text !== undefined) return classesSchema.parse(JSON.parse(text));
  throw new StepFailure(
    "the release was not validated",
    "Run the installation again with a thorough look.",
  );
}

/** Whether all parts of a complete release are as they were made. */
export async function isWhole(build: ReleaseBuild): Promise<boolean> {
  const found = await build.condition();
  if (found === undefined) return false;
  const { lock, parts } = found;
  const packsThere = lock.nodes.every(
    ({ name, missing }) => missing !== null || parts.packs.has(name),
  );
  return parts.comfyui && parts.environment && packsThere;
}

/** What the lock tells beside the release itself. */
export interface LockFacts {
  readonly manifestDigest: string;
  readonly repositories: readonly ResolvedRepository[];
  /** Models that are there. */
  models(): Promise<MachineLock["models"]>;
  pythonFacts(context: StepContext): Promise<PythonFacts>;
  /** Interpreter that instances are started with. */
  pythonExecutable(): Promise<string>;
}

/**
 * Writes the lock: with it the release is complete. Models and repositories are beside the release,
 * so a complete one gets a new lock when they or the manifest changed, and nothing else of it.
 */
export function lockStep(
  build: ReleaseBuild,
  releases: Releases,
  facts: LockFacts,
  after: readonly string[],
): Step {
  const beside = async (): Promise<
    Pick<MachineLock, "manifestDigest" | "models" | "repositories">
  > => ({
    manifestDigest: facts.manifestDigest,
    models: await facts.models(),
    repositories: facts.repositories.map(({ name, repo, ref, commit }) => ({
      name,
      repo: withoutUserinfo(repo),
      ref,
      commit,
    })),
  });
  return {
    id: "release.lock",
    title: "What was installed, written down",
    isOptional: false,
    after,
    lane: "release",
    async check() {
      const lock = (await build.condition())?.lock;
      if (lock === undefined || !(await isWhole(build))) {
        return { kind: "needed", detail: "the release is not complete" };
      }
      const { manifestDigest, models, repositories } = lock;
      return JSON.stringify({ manifestDigest, models, repositories }) ===
        JSON.stringify(await beside())
        ? { kind: "done", detail: `release ${build.id} is complete` }
        : { kind: "needed", detail: "the manifest or what is beside the release changed" };
    },
    async apply(context) {
      if (await isWhole(build)) {
        const lock = (await build.condition())?.lock;
        if (lock !== undefined) await releases.complete({ ...lock, ...(await beside()) });
        return;
      }
      const python = await facts.pythonFacts(context);
      await recordFacts(build.places.release, python.sitePackages);
      const lock = await makeLock(build, python, await facts.pythonExecutable());
      await releases.complete({ ...lock, ...(await beside()) });
    },
    async verify() {
      if ((await releases.lockOf(build.id)) !== undefined) return;
      throw new StepFailure("the lock cannot be read back", "Check the disk.");
    },
  };
}

async function makeLock(
  build: ReleaseBuild,
  python: PythonFacts,
  executable: string,
): Promise<Omit<MachineLock, "manifestDigest" | "models" | "repositories">> {
  const { inputs, missing } = build;
  const { comfyui } = inputs;
  const classes = await readClasses(build);
  const left = new Set([...missing.keys()].flatMap((name) => classes.byPack[name] ?? []));
  const isClone = comfyui.kind === "clone";
  const folder = isClone ? build.places.comfyui : comfyui.folder;
  return {
    version: 1,
    release: build.id,
    createdAt: build.clock.now(),
    comfyui: {
      repo: isClone ? withoutUserinfo(comfyui.repo) : null,
      ref: isClone ? comfyui.ref : null,
      commit: isClone ? comfyui.commit : await headCommit(folder),
      adopted: isClone ? null : comfyui.folder,
      version: await comfyuiVersion(folder),
    },
    python: { executable, version: python.version },
    torch: { backend: inputs.torchBackend, version: python.packages["torch"] ?? null },
    packages: { ...python.packages },
    nodes: inputs.nodes.flatMap(({ pack, commit }) =>
      commit === null
        ? []
        : [
            {
              name: pack.name,
              repo: withoutUserinfo(pack.repo),
              ref: pack.ref,
              commit,
              classes: missing.has(pack.name) ? [] : (classes.byPack[pack.name] ?? []),
              optional: pack.optional,
              missing: missing.get(pack.name) ?? null,
            },
          ],
    ),
    nodeClasses: classes.all.filter((name) => !left.has(name)),
  };
}

/** `comfyui_version.py` of ComfyUI: `__version__ = "0.3.64"`. */
async function comfyuiVersion(folder: string): Promise<string | null> {
  const text = (await readIfThere(join(folder, "comfyui_version.py"))) ?? "";
  return /^__version__\s*=\s*["']([^"']+)["']/m.exec(text)?.[1] ?? null;
}

/** Makes the release the one that serves, with the shared repositories that belong to it. */
export function switchStep(
  build: ReleaseBuild,
  releases: Releases,
  links: { isRight(): Promise<boolean>; make(): Promise<void> },
): Step {
  const isServing = async (): Promise<boolean> =>
    (await releases.currentId()) === build.id && (await links.isRight());
  return {
    id: "release.switch",
    title: `Release ${build.id} serves`,
    isOptional: false,
    after: ["release.lock"],
    lane: "release",
    check: async () =>
      (await isServing())
        ? { kind: "done", detail: `release ${build.id} serves` }
        : { kind: "needed", detail: "another one serves, or none" },
    async apply() {
      await links.make();
      await releases.switchTo(build.id, { keepPrevious: build.isReplacement });
    },
    async verify() {
      if (await isServing()) return;
      throw new StepFailure(
        `release ${build.id} does not serve`,
        "Look whether another program changes the links of the machine folder.",
      );
    },
  };
}
