import { chmod, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { unzipSync } from "fflate";
import { findOnPath, isProgram } from "./install-files.ts";
import { StepFailure, type Step } from "./model.ts";
import { programEnvironment } from "./program-environment.ts";
import type { RunProgram } from "./run-program.ts";
import { downloadUv, type UvSource } from "./uv-download.ts";
import { compareVersions, parseUvVersion, UV_MINIMUM, type HostPlatform } from "./uv-wheel.ts";

const VERSION_TIMEOUT_MS = 30_000;
const TOOL_FOLDER = /^uv-(\d+\.\d+\.\d+)$/;

/** How uv is found, and where it is put. */
export interface UvToolOptions extends UvSource {
  /** Of the settings: this one and no other. */
  readonly configured: string | undefined;
  readonly tools: string;
  readonly machineRoot: string;
  readonly run: RunProgram;
}

/** A uv that works. */
export interface FoundUv {
  readonly program: string;
  readonly version: string;
  readonly origin: "configured" | "path" | "tools";
}

/** uv: looked for, or installed into the machine's own tools. */
export interface UvTool {
  /** The uv to use; undefined when there is none that is new enough. Starts `uv --version` at most. */
  find(signal: AbortSignal): Promise<FoundUv | undefined>;
  /** Installs it unless it is there. */
  ensure(signal: AbortSignal, log: (line: string) => void): Promise<FoundUv>;
}

/** Makes the {@link UvTool}. What was found once is kept. */
export function createUvTool(options: UvToolOptions): UvTool {
  let found: FoundUv | undefined;
  const find = async (signal: AbortSignal): Promise<FoundUv | undefined> =>
    (found ??= await findUv(options, signal));
  return {
    find,
    ensure: async (signal, log) =>
      (await find(signal)) ?? (found = await install(options, signal, log)),
  };
}

/** The step that has uv ready before anything needs it; `isNeeded` says whether anything will. */
export function uvStep(tool: UvTool, isNeeded: () => Promise<boolean>): Step {
  return {
    id: "tools.uv",
    title: "uv, which makes Python environments",
    isOptional: false,
    after: [],
    lane: "tools",
    async check({ signal }) {
      if (!(await isNeeded())) return { kind: "done", detail: "not needed" };
      const uv = await tool.find(signal);
      return uv === undefined
        ? { kind: "needed", detail: `no uv of ${UV_MINIMUM} or newer is here` }
        : { kind: "done", detail: `uv ${uv.version} at ${uv.program}` };
    },
    apply: async ({ signal, log }) => void (await tool.ensure(signal, log)),
    verify: async ({ signal, log }) => void (await tool.ensure(signal, log)),
  };
}

async function findUv(options: UvToolOptions, signal: AbortSignal): Promise<FoundUv | undefined> {
  if (options.configured !== undefined) {
    const version = await versionOf(options, options.configured, signal);
    if (version !== undefined) {
      return { program: options.configured, version, origin: "configured" };
    }
    throw new StepFailure(
      `${options.configured} is not uv ${UV_MINIMUM} or newer`,
      "Name a uv that works, or name none: one is installed then.",
    );
  }
  const onPath = await findOnPath("uv", options.hostEnvironment["PATH"]);
  if (onPath !== undefined) {
    const version = await versionOf(options, onPath, signal);
    if (version !== undefined) return { program: onPath, version, origin: "path" };
  }
  // Newest first. Only what works was given its name.
  const names = await readdir(options.tools).catch(() => []);
  const versions = names.flatMap((name) => TOOL_FOLDER.exec(name)?.[1] ?? []);
  for (const version of versions.toSorted((a, b) => compareVersions(b, a))) {
    const program = join(options.tools, `uv-${version}`, "uv");
    if (compareVersions(version, UV_MINIMUM) >= 0 && (await isProgram(program))) {
      return { program, version, origin: "tools" };
    }
  }
  return undefined;
}

async function install(
  options: UvToolOptions,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<FoundUv> {
  const { version, wheel } = await downloadUv(options, signal);
  log(`uv ${version}: ${wheel.length} bytes, hash checked`);
  const files = unzipSync(wheel, { filter: ({ name }) => name.endsWith(".data/scripts/uv") });
  const [program] = Object.values(files);
  if (program === undefined) {
    throw new StepFailure(
      `the wheel of uv ${version} has no program uv in it`,
      "Install uv yourself so that it is on the PATH.",
    );
  }
  const folder = join(options.tools, `uv-${version}`);
  const building = `${folder}.part`;
  await rm(building, { recursive: true, force: true });
  await mkdir(building, { recursive: true });
  await writeFile(join(building, "uv"), program);
  await chmod(join(building, "uv"), 0o755);
  const works = await versionOf(options, join(building, "uv"), signal);
  if (works === undefined) {
    throw new StepFailure(
      `uv ${version} does not run on this machine`,
      "Install a uv yourself that does, so that it is on the PATH.",
    );
  }
  await rm(folder, { recursive: true, force: true });
  await rename(building, folder);
  return { program: join(folder, "uv"), version, origin: "tools" };
}

/** Version of a uv that runs and is new enough. */
async function versionOf(
  options: UvToolOptions,
  program: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const result = await options.run({
    command: program,
    args: ["--version"],
    cwd: "/",
    env: programEnvironment(options.hostEnvironment, options.machineRoot),
    timeoutMs: VERSION_TIMEOUT_MS,
    signal,
  });
  const version = result.kind === "succeeded" ? parseUvVersion(result.stdout) : undefined;
  return version !== undefined && compareVersions(version, UV_MINIMUM) >= 0 ? version : undefined;
}

/** The platform of this machine as wheels name it; undefined for one that uv has no wheels for. */
export function hostPlatform(): HostPlatform | undefined {
  const machine = { x64: "x86_64", arm64: "aarch64" }[process.arch as string];
  if (machine !== "x86_64" && machine !== "aarch64") return undefined;
  if (process.platform === "darwin") return { os: "darwin", machine, glibc: null };
  if (process.platform !== "linux") return undefined;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return { os: "linux", machine, glibc: report.header?.glibcVersionRuntime ?? null };
}
