import { spawn, type ChildProcess } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { abortReason, assertNever, type Clock } from "@holdfast/runtime";
import { LINE_MAX } from "./redact.ts";

/** A program to run to its end. */
export interface ProgramCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** All of its environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** One line of either stream; lines are bounded. */
  readonly onLine?: (line: string) => void;
  /** Most that is kept of standard output; further output is dropped, and told. */
  readonly stdoutMaxBytes?: number;
}

/** What became of a program, with what it printed. */
export interface ProgramOutput {
  readonly stdout: string;
  readonly isStdoutCut: boolean;
  /** Its last lines on standard error. */
  readonly stderrTail: string;
}

/** How a program ended. */
export type ProgramResult =
  | ({ readonly kind: "succeeded" } & ProgramOutput)
  | ({ readonly kind: "failed"; readonly code: number } & ProgramOutput)
  | ({ readonly kind: "killed"; readonly signal: NodeJS.Signals } & ProgramOutput)
  | ({ readonly kind: "timed_out"; readonly timeoutMs: number } & ProgramOutput)
  /** It is not there, or may not be run. */
  | { readonly kind: "not_started"; readonly reason: string };

/** Runs a program; replaced in tests. Rejects with the signal's reason when it is aborted. */
export type RunProgram = (call: ProgramCall) => Promise<ProgramResult>;

const STDOUT_MAX_BYTES = 1024 ** 2;
const STDERR_TAIL_LINES = 60;
/** From SIGTERM to SIGKILL. */
const TERM_GRACE_MS = 5_000;
/** A grandchild that keeps the streams open holds nothing up longer than this. */
const CLOSE_GRACE_MS = 1_000;

/** Makes the {@link RunProgram} that starts real programs, each in a process group of its own. */
export function createRunProgram(clock: Clock): RunProgram {
  return async (call) => {
    call.signal.throwIfAborted();
    const child = spawn(call.command, [...call.args], {
      cwd: call.cwd,
      env: { ...call.env },
      // A group of its own, so that whatever it starts can be ended with it.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const startFailure = await whenSpawned(child);
    if (startFailure !== undefined) return { kind: "not_started", reason: startFailure };
    return await follow(child, call, clock);
  };
}

function whenSpawned(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once("spawn", () => resolve(undefined));
    child.once("error", (error: NodeJS.ErrnoException) => {
      resolve(
        error.code === "ENOENT" ? "there is no such program, or no such folder" : error.message,
      );
    });
  });
}

async function follow(
  child: ChildProcess,
  call: ProgramCall,
  clock: Clock,
): Promise<ProgramResult> {
  const output = collectOutput(child, call);
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  const closed = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
  });
  const done = new AbortController();
  const stop = AbortSignal.any([call.signal, done.signal]);
  const timer = clock.sleep(call.timeoutMs, stop).then(
    () => "timed_out" as const,
    () => "stopped" as const,
  );
  const first = await Promise.race([exit.then(() => "exited" as const), timer]);
  if (first !== "exited") await endGroup(child, exit, clock);
  const { code, signal } = await exit;
  // Whatever it left in its group goes with it.
  signalGroup(child, "SIGKILL");
  const closeTimer = clock.sleep(CLOSE_GRACE_MS, done.signal).catch(() => undefined);
  await Promise.race([closed, closeTimer]);
  done.abort();
  child.stdout?.destroy();
  child.stderr?.destroy();
  await closeTimer;
  if (first === "stopped") throw abortReason(call.signal);
  const printed = output();
  if (first === "timed_out") return { kind: "timed_out", timeoutMs: call.timeoutMs, ...printed };
  if (signal !== null) return { kind: "killed", signal, ...printed };
  if (code === 0) return { kind: "succeeded", ...printed };
  return { kind: "failed", code: code ?? -1, ...printed };
}

async function endGroup(child: ChildProcess, exit: Promise<unknown>, clock: Clock): Promise<void> {
  signalGroup(child, "SIGTERM");
  const done = new AbortController();
  const grace = clock.sleep(TERM_GRACE_MS, done.signal).catch(() => undefined);
  await Promise.race([exit, grace]);
  done.abort();
  signalGroup(child, "SIGKILL");
  await exit;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}

function collectOutput(child: ChildProcess, call: ProgramCall): () => ProgramOutput {
  const max = call.stdoutMaxBytes ?? STDOUT_MAX_BYTES;
  const kept: Buffer[] = [];
  let keptBytes = 0;
  let isStdoutCut = false;
  const tail: string[] = [];
  const fromStdout = createLineSplitter((line) => call.onLine?.(line));
  const fromStderr = createLineSplitter((line) => {
    tail.push(line);
    if (tail.length > STDERR_TAIL_LINES) tail.shift();
    call.onLine?.(line);
  });
  child.stdout?.on("data", (chunk: Buffer) => {
    const room = max - keptBytes;
    if (chunk.length > room) isStdoutCut = true;
    const part = chunk.subarray(0, room);
    keptBytes += part.length;
    if (part.length > 0) kept.push(part);
    fromStdout.write(chunk);
  });
  child.stderr?.on("data", (chunk: Buffer) => fromStderr.write(chunk));
  return () => {
    fromStdout.end();
    fromStderr.end();
    return {
      stdout: Buffer.concat(kept).toString("utf8"),
      isStdoutCut,
      stderrTail: tail.join("\n"),
    };
  };
}

/** Cuts a stream into lines at `\n` and at `\r` (progress bars); a line that is too long is cut. */
export function createLineSplitter(onLine: (line: string) => void): {
  write(chunk: Buffer): void;
  end(): void;
} {
  const decoder = new TextDecoder();
  let rest = "";
  const emit = (line: string): void => {
    const text = withoutControls(line).trimEnd();
    if (text !== "") onLine(text.slice(0, LINE_MAX));
  };
  return {
    write(chunk) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split(/\r\n|\n|\r/);
      // Of a line without an end only so much is held.
      rest = (parts.pop() ?? "").slice(0, LINE_MAX * 2);
      for (const part of parts) emit(part);
    },
    end() {
      emit(rest + decoder.decode());
      rest = "";
    },
  };
}

/** What would colour, move or upset whoever shows the line: git ends some of its own with a zero byte. */
function withoutControls(line: string): string {
  // oxlint-disable-next-line no-control-regex -- these are what is looked for
  return stripVTControlCharacters(line).replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
}

/** How a program that did not succeed ended, in words, with the last thing it said. */
export function describeProgramEnd(result: Exclude<ProgramResult, { kind: "succeeded" }>): string {
  switch (result.kind) {
    case "failed":
      return `exit code ${result.code}${lastWords(result)}`;
    case "killed":
      return `ended by ${result.signal}${lastWords(result)}`;
    case "timed_out":
      return `not done after ${Math.round(result.timeoutMs / 1_000)} s${lastWords(result)}`;
    case "not_started":
      return `not started: ${result.reason}`;
    default:
      return assertNever(result);
  }
}

const LAST_WORDS_LINES = 12;

function lastWords({ stderrTail, stdout }: ProgramOutput): string {
  const text = stderrTail.trim() === "" ? stdout.trim() : stderrTail.trim();
  if (text === "") return "";
  return `:\n${text.split("\n").slice(-LAST_WORDS_LINES).join("\n")}`;
}
