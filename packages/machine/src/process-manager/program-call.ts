/** Runs one program to its end: no shell, all limits, and nothing of it left behind. */
import { spawn, type ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { abortReason, type Clock } from "@holdfast/runtime";

/** Kept of each stream; a program that prints more is ended. */
const OUTPUT_MAX_BYTES = 8 * 1024 * 1024;
/** Between SIGTERM and SIGKILL for a program that is called off. */
const GRACE_MS = 2_000;

/** A program to run. */
export interface ProgramCall {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** All of its environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly outputMaxBytes?: number;
  /** Told each line of both streams, as it comes. */
  readonly onLine?: (line: string) => void;
}

/** How a call ended. */
export type ProgramEnd =
  | {
      readonly kind: "exited";
      /** Null when a signal ended it. */
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly stdout: string;
      readonly stderr: string;
    }
  | { readonly kind: "timeout"; readonly stdout: string; readonly stderr: string }
  | { readonly kind: "too_much_output"; readonly stdout: string; readonly stderr: string }
  /** It could not be started: no such file, no right to run it. */
  | { readonly kind: "not_started"; readonly reason: string };

/**
 * Runs it in a process group of its own. At the time limit, at too much output and when the signal
 * is aborted, the whole group is ended, and only then does this return (or throw the abort's reason).
 */
export async function runProgram(
  call: ProgramCall,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<ProgramEnd> {
  deps.signal.throwIfAborted();
  const child = spawn(call.command, [...call.args], {
    cwd: call.cwd,
    env: { ...call.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    windowsHide: true,
  });
  const gone = whenGone(child);
  const output = collectOutput(child, call);
  const timer = new AbortController();
  try {
    const first = await Promise.race([
      gone,
      output.overflow.then(() => ({ kind: "too_much_output" }) as const),
      deps.clock.sleep(call.timeoutMs, timer.signal).then(() => ({ kind: "timeout" }) as const),
      whenAborted(deps.signal, timer.signal),
    ]);
    if (first.kind === "not_started") return first;
    if (first.kind === "exited") return { ...first, ...output.text() };
    await endGroup(child, gone, deps.clock);
    if (first.kind === "aborted") throw abortReason(deps.signal);
    return { kind: first.kind, ...output.text() };
  } finally {
    timer.abort();
  }
}

type Gone =
  | {
      readonly kind: "exited";
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
    }
  | { readonly kind: "not_started"; readonly reason: string };

function whenGone(child: ChildProcess): Promise<Gone> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve({ kind: "not_started", reason: error.message }));
    // Not "exit": what it printed last may still be on its way.
    child.once("close", (code, signal) => resolve({ kind: "exited", code, signal }));
  });
}

function whenAborted(signal: AbortSignal, until: AbortSignal): Promise<{ kind: "aborted" }> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve({ kind: "aborted" }), {
      once: true,
      signal: until,
    });
  });
}

interface Output {
  readonly overflow: Promise<void>;
  text(): { readonly stdout: string; readonly stderr: string };
}

function collectOutput(child: ChildProcess, call: ProgramCall): Output {
  const max = call.outputMaxBytes ?? OUTPUT_MAX_BYTES;
  const tooMuch = new EventEmitter();
  const overflow = once(tooMuch, "overflow").then(() => undefined);
  const collect = (stream: NodeJS.ReadableStream | null): (() => string) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let rest = "";
    stream?.on("data", (chunk: Buffer) => {
      if (size >= max) return;
      chunks.push(chunk);
      size += chunk.length;
      if (size >= max) tooMuch.emit("overflow");
      if (call.onLine === undefined) return;
      const lines = (rest + chunk.toString("utf8")).split(/\r\n|\n|\r/);
      rest = lines.pop() ?? "";
      for (const line of lines) call.onLine(line);
    });
    return () => Buffer.concat(chunks).subarray(0, max).toString("utf8");
  };
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  return { overflow, text: () => ({ stdout: stdout(), stderr: stderr() }) };
}

async function endGroup(child: ChildProcess, gone: Promise<Gone>, clock: Clock): Promise<void> {
  signalGroup(child, "SIGTERM");
  const timer = new AbortController();
  const inTime = await Promise.race([
    gone.then(() => true),
    clock.sleep(GRACE_MS, timer.signal).then(() => false),
  ]);
  timer.abort();
  // Also after an orderly end: a grandchild that ignores SIGTERM must not outlive the call.
  signalGroup(child, "SIGKILL");
  if (inTime) return;
  // A grandchild in a group of its own may hold the pipes open; it is not waited for.
  child.stdout?.destroy();
  child.stderr?.destroy();
  await gone;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal); // The group is gone already, or the platform has none.
  }
}

/** The end of a program's output for a message: the last lines that are not empty, cut to a size. */
export function outputTail(text: string, maxChars = 600): string {
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line.trim() !== "");
  return lines.slice(-8).join(" | ").slice(-maxChars);
}

/** How a call ended, in words: "exited with code 1: no such host". */
export function endInWords(end: ProgramEnd, timeoutMs: number): string {
  if (end.kind === "not_started") return `could not be started: ${end.reason}`;
  const said = outputTail(end.stderr) || outputTail(end.stdout);
  const after = said === "" ? "" : `: ${said}`;
  if (end.kind === "timeout") return `did not end within ${timeoutMs / 1_000} s${after}`;
  if (end.kind === "too_much_output") return `printed more than is taken${after}`;
  return end.signal === null
    ? `exited with code ${end.code}${after}`
    : `was ended by ${end.signal}${after}`;
}
