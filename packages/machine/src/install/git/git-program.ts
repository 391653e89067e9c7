import { programEnvironment, type HostEnvironment } from "../program-environment.ts";
import type { ProgramResult, RunProgram } from "../run-program.ts";

/** How git is called. */
export interface GitOptions {
  /** Absolute path of git. */
  readonly program: string;
  readonly run: RunProgram;
  readonly hostEnvironment: HostEnvironment;
  readonly machineRoot: string;
}

/** One call of git. */
export interface GitCall {
  readonly args: readonly string[];
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly onLine?: ((line: string) => void) | undefined;
  /** Submodules of a repository that is itself a path may be paths, too. */
  readonly allowFileSubmodules?: boolean;
}

/** Most that `ls-remote` may print: some 100,000 refs. */
const STDOUT_MAX_BYTES = 16 * 1024 ** 2;

/**
 * Settings that hold for every call: no hook of a template runs, nothing is tidied in the
 * background (it would outlive the call), no transport helper is started, and a transfer that
 * stands still ends. The user's own settings stay: credential helpers and proxies are there.
 */
const SETTINGS = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "gc.auto=0",
  "maintenance.auto=false",
  "protocol.ext.allow=never",
  "advice.detachedHead=false",
  "init.defaultBranch=main",
  "submodule.fetchJobs=4",
  "http.lowSpeedLimit=1000",
  "http.lowSpeedTime=60",
] as const;

/** Runs git with the settings and the environment of the installer. */
export async function runGit(git: GitOptions, call: GitCall): Promise<ProgramResult> {
  const settings = call.allowFileSubmodules === true ? ["protocol.file.allow=always"] : [];
  return await git.run({
    command: git.program,
    args: [...[...SETTINGS, ...settings].flatMap((setting) => ["-c", setting]), ...call.args],
    cwd: call.cwd,
    env: gitEnvironment(git),
    timeoutMs: call.timeoutMs,
    signal: call.signal,
    stdoutMaxBytes: STDOUT_MAX_BYTES,
    ...(call.onLine === undefined ? {} : { onLine: call.onLine }),
  });
}

/** The environment of every call: git never asks, and large files behind LFS are left as pointers. */
export function gitEnvironment(
  git: Pick<GitOptions, "hostEnvironment" | "machineRoot">,
): Record<string, string> {
  const env = programEnvironment(git.hostEnvironment, git.machineRoot, {
    GIT_TERMINAL_PROMPT: "0",
    GIT_LFS_SKIP_SMUDGE: "1",
    GIT_OPTIONAL_LOCKS: "0",
    // Matched texts have to be git's own.
    LC_ALL: "C",
  });
  env["GIT_SSH_COMMAND"] ??= "ssh -o BatchMode=yes -o ConnectTimeout=20";
  return env;
}
