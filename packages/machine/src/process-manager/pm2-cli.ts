/**
 * PM2 as a program: one call of its command line at a time, with a time limit and an environment of
 * four names. PM2 copies the environment of whoever calls it into every process that it starts
 * (7.0.4, `lib/Common.js`), so the agent's own never reaches it.
 */
import { dirname, delimiter } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { endInWords, runProgram, type ProgramCall } from "./program-call.ts";
import { createTurns } from "./turns.ts";

/** A call takes 0.3 to 0.7 s; a machine under load many times that. */
const CALL_TIMEOUT_MS = 20_000;

/** How to run PM2. */
export interface Pm2Program {
  readonly command: string;
  /** Before the arguments of a call. */
  readonly args: readonly string[];
  readonly version: string;
  /** Where it was found, for messages. */
  readonly path: string;
}

/** A call of PM2 that did not do what it was asked. */
export class Pm2CallError extends Error {
  /** `timeout`: PM2 or its daemon hangs. */
  readonly kind: "timeout" | "failed";

  constructor(message: string, kind: Pm2CallError["kind"]) {
    super(message);
    this.name = "Pm2CallError";
    this.kind = kind;
  }
}

/** PM2's command line for one `PM2_HOME`. */
export interface Pm2Cli {
  /** Standard output of the call; throws {@link Pm2CallError}. Calls run one after the other. */
  run(args: readonly string[], signal: AbortSignal, timeoutMs?: number): Promise<string>;
}

/** What a {@link Pm2Cli} is made of. */
export interface Pm2CliOptions {
  readonly program: Pm2Program;
  readonly pm2Home: string;
  readonly clock: Clock;
  readonly callTimeoutMs?: number;
}

/** The whole environment of a call. Also of the daemon, when the call starts it. */
export function pm2Environment(pm2Home: string, nodeFolder: string): Record<string, string> {
  return {
    // An operator's `pm2` begins with `#!/usr/bin/env node`.
    PATH: [nodeFolder, "/usr/local/bin", "/usr/bin", "/bin"].join(delimiter),
    // Not the user's: PM2 needs none, and `~/.pm2` and `~/.npmrc` are somebody else's.
    HOME: pm2Home,
    PM2_HOME: pm2Home,
    PM2_DISABLE_VERSION_CHECK: "true",
    PM2_DISCRETE_MODE: "true",
    PM2_NO_INTERACTION: "true",
  };
}

/** Makes the command line of one `PM2_HOME`, which must exist. */
export function createPm2Cli(options: Pm2CliOptions): Pm2Cli {
  const { program, pm2Home, clock } = options;
  const turns = createTurns();
  const call = async (
    args: readonly string[],
    signal: AbortSignal,
    timeoutMs: number,
  ): Promise<string> => {
    const request: ProgramCall = {
      command: program.command,
      args: [...program.args, ...args],
      cwd: pm2Home,
      env: pm2Environment(pm2Home, dirname(process.execPath)),
      timeoutMs,
    };
    const end = await runProgram(request, { clock, signal });
    if (end.kind === "exited" && end.code === 0) return end.stdout;
    const words = `pm2 ${args[0] ?? ""} ${endInWords(end, timeoutMs)}`;
    throw new Pm2CallError(words, end.kind === "timeout" ? "timeout" : "failed");
  };
  return {
    // Parallel calls are fine with a live daemon, but each costs 0.2 s of CPU: they take turns.
    run: (args, signal, timeoutMs = options.callTimeoutMs ?? CALL_TIMEOUT_MS) =>
      turns.take("call", signal, () => call(args, signal, timeoutMs)),
  };
}
