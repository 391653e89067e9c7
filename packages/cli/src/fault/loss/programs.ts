import { spawn } from "node:child_process";

/** What became of a program. */
export type ProgramEnd =
  | { readonly kind: "ended"; readonly code: number; readonly output: string }
  | { readonly kind: "missing" };

/** A program that goes on. */
export interface RunningProgram {
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
}

/** Programs of this host: a port, so that tests need none of them. */
export interface Programs {
  /** Runs one to its end; it gets `input`. */
  run(command: string, args: readonly string[], input?: string): Promise<ProgramEnd>;
  /** Starts one that goes on; undefined where it is missing. */
  start(command: string, args: readonly string[]): Promise<RunningProgram | undefined>;
  readonly isRoot: boolean;
  readonly isLinux: boolean;
}

const LIMIT_MS = 10_000;
const MAX_OUTPUT = 256 * 1024;

/** The programs of the host itself. */
export const hostPrograms: Programs = {
  isRoot: process.getuid?.() === 0,
  isLinux: process.platform === "linux",
  run(command, args, input) {
    return new Promise((resolve) => {
      const child = spawn(command, args, { stdio: "pipe", timeout: LIMIT_MS });
      let output = "";
      const take = (chunk: Buffer): void => {
        if (output.length < MAX_OUTPUT) output += chunk.toString("utf8");
      };
      child.stdout.on("data", take);
      child.stderr.on("data", take);
      child.once("error", () => resolve({ kind: "missing" }));
      child.once("close", (code) => resolve({ kind: "ended", code: code ?? -1, output }));
      // A program that reads nothing may have ended before all of it was written.
      child.stdin.on("error", () => undefined);
      child.stdin.end(input ?? "");
    });
  },
  start(command, args) {
    return new Promise((resolve) => {
      const child = spawn(command, args, { stdio: "ignore" });
      const ended = new Promise<void>((done) => child.once("exit", () => done()));
      child.once("error", () => resolve(undefined));
      child.once("spawn", () =>
        resolve({
          kill: async () => {
            child.kill("SIGKILL");
            await ended;
          },
        }),
      );
    });
  },
};
