/** A machine folder with an installer for tests, and the tools that it needs. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemClock } from "@holdfast/runtime/system";
import {
  createInstaller,
  type Installer,
  type InstallOutcome,
} from "../../packages/machine/src/install/installer.ts";
import type {
  InstallerPorts,
  InstallerSettings,
} from "../../packages/machine/src/install/installer-options.ts";
import {
  createRunProgram,
  type ProgramCall,
} from "../../packages/machine/src/install/run-program.ts";
import { createUvTool, hostPlatform } from "../../packages/machine/src/install/uv-tool.ts";
import { machinePlaces, type MachinePlaces } from "../../packages/machine/src/machine-places.ts";
import { manifestSchema, type Manifest } from "../../packages/machine/src/manifest/model.ts";
import { findProgram } from "../support/find-program.ts";

const execute = promisify(execFile);

/** Where tools of tests are kept between runs. */
const CACHE = process.env["HOLDFAST_TEST_CACHE"] ?? join(tmpdir(), "holdfast-test-tools");

/** What tests of the installer need of the host. */
export interface InstallerTools {
  readonly uv: string;
  /** A real interpreter, no shim. */
  readonly python: string;
}

/** uv (from the package index when the host has none), git and Python; or why there are none. */
export async function findInstallerTools(): Promise<InstallerTools | { readonly missing: string }> {
  if (findProgram(["git"]) === undefined) return { missing: "git is not installed" };
  const shim = findProgram(["python3.11", "python3"]);
  if (shim === undefined) return { missing: "Python 3 is not installed" };
  const { stdout } = await execute(shim, ["-c", "import sys; print(sys.executable)"]);
  const tool = createUvTool({
    configured: undefined,
    tools: CACHE,
    machineRoot: CACHE,
    run: createRunProgram(systemClock),
    hostEnvironment: process.env,
    platform: hostPlatform(),
    indexUrl: undefined,
    findLinks: [],
    noIndex: false,
  });
  try {
    const { program } = await tool.ensure(AbortSignal.timeout(120_000), () => undefined);
    return { uv: program, python: stdout.trim() };
  } catch (error) {
    return { missing: `uv cannot be had: ${(error as Error).message}` };
  }
}

/** One machine. */
export interface TestMachine {
  readonly places: MachinePlaces;
  /** Programs that were started since the last look. */
  takeCalls(): ProgramCall[];
  installer(manifest: unknown, ports?: InstallerPorts): Installer;
}

/** Settings as tests give them. */
export const testSettings = (tools: InstallerTools, lockWaitMs = 0): InstallerSettings => ({
  hostEnvironment: {
    PATH: process.env["PATH"] ?? "",
    HOME: tmpdir(),
    UV_CACHE_DIR: join(CACHE, "uv-cache"),
  },
  uvProgram: tools.uv,
  allowPythonDownloads: false,
  lockWaitMs,
});

const quiet = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Parses a manifest and gives its digest. */
export function toManifest(text: unknown): { manifest: Manifest; digest: string } {
  const manifest = manifestSchema.parse(text);
  const digest = createHash("sha256").update(JSON.stringify(manifest)).digest("hex");
  return { manifest, digest };
}

/** Makes a machine in a folder. */
export function testMachine(root: string, tools: InstallerTools): TestMachine {
  const places = machinePlaces(root);
  const calls: ProgramCall[] = [];
  const run = createRunProgram(systemClock);
  return {
    places,
    takeCalls: () => calls.splice(0),
    installer: (text, ports = {}) =>
      createInstaller({
        ...toManifest(text),
        places,
        settings: testSettings(tools),
        clock: systemClock,
        log: quiet,
        ports: {
          runProgram: (call) => {
            calls.push(call);
            return run(call);
          },
          ...ports,
        },
      }),
  };
}

/** Installs, and fails in words when that did not succeed. */
export async function mustInstall(
  installer: Installer,
  request: { update?: boolean; verify?: boolean } = {},
): Promise<Extract<InstallOutcome, { kind: "installed" }>> {
  const outcome = await installer.install({ signal: AbortSignal.timeout(110_000), ...request });
  if (outcome.kind !== "installed") throw new Error(describeOutcome(outcome));
  return outcome;
}

/** An outcome in words, for a failed test. */
export function describeOutcome(outcome: InstallOutcome): string {
  if (outcome.kind === "busy") return outcome.holder;
  if (outcome.kind === "refused") return JSON.stringify(outcome.plan.problems, null, 1);
  return outcome.results
    .map(({ id, outcome, detail, advice }) => `${id} ${outcome}: ${detail} | ${advice}`)
    .join("\n");
}
