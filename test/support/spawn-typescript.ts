import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** A process of its own that runs a TypeScript source of this repository. */
export interface TypeScriptProcess {
  readonly child: ChildProcess;
  /** Resolves to the first line of standard output that fits; rejects when the process ends before. */
  line(pattern: RegExp): Promise<RegExpMatchArray>;
  /** Sends a signal and resolves when the process has ended. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** Resolves when the process has ended, to its exit code or signal. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

/** Starts `node` on a TypeScript file; nothing need be built. Standard error goes to the test's own. */
export function spawnTypeScript(
  file: URL | string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): TypeScriptProcess {
  const path = typeof file === "string" ? file : fileURLToPath(file);
  const loader = new URL("./typescript-loader.mjs", import.meta.url).href;
  const child = spawn(
    process.execPath,
    ["--conditions=source", "--import", loader, path, ...args],
    { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] },
  );
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const wakeAll = (): void => {
    for (const wake of waiting) wake();
  };
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (text) => {
      lines.push(text);
      wakeAll();
    });
  }
  let hasEnded = false;
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once("close", (code, signal) => {
      hasEnded = true;
      resolve(signal ?? code ?? -1);
      wakeAll();
    });
  });
  return {
    child,
    ended,
    async line(pattern) {
      for (let from = 0; ;) {
        for (; from < lines.length; from += 1) {
          const match = lines[from]?.match(pattern);
          if (match !== null && match !== undefined) return match;
        }
        if (hasEnded) throw new Error(`the process ended without printing ${String(pattern)}`);
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    },
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}
