/**
 * Where PM2 comes from: an operator's own, or one that npm puts into the tools folder. It is run as a
 * program and never imported (AGPL-3.0), so it is no dependency of this package.
 */
import {
  access,
  constants,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { z } from "zod";
import { StepFailure } from "../install/model.ts";
import { pm2Environment, type Pm2Program } from "./pm2-cli.ts";
import { killDaemonOf } from "./pm2-daemon.ts";
import { endInWords, runProgram } from "./program-call.ts";

/** The version whose manners were measured, and that is installed. */
export const PM2_VERSION = "7.0.4";
/** An operator's own may be older; before this one `jlist` printed other things. */
const OLDEST_MAJOR = 5;

const VERSION_TIMEOUT_MS = 30_000;
/**
 * `pm2 --version` starts a daemon before it prints (7.0.4), which then stays for ever. With `--` behind
 * it, PM2 prints and ends first; should another version start one all the same, it is ended.
 */
const VERSION_ARGS = ["-v", "--"];
/** 25 MB in 77 packages: 6 s on a good line. */
const INSTALL_TIMEOUT_MS = 600_000;
const LOCK_TIMEOUT_MS = INSTALL_TIMEOUT_MS + 60_000;

/** What npm may see of our environment: where its cache and settings are, and how it gets out. */
const NPM_ENV =
  /^(?:HOME|TMPDIR|LANG|SSL_CERT_FILE|SSL_CERT_DIR|NODE_EXTRA_CA_CERTS|https?_proxy|no_proxy|all_proxy|npm_config_\w+)$/i;

/** What finding and installing PM2 need. */
export interface Pm2ToolOptions {
  /** Folder of tools, each in a folder by its version. */
  readonly tools: string;
  /** Path of an operator's own `pm2`; null: ours. */
  readonly ownPm2: string | null;
  /** This program's environment: `PATH`, and what npm needs of it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Whether npm is looked for beside the node that runs us, before the path; default yes. */
  readonly npmBesideNode?: boolean;
}

/** What was found. */
export type Pm2Found =
  | { readonly kind: "found"; readonly program: Pm2Program }
  /** Not there, or there and not whole: it can be installed. */
  | { readonly kind: "missing"; readonly reason: string };

/** Folder of the version that we install. */
export function pm2Folder(tools: string): string {
  return join(tools, `pm2-${PM2_VERSION}`);
}

/** Looks for PM2 and asks it for its version. An operator's own that does not work is a failure. */
export async function findPm2(options: Pm2ToolOptions, signal: AbortSignal): Promise<Pm2Found> {
  if (options.ownPm2 !== null) {
    const own = { command: options.ownPm2, args: [], path: options.ownPm2 };
    const version = await askVersion(own, options, signal);
    if (version.kind === "version") {
      return { kind: "found", program: { ...own, version: version.version } };
    }
    throw new StepFailure(
      `pm2 of this machine's settings, ${options.ownPm2}: ${version.reason}`,
      `Correct the path, or remove the setting: Holdfast then installs PM2 ${PM2_VERSION} itself.`,
    );
  }
  return await findInstalled(pm2Folder(options.tools), options, signal);
}

/** The PM2 of a folder that npm filled. */
async function findInstalled(
  folder: string,
  options: Pm2ToolOptions,
  signal: AbortSignal,
): Promise<Pm2Found> {
  const script = join(folder, "node_modules", "pm2", "bin", "pm2");
  if (!(await isReadable(script))) {
    return { kind: "missing", reason: `PM2 ${PM2_VERSION} is not in ${options.tools}` };
  }
  const program = { command: process.execPath, args: [script], path: script };
  const known = await readTried(folder, script);
  if (known !== null) return { kind: "found", program: { ...program, version: known } };
  const version = await askVersion(program, options, signal);
  if (version.kind === "version") {
    await noteTried(folder, script, version.version);
    return { kind: "found", program: { ...program, version: version.version } };
  }
  return { kind: "missing", reason: `PM2 in ${folder} does not work: ${version.reason}` };
}

/**
 * What a try of it came to is written beside it, for as long as script and Node are the same: to ask it
 * takes half a second of a core, and every installation does.
 */
const TRIED = "tried.json";

/** Its version when it was tried as it is now, else null. */
async function readTried(folder: string, script: string): Promise<string | null> {
  try {
    const tried: unknown = JSON.parse(await readFile(join(folder, TRIED), "utf8"));
    const { version, ...of } = triedSchema.parse(tried);
    return isDeepStrictEqual(of, await whatIsTried(script)) ? version : null;
  } catch {
    return null; // Not tried yet, or nobody can read it: it is tried now.
  }
}

async function noteTried(folder: string, script: string, version: string): Promise<void> {
  const text = JSON.stringify({ version, ...(await whatIsTried(script)) });
  // Without it, it is tried again the next time.
  await writeFile(join(folder, TRIED), text).catch(() => undefined);
}

const triedSchema = z.object({
  version: z.string(),
  node: z.string(),
  nodeVersion: z.string(),
  sizeBytes: z.number(),
  changedAtMs: z.number(),
});

async function whatIsTried(script: string): Promise<Omit<z.infer<typeof triedSchema>, "version">> {
  const { size, mtimeMs } = await stat(script);
  const { execPath: node, version: nodeVersion } = process;
  return { node, nodeVersion, sizeBytes: size, changedAtMs: mtimeMs };
}

type VersionAnswer =
  | { readonly kind: "version"; readonly version: string }
  | { readonly kind: "bad"; readonly reason: string };

async function askVersion(
  program: Omit<Pm2Program, "version">,
  options: Pm2ToolOptions,
  signal: AbortSignal,
): Promise<VersionAnswer> {
  // Not the machine's PM2_HOME: even a call for the version makes folders, and more.
  const home = await mkdtemp(join(tmpdir(), "holdfast-pm2-"));
  try {
    const end = await runProgram(
      {
        command: program.command,
        args: [...program.args, ...VERSION_ARGS],
        cwd: home,
        env: pm2Environment(home, dirname(process.execPath)),
        timeoutMs: VERSION_TIMEOUT_MS,
      },
      { clock: options.clock, signal },
    );
    if (end.kind === "exited" && end.code === 0) return readVersion(end.stdout);
    return { kind: "bad", reason: `pm2 --version ${endInWords(end, VERSION_TIMEOUT_MS)}` };
  } finally {
    await killDaemonOf(home, options.clock);
    await rm(home, { recursive: true, force: true });
  }
}

/** Reads what `pm2 --version` prints; PM2 may print other lines before it. */
export function readVersion(output: string): VersionAnswer {
  const match = /(?:^|\n)v?(\d+)\.(\d+)\.(\d+)\S*\s*$/.exec(output);
  if (match === null) {
    const found = output.trim().slice(-100) || "nothing";
    return { kind: "bad", reason: `expected a version from pm2 --version, found: ${found}` };
  }
  const version = match.slice(1, 4).join(".");
  if (Number(match[1]) >= OLDEST_MAJOR) return { kind: "version", version };
  return { kind: "bad", reason: `expected PM2 ${OLDEST_MAJOR}.0.0 or later, found ${version}` };
}

/**
 * Installs PM2 unless it is there. Into a folder beside its place, verified and renamed: a kill in
 * between leaves nothing half. Throws {@link StepFailure}.
 */
export async function installPm2(
  options: Pm2ToolOptions,
  signal: AbortSignal,
  onLine: (line: string) => void = () => undefined,
): Promise<Pm2Program> {
  const { tools, clock } = options;
  await mkdir(tools, { recursive: true });
  return await withFileLock(
    join(tools, "pm2.lock"),
    { clock, timeoutMs: LOCK_TIMEOUT_MS, signal },
    async () => {
      const before = await findPm2(options, signal);
      if (before.kind === "found") return before.program;
      // Under the lock, so whoever made these is gone.
      for (const name of await readdir(tools)) {
        if (name.startsWith(".pm2-new-")) await rm(join(tools, name), { recursive: true });
      }
      const fresh = join(tools, `.pm2-new-${process.pid}`);
      try {
        await runNpm(fresh, options, signal, onLine);
        const made = await findInstalled(fresh, options, signal);
        if (made.kind === "missing") throw notInstallable(made.reason);
        await rm(pm2Folder(tools), { recursive: true, force: true });
        await rename(fresh, pm2Folder(tools));
      } finally {
        await rm(fresh, { recursive: true, force: true });
      }
      const after = await findPm2(options, signal);
      if (after.kind === "missing") throw notInstallable(after.reason);
      return after.program;
    },
  );
}

async function runNpm(
  folder: string,
  options: Pm2ToolOptions,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const npm = await findNpm(options);
  if (npm === undefined) throw notInstallable("npm was not found beside node or on the PATH");
  await mkdir(folder, { recursive: true });
  const args = ["i", "--prefix", folder, `pm2@${PM2_VERSION}`, "--no-audit", "--no-fund"];
  const end = await runProgram(
    {
      command: npm,
      // PM2 has no native code: nothing that it brings need run a script here.
      args: [...args, "--omit=optional", "--ignore-scripts", "--no-update-notifier"],
      cwd: folder,
      env: npmEnvironment(options.env),
      timeoutMs: INSTALL_TIMEOUT_MS,
      onLine,
    },
    { clock: options.clock, signal },
  );
  if (end.kind === "exited" && end.code === 0) return;
  throw notInstallable(`npm i pm2@${PM2_VERSION} ${endInWords(end, INSTALL_TIMEOUT_MS)}`);
}

/** What npm is given of this program's environment: no token or key of ours is in it. */
export function npmEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const kept = Object.entries(env).flatMap(([name, value]): [string, string][] =>
    value !== undefined && NPM_ENV.test(name) ? [[name, value]] : [],
  );
  const path = [dirname(process.execPath), env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"];
  return { ...Object.fromEntries(kept), PATH: path.join(delimiter) };
}

/** npm beside the node that runs us, else on the path. */
async function findNpm(options: Pm2ToolOptions): Promise<string | undefined> {
  const beside = options.npmBesideNode === false ? [] : [dirname(process.execPath)];
  const folders = [...beside, ...(options.env["PATH"] ?? "").split(delimiter)];
  for (const folder of folders.filter((one) => one.startsWith("/"))) {
    const file = join(folder, "npm");
    if (
      await access(file, constants.X_OK).then(
        () => true,
        () => false,
      )
    ) {
      return file;
    }
  }
  return undefined;
}

function notInstallable(reason: string): StepFailure {
  return new StepFailure(
    `PM2 ${PM2_VERSION} is not there and could not be installed: ${reason}`,
    `Install it by hand (npm i -g pm2@${PM2_VERSION}) and give its path as the machine's own PM2, ` +
      `or give this machine npm and a way to its registry.`,
  );
}

async function isReadable(path: string): Promise<boolean> {
  return await access(path, constants.R_OK).then(
    () => true,
    () => false,
  );
}
