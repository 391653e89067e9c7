import { spawn, type ChildProcess } from "node:child_process";
import { abortReason, type Clock } from "@holdfast/runtime";
import type { SmiRun } from "./model.ts";

/** Output that is kept of each stream; `-q -x` takes some 60 KiB a card. */
const OUTPUT_MAX_BYTES = 8 * 1024 ** 2;

/** Which program is run, and what it may take. */
export interface SmiProgram {
  /** Name on PATH, or a path. */
  readonly program: string;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/**
 * Runs it once. What goes wrong with the program is part of the answer; only an abort is thrown. It is
 * ended with all its children, and has ended when this returns.
 */
export async function runSmi(
  { program, timeoutMs, clock }: SmiProgram,
  args: readonly string[],
  signal: AbortSignal,
): Promise<SmiRun> {
  signal.throwIfAborted();
  const child = spawn(program, [...args], {
    env: smiEnvironment(process.env),
    stdio: ["ignore", "pipe", "pipe"],
    // A process group of its own, to be ended as a whole.
    detached: process.platform !== "win32",
    windowsHide: true,
  });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const isOver = new AbortController();
  const stopped = AbortSignal.any([signal, isOver.signal]);
  const ended = new Promise<Pick<SmiRun, "ended" | "exitCode">>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      resolve({ ended: error.code === "ENOENT" ? "not_found" : "not_started", exitCode: null });
    });
    child.once("close", (exitCode) => resolve({ ended: "exited", exitCode }));
  });
  const tooLong = clock.sleep(timeoutMs, stopped).then(
    () => "timeout" as const,
    () => "aborted" as const, // Over, or the caller's wish: looked at below.
  );
  const first = await Promise.race([ended, tooLong]);
  if (typeof first === "string") {
    endGroup(child);
    await ended;
  }
  isOver.abort();
  if (first === "aborted") throw abortReason(signal);
  const run = first === "timeout" ? { ended: "timeout" as const, exitCode: null } : first;
  return { ...run, stdout: stdout(), stderr: stderr() };
}

function endGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === "win32") child.kill("SIGKILL");
    else process.kill(-child.pid, "SIGKILL");
  } catch {
    // Gone in this instant.
  }
  // A grandchild that left the group may hold the pipes open, and `close` would wait for it.
  child.stdout?.destroy();
  child.stderr?.destroy();
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  let length = 0;
  stream?.on("data", (chunk: Buffer) => {
    if (length < OUTPUT_MAX_BYTES) chunks.push(chunk.subarray(0, OUTPUT_MAX_BYTES - length));
    length += chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

/** What nvidia-smi needs to find its library, and a language that we can read. */
function smiEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const names = ["PATH", "LD_LIBRARY_PATH", "SystemRoot", "ProgramFiles"];
  const kept = names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]));
  return { ...(Object.fromEntries(kept) as Record<string, string>), LC_ALL: "C" };
}
