import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import type { MachinePlaces } from "../machine-places.ts";
import type { ProcessSpec } from "../process-manager/model.ts";
import type { InstancePlan, Release } from "./model.ts";

/** Where the files of one instance are. */
export interface InstancePlaces {
  readonly folder: string;
  readonly output: string;
  /** ComfyUI makes a folder `temp` below it, and empties that one at each start. */
  readonly temp: string;
  /** Settings and workflows of its page. */
  readonly user: string;
  /** Of all instances: shared repositories are linked below it. */
  readonly input: string;
  /** `TMPDIR`. */
  readonly scratch: string;
  readonly logs: string;
  readonly outFile: string;
  readonly errorFile: string;
}

/**
 * The places of one instance. Outputs, temporary files and settings are its own: ComfyUI numbers its
 * outputs by looking into the folder (two processes would overwrite each other's), empties its
 * temporary folder at start, and keeps a database among the settings.
 */
export function instancePlaces(machine: MachinePlaces, name: string): InstancePlaces {
  const folder = join(machine.instances, name);
  const logs = join(folder, "logs");
  return {
    folder,
    output: join(folder, "output"),
    temp: folder,
    user: join(folder, "user"),
    input: join(machine.shared, "input"),
    scratch: scratchFolder(folder),
    logs,
    outFile: join(logs, "out.log"),
    errorFile: join(logs, "error.log"),
  };
}

/** Longest folder below which Python's sockets (`pymp-…/listener-…`) still fit into 108 bytes. */
const SCRATCH_MAX = 70;

function scratchFolder(folder: string): string {
  const own = join(folder, "tmp");
  return Buffer.byteLength(own) <= SCRATCH_MAX ? own : "/tmp";
}

/** What has to be read from a release's files to start it rightly; see `release-traits.ts`. */
export interface ReleaseTraits {
  /** Options that its ComfyUI knows (`--database-url`); null while that could not be told. */
  readonly options: ReadonlySet<string> | null;
  /** The virtual environment of its Python; null when it has none. */
  readonly virtualEnv: string | null;
}

/** The parts of the agent's account that an instance is started with. */
export interface HostAccount {
  readonly home: string;
}

/** Fixed, so that an agent started from another shell does not mean another environment. */
const SYSTEM_PATH =
  "/usr/local/sbin:/usr/local/bin:/usr/local/cuda/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Set by the process manager for each of its processes: the digest of the spec. */
export const ENV_SPEC = "HOLDFAST_SPEC";
/** As {@link ENV_SPEC}: the machine folder. */
export const ENV_MACHINE = "HOLDFAST_MACHINE";
/** Tells an instance's process from those of other services: its name. In the spec. */
export const ENV_INSTANCE = "HOLDFAST_INSTANCE";

/**
 * How to start an instance. Read from ComfyUI 0.3.64, `comfy/cli_args.py` and `main.py`. Folders are
 * given one by one and not by `--base-directory`: that would move `custom_nodes` and `models` away
 * from the release too, and dies when one of its folders is missing (F24).
 */
export function toProcessSpec(
  plan: InstancePlan,
  release: Release,
  machine: MachinePlaces,
  traits: ReleaseTraits,
  account: HostAccount,
): ProcessSpec {
  const places = instancePlaces(machine, plan.name);
  const spec = {
    name: plan.name,
    command: release.python,
    args: [
      "-u",
      "main.py",
      ...plan.flags,
      // After the plan's: of an option given twice the last one counts.
      ...ownArguments(plan, release, places, traits),
    ],
    cwd: release.comfyuiFolder,
    env: { ...bytecode(release, machine), ...environment(plan, places, traits, account) },
    outFile: places.outFile,
    errorFile: places.errorFile,
    stopTimeoutMs: plan.stopTimeoutMs,
  };
  const digest = `${releaseDigest(release)}-${hash(stableText({ release: release.id, ...spec }), 24)}`;
  return { ...spec, digest };
}

function ownArguments(
  plan: InstancePlan,
  release: Release,
  places: InstancePlaces,
  traits: ReleaseTraits,
): readonly string[] {
  // Without a word of ComfyUI's own, what it has known since 0.3.0.
  const knows = (option: string): boolean => traits.options?.has(option) ?? true;
  return [
    "--listen",
    plan.host,
    "--port",
    String(plan.port),
    "--output-directory",
    places.output,
    "--temp-directory",
    places.temp,
    "--input-directory",
    places.input,
    ...(knows("--user-directory") ? ["--user-directory", places.user] : []),
    // It would otherwise be in the release's folder, one file for all instances and written to.
    ...(traits.options?.has("--database-url") === true
      ? ["--database-url", `sqlite:///${join(places.user, "comfyui.db")}`]
      : []),
    ...(release.extraModelPaths === null
      ? []
      : ["--extra-model-paths-config", release.extraModelPaths]),
    ...(knows("--disable-auto-launch") ? ["--disable-auto-launch"] : []),
    ...(plan.gpu === null && !plan.flags.includes("--cpu") ? ["--cpu"] : []),
  ];
}

/** Into a ComfyUI of somebody else's nothing is written, not even what Python compiles of it. */
function bytecode(release: Release, machine: MachinePlaces): Record<string, string> {
  const isOurs = release.comfyuiFolder.startsWith(`${machine.releases}/`);
  return isOurs ? {} : { PYTHONPYCACHEPREFIX: machine.bytecode };
}

function environment(
  plan: InstancePlan,
  places: InstancePlaces,
  traits: ReleaseTraits,
  account: HostAccount,
): Record<string, string> {
  const venv = traits.virtualEnv;
  return {
    // torch looks for programs of its environment, as ninja, along PATH.
    PATH: venv === null ? SYSTEM_PATH : `${join(venv, "bin")}:${SYSTEM_PATH}`,
    HOME: account.home,
    LANG: "C.UTF-8",
    TMPDIR: places.scratch,
    PYTHONUNBUFFERED: "1",
    ...(venv === null ? {} : { VIRTUAL_ENV: venv }),
    // Without it CUDA numbers cards by speed, and messages name another than nvidia-smi does.
    CUDA_DEVICE_ORDER: "PCI_BUS_ID",
    ...(plan.gpu === null ? { CUDA_VISIBLE_DEVICES: "" } : {}),
    ...plan.env,
    // Held by a lock: nobody's setting moves the instance to another card.
    ...(plan.gpu === null ? {} : { CUDA_VISIBLE_DEVICES: plan.gpu.uuid ?? "" }),
    [ENV_INSTANCE]: plan.name,
  };
}

function releaseDigest({ id }: Pick<Release, "id">): string {
  return hash(id, 12);
}

/** Whether two digests are of different releases, or of different settings of one. */
export function digestChange(from: string | null, to: string): "release" | "settings" {
  return from?.split("-")[0] === to.split("-")[0] ? "settings" : "release";
}

/** Folders that must be there before a start. */
export function foldersOf(places: InstancePlaces): readonly string[] {
  return [places.folder, places.output, places.user, places.input, places.scratch, places.logs];
}

/** Name of ComfyUI's file in which its options are, below its folder. */
export const OPTIONS_FILE = join("comfy", "cli_args.py");

/** The options that a `cli_args.py` declares. */
export function optionsIn(text: string): ReadonlySet<string> {
  return new Set(
    [...text.matchAll(/add_argument\(\s*["'](--[a-z0-9][a-z0-9_-]*)["']/gi)].map(
      (match) => match[1] ?? "",
    ),
  );
}

/** Where an environment's folder would be, of a Python at `<environment>/bin/python`. */
export function environmentFolderOf(python: string): string {
  return dirname(dirname(python));
}

function hash(text: string, digits: number): string {
  return createHash("sha256").update(text).digest("hex").slice(0, digits);
}

/** JSON with sorted keys: the same for the same facts, in whatever order they came. */
function stableText(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
